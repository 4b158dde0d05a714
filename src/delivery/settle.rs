//! From the verdict to the commit, and only then to the log.
//!
//! Settling needs no slot: a sender is free when its answer is in, not when its outcome is durable. An outcome that cannot be stored is held
//! and stored later, and never sent again; after a crash it would be, so those that wait are bounded by [`UNSETTLED_MAX`].

use std::sync::Arc;

use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::model::{Attempt, AttemptOutcome, DeadReason, Exchange, FaultKind, State, Transition};
use crate::policy::gate::{GATE, Refused};
use crate::policy::hint::{self, ApiError};
use crate::policy::schedule::Next;
use crate::policy::verdict::Outcome;
use crate::store::{Claimed, Outbox, Settled, Settlement, StoreError};
use crate::telemetry::events::{self, How, Who};

use super::attempt::Landed;
use super::meters::{LastError, Meters};
use super::patience::Patience;

/// The most outcomes that wait for their commit; beyond it nothing is claimed. At 60,000 a second on a disk of 5 ms a sync, 300 wait.
pub(super) const UNSETTLED_MAX: usize = 512;

/// An outcome on its way to the outbox.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) claimed: Arc<Claimed>,
    pub(super) settlement: Settlement,
    pub(super) at: Timestamp,
    /// Of a 409: which rule decided.
    pub(super) rule: Option<String>,
    /// The gate's state, which must be durable before this is: after a crash the gate has to know what it closed on.
    pub(super) gate_first: Option<String>,
}

impl Outbound {
    /// What a landed attempt becomes. `refused` is the gate's word on a submission whose key was refused.
    pub(super) fn of(claimed: Arc<Claimed>, landed: Landed, refused: Option<Refused>) -> Self {
        let (transition, outcome) = transition(&landed, refused);
        let Landed {
            exchange,
            elapsed,
            carried_override,
            verdict,
            next: _,
            at,
        } = landed;
        let (answer, fault) = match exchange {
            Exchange::Answered(answer) => (Some(answer), None),
            Exchange::Failed { fault, on_the_wire: _ } => (None, Some(fault)),
        };
        let record = Attempt {
            number: claimed.attempt,
            started_at: claimed.claimed_at,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            hard_override: carried_override,
            outcome,
            lost_response: verdict.lost_response,
            answer,
            fault,
        };
        Self::new(claimed, transition, record, at, verdict.rule)
    }

    /// One that was claimed and not sent, because the gate has closed meanwhile.
    pub(super) fn unsent(claimed: Arc<Claimed>, at: Timestamp) -> Self {
        let record = Attempt {
            number: claimed.attempt,
            started_at: claimed.claimed_at,
            elapsed_ms: 0,
            hard_override: claimed.hard_override,
            outcome: AttemptOutcome::Released,
            lost_response: false,
            answer: None,
            fault: None,
        };
        Self::new(claimed, Transition::Release, record, at, None)
    }

    fn new(claimed: Arc<Claimed>, transition: Transition, record: Attempt, at: Timestamp, rule: Option<String>) -> Self {
        let settlement = Settlement {
            id: claimed.id,
            attempt: claimed.attempt,
            transition,
            record,
        };
        Self {
            claimed,
            settlement,
            at,
            rule,
            gate_first: None,
        }
    }

    /// Stores it, however long that takes, and then tells of it. `false` when the outbox was closed before: it stays `sending`, and the next
    /// start recovers it.
    pub(super) async fn keep(self, outbox: Outbox, meters: Arc<Meters>) -> bool {
        let mut patience = Patience::new();
        loop {
            match self.store(&outbox).await {
                Ok(Settled::Done) => {
                    self.tell(&meters);
                    return true;
                }
                // After a commit of unknown outcome this is the proof that it had worked.
                Ok(Settled::Stale) if patience.was_tried() => {
                    self.tell(&meters);
                    return true;
                }
                Ok(Settled::Stale) => {
                    let which = format!("submission {} was no longer at attempt {}", self.claimed.id, self.claimed.attempt.0);
                    events::internal_error("settle", &which);
                    return true;
                }
                Err(StoreError::Closed) => return false,
                Err(error) => tokio::time::sleep(patience.failed("settle", &error, Instant::now())).await,
            }
        }
    }

    async fn store(&self, outbox: &Outbox) -> Result<Settled, StoreError> {
        if let Some(gate) = &self.gate_first {
            outbox.remember(GATE, Some(gate.clone()), self.at).await?;
        }
        outbox.settle(self.settlement.clone(), self.at).await
    }

