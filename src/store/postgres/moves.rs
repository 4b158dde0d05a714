//! What acts and the gate do to the rows of submissions: each statement names the states that it may leave.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::clock::Timestamp;
use crate::model::{Decision, Undo};
use crate::store::rules::acts::Fresh;

use super::lanes;
use super::transaction::Transaction;

pub(super) const LEAVE_EPISODE: &str = "DELETE FROM episode WHERE id = ANY ($1)";

/// What an operator took in hand is no longer the gate's to requeue.
pub(super) async fn leave_episode(transaction: &mut Transaction<'_>, ids: &[i64]) -> Result<(), sqlx::Error> {
    sqlx::query(LEAVE_EPISODE)
        .bind(ids)
        .execute(&mut *transaction.conn)
        .await
        .map(drop)
}

/// The date is in its history; what is shown and exported is what is in force.
pub(super) const LIFT: &str = "UPDATE submission SET not_before = NULL WHERE id = ANY ($1)";
/// What stood in its way is no more; its history says that it did.
pub(super) const VALID_NOW: &str =
    "UPDATE submission SET invalid = NULL, by_result_types = false WHERE id = ANY ($1) AND by_result_types";

/// Due now, or when its `not_before` lets it go; attempts and age begin anew. The mark of a lost response stays, and so
/// does an operator's word to override; a policy's is forgotten: it will be asked again. A `not_before` that was waited
/// for once is not waited for again.
pub(super) const PUT_BACK_PENDING: &str = "UPDATE delivery SET \
        not_before = CASE WHEN $3 THEN NULL ELSE not_before END, next_at = greatest($2, coalesce(CASE WHEN $3 THEN NULL ELSE not_before END, $2)), \
        tries = 0, waited_ms = 0, hard_override = CASE WHEN $4 OR hard_override = 2 THEN 2 ELSE 0 END, \
        was_unauthorized = was_unauthorized OR $5, requeued = true, updated_at = $2 \
     WHERE id = ANY ($1) AND state = ANY ($6) AND (state = 'head' OR state = 'waiting') RETURNING id";

/// The same of what was done with. One with an activity comes back as `waiting`, and the lane decides.
pub(super) const PUT_BACK_SETTLED: &str = "WITH gone AS (DELETE FROM settled WHERE id = ANY ($1) AND state = ANY ($6) \
        AND ($7::text IS NULL OR reason = $7) RETURNING *), \
     back AS (SELECT g.*, CASE WHEN NOT $3 AND g.attempts = 0 AND s.not_before > $2 THEN s.not_before END AS held \
        FROM gone AS g JOIN submission AS s ON s.id = g.id) \
     INSERT INTO delivery (id, lane, next_at, not_before, waited_ms, updated_at, attempts, tries, http_status, hard_override, lost_response, \
        was_unauthorized, requeued, state) \
     SELECT id, lane, greatest($2, coalesce(held, $2)), held, 0, $2, attempts, 0, http_status, CASE WHEN $4 OR hard_override = 2 THEN 2 ELSE 0 END, \
            lost_response, was_unauthorized OR $5 OR coalesce(reason = 'unauthorized', false), true, \
            CASE WHEN lane IS NULL THEN 'head' ELSE 'waiting' END \
       FROM back RETURNING id";

/// Puts back; the lanes are to be put in order afterwards. Which of them there were.
pub(super) async fn put_back(
    transaction: &mut Transaction<'_>,
    ids: &[i64],
    fresh: &Fresh,
) -> Result<Vec<i64>, sqlx::Error> {
    let mut back = Vec::with_capacity(ids.len());
    for sql in [PUT_BACK_PENDING, PUT_BACK_SETTLED] {
        let mut query = sqlx::query(sql)
            .bind(ids)
            .bind(fresh.now.millis())
            .bind(fresh.lift)
            .bind(fresh.overriding)
            .bind(fresh.was_unauthorized)
            .bind(fresh.from.to_vec());
        if sql == PUT_BACK_SETTLED {
            query = query.bind(fresh.reason);
        }
        for row in query.fetch_all(&mut *transaction.conn).await? {
            back.push(row.try_get(0)?);
        }
    }
    Ok(back)
}

