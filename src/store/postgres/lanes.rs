//! Lanes: of each activity, whose turn it is.
//!
//! The invariant, between any two transactions: of a lane with pending submissions the smallest id is `head` (or the one
//! that is `sending` is in its place), and the others are `waiting`. A lane's row is its mutex: whoever adds to a lane,
//! or changes who is live in it, locks it first, all of a transaction's lanes by one statement in ascending order, and
//! only then looks, decides and draws numbers.

use std::collections::BTreeSet;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::model::{Lane, SubmissionId};

use super::floor::Place;

/// In ascending order: two that make the same new ones at once wait for one another's, and never in a circle.
pub(super) const MAKE: &str =
    "INSERT INTO lane (lane) SELECT DISTINCT l FROM unnest($1::bigint[]) AS l ORDER BY l ON CONFLICT (lane) DO NOTHING";

pub(super) const LOCK: &str = "SELECT lane FROM lane WHERE lane = ANY ($1) ORDER BY lane FOR UPDATE";

/// Makes those that are new, and locks all.
pub(super) async fn make_and_lock(conn: &mut PgConnection, lanes: &BTreeSet<i64>) -> Result<(), sqlx::Error> {
    if lanes.is_empty() {
        return Ok(());
    }
    let all: Vec<i64> = lanes.iter().copied().collect();
    loop {
        sqlx::query(MAKE).bind(&all).execute(&mut *conn).await?;
        // One that retention took away between the two is missing: once more.
        if lock_these(conn, &all).await? == all.len() {
            return Ok(());
        }
    }
}

/// Locks those that are there.
pub(super) async fn lock(conn: &mut PgConnection, lanes: &BTreeSet<i64>) -> Result<(), sqlx::Error> {
    if lanes.is_empty() {
        return Ok(());
    }
    lock_these(conn, &lanes.iter().copied().collect::<Vec<_>>())
        .await
        .map(drop)
}

async fn lock_these(conn: &mut PgConnection, lanes: &[i64]) -> Result<usize, sqlx::Error> {
    Ok(sqlx::query(LOCK).bind(lanes).fetch_all(conn).await?.len())
}

pub(super) const OF_PENDING: &str = "SELECT DISTINCT lane FROM delivery WHERE id = ANY ($1) AND lane IS NOT NULL";
/// `coalesce`: with the bare word a planner without statistics reads all of `settled_lane` for these ids.
pub(super) const OF_SETTLED: &str =
    "SELECT DISTINCT lane FROM settled WHERE id = ANY ($1) AND coalesce(lane IS NOT NULL, false)";

/// The lanes of these submissions, wherever they are.
pub(super) async fn of(conn: &mut PgConnection, ids: &[i64]) -> Result<BTreeSet<i64>, sqlx::Error> {
    let mut lanes = BTreeSet::new();
    for sql in [OF_PENDING, OF_SETTLED] {
        for row in sqlx::query(sql).bind(ids).fetch_all(&mut *conn).await? {
            lanes.insert(row.try_get(0)?);
        }
    }
    Ok(lanes)
}

/// A head with an older one after it (put back by a requeue) steps back; one that is being sent stays.
pub(super) const DEMOTE: &str = "UPDATE delivery SET state = 'waiting' WHERE state = 'head' AND id = ANY (ARRAY( \
     SELECT h.id FROM unnest($1::bigint[]) AS l CROSS JOIN LATERAL ( \
            SELECT b.id FROM delivery AS b WHERE b.lane = l AND b.lane IS NOT NULL AND (b.state = 'head' OR b.state = 'sending') LIMIT 1) AS h \
      WHERE (SELECT w.id FROM delivery AS w WHERE w.lane = l AND w.lane IS NOT NULL AND w.state = 'waiting' ORDER BY w.lane, w.id LIMIT 1) < h.id))";

/// Where nobody is next or being sent, the oldest that waits comes forward. `IS NULL` and not `NOT EXISTS`, which is made
/// a join over all that is live.
pub(super) const PROMOTE: &str = "UPDATE delivery SET state = 'head' WHERE state = 'waiting' AND id = ANY (ARRAY( \
     SELECT (SELECT w.id FROM delivery AS w WHERE w.lane = l AND w.lane IS NOT NULL AND w.state = 'waiting' ORDER BY w.lane, w.id LIMIT 1) \
       FROM unnest($1::bigint[]) AS l \
      WHERE (SELECT b.id FROM delivery AS b WHERE b.lane = l AND b.lane IS NOT NULL AND (b.state = 'head' OR b.state = 'sending') LIMIT 1) IS NULL)) RETURNING next_at, id";

