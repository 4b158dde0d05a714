//! What the newest dead letters have in common, for an operator at the queue: bounded, however many there are.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::model::SubmissionId;
use crate::store::sqlite::Database;
use crate::store::sqlite::machine::row;
use crate::store::{DeadLetter, StoreError};

/// Bytes of an answer that are looked at: a documented error is much shorter.
const BODY_BYTES: i64 = 2048;

/// The newest dead letters first; what came of the last attempt of each, where it was sent.
pub(crate) const NEWEST: &str = "SELECT d.id AS id, d.updated_at AS updated_at, d.reason AS reason, d.http_status AS http_status, \
     s.source AS source, s.invalid AS invalid, substr(a.body, 1, ?2) AS body, a.fault AS fault \
     FROM (SELECT id FROM delivery INDEXED BY delivery_dead_since WHERE state = 'dead' ORDER BY updated_at DESC \
     LIMIT ?1) AS newest CROSS JOIN delivery AS d ON d.id = newest.id \
     CROSS JOIN submission AS s ON s.id = newest.id \
     LEFT JOIN attempt AS a ON a.submission = newest.id AND a.number = d.attempts";

impl Database {
    /// The newest dead letters, newest first, at most `limit`: what they have in common.
    pub async fn newest_dead(&self, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        Ok(newest(&mut *self.reader().await?, limit).await?)
    }
}

/// At most `limit` of them.
async fn newest(conn: &mut SqliteConnection, limit: u32) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let rows = sqlx::query(NEWEST).bind(limit).bind(BODY_BYTES).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let status: Option<i64> = row.try_get("http_status")?;
            Ok(DeadLetter {
                id: SubmissionId(row.try_get("id")?),
                at: Timestamp::from_millis(row.try_get("updated_at")?),
                reason: row.try_get("reason")?,
                http_status: status.and_then(|status| u16::try_from(status).ok()),
                source: row::text(row, "source")?,
                invalid: row.try_get("invalid")?,
                body: row.try_get("body")?,
                fault: row.try_get("fault")?,
            })
        })
        .collect()
}
