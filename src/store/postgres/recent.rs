//! What went on lately, for who watches: each look begins at the new end of an index and is bounded, however much the
//! outbox holds.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::clock::Timestamp;
use crate::model::SubmissionId;
use crate::store::views::COUNTED_MAX;
use crate::store::{Finished, Pace, Producer};

use super::row;

/// What was delivered or became dead within a time, and when the last came in and went out.
pub(super) const PACE: &str = "SELECT \
     (SELECT created_at FROM submission ORDER BY id DESC LIMIT 1) AS last_in, \
     (SELECT updated_at FROM settled WHERE state = 'delivered' ORDER BY updated_at DESC, id DESC LIMIT 1) AS last_out, \
     (SELECT count(*) FROM (SELECT 1 FROM settled WHERE state = 'delivered' AND updated_at >= $1 AND updated_at < $2 \
        ORDER BY updated_at, id LIMIT $3) AS d) AS delivered, \
     (SELECT count(*) FROM (SELECT 1 FROM settled WHERE state = 'dead' AND updated_at >= $1 AND updated_at < $2 \
        ORDER BY updated_at, id LIMIT $3) AS d) AS dead";

/// Whose the newest are, and what became of them. `OFFSET 0` keeps what became of each a look by number.
pub(super) const PRODUCERS: &str = "SELECT newest.source, count(*) AS taken, \
     count(*) FILTER (WHERE d.state = 'delivered') AS delivered, count(*) FILTER (WHERE d.state = 'dead') AS dead, \
     max(newest.created_at) AS last \
     FROM (SELECT id, source, created_at FROM submission ORDER BY id DESC LIMIT $1) AS newest \
     LEFT JOIN LATERAL (SELECT state FROM settled WHERE settled.id = newest.id OFFSET 0) AS d ON true \
     GROUP BY newest.source";

/// What was delivered, became dead or was dismissed, the newest of each, with the attempt that ended it.
pub(super) const FINISHED: &str = "SELECT d.id, d.state, d.reason, d.http_status, d.updated_at, s.source, \
     coalesce(s.activity_id, s.provider_activity_id) AS activity, a.elapsed_ms, a.fault FROM ( \
       (SELECT id, state, reason, http_status, updated_at, attempts FROM settled WHERE state = 'delivered' \
         AND updated_at >= $1 ORDER BY updated_at DESC, id DESC LIMIT $2) UNION ALL \
       (SELECT id, state, reason, http_status, updated_at, attempts FROM settled WHERE state = 'dead' \
         AND updated_at >= $1 ORDER BY updated_at DESC, id DESC LIMIT $2) UNION ALL \
       (SELECT id, state, reason, http_status, updated_at, attempts FROM settled WHERE state = 'dismissed' \
         AND updated_at >= $1 ORDER BY updated_at DESC, id DESC LIMIT $2)) AS d \
     CROSS JOIN LATERAL (SELECT source, activity_id, provider_activity_id FROM submission \
       WHERE submission.id = d.id OFFSET 0) AS s \
     LEFT JOIN LATERAL (SELECT elapsed_ms, fault FROM attempt WHERE attempt.submission = d.id \
       AND attempt.number = d.attempts OFFSET 0) AS a ON true";

pub(super) async fn pace(conn: &mut PgConnection, from: Timestamp, until: Timestamp) -> Result<Pace, sqlx::Error> {
    let query = sqlx::query(PACE).bind(from.millis()).bind(until.millis());
    let row = query.bind(i64::from(COUNTED_MAX)).fetch_one(conn).await?;
    let count = |column| -> Result<u64, sqlx::Error> { Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0)) };
    Ok(Pace {
        last_in: row::time(&row, "last_in")?,
        last_out: row::time(&row, "last_out")?,
        delivered: count("delivered")?,
        dead: count("dead")?,
    })
}

pub(super) async fn producers(conn: &mut PgConnection, limit: u32) -> Result<Vec<Producer>, sqlx::Error> {
    let rows = sqlx::query(PRODUCERS).bind(i64::from(limit)).fetch_all(conn).await?;
    let producers = rows.iter().map(|row| {
        let count =
            |column| -> Result<u64, sqlx::Error> { Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0)) };
        Ok(Producer {
            source: row.try_get("source")?,
            taken: count("taken")?,
            delivered: count("delivered")?,
            dead: count("dead")?,
            last_seen: Timestamp::from_millis(row.try_get("last")?),
        })
    });
    producers.collect()
}

pub(super) async fn finished(
    conn: &mut PgConnection,
    since: Timestamp,
    limit: u32,
) -> Result<Vec<Finished>, sqlx::Error> {
    let query = sqlx::query(FINISHED).bind(since.millis()).bind(i64::from(limit));
    let rows = query.fetch_all(conn).await?;
    let finished = rows.iter().map(|row| {
        let status: Option<i32> = row.try_get("http_status")?;
        let elapsed: Option<i64> = row.try_get("elapsed_ms")?;
        Ok(Finished {
            id: SubmissionId(row.try_get("id")?),
            at: Timestamp::from_millis(row.try_get("updated_at")?),
            state: row.try_get("state")?,
            reason: row.try_get("reason")?,
            http_status: status.and_then(|status| u16::try_from(status).ok()),
            fault: row.try_get("fault")?,
            elapsed_ms: elapsed.and_then(|elapsed| u64::try_from(elapsed).ok()),
            source: row.try_get("source")?,
            activity: row.try_get("activity")?,
        })
    });
    let mut finished = finished.collect::<Result<Vec<_>, sqlx::Error>>()?;
    finished.sort_by_key(|one| std::cmp::Reverse((one.at, one.id)));
    Ok(finished)
}
