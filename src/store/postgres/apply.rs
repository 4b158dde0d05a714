//! How each operation is applied; the writers stay as they are when one comes to them.

use std::sync::Arc;

use sqlx::postgres::PgConnection;

use crate::clock::Timestamp;
use crate::store::Settlement;
use crate::store::operation::{Operation, Settling};

use super::own::Own;
use super::transaction::Transaction;
use super::{act, admit, claim, gate, notes, receipts, recount, settle, sweep};

/// Applies a group. Whoever asked for one of these waits for its answer, so no two of them depend on their order:
/// outcomes go first, all in one, since they free the next of their activities; claims go last and find them, and wait
/// for nobody.
pub(super) async fn apply(
    group: &mut [Operation],
    transaction: &mut Transaction<'_>,
    own: &Own,
) -> Result<(), sqlx::Error> {
    let mut settling: Vec<&mut Settling> = Vec::new();
    for operation in group.iter_mut() {
        if let Operation::Settle(asked) = operation {
            settling.push(asked);
        }
    }
    if !settling.is_empty() {
        let closes = settling.iter().any(|asked| asked.question.1.is_some());
        let questions: Vec<&(Arc<Settlement>, Timestamp)> =
            settling.iter().flat_map(|asked| &asked.question.0).collect();
        let mut answers = settle::settle(transaction, &questions, closes).await?.into_iter();
        for asked in &mut settling {
            asked.answer = Some(answers.by_ref().take(asked.question.0.len()).collect());
            if let Some(note) = &asked.question.1 {
                notes::remember(transaction, own, note).await?;
            }
        }
    }
    for operation in group.iter_mut() {
        match operation {
            Operation::Admit(asked) => {
                asked.answer = Some(admit::admit(transaction, &asked.question.0, asked.question.1).await?);
            }
            Operation::Forget(asked) => asked.answer = Some(receipts::forget(transaction.conn, &asked.question).await?),
            Operation::Act(asked) => asked.answer = Some(act::act(transaction, &asked.question).await?),
            Operation::Remember(asked) => {
                asked.answer = Some(notes::remember(transaction, own, &asked.question).await?);
            }
            Operation::OpenGate(asked) => asked.answer = Some(gate::open(transaction, own, &asked.question).await?),
            Operation::Revive(asked) => asked.answer = Some(gate::revive(transaction, &asked.question).await?),
            Operation::Sweep(asked) => asked.answer = Some(sweep::sweep(transaction, asked.question).await?),
            Operation::Recount(asked) => asked.answer = Some(recount::correct(transaction, &asked.question).await?),
            Operation::PutInOrder(asked) => {
                asked.answer = Some(recount::put_in_order(transaction, &asked.question).await?);
            }
            // Recovery is the nodes' business here.
            Operation::Recover(asked) => asked.answer = Some(0),
            Operation::Settle(_) | Operation::Claim(_) => {}
        }
    }
    for operation in group.iter_mut() {
        if let Operation::Claim(asked) = operation {
            asked.answer = Some(claim::claim(transaction, &asked.question).await?);
        }
    }
    Ok(())
}

/// What a group has done is durable: what of it is in flight now, and what is not any more.
pub(super) fn take_note(group: &[Operation], own: &Own) {
    let mut claimed = own.claimed();
    for operation in group {
        match operation {
            Operation::Settle(asked) => {
                for (settlement, _) in &asked.question.0 {
                    claimed.remove(&settlement.id.0);
                    if settlement.ending.state() == crate::model::StateName::Delivered {
                        own.delivered();
                    }
                }
            }
            Operation::Claim(asked) => claimed.extend(asked.answer.iter().flatten().map(|claimed| claimed.id.0)),
            Operation::Recover(_)
            | Operation::Admit(_)
            | Operation::Forget(_)
            | Operation::Act(_)
            | Operation::Remember(_)
            | Operation::OpenGate(_)
            | Operation::Revive(_)
            | Operation::Sweep(_)
            | Operation::Recount(_)
            | Operation::PutInOrder(_) => {}
        }
    }
}

/// What is `sending` by this incarnation and was never handed out: claimed by a transaction whose answer was lost. Its
/// try is given back; nothing of it was sent.
pub(super) const GIVE_BACK: &str = "WITH back AS (UPDATE delivery SET state = 'head', node = NULL, tries = greatest(tries - 1, 0) \
     WHERE state = 'sending' AND node = $1 AND NOT id = ANY ($2) RETURNING id) \
     INSERT INTO tally_delta (pending, sending, delivered, dead, parked, dismissed) SELECT count(*), -count(*), 0, 0, 0, 0 FROM back HAVING count(*) > 0";

pub(super) async fn give_back_unknown(conn: &mut PgConnection, own: &Own) -> Result<(), sqlx::Error> {
    let known: Vec<i64> = own.claimed().iter().copied().collect();
    let query = sqlx::query(GIVE_BACK).bind(own.node()).bind(known);
    query.execute(conn).await.map(drop)
}