pub(super) const ACCEPT: &str = "UPDATE settled SET state = 'delivered', reason = NULL, updated_at = $2 \
     WHERE id = ANY ($1) AND state = 'parked' RETURNING lane, id";

pub(super) async fn accept(conn: &mut PgConnection, ids: &[i64], now: Timestamp) -> Result<(), sqlx::Error> {
    let rows = sqlx::query(ACCEPT)
        .bind(ids)
        .bind(now.millis())
        .fetch_all(&mut *conn)
        .await?;
    let mut delivered = Vec::new();
    for row in &rows {
        let (lane, id): (Option<i64>, i64) = (row.try_get(0)?, row.try_get(1)?);
        delivered.extend(lane.map(|lane| (lane, id)));
    }
    lanes::delivered(conn, delivered.into_iter()).await
}

/// Parked again, with the override that the decision had given it taken away: an operator's earlier word stays, which is
/// the one that was neither taken back nor made of another payload. Its line in history is written by now.
pub(super) const PARK_PENDING_AGAIN: &str = "WITH gone AS (DELETE FROM delivery WHERE id = ANY ($1) AND (state = 'head' OR state = 'waiting') \
        AND tries = 0 RETURNING *) \
     INSERT INTO settled (id, lane, waited_ms, updated_at, attempts, tries, http_status, hard_override, lost_response, was_unauthorized, requeued, \
        state, reason) \
     SELECT g.id, g.lane, g.waited_ms, $2, g.attempts, g.tries, g.http_status, CASE WHEN ( \
            SELECT sum(CASE WHEN h.what = 'override' THEN 1 WHEN h.what = 'undone' AND h.detail = 'override' THEN -1 ELSE 0 END) \
              FROM history AS h WHERE h.submission = g.id AND h.seq > coalesce(( \
                   SELECT max(e.seq) FROM history AS e WHERE e.submission = g.id AND e.what = 'edited'), 0)) > 0 THEN 2 ELSE 0 END, \
            g.lost_response, g.was_unauthorized, g.requeued, 'parked', $3 FROM gone AS g";
pub(super) const PARK_SETTLED_AGAIN: &str = "UPDATE settled SET state = 'parked', reason = $3, updated_at = $2 WHERE id = ANY ($1) AND state = $4 RETURNING lane, id";

pub(super) async fn park_again(
    conn: &mut PgConnection,
    ids: &[i64],
    undo: &Undo,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let sql = match undo.decision {
        Decision::Override => PARK_PENDING_AGAIN,
        Decision::Accept | Decision::Dismiss => PARK_SETTLED_AGAIN,
    };
    let mut query = sqlx::query(sql)
        .bind(ids)
        .bind(now.millis())
        .bind(undo.reason.into_str());
    if undo.decision != Decision::Override {
        query = query.bind(undo.decision.leads_to().into_str());
    }
    let rows = query.fetch_all(&mut *conn).await?;
    if undo.decision != Decision::Accept {
        return Ok(());
    }
    let mut lanes = Vec::new();
    for row in &rows {
        lanes.extend(row.try_get::<Option<i64>, _>("lane")?);
    }
    lanes::not_delivered(conn, &lanes, ids, undo.delivered_before).await
}

pub(super) const DISMISS_PENDING: &str = "WITH gone AS (DELETE FROM delivery WHERE id = ANY ($1) AND (state = 'head' OR state = 'waiting') RETURNING *) \
     INSERT INTO settled (id, lane, waited_ms, updated_at, attempts, tries, http_status, hard_override, lost_response, was_unauthorized, requeued, state) \
     SELECT id, lane, waited_ms, $2, attempts, tries, http_status, hard_override, lost_response, was_unauthorized, requeued, 'dismissed' FROM gone";
pub(super) const DISMISS_SETTLED: &str = "UPDATE settled SET state = 'dismissed', reason = NULL, updated_at = $2 \
     WHERE id = ANY ($1) AND (state = 'dead' OR state = 'parked')";

pub(super) async fn dismiss(conn: &mut PgConnection, ids: &[i64], now: Timestamp) -> Result<(), sqlx::Error> {
    for sql in [DISMISS_PENDING, DISMISS_SETTLED] {
        sqlx::query(sql)
            .bind(ids)
            .bind(now.millis())
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}
