//! What the other submissions of an activity say.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::model::SubmissionId;
use crate::store::sqlite::Database;
use crate::store::{Relations, StoreError};

impl Database {
    /// What the others of its activity say.
    pub async fn relations(&self, id: SubmissionId) -> Result<Relations, StoreError> {
        Ok(relations(&mut *self.reader().await?, id).await?)
    }
}

pub(crate) const DELIVERED: &str = "SELECT (SELECT m.id FROM delivered_last AS m \
     WHERE m.lane = d.lane) AS delivered_id FROM delivery AS d WHERE d.id = ?1";

/// How the newest delivered one of its activity relates to this one. "Newest" by number: an older one that was forced
/// out after it does not make this one any less superseded.
pub(crate) async fn relations(conn: &mut SqliteConnection, id: SubmissionId) -> Result<Relations, sqlx::Error> {
    let row = sqlx::query(DELIVERED).bind(id.0).fetch_optional(conn).await?;
    let delivered: Option<i64> = row.map(|row| row.try_get(0)).transpose()?.flatten();
    let delivered = delivered.map(SubmissionId);
    Ok(Relations {
        superseded_by: delivered.filter(|delivered| *delivered > id),
        registered_by_us: delivered.is_some_and(|delivered| delivered < id),
        delivered_last: delivered,
    })
}
