//! What the newest dead letters have in common, for the person who looks at the queue: bounded, however many there are.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::clock::Timestamp;
use crate::model::SubmissionId;
use crate::store::DeadLetter;

/// Bytes of an answer that are looked at: a documented error is much shorter.
const BODY_BYTES: i32 = 2048;

/// The newest dead letters first; what came of the last attempt of each, where it was sent.
pub(super) const NEWEST: &str = "SELECT d.id, d.updated_at, d.reason, d.http_status, s.source, s.invalid, substr(a.body, 1, $2::integer) AS body, a.fault \
     FROM (SELECT id, reason, http_status, attempts, updated_at FROM settled WHERE state = 'dead' ORDER BY updated_at DESC, id DESC LIMIT $1) AS d \
     CROSS JOIN LATERAL (SELECT source, invalid FROM submission WHERE submission.id = d.id OFFSET 0) AS s \
     LEFT JOIN LATERAL (SELECT body, fault FROM attempt WHERE attempt.submission = d.id AND attempt.number = d.attempts OFFSET 0) AS a ON true \
     ORDER BY d.updated_at DESC, d.id DESC";

/// At most `limit` of them.
pub(super) async fn newest(conn: &mut PgConnection, limit: u32) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let rows = sqlx::query(NEWEST)
        .bind(i64::from(limit))
        .bind(BODY_BYTES)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            let status: Option<i32> = row.try_get("http_status")?;
            Ok(DeadLetter {
                id: SubmissionId(row.try_get("id")?),
                at: Timestamp::from_millis(row.try_get("updated_at")?),
                reason: row.try_get("reason")?,
                http_status: status.and_then(|status| u16::try_from(status).ok()),
                source: row.try_get("source")?,
                invalid: row.try_get("invalid")?,
                body: row.try_get("body")?,
                fault: row.try_get("fault")?,
            })
        })
        .collect()
}