    /// The event of the contract for what is now durable.
    fn tell(&self, meters: &Meters) {
        let claimed = &self.claimed;
        let record = &self.settlement.record;
        let who = Who {
            submission: claimed.id,
            key: claimed.key.as_ref().map(|key| key.0.as_str()),
            activity: claimed.activity.as_deref(),
            source: claimed.source.as_deref(),
        };
        if record.answer.is_none() && record.fault.is_none() {
            // Claimed and never sent: nothing happened that anyone could watch.
            return;
        }
        let answer = record.answer.as_ref();
        let documented = answer.and_then(|answer| ApiError::parse(&answer.body));
        let fault = record.fault.as_ref();
        // Why a parked one waits says more than its 409 does: it may be our own.
        let hint = if let Transition::Park(reason) = self.settlement.transition {
            hint::of_submission(&State::Parked(reason), Some(record), claimed.id)
        } else {
            hint::of_attempt(record, Some(claimed.id))
        };
        let how = How {
            attempt: Some(record.number),
            status: answer.map(|answer| answer.status).or_else(|| fault.and_then(|fault| fault.status)),
            elapsed: Some(std::time::Duration::from_millis(record.elapsed_ms)),
            error: fault
                .map(|fault| fault.kind.name())
                .or_else(|| documented.as_ref().and_then(|error| error.error.as_deref())),
            message: fault
                .map(|fault| fault.message.as_str())
                .or_else(|| documented.as_ref().and_then(|error| error.message.as_deref())),
            hint: hint.as_deref(),
        };
        let decided = self
            .rule
            .as_ref()
            .map(|rule| format!("{} (decided by {rule})", how.message.unwrap_or("409")));
        let decided = How {
            message: decided.as_deref().or(how.message),
            ..how
        };
        if let Some(answer) = answer.filter(|answer| (300..=399).contains(&answer.status)) {
            events::redirected(who, how, answer.header("location"));
        }
        match record.outcome {
            AttemptOutcome::Delivered | AttemptOutcome::Accepted => meters.delivered(self.at),
            AttemptOutcome::Retry
            | AttemptOutcome::Dead
            | AttemptOutcome::Parked
            | AttemptOutcome::Released
            | AttemptOutcome::Interrupted => {
                meters.failed(LastError::of(who, how, self.at));
            }
            AttemptOutcome::Override => {}
        }
        match &self.settlement.transition {
            Transition::Deliver => events::delivered(who, how),
            Transition::DeliverAccepted => {
                let message = Some("409 after a lost response: the registered result is taken for ours");
                events::delivered(who, How { message, ..how });
            }
            Transition::Retry { due: _, wait } => events::retry_scheduled(who, how, *wait),
            Transition::Override => events::conflict_overridden(who, how, self.rule.as_deref().unwrap_or_default()),
            Transition::Die { reason, .. } => events::dead_lettered(who, decided, reason.name()),
            Transition::Park(reason) => events::parked(who, decided, reason.name()),
            Transition::Release => events::released(who, how),
            // No attempt ends like that.
            Transition::Claim
            | Transition::Recover
            | Transition::Requeue
            | Transition::ForceOverride
            | Transition::Accept
            | Transition::Dismiss
            | Transition::Replace
            | Transition::Edit => {}
        }
    }
}

/// How the row changes, and the word for the attempt.
fn transition(landed: &Landed, refused: Option<Refused>) -> (Transition, AttemptOutcome) {
    let die = |reason, requeue_on_opening| {
        let transition = Transition::Die {
            reason,
            requeue_on_opening,
        };
        (transition, AttemptOutcome::Dead)
    };
    match landed.verdict.outcome {
        Outcome::Delivered => (Transition::Deliver, AttemptOutcome::Delivered),
        Outcome::AcceptedAsOurs => (Transition::DeliverAccepted, AttemptOutcome::Accepted),
        Outcome::Override => (Transition::Override, AttemptOutcome::Override),
        Outcome::Parked(reason) => (Transition::Park(reason), AttemptOutcome::Parked),
        Outcome::Retry { .. } => match landed.next {
            Next::After(wait) => {
                let due = landed.at.plus(wait);
                (Transition::Retry { due, wait }, retried_as(&landed.exchange))
            }
            Next::Exhausted => die(DeadReason::RetriesExhausted, false),
        },
        Outcome::Dead(DeadReason::Unauthorized) => match refused {
            Some(Refused::Release) => (Transition::Release, AttemptOutcome::Released),
            Some(Refused::Die { requeue_on_opening }) => die(DeadReason::Unauthorized, requeue_on_opening),
            None => die(DeadReason::Unauthorized, false),
        },
        Outcome::Dead(reason) => die(reason, false),
    }
}

fn retried_as(exchange: &Exchange) -> AttemptOutcome {
    match exchange {
        Exchange::Failed { fault, .. } if fault.kind == FaultKind::Interrupted => AttemptOutcome::Interrupted,
        Exchange::Failed { .. } | Exchange::Answered(_) => AttemptOutcome::Retry,
    }
}
