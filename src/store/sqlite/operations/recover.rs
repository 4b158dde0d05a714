//! What a crash left in flight.

use crate::clock::Timestamp;
use crate::model::{Actor, EndingName, FaultKind, SubmissionId};
use crate::store::sqlite::machine::transaction::Transaction;
use crate::store::sqlite::machine::{batch, row};

use super::{history, lanes};

/// A row of `flight` whose submission is no head was touched by other hands; it goes with the others.
pub(crate) const LEFT: &str =
    "SELECT d.id, d.lane FROM flight AS f CROSS JOIN delivery AS d ON d.id = f.id AND d.state = 'head' ORDER BY f.id";

/// The attempt that was begun and never ended. Nobody knows whether its request arrived: a lost response.
pub(crate) const INTERRUPT: &str = "INSERT OR IGNORE INTO attempt \
        (submission, number, started_at, elapsed_ms, hard_override, outcome, lost_response, fault, fault_message) \
     SELECT d.id, f.attempt, f.claimed_at, 0, d.hard_override <> 0, $2, 1, $3, $4 \
       FROM json_each($1) AS j CROSS JOIN flight AS f ON f.id = j.value CROSS JOIN delivery AS d ON d.id = f.id";

pub(crate) const PUT_BACK: &str = "UPDATE delivery SET attempts = f.attempt, waited_ms = f.waited_ms, \
     tries = tries + 1, next_at = min(next_at, $2), \
     lost_response = 1, updated_at = $2 \
     FROM json_each($1) AS j CROSS JOIN flight AS f ON f.id = j.value \
     WHERE delivery.id = f.id AND delivery.state = 'head'";

pub(crate) const LAND: &str = "DELETE FROM flight";

/// Puts everything that was `sending` back, its attempt recorded; returns how many. Only the daemon may, since it alone
/// sends: it holds the lock.
pub(crate) async fn recover(transaction: &mut Transaction<'_>, now: Timestamp) -> Result<u64, sqlx::Error> {
    let (ids, lanes) = row::ids_and_lanes(&sqlx::query(LEFT).fetch_all(&mut *transaction.conn).await?)?;
    let ids_text = batch::json(&ids)?;
    if !ids.is_empty() {
        sqlx::query(INTERRUPT)
            .bind(&ids_text)
            .bind(EndingName::Interrupted.into_str())
            .bind(FaultKind::Interrupted.into_str())
            .bind("the daemon ended while the request may have been on the wire")
            .execute(&mut *transaction.conn)
            .await?;
        let line = history::Line {
            submission: SubmissionId(0),
            at: now,
            actor: &Actor::Daemon("recovery"),
            what: "recovered",
            detail: None,
        };
        history::write_same(transaction.conn, &ids_text, &line).await?;
        sqlx::query(PUT_BACK)
            .bind(&ids_text)
            .bind(now.millis())
            .execute(&mut *transaction.conn)
            .await?;
    }
    sqlx::query(LAND).execute(&mut *transaction.conn).await?;
    lanes::relane(transaction.conn, &lanes).await?;
    Ok(ids.len() as u64)
}
