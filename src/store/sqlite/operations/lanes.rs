//! Lanes: of each activity, whose turn it is.
//!
//! The invariant, between any two transactions: of a lane with pending submissions the smallest id is `head` and the
//! others are `waiting`, but that one which is being sent stays `head` until its outcome is in, whatever was put back
//! before it. Whatever changes a state calls [`relane`] for the lanes it touched, after the change: an outcome is
//! written first, then the next is promoted, or the unique index would meet two.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::model::{Lane, SubmissionId};
use crate::store::rules::admission::KnownLane;
use crate::store::sqlite::machine::batch;

/// A head with an older one behind it (put back by a requeue) steps back, unless it is being sent.
pub(crate) const DEMOTE: &str = "UPDATE delivery SET state = 'waiting' WHERE id IN ( \
         SELECT h.id FROM json_each($1) AS l \
          CROSS JOIN delivery AS h INDEXED BY delivery_live ON h.lane = l.value AND h.state = 'head' \
          WHERE (SELECT w.id FROM delivery AS w INDEXED BY delivery_waiting \
                  WHERE w.lane = l.value AND w.state = 'waiting' ORDER BY w.id LIMIT 1) < h.id \
            AND h.id NOT IN (SELECT id FROM flight)) \
     AND state = 'head'";

/// Where nothing is head, the oldest that waits comes forward.
pub(crate) const PROMOTE: &str = "UPDATE delivery SET state = 'head' WHERE id IN ( \
         SELECT (SELECT w.id FROM delivery AS w INDEXED BY delivery_waiting \
                  WHERE w.lane = l.value AND w.state = 'waiting' ORDER BY w.id LIMIT 1) \
           FROM json_each($1) AS l \
          WHERE NOT EXISTS (SELECT 1 FROM delivery AS b INDEXED BY delivery_live WHERE b.lane = l.value \
          AND b.state = 'head')) AND state = 'waiting'";

/// Restores the invariant for these lanes.
pub(crate) async fn relane(conn: &mut SqliteConnection, lanes: &HashSet<i64>) -> Result<(), sqlx::Error> {
    static RELANE: LazyLock<String> = LazyLock::new(|| format!("{DEMOTE}; {PROMOTE}"));
    if lanes.is_empty() {
        return Ok(());
    }
    let lanes = batch::json(&lanes.iter().collect::<Vec<_>>())?;
    sqlx::query(RELANE.as_str()).bind(lanes).execute(conn).await.map(drop)
}

/// What intake has to know of an activity, out of a row of [`KNOWN`].
pub(crate) fn read_known(row: &SqliteRow) -> Result<KnownLane, sqlx::Error> {
    Ok(KnownLane {
        number: row.try_get(1)?,
        is_busy: row.try_get(2)?,
    })
}

pub(crate) const KNOWN: &str = "SELECT l.hash, l.number, \
         EXISTS (SELECT 1 FROM delivery AS b INDEXED BY delivery_live WHERE b.lane = l.number \
         AND b.state = 'head') AS is_busy FROM json_each($1) AS j CROSS JOIN lane AS l ON l.hash = j.value";

/// Those of these activities that are there, by their hash.
pub(crate) async fn known(conn: &mut SqliteConnection, lanes: &[i64]) -> Result<HashMap<i64, KnownLane>, sqlx::Error> {
    if lanes.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(KNOWN).bind(batch::json(lanes)?).fetch_all(conn).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, read_known(row)?))).collect()
}

pub(crate) const FOUND: &str = "INSERT INTO lane (hash, number) SELECT value ->> 0, value ->> 1 FROM json_each($1)";

/// Founds lanes: hash and number of each.
pub(crate) async fn found(conn: &mut SqliteConnection, lanes: &[(i64, i64)]) -> Result<(), sqlx::Error> {
    if lanes.is_empty() {
        return Ok(());
    }
    sqlx::query(FOUND)
        .bind(batch::json(lanes)?)
        .execute(conn)
        .await
        .map(drop)
}

/// A number that no submission has or will have: theirs are positive.
pub(crate) const DRAW: &str =
    "SELECT min(coalesce((SELECT number FROM lane INDEXED BY lane_number ORDER BY number LIMIT 1), 0), 0) - 1";

/// The number of an activity that an edit names; founded where it is new.
pub(crate) async fn number_of(conn: &mut SqliteConnection, lane: Lane) -> Result<i64, sqlx::Error> {
    if let Some(known) = known(conn, &[lane.0]).await?.get(&lane.0) {
        return Ok(known.number);
    }
    // Its submission's own number may name the activity that it leaves.
    let number: i64 = sqlx::query(DRAW).fetch_one(&mut *conn).await?.try_get(0)?;
    found(conn, &[(lane.0, number)]).await?;
    Ok(number)
}

pub(crate) const REMEMBER_DELIVERED: &str = "UPDATE lane SET delivered_id = j.id \
       FROM (SELECT d.lane AS number, max(d.id) AS id FROM json_each($1) AS i \
       CROSS JOIN delivery AS d ON d.id = i.value AND d.state = 'delivered' \
              WHERE d.lane IS NOT NULL GROUP BY d.lane) AS j \
      WHERE lane.number = j.number AND coalesce(lane.delivered_id, 0) < j.id";

/// Writes down those of these (a JSON array of ids) that are delivered, before they leave: they still make older ones
/// superseded.
pub(crate) async fn remember_delivered(conn: &mut SqliteConnection, ids: &str) -> Result<(), sqlx::Error> {
    sqlx::query(REMEMBER_DELIVERED).bind(ids).execute(conn).await.map(drop)
}

pub(crate) const FORGET_EMPTY: &str = "DELETE FROM lane WHERE number IN (SELECT value FROM json_each($1)) \
     AND NOT EXISTS (SELECT 1 FROM delivery AS d INDEXED BY delivery_lane WHERE d.lane = lane.number)";

/// Forgets lanes that no submission is kept of.
pub(crate) async fn forget_empty(conn: &mut SqliteConnection, lanes: &HashSet<i64>) -> Result<(), sqlx::Error> {
    if lanes.is_empty() {
        return Ok(());
    }
    let lanes = batch::json(&lanes.iter().collect::<Vec<_>>())?;
    sqlx::query(FORGET_EMPTY).bind(lanes).execute(conn).await?;
    Ok(())
}

pub(crate) const DELIVERED_LAST: &str =
    "SELECT (SELECT m.id FROM delivered_last AS m WHERE m.lane = l.number) FROM lane AS l WHERE l.hash = $1";

/// The newest delivered one of an activity.
pub(crate) async fn delivered_last(
    conn: &mut SqliteConnection,
    lane: Lane,
) -> Result<Option<SubmissionId>, sqlx::Error> {
    let row = sqlx::query(DELIVERED_LAST).bind(lane.0).fetch_optional(conn).await?;
    let found: Option<i64> = row.map(|row| row.try_get(0)).transpose()?.flatten();
    Ok(found.map(SubmissionId))
}
