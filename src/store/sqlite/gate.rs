//! The gate's opening: its new state and what it puts back are one transaction, so that nothing of an activity overtakes what the key had
//! stopped.

use crate::clock::Timestamp;
use crate::model::{Actor, StateName, SubmissionId, Transition};

use super::act::{self, Fresh};
use super::transaction::Transaction;
use super::{batch, history, lanes, memory, row};

/// What is to be stored, and whether this episode's dead letters come back.
pub(super) struct Opening {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) requeue: bool,
    pub(super) now: Timestamp,
}

/// Reads the whole episode: it holds what was in flight when the gate closed, and each probe that was refused since.
pub(super) const OF_EPISODE: &str = "SELECT d.id, d.lane FROM episode AS e CROSS JOIN delivery AS d ON d.id = e.id \
      WHERE d.state = 'dead' AND d.reason = 'unauthorized' \
        AND coalesce((SELECT m.id FROM delivered_last AS m WHERE m.lane = d.lane), 0) <= d.id ORDER BY e.id";

pub(super) const END_EPISODE: &str = "DELETE FROM episode";

/// Opens; returns how many came back.
pub(super) async fn open(transaction: &mut Transaction<'_>, opening: &Opening) -> Result<u64, sqlx::Error> {
    let note = memory::Note {
        name: opening.name.clone(),
        value: Some(opening.value.clone()),
        now: opening.now,
    };
    memory::remember(transaction, &note).await?;
    let count = if opening.requeue {
        requeue(transaction, opening.now).await?
    } else {
        0
    };
    sqlx::query(END_EPISODE).execute(&mut *transaction.conn).await?;
    Ok(count)
}

async fn requeue(transaction: &mut Transaction<'_>, now: Timestamp) -> Result<u64, sqlx::Error> {
    let (ids, lanes) = row::ids_and_lanes(&sqlx::query(OF_EPISODE).fetch_all(&mut *transaction.conn).await?)?;
    if ids.is_empty() {
        return Ok(0);
    }
    let count = ids.len() as u64;
    let ids = batch::json(&ids)?;
    let line = history::Line {
        submission: SubmissionId(0),
        at: now,
        actor: &Actor::Daemon("gate"),
        what: Transition::Requeue.name(),
        detail: Some("the key works again".to_owned()),
    };
    history::write_same(transaction.conn, &ids, &line).await?;
    let to = act::put_back(transaction.conn, &ids, &Fresh::by_gate(now)).await?;
    transaction.moved(Some(StateName::Dead), Some(to), count);
    lanes::relane(transaction.conn, &lanes).await?;
    Ok(count)
}
