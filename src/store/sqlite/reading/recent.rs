//! What went on lately, for who watches: each look begins at the new end of an index and is bounded, however much the
//! outbox holds.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::model::SubmissionId;
use crate::store::sqlite::Database;
use crate::store::sqlite::machine::row;
use crate::store::views::COUNTED_MAX;
use crate::store::{Finished, Pace, Producer, StoreError};

/// What was delivered or became dead within a time, and when the last came in and went out.
pub(crate) const PACE: &str = "SELECT \
     (SELECT created_at FROM submission WHERE id = (SELECT max(id) FROM submission)) AS last_in, \
     (SELECT updated_at FROM delivery INDEXED BY delivery_delivered_since WHERE state = 'delivered' \
       ORDER BY updated_at DESC LIMIT 1) AS last_out, \
     (SELECT count(*) FROM (SELECT 1 FROM delivery INDEXED BY delivery_delivered_since WHERE state = 'delivered' \
       AND updated_at >= ?1 AND updated_at < ?2 LIMIT ?3)) AS delivered, \
     (SELECT count(*) FROM (SELECT 1 FROM delivery INDEXED BY delivery_dead_since WHERE state = 'dead' \
       AND updated_at >= ?1 AND updated_at < ?2 LIMIT ?3)) AS dead";

/// Whose the newest are, and what became of them. Sorted are only those.
pub(crate) const PRODUCERS: &str = "SELECT source, count(*) AS taken, sum(is_delivered) AS delivered, \
     sum(is_dead) AS dead, max(created_at) AS last FROM ( \
       SELECT s.source AS source, s.created_at AS created_at, d.state = 'delivered' AS is_delivered, \
         d.state = 'dead' AS is_dead \
       FROM (SELECT id FROM delivery WHERE id <= (SELECT max(id) FROM delivery) ORDER BY id DESC LIMIT ?1) AS newest \
       CROSS JOIN delivery AS d ON d.id = newest.id CROSS JOIN submission AS s ON s.id = newest.id) GROUP BY source";

/// What was delivered, became dead or was dismissed, the newest of each, with the attempt that ended it.
pub(crate) const FINISHED: &str = "SELECT newest.id AS id, d.state AS state, d.reason AS reason, \
     d.http_status AS http_status, d.updated_at AS updated_at, s.source AS source, \
     coalesce(s.activity_id, s.provider_activity_id) AS activity, a.elapsed_ms AS elapsed_ms, a.fault AS fault FROM ( \
       SELECT id FROM (SELECT id FROM delivery INDEXED BY delivery_delivered_since WHERE state = 'delivered' \
         AND updated_at >= ?1 ORDER BY updated_at DESC LIMIT ?2) UNION ALL \
       SELECT id FROM (SELECT id FROM delivery INDEXED BY delivery_dead_since WHERE state = 'dead' \
         AND updated_at >= ?1 ORDER BY updated_at DESC LIMIT ?2) UNION ALL \
       SELECT id FROM (SELECT id FROM delivery INDEXED BY delivery_dismissed_since WHERE state = 'dismissed' \
         AND updated_at >= ?1 ORDER BY updated_at DESC LIMIT ?2)) AS newest \
     CROSS JOIN delivery AS d ON d.id = newest.id CROSS JOIN submission AS s ON s.id = newest.id \
     LEFT JOIN attempt AS a ON a.submission = newest.id AND a.number = d.attempts";

impl Database {
    /// What was delivered or became dead from `from` on and before `until`, and when the last came in and went out.
    pub async fn pace(&self, from: Timestamp, until: Timestamp) -> Result<Pace, StoreError> {
        Ok(pace(&mut *self.reader().await?, from, until).await?)
    }

    /// Whose the newest submissions are, at most `limit` of them.
    pub async fn newest_producers(&self, limit: u32) -> Result<Vec<Producer>, StoreError> {
        Ok(producers(&mut *self.reader().await?, limit).await?)
    }

    /// What was delivered, became dead or was dismissed at `since` or later, newest first, at most `limit` of each.
    pub async fn newest_finished(&self, since: Timestamp, limit: u32) -> Result<Vec<Finished>, StoreError> {
        Ok(finished(&mut *self.reader().await?, since, limit).await?)
    }
}

async fn pace(conn: &mut SqliteConnection, from: Timestamp, until: Timestamp) -> Result<Pace, sqlx::Error> {
    let query = sqlx::query(PACE).bind(from.millis()).bind(until.millis());
    let row = query.bind(COUNTED_MAX).fetch_one(conn).await?;
    let count = |column| -> Result<u64, sqlx::Error> { Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0)) };
    Ok(Pace {
        last_in: row::time(&row, "last_in")?,
        last_out: row::time(&row, "last_out")?,
        delivered: count("delivered")?,
        dead: count("dead")?,
    })
}

async fn producers(conn: &mut SqliteConnection, limit: u32) -> Result<Vec<Producer>, sqlx::Error> {
    let rows = sqlx::query(PRODUCERS).bind(limit).fetch_all(conn).await?;
    let producers = rows.iter().map(|row| {
        let count =
            |column| -> Result<u64, sqlx::Error> { Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0)) };
        Ok(Producer {
            source: row::text(row, "source")?,
            taken: count("taken")?,
            delivered: count("delivered")?,
            dead: count("dead")?,
            last_seen: Timestamp::from_millis(row.try_get("last")?),
        })
    });
    producers.collect()
}

async fn finished(conn: &mut SqliteConnection, since: Timestamp, limit: u32) -> Result<Vec<Finished>, sqlx::Error> {
    let query = sqlx::query(FINISHED).bind(since.millis()).bind(limit);
    let rows = query.fetch_all(conn).await?;
    let finished = rows.iter().map(|row| {
        let status: Option<i64> = row.try_get("http_status")?;
        let elapsed: Option<i64> = row.try_get("elapsed_ms")?;
        Ok(Finished {
            id: SubmissionId(row.try_get("id")?),
            at: Timestamp::from_millis(row.try_get("updated_at")?),
            state: row.try_get("state")?,
            reason: row.try_get("reason")?,
            http_status: status.and_then(|status| u16::try_from(status).ok()),
            fault: row.try_get("fault")?,
            elapsed_ms: elapsed.and_then(|elapsed| u64::try_from(elapsed).ok()),
            source: row::text(row, "source")?,
            activity: row::text(row, "activity")?,
        })
    });
    let mut finished = finished.collect::<Result<Vec<_>, sqlx::Error>>()?;
    finished.sort_by_key(|one| std::cmp::Reverse((one.at, one.id)));
    Ok(finished)
}
