//! How each operation is applied; the writer stays as it is when one comes to them.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::store::operation::{Operation, Settling};
use crate::store::sqlite::operations::{
    act, admit, claim, gate, minutes, notes, receipts, recount, recover, settle, sweep,
};
use crate::store::{ClaimOrder, Settlement};

use super::hot;
use super::transaction::Transaction;

/// Everything but settling and claiming, which [`apply`] puts before and after.
async fn apply_between(operation: &mut Operation, transaction: &mut Transaction<'_>) -> Result<(), sqlx::Error> {
    match operation {
        Operation::Recover(asked) => asked.answer = Some(recover::recover(transaction, asked.question).await?),
        Operation::Admit(asked) => {
            asked.answer = Some(admit::admit(transaction, &asked.question.0, asked.question.1).await?);
        }
        Operation::Forget(asked) => asked.answer = Some(receipts::forget(transaction.conn, &asked.question).await?),
        Operation::Act(asked) => asked.answer = Some(act::act(transaction, &asked.question).await?),
        Operation::Remember(asked) => asked.answer = Some(notes::remember(transaction, &asked.question).await?),
        Operation::OpenGate(asked) => asked.answer = Some(gate::open(transaction, &asked.question).await?),
        Operation::Revive(asked) => asked.answer = Some(gate::revive(transaction, &asked.question).await?),
        Operation::Sweep(asked) => asked.answer = Some(sweep::sweep(transaction, asked.question).await?),
        Operation::Recount(asked) => asked.answer = Some(recount::correct(transaction, &asked.question).await?),
        Operation::PutInOrder(asked) => asked.answer = Some(recount::put_in_order(transaction, &asked.question).await?),
        Operation::Record(asked) => asked.answer = Some(minutes::record(transaction.conn, &asked.question).await?),
        Operation::Settle(_) | Operation::Claim(_) => {}
    }
    Ok(())
}

/// A group of outcomes and at most one claim, which is nearly every group under load: the way that is made for it.
pub(crate) fn as_hot(group: &[Operation]) -> Option<hot::Group<'_>> {
    let mut hot = hot::Group {
        settlements: Vec::new(),
        turn: None,
    };
    for operation in group {
        match operation {
            Operation::Settle(asked) if asked.question.1.is_none() => hot.settlements.extend(&asked.question.0),
            Operation::Claim(asked)
                if hot.turn.is_none() && !matches!(asked.question.request.order, ClaimOrder::Trial { .. }) =>
            {
                hot.turn = Some(&asked.question);
            }
            // What is remembered with outcomes, another claim, a trial, or anything else: the way for all.
            _ => return None,
        }
    }
    (hot.settlements.len() <= hot::SETTLEMENTS_MAX).then_some(hot)
}

/// Hands the answers of such a group to who asked.
pub(crate) fn answer_hot(group: &mut [Operation], done: hot::Done) {
    let mut settled = done.settled.into_iter();
    let mut claimed = Some(done.claimed);
    for operation in group {
        match operation {
            Operation::Settle(asked) => asked.answer = Some(settled.by_ref().take(asked.question.0.len()).collect()),
            Operation::Claim(asked) => asked.answer = claimed.take(),
            _ => {}
        }
    }
}

/// Applies a group. Whoever asked for one of these waits for its answer, so no two of them depend on their order:
/// outcomes go first, all in one, since they free the next of their activities; claims go last and find them.
pub(crate) async fn apply(group: &mut [Operation], transaction: &mut Transaction<'_>) -> Result<(), sqlx::Error> {
    let mut settling: Vec<&mut Settling> = Vec::new();
    for operation in group.iter_mut() {
        if let Operation::Settle(asked) = operation {
            settling.push(asked);
        }
    }
    if !settling.is_empty() {
        let questions: Vec<&(Arc<Settlement>, Timestamp)> =
            settling.iter().flat_map(|asked| &asked.question.0).collect();
        let mut answers = settle::settle(transaction, &questions).await?.into_iter();
        for asked in &mut settling {
            asked.answer = Some(answers.by_ref().take(asked.question.0.len()).collect());
            if let Some(note) = &asked.question.1 {
                notes::remember(transaction, note).await?;
            }
        }
    }
    for operation in group.iter_mut() {
        apply_between(operation, transaction).await?;
    }
    for operation in group.iter_mut() {
        if let Operation::Claim(asked) = operation {
            asked.answer = Some(claim::claim(transaction, &asked.question).await?);
        }
    }
    Ok(())
}
