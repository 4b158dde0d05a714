//! What can be asked of a store's writers, whichever store it is. A new operation is a variant here, how it is weighed
//! and answered, and in each store how it is applied.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::model::{Admission, Admitted, Receipt, SubmissionId};

use super::{ActRequest, Acted, ClaimRequest, Claimed, Leap, Minute, Miscount, Settled, Settlement, StoreError, Sweep};

/// A value to remember under a name; none forgets the name.
pub(crate) struct Note {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    pub(crate) now: Timestamp,
}

/// What is to be stored, and whether this episode's dead letters come back.
pub(crate) struct Opening {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) requeue: bool,
    pub(crate) now: Timestamp,
}

/// A dead letter to be put back for a trial, and what is known of it.
pub(crate) struct Revival {
    pub(crate) refused: Vec<SubmissionId>,
    pub(crate) now: Timestamp,
}

/// A claim, and who gets the odd place where both kinds are due. With one slot free at a time, which is how a busy
/// queue claims, that place is all there is: it has to change hands from claim to claim.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) request: ClaimRequest,
    pub(crate) odd_one_to_requeued: bool,
    pub(crate) leap: Leap,
}

/// A question with the way back for its answer. The answer waits here until the transaction that makes it true is
/// committed.
pub(crate) struct Asked<Q, A> {
    pub(crate) question: Q,
    pub(crate) answer: Option<A>,
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
pub(crate) type Settling = Asked<(Vec<(Arc<Settlement>, Timestamp)>, Option<Note>), Vec<Settled>>;

/// Something to do in a transaction. It may be applied twice (a group that failed is rolled back and replayed one by
/// one), so each is guarded by what it finds: a state and an attempt, or a receipt.
pub(crate) enum Operation {
    Recover(Asked<Timestamp, u64>),
    Settle(Settling),
    Admit(Asked<(Admission, Timestamp), Vec<Admitted>>),
    Forget(Asked<Vec<Receipt>, ()>),
    Act(Asked<ActRequest, Vec<(SubmissionId, Acted)>>),
    Remember(Asked<Note, ()>),
    OpenGate(Asked<Opening, u64>),
    Revive(Asked<Revival, Option<SubmissionId>>),
    Sweep(Asked<Sweep, u64>),
    Recount(Asked<Vec<Miscount>, ()>),
    PutInOrder(Asked<Vec<i64>, ()>),
    Record(Asked<Vec<Minute>, ()>),
    Claim(Asked<Turn, Vec<Claimed>>),
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
            Self::Record(asked) => (asked.question.len(), 0),
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
            Self::Record(asked) => asked.reply(outcome),
            Self::Claim(asked) => asked.reply(outcome),
        }
    }
}
