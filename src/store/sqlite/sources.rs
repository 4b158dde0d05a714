//! Heads by producer, for the one sample a minute of a blown fuse. No index names the producer: each would be written at every claim, and be
//! worth nothing but in that minute. So the heads are walked, a bounded stretch at a look, on a reading connection.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::model::SubmissionId;
use crate::store::{SourceFound, SourceLook};

use super::batch;

/// How many heads one look goes through: some milliseconds.
const STRETCH: u32 = 2_000;

pub(super) const OF_ANOTHER: &str = "SELECT stretch.tries, stretch.id, coalesce(s.source, '') FROM ( \
         SELECT tries, id FROM delivery INDEXED BY delivery_probe \
          WHERE state = 'head' AND not_before IS NULL AND id NOT IN (SELECT id FROM flight) AND (tries, id) > (?1, ?2) ORDER BY tries, id LIMIT ?3) AS stretch \
     CROSS JOIN submission AS s ON s.id = stretch.id \
     WHERE coalesce(s.source, '') NOT IN (SELECT value FROM json_each(?4)) LIMIT 1";

pub(super) const STRETCH_END: &str = "SELECT tries, id FROM delivery INDEXED BY delivery_probe \
      WHERE state = 'head' AND not_before IS NULL AND id NOT IN (SELECT id FROM flight) AND (tries, id) > (?1, ?2) ORDER BY tries, id LIMIT 1 OFFSET ?3";

/// Goes through the next stretch.
pub(super) async fn look(conn: &mut SqliteConnection, look: &SourceLook) -> Result<SourceFound, sqlx::Error> {
    let (tries, after) = look.after;
    let found = sqlx::query(OF_ANOTHER)
        .bind(tries)
        .bind(after.0)
        .bind(STRETCH)
        .bind(batch::json(&look.except)?)
        .fetch_optional(&mut *conn)
        .await?;
    if let Some(row) = found {
        let id = SubmissionId(row.try_get(1)?);
        return Ok(SourceFound::Another {
            id,
            source: row.try_get(2)?,
            at: (row.try_get(0)?, id),
        });
    }
    let end = sqlx::query(STRETCH_END)
        .bind(tries)
        .bind(after.0)
        .bind(STRETCH - 1)
        .fetch_optional(conn)
        .await?;
    match end {
        Some(row) => Ok(SourceFound::Further((row.try_get(0)?, SubmissionId(row.try_get(1)?)))),
        None => Ok(SourceFound::End),
    }
}
