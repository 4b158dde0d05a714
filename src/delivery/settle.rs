//! From the verdict to the commit, and only then to the log.
//!
//! Settling needs no slot: a sender is free when its answer is in, not when its outcome is durable. An outcome that
//! cannot be stored is held and stored later, and never sent again; after a crash it would be, so those that wait are
//! bounded by [`UNSETTLED_MAX`].

use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::model::{Attempt, Ending, EndingName, Exchange, State};
use crate::policy::gate::GATE;
use crate::policy::hint::{self, ApiError};
use crate::store::{Claimed, Outbox, Settled, Settlement, StoreError};
use crate::telemetry::events::{self, How, Who};

use super::attempt::EndedAttempt;
use super::meters::{LastError, Meters};
use super::store_retry::StoreRetry;

/// The most outcomes that wait for their commit; beyond it nothing is claimed. At 60,000 a second on a disk of 5 ms a
/// sync, 300 wait.
pub(super) const UNSETTLED_MAX: usize = 512;

/// The bytes of answers that are stored in one commit, before the one that goes beyond: what it holds is in memory and
/// in the WAL at once.
const BATCH_BYTES: usize = 4 << 20;

/// An outcome on its way to the outbox.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) claimed: Arc<Claimed>,
    /// Shared with the outbox, which may be asked again.
    pub(super) settlement: Arc<Settlement>,
    pub(super) at: Timestamp,
    /// Of a 409: which rule decided.
    pub(super) rule: Option<String>,
}

impl Outbound {
    pub(super) fn of(claimed: Arc<Claimed>, ended: EndedAttempt) -> Self {
        let EndedAttempt {
            exchange,
            elapsed,
            carried_override,
            verdict,
            ending,
            at,
        } = ended;
        let (answer, fault) = match exchange {
            Exchange::Answered(answer) => (Some(answer), None),
            Exchange::Failed { fault, on_the_wire: _ } => (None, Some(fault)),
        };
        let record = Attempt {
            number: claimed.attempt,
            node: None,
            started_at: claimed.claimed_at,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            hard_override: carried_override,
            outcome: ending.into(),
            lost_response: verdict.lost_response,
            answer,
            fault,
        };
        Self::new(claimed, ending, record, at, verdict.rule)
    }

    /// One that was claimed and not sent, because the gate has closed meanwhile.
    pub(super) fn unsent(claimed: Arc<Claimed>, at: Timestamp) -> Self {
        let record = Attempt {
            number: claimed.attempt,
            node: None,
            started_at: claimed.claimed_at,
            elapsed_ms: 0,
            hard_override: claimed.hard_override,
            outcome: EndingName::Released,
            lost_response: false,
            answer: None,
            fault: None,
        };
        Self::new(claimed, Ending::Released, record, at, None)
    }

    fn new(claimed: Arc<Claimed>, ending: Ending, record: Attempt, at: Timestamp, rule: Option<String>) -> Self {
        let settlement = Arc::new(Settlement {
            id: claimed.id,
            ending,
            record,
        });
        Self {
            claimed,
            settlement,
            at,
            rule,
        }
    }

    /// What the outbox made of it. `was_tried`: it was asked before, with an outcome that nobody knows.
    fn stored(&self, settled: Settled, was_tried: bool, is_shared: bool, meters: &Meters) {
        match settled {
            Settled::Done => self.tell(meters),
            // The gate's own event has told of the key.
            Settled::Uncharged => self.count(meters),
            // After a commit of unknown outcome this is the proof that it had worked.
            Settled::Stale if was_tried => self.tell(meters),
            Settled::Stale => {
                let which = format!(
                    "submission {} was no longer at attempt {}",
                    self.claimed.id, self.claimed.attempt.0
                );
                if is_shared {
                    events::warning(
                        &format!("a late outcome changes nothing: {which}"),
                        "this daemon was taken for dead, and another one sends it again, as maybe sent",
                    );
                } else {
                    events::internal_error("settle", &which);
                }
            }
        }
    }

    /// An attempt that was made, for the minutes; `Released` without an answer was none.
    fn count(&self, meters: &Meters) {
        let record = &self.settlement.record;
        let answer = record.answer.as_ref().map(|answer| answer.status);
        let of_fault = record.fault.as_ref().and_then(|fault| fault.status);
        if answer.is_some() || record.fault.is_some() {
            meters.counters().attempted(record.outcome, answer.or(of_fault));
        }
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
        self.count(meters);
        let answer = record.answer.as_ref();
        let documented = answer.and_then(|answer| ApiError::parse(&answer.body));
        let fault = record.fault.as_ref();
        // What a proxy or a captive portal says is not documented, nor a success.
        if documented.is_some() || matches!(record.outcome, EndingName::Delivered) {
            meters.api_answered();
        }
        // Why a parked one waits says more than its 409 does: it may be our own.
        let hint = if let Ending::Parked(reason) = self.settlement.ending {
            hint::of_submission(&State::Parked(reason), Some(record), claimed.id)
        } else {
            match fault {
                Some(fault) if meters.is_acquainted() => Some(hint::of_passing_fault(fault.kind).to_owned()),
                Some(_) | None => hint::of_attempt(record, Some(claimed.id)),
            }
        };
        let how = How {
            attempt: Some(record.number),
            status: answer
                .map(|answer| answer.status)
                .or_else(|| fault.and_then(|fault| fault.status)),
            elapsed: Some(std::time::Duration::from_millis(record.elapsed_ms)),
            error: fault
                .map(|fault| fault.kind.into_str())
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
            EndingName::Delivered | EndingName::Accepted => meters.delivered(self.at),
            EndingName::Retry
            | EndingName::Dead
            | EndingName::Parked
            | EndingName::Released
            | EndingName::Interrupted => {
                meters.failed(LastError::of(who, how, self.at));
            }
            EndingName::Override => {}
        }
        match self.settlement.ending {
            Ending::Delivered => events::delivered(who, how),
            Ending::Accepted => {
                let message = Some("409 after a lost response: the registered result is taken for ours");
                events::delivered(who, How { message, ..how });
            }
            Ending::Retry { wait } | Ending::Interrupted { wait } => events::retry_scheduled(who, how, wait),
            Ending::Override => events::conflict_overridden(who, how, self.rule.as_deref().unwrap_or_default()),
            Ending::Dead { reason, .. } => events::dead_lettered(who, decided, reason.into_str()),
            Ending::Parked(reason) => events::parked(who, decided, reason.into_str()),
            Ending::Released => events::released(who, how),
        }
    }
}

