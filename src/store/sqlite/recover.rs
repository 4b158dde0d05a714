//! What a crash left in `sending`.

use crate::clock::Timestamp;
use crate::model::{Actor, AttemptOutcome, FaultKind, StateName, SubmissionId, Transition};

use super::transaction::Transaction;
use super::{batch, history, lanes, row};

pub(super) const LEFT: &str = "SELECT id, lane FROM delivery INDEXED BY delivery_sending WHERE state = 'sending' ORDER BY id";

/// The attempt that was begun and never ended. Nobody knows whether its request arrived: a lost response.
pub(super) const INTERRUPT: &str = "INSERT OR IGNORE INTO attempt \
        (submission, number, started_at, elapsed_ms, hard_override, outcome, lost_response, fault, fault_message) \
     SELECT d.id, d.attempts, d.updated_at, 0, d.hard_override <> 0, ?2, 1, ?3, ?4 \
       FROM json_each(?1) AS j CROSS JOIN delivery AS d ON d.id = j.value AND d.state = 'sending'";

pub(super) const PUT_BACK: &str = "UPDATE delivery SET state = 'head', next_at = min(next_at, ?2), lost_response = 1, updated_at = ?2 \
     WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'sending'";

/// Puts everything that was `sending` back, its attempt recorded; returns how many. Only the daemon may, since it alone sends: it holds the lock.
pub(super) async fn recover(transaction: &mut Transaction<'_>, now: Timestamp) -> Result<u64, sqlx::Error> {
    let (ids, lanes) = row::ids_and_lanes(&sqlx::query(LEFT).fetch_all(&mut *transaction.conn).await?)?;
    if ids.is_empty() {
        return Ok(0);
    }
    let ids = batch::json(&ids)?;
    sqlx::query(INTERRUPT)
        .bind(&ids)
        .bind(AttemptOutcome::Interrupted.name())
        .bind(FaultKind::Interrupted.name())
        .bind("the daemon ended while the request may have been on the wire")
        .execute(&mut *transaction.conn)
        .await?;
    let line = history::Line {
        submission: SubmissionId(0),
        at: now,
        actor: &Actor::Daemon("recovery"),
        what: Transition::Recover.name(),
        detail: None,
    };
    history::write_same(transaction.conn, &ids, &line).await?;
    let moved = sqlx::query(PUT_BACK)
        .bind(&ids)
        .bind(now.millis())
        .execute(&mut *transaction.conn)
        .await?
        .rows_affected();
    transaction.moved(Some(StateName::Sending), Some(StateName::Pending), moved);
    lanes::relane(transaction.conn, &lanes).await?;
    Ok(moved)
}
