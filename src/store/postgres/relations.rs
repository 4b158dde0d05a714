//! What the other submissions of an activity say.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::model::SubmissionId;
use crate::store::Relations;

pub(super) const DELIVERED: &str =
    "SELECT delivered_id FROM lane WHERE lane = (SELECT d.lane FROM standing AS d WHERE d.id = $1)";

/// How the newest delivered one of its activity relates to this one. "Newest" by number: an older one that was forced
/// out after it does not make this one any less superseded.
pub(super) async fn relations(conn: &mut PgConnection, id: SubmissionId) -> Result<Relations, sqlx::Error> {
    let row = sqlx::query(DELIVERED).bind(id.0).fetch_optional(conn).await?;
    let delivered: Option<i64> = row.map(|row| row.try_get(0)).transpose()?.flatten();
    let delivered = delivered.map(SubmissionId);
    Ok(Relations {
        superseded_by: delivered.filter(|delivered| *delivered > id),
        registered_by_us: delivered.is_some_and(|delivered| delivered < id),
        delivered_last: delivered,
    })
}
