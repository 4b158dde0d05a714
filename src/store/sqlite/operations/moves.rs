//! What an act does to the rows of its submissions: each statement names the states that it may leave.

use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::model::{StateName, Undo};
use crate::store::rules::acts::Fresh;
use crate::store::sqlite::machine::batch;

/// The date is in its history; what is shown and exported is what is in force.
pub(crate) const LIFT: &str = "UPDATE submission SET not_before = NULL WHERE id IN (SELECT value FROM json_each(?1))";

/// Due now, or when its `not_before` lets it go; attempts and age begin anew. One with an activity steps back to
/// `waiting`, and the lane decides; the mark of a lost response stays, and so does an operator's word to override. A
/// policy's is forgotten: it will be asked again.
///
/// A `not_before` that was waited for once is not waited for again, whatever the clock says now: one that was ever
/// claimed is held no more. What was never sent (an `invalid` one) is held by what was asked for.
pub(crate) const PUT_BACK: &str = "UPDATE delivery SET \
        state = CASE WHEN lane IS NULL OR state = 'head' THEN 'head' ELSE 'waiting' END, \
        reason = NULL, next_at = max(?2, coalesce(p.held_until, ?2)), not_before = p.held_until, tries = 0, \
        waited_ms = 0, hard_override = CASE WHEN ?3 OR hard_override = 2 THEN 2 ELSE 0 END, \
        was_unauthorized = max(was_unauthorized, ?4, coalesce(reason = 'unauthorized', 0)), requeued = 1, \
        updated_at = ?2 FROM (SELECT d.id AS put_back, CASE WHEN ?7 THEN NULL \
                  WHEN d.state IN ('head', 'waiting') THEN d.not_before \
                  WHEN d.attempts = 0 AND s.not_before > ?2 THEN s.not_before END AS held_until \
             FROM json_each(?1) AS j CROSS JOIN delivery AS d ON d.id = j.value \
             CROSS JOIN submission AS s ON s.id = d.id) AS p \
     WHERE id = p.put_back AND state IN (SELECT value FROM json_each(?5)) AND (?6 IS NULL OR reason = ?6) \
       AND id NOT IN (SELECT id FROM flight)";

/// Puts back; the lanes are to be put in order afterwards.
pub(crate) async fn put_back(conn: &mut SqliteConnection, ids: &str, fresh: &Fresh) -> Result<StateName, sqlx::Error> {
    sqlx::query(PUT_BACK)
        .bind(ids)
        .bind(fresh.now.millis())
        .bind(fresh.overriding)
        .bind(fresh.was_unauthorized)
        .bind(batch::json(fresh.from)?)
        .bind(fresh.reason)
        .bind(fresh.lift)
        .execute(conn)
        .await?;
    Ok(StateName::Pending)
}

/// What stood in its way is no more; its history says that it did.
pub(crate) const VALID_NOW: &str = "UPDATE submission SET invalid = NULL, by_result_types = 0 \
     WHERE id IN (SELECT value FROM json_each(?1)) AND by_result_types = 1";

pub(crate) const ACCEPT: &str = "UPDATE delivery SET state = 'delivered', reason = NULL, updated_at = ?2 \
     WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'parked'";

pub(super) async fn accept(conn: &mut SqliteConnection, ids: &str, now: Timestamp) -> Result<StateName, sqlx::Error> {
    sqlx::query(ACCEPT)
        .bind(ids)
        .bind(now.millis())
        .execute(&mut *conn)
        .await?;
    Ok(StateName::Delivered)
}

pub(crate) const DISMISS: &str = "UPDATE delivery SET state = 'dismissed', reason = NULL, updated_at = ?2 \
     WHERE id IN (SELECT value FROM json_each(?1)) AND state IN ('head', 'waiting', 'dead', 'parked') \
       AND id NOT IN (SELECT id FROM flight)";

pub(super) async fn dismiss(conn: &mut SqliteConnection, ids: &str, now: Timestamp) -> Result<StateName, sqlx::Error> {
    sqlx::query(DISMISS).bind(ids).bind(now.millis()).execute(conn).await?;
    Ok(StateName::Dismissed)
}

/// Parked again, with the override that the decision had given it taken away: an operator's earlier word stays, which is
/// the one that was neither taken back nor made of another payload. Its line in history is written by now.
pub(crate) const PARK_AGAIN: &str = "UPDATE delivery SET state = 'parked', reason = ?3, updated_at = ?2, \
        hard_override = CASE WHEN state NOT IN ('head', 'waiting') THEN hard_override \
            WHEN (SELECT sum(CASE WHEN h.what = 'override' THEN 1 WHEN h.what = 'undone' AND h.detail = 'override' THEN -1 \
                             ELSE 0 END) FROM history AS h INDEXED BY history_submission \
                   WHERE h.submission = delivery.id AND h.seq > coalesce((SELECT max(e.seq) FROM history AS e \
                         INDEXED BY history_submission WHERE e.submission = delivery.id AND e.what = 'edited'), 0)) > 0 \
            THEN 2 ELSE 0 END \
     WHERE id IN (SELECT value FROM json_each(?1)) AND id NOT IN (SELECT id FROM flight) \
       AND CASE ?4 WHEN 'pending' THEN state IN ('head', 'waiting') AND tries = 0 ELSE state = ?4 END";

pub(super) async fn park_again(
    conn: &mut SqliteConnection,
    ids: &str,
    undo: &Undo,
    now: Timestamp,
) -> Result<StateName, sqlx::Error> {
    sqlx::query(PARK_AGAIN)
        .bind(ids)
        .bind(now.millis())
        .bind(undo.reason.into_str())
        .bind(undo.decision.leads_to().into_str())
        .execute(conn)
        .await?;
    Ok(StateName::Parked)
}

pub(crate) const LEAVE_EPISODE: &str = "DELETE FROM episode WHERE id IN (SELECT value FROM json_each(?1))";

/// What an operator took in hand is no longer the gate's to requeue.
pub(crate) async fn leave_episode(conn: &mut SqliteConnection, ids: &str) -> Result<(), sqlx::Error> {
    sqlx::query(LEAVE_EPISODE).bind(ids).execute(conn).await.map(drop)
}
