//! Heads by producer, for the one sample a minute of a blown fuse. No index names the producer: each would be written
//! at every claim, and be worth nothing but in that minute. So the heads are walked, a bounded stretch at a look, on a
//! reading connection.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::model::SubmissionId;
use crate::store::{SourceCursor, Stretch};

use super::row;

/// How many heads one look goes through: some milliseconds.
const STRETCH: u32 = 2_000;

/// `OFFSET 0` keeps the producers' side a look by number for each head, whatever the planner thinks of the tables.
pub(super) const NEXT_HEADS: &str = "SELECT coalesce(s.source, '') AS source, h.tries, h.id FROM ( \
         SELECT tries, id FROM delivery WHERE state = 'head' AND not_before IS NULL AND tries >= 0 \
            AND (tries, id) > ($1::integer, $2::bigint) ORDER BY tries, id LIMIT $3) AS h \
     CROSS JOIN LATERAL (SELECT source FROM submission WHERE submission.id = h.id OFFSET 0) AS s";

/// Goes through the next stretch.
pub(super) async fn look(conn: &mut PgConnection, after: SourceCursor) -> Result<Stretch, sqlx::Error> {
    let rows = sqlx::query(NEXT_HEADS)
        .bind(i32::try_from(after.tries).unwrap_or(i32::MAX))
        .bind(after.id.0)
        .bind(i64::from(STRETCH))
        .fetch_all(conn)
        .await?;
    let mut heads = Vec::with_capacity(rows.len());
    for row in &rows {
        let place = SourceCursor {
            tries: row::count(row.try_get("tries")?),
            id: SubmissionId(row.try_get("id")?),
        };
        heads.push((place, row.try_get::<String, _>("source")?));
    }
    // They come in order as it is, but nothing in SQL promises it.
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
