//! What can be asked of the writer. A new operation is a variant here, how it is applied and how it is answered, and a
//! file of its own; the writer stays as it is.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::model::{Admission, Admitted, Receipt, SubmissionId};
use crate::store::sqlite::operations::{act, admit, claim, gate, notes, receipts, recount, recover, settle, sweep};
use crate::store::{ActRequest, Acted, ClaimOrder, Claimed, Miscount, Settled, Settlement, StoreError, Sweep};

use super::hot;
use super::transaction::Transaction;

/// A question with the way back for its answer. The answer waits here until the transaction that makes it true is
/// committed.
pub(crate) struct Asked<Q, A> {
    question: Q,
    answer: Option<A>,
    reply: oneshot::Sender<Result<A, StoreError>>,
}

impl<Q, A> Asked<Q, A> {
    pub(crate) fn new(question: Q, reply: oneshot::Sender<Result<A, StoreError>>) -> Self {
        Self {
            question,
            answer: None,
            reply,
        }
    }

    /// Answers. Whoever asked may have gone (a task that was dropped); what was done is done all the same.
    fn reply(self, outcome: Result<(), StoreError>) {
        let answer = outcome.and_then(|()| self.answer.ok_or(StoreError::Closed));
        drop(self.reply.send(answer));
    }
}

/// Outcomes with what is to be remembered not later than they are, and what the outbox made of each.
type Settling = Asked<(Vec<(Arc<Settlement>, Timestamp)>, Option<notes::Note>), Vec<Settled>>;

/// Something to do in a transaction. It may be applied twice (a group that failed is rolled back and replayed one by
/// one), so each is guarded by what it finds: a state and an attempt, or a receipt.
pub(crate) enum Operation {
    Recover(Asked<Timestamp, u64>),
    Settle(Settling),
    Admit(Asked<(Admission, Timestamp), Vec<Admitted>>),
    Forget(Asked<Vec<Receipt>, ()>),
    Act(Asked<ActRequest, Vec<(SubmissionId, Acted)>>),
    Remember(Asked<notes::Note, ()>),
    OpenGate(Asked<gate::Opening, u64>),
    Revive(Asked<gate::Revival, Option<SubmissionId>>),
    Sweep(Asked<Sweep, u64>),
    Recount(Asked<Vec<Miscount>, ()>),
    PutInOrder(Asked<Vec<i64>, ()>),
    Claim(Asked<claim::Turn, Vec<Claimed>>),
}

impl Operation {
    /// Roughly how many rows and bytes it brings, to bound a group.
    pub(crate) fn weight(&self) -> (usize, usize) {
        match self {
            Self::Settle(asked) => {
                let answers = asked
                    .question
                    .0
                    .iter()
                    .filter_map(|(settlement, _)| settlement.record.answer.as_ref());
                (asked.question.0.len(), answers.map(|answer| answer.body.len()).sum())
            }
            Self::Admit(asked) => {
                let entries = &asked.question.0.entries;
                (
                    entries.len(),
                    entries.iter().map(|entry| entry.payload.bytes().len()).sum(),
                )
            }
            Self::Forget(asked) => (asked.question.len(), 0),
            Self::Act(asked) => (asked.question.ids.len(), 0),
            Self::Sweep(asked) => (asked.question.limit as usize, 0),
            Self::Claim(asked) => (asked.question.request.limit as usize, 0),
            Self::PutInOrder(asked) => (asked.question.len(), 0),
            Self::Recover(_) | Self::Remember(_) | Self::OpenGate(_) | Self::Revive(_) | Self::Recount(_) => (1, 0),
        }
    }

    /// Tells whoever asked: the answer where the commit held, else what went wrong.
    pub(crate) fn reply(self, outcome: Result<(), StoreError>) {
        match self {
            Self::Recover(asked) => asked.reply(outcome),
            Self::Settle(asked) => asked.reply(outcome),
            Self::Admit(asked) => asked.reply(outcome),
            Self::Forget(asked) => asked.reply(outcome),
            Self::Act(asked) => asked.reply(outcome),
            Self::Remember(asked) => asked.reply(outcome),
            Self::OpenGate(asked) => asked.reply(outcome),
            Self::Revive(asked) => asked.reply(outcome),
            Self::Sweep(asked) => asked.reply(outcome),
            Self::Recount(asked) => asked.reply(outcome),
            Self::PutInOrder(asked) => asked.reply(outcome),
            Self::Claim(asked) => asked.reply(outcome),
        }
    }

    /// Everything but settling and claiming, which [`apply`] puts before and after.
    async fn apply_between(&mut self, transaction: &mut Transaction<'_>) -> Result<(), sqlx::Error> {
        match self {
            Self::Recover(asked) => asked.answer = Some(recover::recover(transaction, asked.question).await?),
            Self::Admit(asked) => {
                asked.answer = Some(admit::admit(transaction, &asked.question.0, asked.question.1).await?);
            }
            Self::Forget(asked) => asked.answer = Some(receipts::forget(transaction.conn, &asked.question).await?),
            Self::Act(asked) => asked.answer = Some(act::act(transaction, &asked.question).await?),
            Self::Remember(asked) => asked.answer = Some(notes::remember(transaction, &asked.question).await?),
            Self::OpenGate(asked) => asked.answer = Some(gate::open(transaction, &asked.question).await?),
            Self::Revive(asked) => asked.answer = Some(gate::revive(transaction, &asked.question).await?),
            Self::Sweep(asked) => asked.answer = Some(sweep::sweep(transaction, asked.question).await?),
            Self::Recount(asked) => asked.answer = Some(recount::correct(transaction, &asked.question).await?),
            Self::PutInOrder(asked) => asked.answer = Some(recount::put_in_order(transaction, &asked.question).await?),
            Self::Settle(_) | Self::Claim(_) => {}
        }
        Ok(())
    }
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
            Operation::Settle(_)
            | Operation::Claim(_)
            | Operation::Recover(_)
            | Operation::Admit(_)
            | Operation::Forget(_)
            | Operation::Act(_)
            | Operation::Remember(_)
            | Operation::OpenGate(_)
            | Operation::Revive(_)
            | Operation::Sweep(_)
            | Operation::Recount(_)
            | Operation::PutInOrder(_) => return None,
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
            // None of these is in such a group.
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
        operation.apply_between(transaction).await?;
    }
    for operation in group.iter_mut() {
        if let Operation::Claim(asked) = operation {
            asked.answer = Some(claim::claim(transaction, &asked.question).await?);
        }
    }
    Ok(())
}
