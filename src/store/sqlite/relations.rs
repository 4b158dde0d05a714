//! What the other submissions of an activity say.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::model::SubmissionId;
use crate::store::Relations;

pub(super) const DELIVERED: &str =
    "SELECT m.delivered_id FROM delivery AS d CROSS JOIN lane_memory AS m ON m.lane = d.lane WHERE d.id = ?1";

/// How the newest delivered one of its activity relates to this one. "Newest" by number: an older one that was forced out after it does not make
/// this one any less superseded.
pub(super) async fn relations(conn: &mut SqliteConnection, id: SubmissionId) -> Result<Relations, sqlx::Error> {
    let row = sqlx::query(DELIVERED).bind(id.0).fetch_optional(conn).await?;
    let delivered = row.map(|row| row.try_get(0).map(SubmissionId)).transpose()?;
    Ok(Relations {
        superseded_by: delivered.filter(|delivered| *delivered > id),
        registered_by_us: delivered.is_some_and(|delivered| delivered < id),
    })
}
