//! Heads by producer, for the one sample a minute of a blown fuse. No index names the producer: each would be written
//! at every claim, and be worth nothing but in that minute. So the heads are walked, a bounded stretch at a look, on a
//! reading connection.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::model::SubmissionId;
use crate::store::sqlite::Database;
use crate::store::sqlite::machine::row;
use crate::store::{SourceCursor, StoreError, Stretch};

impl Database {
    /// Goes through the next pending heads after this place, the least tried first, a bounded number of them: whose
    /// they are.
    pub async fn find_sources(&self, after: SourceCursor) -> Result<Stretch, StoreError> {
        Ok(query(&mut *self.reader().await?, after).await?)
    }
}

/// How many heads one look goes through: some milliseconds.
pub(crate) const STRETCH: u32 = 2_000;

/// What comes after a place is written as two bounds: of the row value `(tries, id) > (?1, ?2)` SQLite uses the first
/// column alone, and each look would go through everything with as many tries once more.
pub(crate) const NEXT_HEADS: &str = "SELECT coalesce(s.source, '') AS source, stretch.tries, stretch.id FROM ( \
         SELECT tries, id FROM (SELECT tries, id FROM delivery INDEXED BY delivery_probe \
              WHERE state = 'head' AND not_before IS NULL AND id NOT IN (SELECT id FROM flight) AND tries = ?1 \
              AND id > ?2 ORDER BY id LIMIT ?3) UNION ALL \
         SELECT tries, id FROM (SELECT tries, id FROM delivery INDEXED BY delivery_probe \
              WHERE state = 'head' AND not_before IS NULL AND id NOT IN (SELECT id FROM flight) AND tries > ?1 \
              ORDER BY tries, id LIMIT ?3) LIMIT ?3) AS stretch \
     CROSS JOIN submission AS s ON s.id = stretch.id";

/// Goes through the next stretch.
pub(crate) async fn query(conn: &mut SqliteConnection, after: SourceCursor) -> Result<Stretch, sqlx::Error> {
    let rows = sqlx::query(NEXT_HEADS)
        .bind(after.tries)
        .bind(after.id.0)
        .bind(STRETCH)
        .fetch_all(conn)
        .await?;
    let mut heads = Vec::with_capacity(rows.len());
    for row in &rows {
        let place = SourceCursor {
            tries: row.try_get("tries")?,
            id: SubmissionId(row.try_get("id")?),
        };
        heads.push((place, row::text(row, "source")?.unwrap_or_default()));
    }
    // The two halves come one after the other as they are written, but nothing in SQL promises it.
    heads.sort_unstable_by_key(|(place, _)| *place);
    let mut sources: Vec<(String, SubmissionId)> = Vec::new();
    for (place, source) in &heads {
        if !sources.iter().any(|(known, _)| known == source) {
            sources.push((source.clone(), place.id));
        }
    }
    let is_last = heads.len() < STRETCH as usize;
    Ok(Stretch {
        sources,
        end: heads.last().map(|(place, _)| *place).filter(|_| !is_last),
    })
}