/// Restores the invariant for these lanes, which are locked; the first place in the queue of those that came forward.
pub(super) async fn relane(conn: &mut PgConnection, lanes: &BTreeSet<i64>) -> Result<Option<Place>, sqlx::Error> {
    if lanes.is_empty() {
        return Ok(None);
    }
    let lanes: Vec<i64> = lanes.iter().copied().collect();
    sqlx::query(DEMOTE).bind(&lanes).execute(&mut *conn).await?;
    let came_forward = sqlx::query(PROMOTE).bind(&lanes).fetch_all(&mut *conn).await?;
    let places = came_forward
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<Vec<Place>, sqlx::Error>>()?;
    Ok(places.into_iter().min())
}

pub(super) const BUSY: &str =
    "SELECT lane FROM delivery WHERE lane = ANY ($1) AND lane IS NOT NULL AND (state = 'head' OR state = 'sending')";

/// Which of these have somebody who is next or being sent.
pub(super) async fn busy(conn: &mut PgConnection, lanes: &BTreeSet<i64>) -> Result<BTreeSet<i64>, sqlx::Error> {
    let lanes: Vec<i64> = lanes.iter().copied().collect();
    let rows = sqlx::query(BUSY).bind(lanes).fetch_all(conn).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

pub(super) const DELIVERED: &str = "UPDATE lane SET delivered_id = ($2)[array_position($1, lane)] \
     WHERE lane = ANY ($1) AND coalesce(delivered_id, 0) < ($2)[array_position($1, lane)]";

/// Writes down the newest delivered one of each lane: pairs of a lane and a submission.
pub(super) async fn delivered(
    conn: &mut PgConnection,
    delivered: impl Iterator<Item = (i64, i64)>,
) -> Result<(), sqlx::Error> {
    let mut newest = std::collections::BTreeMap::new();
    for (lane, id) in delivered {
        let known = newest.entry(lane).or_insert(id);
        *known = id.max(*known);
    }
    if newest.is_empty() {
        return Ok(());
    }
    let (lanes, ids): (Vec<i64>, Vec<i64>) = newest.into_iter().unzip();
    sqlx::query(DELIVERED)
        .bind(lanes)
        .bind(ids)
        .execute(conn)
        .await
        .map(drop)
}

/// `$3`: what was written down before, which retention may have taken away since; or a later one that came in between.
pub(super) const NOT_DELIVERED: &str = "UPDATE lane SET delivered_id = nullif(greatest(coalesce($3, 0), coalesce(( \
        SELECT s.id FROM settled AS s WHERE s.lane = lane.lane AND s.lane IS NOT NULL AND s.state = 'delivered' \
         ORDER BY s.lane DESC, s.id DESC LIMIT 1), 0)), 0) \
     WHERE lane = ANY ($1) AND delivered_id = ANY ($2)";

/// Takes it back that one of these was delivered, where it is the newest delivered one of its lane.
pub(super) async fn not_delivered(
    conn: &mut PgConnection,
    lanes: &[i64],
    ids: &[i64],
    before: Option<SubmissionId>,
) -> Result<(), sqlx::Error> {
    if lanes.is_empty() {
        return Ok(());
    }
    sqlx::query(NOT_DELIVERED)
        .bind(lanes)
        .bind(ids)
        .bind(before.map(|before| before.0))
        .execute(conn)
        .await
        .map(drop)
}

pub(super) const FORGET_EMPTY: &str = "DELETE FROM lane WHERE lane = ANY ($1) \
     AND (SELECT d.id FROM delivery AS d WHERE d.lane = lane.lane AND d.lane IS NOT NULL AND d.state = 'waiting' LIMIT 1) IS NULL \
     AND (SELECT d.id FROM delivery AS d WHERE d.lane = lane.lane AND d.lane IS NOT NULL AND (d.state = 'head' OR d.state = 'sending') LIMIT 1) IS NULL \
     AND (SELECT d.id FROM settled AS d WHERE d.lane = lane.lane AND d.lane IS NOT NULL LIMIT 1) IS NULL";

/// Forgets lanes that no submission is kept of; they are locked.
pub(super) async fn forget_empty(conn: &mut PgConnection, lanes: &BTreeSet<i64>) -> Result<(), sqlx::Error> {
    if lanes.is_empty() {
        return Ok(());
    }
    let lanes: Vec<i64> = lanes.iter().copied().collect();
    sqlx::query(FORGET_EMPTY).bind(lanes).execute(conn).await.map(drop)
}

pub(super) const DELIVERED_LAST: &str = "SELECT delivered_id FROM lane WHERE lane = $1";

/// The newest delivered one of an activity.
pub(super) async fn delivered_last(conn: &mut PgConnection, lane: Lane) -> Result<Option<SubmissionId>, sqlx::Error> {
    let row = sqlx::query(DELIVERED_LAST).bind(lane.0).fetch_optional(conn).await?;
    let found: Option<i64> = row.map(|row| row.try_get(0)).transpose()?.flatten();
    Ok(found.map(SubmissionId))
}