/// Cuts what has gathered into batches for a commit each: one ends with the outcome that fills [`BATCH_BYTES`] of
/// stored answers.
pub(super) fn batches(gathered: Vec<Outbound>) -> Vec<Vec<Outbound>> {
    cut(gathered, BATCH_BYTES, |one| {
        one.settlement
            .record
            .answer
            .as_ref()
            .map_or(0, |answer| answer.body.len())
    })
}

fn cut<T>(items: Vec<T>, most: usize, weight: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut batches = Vec::new();
    let (mut batch, mut heft) = (Vec::new(), 0);
    for item in items {
        heft += weight(&item);
        batch.push(item);
        if heft >= most {
            batches.push(std::mem::take(&mut batch));
            heft = 0;
        }
    }
    batches.extend((!batch.is_empty()).then_some(batch));
    batches
}

/// Stores outcomes together, however long that takes, and then tells of them. They are on their way when this returns,
/// before its future is awaited. The future's `false`: the outbox was closed before. Then they stay `sending`, and the
/// next start recovers them.
///
/// `closed`: the record of the gate that a refused key has closed, where it is. It goes into the outcomes' own commit.
/// Crash before that commit: the refused ones are `sending` and the gate is remembered as open, so the next start sends
/// them again and closes on them as this one did. Crash after it: they are dead letters, and the next start knows the
/// gate as closed, which requeues them when it opens. Never is one dead of a closing that nobody remembers. Where
/// outcomes are stored one by one, each brings the record.
pub(super) fn keep(
    batch: Vec<Outbound>,
    closed: Option<String>,
    outbox: Outbox,
    meters: Arc<Meters>,
) -> impl Future<Output = bool> + Send + 'static {
    let keeping = Keeping {
        batch,
        closed,
        outbox,
        meters,
    };
    let first = keeping.store();
    async move {
        let answer = first.await;
        keeping.finish(answer, false).await
    }
}

/// Outcomes on their way together.
struct Keeping {
    batch: Vec<Outbound>,
    closed: Option<String>,
    outbox: Outbox,
    meters: Arc<Meters>,
}

impl Keeping {
    fn store(&self) -> impl Future<Output = Result<Vec<Settled>, StoreError>> + Send + use<> {
        let settlements = self
            .batch
            .iter()
            .map(|one| (Arc::clone(&one.settlement), one.at))
            .collect();
        let record = self.closed.clone().map(|record| (GATE, record));
        self.outbox.settle_all(settlements, record)
    }

    /// From an answer to the last. `was_tried`: there was one before, of an outcome that nobody knows.
    async fn finish(self, mut answer: Result<Vec<Settled>, StoreError>, was_tried: bool) -> bool {
        let mut patience = StoreRetry::new(self.meters.hindrances());
        loop {
            match answer {
                Ok(settled) => {
                    // A shared outbox knows by itself what it stored before.
                    let was_tried = (was_tried || patience.was_tried()) && !self.outbox.is_shared();
                    for (one, settled) in self.batch.iter().zip(settled) {
                        one.stored(settled, was_tried, self.outbox.is_shared(), &self.meters);
                    }
                    patience.worked();
                    return true;
                }
                Err(StoreError::Closed) => return false,
                Err(error) => {
                    tokio::time::sleep(patience.failed("settle", &error, Instant::now())).await;
                    if matches!(error, StoreError::Broken(_)) && self.batch.len() > 1 {
                        return self.one_by_one().await;
                    }
                }
            }
            answer = self.store().await;
        }
    }

    /// One that cannot be stored must not keep the others from it.
    fn one_by_one(self) -> BoxFuture<'static, bool> {
        let Self {
            batch,
            closed,
            outbox,
            meters,
        } = self;
        let each: Vec<_> = batch
            .into_iter()
            .map(|one| Self {
                batch: vec![one],
                closed: closed.clone(),
                outbox: outbox.clone(),
                meters: Arc::clone(&meters),
            })
            .map(|alone| async {
                let answer = alone.store().await;
                alone.finish(answer, true).await
            })
            .collect();
        Box::pin(async { join_all(each).await.into_iter().all(|is_stored| is_stored) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_keep_the_order_and_lose_nothing() {
        let cut = |weights: Vec<usize>| cut(weights, 10, |weight| *weight);
        assert_eq!(cut(vec![1, 2, 3]), [vec![1, 2, 3]]);
        assert_eq!(cut(vec![4, 7, 1, 30, 2]), [vec![4, 7], vec![1, 30], vec![2]]);
        assert_eq!(cut(vec![10, 10]), [vec![10], vec![10]]);
        assert!(cut(Vec::new()).is_empty());
    }
}
