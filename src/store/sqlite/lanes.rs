//! Lanes: of each activity, whose turn it is.
//!
//! The invariant, between any two transactions: of a lane with pending submissions and none sending, the smallest id is `head` and the others
//! are `waiting`; while one is sending, all its pending ones are `waiting`. Whatever changes a state calls [`relane`] for the lanes it touched,
//! after the change: an outcome is written first, then the next is promoted, or the unique index would meet two.

use std::collections::HashSet;
use std::sync::LazyLock;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::model::SubmissionId;

use super::batch;

/// A head with an older one behind it (put back by a requeue) steps back.
pub(super) const DEMOTE: &str = "UPDATE delivery SET state = 'waiting' WHERE id IN ( \
         SELECT h.id FROM json_each(?1) AS l \
          CROSS JOIN delivery AS h INDEXED BY delivery_live ON h.lane = l.value AND h.state = 'head' \
          WHERE (SELECT w.id FROM delivery AS w INDEXED BY delivery_waiting \
                  WHERE w.lane = l.value AND w.state = 'waiting' ORDER BY w.id LIMIT 1) < h.id) \
     AND state = 'head'";

/// Where nothing is head or sending, the oldest that waits comes forward.
pub(super) const PROMOTE: &str = "UPDATE delivery SET state = 'head' WHERE id IN ( \
         SELECT (SELECT w.id FROM delivery AS w INDEXED BY delivery_waiting \
                  WHERE w.lane = l.value AND w.state = 'waiting' ORDER BY w.id LIMIT 1) \
           FROM json_each(?1) AS l \
          WHERE NOT EXISTS (SELECT 1 FROM delivery AS b INDEXED BY delivery_live \
                             WHERE b.lane = l.value AND (b.state = 'head' OR b.state = 'sending'))) \
     AND state = 'waiting'";

/// Restores the invariant for these lanes.
pub(super) async fn relane(conn: &mut SqliteConnection, lanes: &HashSet<i64>) -> Result<(), sqlx::Error> {
    static RELANE: LazyLock<String> = LazyLock::new(|| format!("{DEMOTE}; {PROMOTE}"));
    if lanes.is_empty() {
        return Ok(());
    }
    let lanes = batch::json(&lanes.iter().collect::<Vec<_>>())?;
    sqlx::query(RELANE.as_str()).bind(lanes).execute(conn).await.map(drop)
}

pub(super) const BUSY: &str = "SELECT l.value FROM json_each(?1) AS l \
     WHERE EXISTS (SELECT 1 FROM delivery AS b INDEXED BY delivery_live \
                    WHERE b.lane = l.value AND (b.state = 'head' OR b.state = 'sending'))";

/// Those of these lanes in which a new submission has to wait.
pub(super) async fn busy(conn: &mut SqliteConnection, lanes: &[i64]) -> Result<HashSet<i64>, sqlx::Error> {
    if lanes.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = sqlx::query(BUSY).bind(batch::json(lanes)?).fetch_all(conn).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

pub(super) const REMEMBER_DELIVERED: &str = "INSERT INTO lane_memory (lane, delivered_id) \
     SELECT d.lane, max(d.id) FROM json_each(?1) AS j CROSS JOIN delivery AS d ON d.id = j.value AND d.state = 'delivered' \
      WHERE d.lane IS NOT NULL GROUP BY d.lane \
     ON CONFLICT (lane) DO UPDATE SET delivered_id = excluded.delivered_id WHERE excluded.delivered_id > delivered_id";

/// What outcomes change in their lanes: remembers which of these submissions are delivered, and restores the invariant.
pub(super) async fn settled(conn: &mut SqliteConnection, lanes: &HashSet<i64>, delivered: &[i64]) -> Result<(), sqlx::Error> {
    static SETTLED: LazyLock<String> = LazyLock::new(|| format!("{}; {DEMOTE}; {PROMOTE}", REMEMBER_DELIVERED.replace("?1", "?2")));
    if lanes.is_empty() {
        // Without a lane there is nothing to remember either.
        return Ok(());
    }
    let lanes = batch::json(&lanes.iter().collect::<Vec<_>>())?;
    let query = sqlx::query(SETTLED.as_str()).bind(lanes).bind(batch::json(delivered)?);
    query.execute(conn).await.map(drop)
}

/// Remembers those of these (a JSON array of ids) that are delivered.
pub(super) async fn remember_delivered(conn: &mut SqliteConnection, ids: &str) -> Result<(), sqlx::Error> {
    sqlx::query(REMEMBER_DELIVERED).bind(ids).execute(conn).await.map(drop)
}

pub(super) const FORGET_EMPTY: &str = "DELETE FROM lane_memory WHERE lane IN (SELECT value FROM json_each(?1)) \
     AND NOT EXISTS (SELECT 1 FROM delivery AS d INDEXED BY delivery_lane WHERE d.lane = lane_memory.lane)";

/// Forgets what was delivered of lanes that no submission is kept of.
pub(super) async fn forget_empty(conn: &mut SqliteConnection, lanes: &HashSet<i64>) -> Result<(), sqlx::Error> {
    if lanes.is_empty() {
        return Ok(());
    }
    let lanes = batch::json(&lanes.iter().collect::<Vec<_>>())?;
    sqlx::query(FORGET_EMPTY).bind(lanes).execute(conn).await?;
    Ok(())
}

pub(super) const DELIVERED_LAST: &str = "SELECT delivered_id FROM lane_memory WHERE lane = ?1";

/// The newest delivered one of a lane.
pub(super) async fn delivered_last(conn: &mut SqliteConnection, lane: i64) -> Result<Option<SubmissionId>, sqlx::Error> {
    let row = sqlx::query(DELIVERED_LAST).bind(lane).fetch_optional(conn).await?;
    row.map(|row| row.try_get(0).map(SubmissionId)).transpose()
}
