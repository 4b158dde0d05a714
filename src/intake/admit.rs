//! The one way of files and rows into the outbox: admits, tries again while the outbox cannot take them, and says what
//! became of each.

use std::time::Duration;

use crate::clock;
use crate::model::{ActivityKey, Admission, Admitted, DeadReason, Entry, Origin};
use crate::store::StoreError;
use crate::telemetry::events::{self, How, Who};

use super::backpressure::Backpressure;
use super::context::IntakeContext;

/// What a dead letter of intake is mended with.
const INVALID_HINT: &str =
    "correct it with `reten-outbox edit`; or `reten-outbox export` it, mend the line and drop that in";

/// What became of some entries. What was taken before a crash counts nowhere: it was counted then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdmissionCounts {
    pub accepted: u64,
    /// Dropped, because their keys are kept with the same objects.
    pub duplicates: u64,
    pub invalid: u64,
}

impl AdmissionCounts {
    pub fn of(outcomes: &[Admitted]) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            match outcome {
                Admitted::Accepted(_) => counts.accepted += 1,
                Admitted::Invalid { .. } => counts.invalid += 1,
                Admitted::Duplicate { .. } => counts.duplicates += 1,
                Admitted::AlreadyTaken => {}
            }
        }
        counts
    }

    pub fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.invalid += other.invalid;
    }

    /// The event of a file or a batch.
    pub fn tell(self, origin: &str) {
        if self != Self::default() {
            events::accepted(origin, self.accepted, self.duplicates, self.invalid);
        }
    }
}

/// Admits, however long the outbox needs to be able to; one outcome an entry. `None`: shutdown came first, and nothing
/// may be removed from the inbox. A commit whose outcome is unknown is simply tried again: its receipts make the second
/// time a no-op.
pub async fn admit(
    context: &IntakeContext,
    backpressure: &Backpressure,
    admission: Admission,
) -> Option<Vec<Admitted>> {
    let mut tries = 0;
    loop {
        context.turn();
        let error = match context.outbox.admit(admission.clone(), clock::now()).await {
            Ok(outcomes) => {
                backpressure.store_works();
                context.counters.admitted(&admission.entries, &outcomes);
                admission
                    .entries
                    .iter()
                    .zip(&outcomes)
                    .for_each(|(entry, outcome)| tell(entry, outcome));
                if AdmissionCounts::of(&outcomes).accepted > 0 {
                    context.arrivals.notify_one();
                }
                return Some(outcomes);
            }
            Err(StoreError::Closed) => return None,
            Err(error @ (StoreError::Busy(_) | StoreError::Away(_) | StoreError::Full(_) | StoreError::Broken(_))) => {
                error
            }
        };
        backpressure.store_fails(&error);
        tries += 1;
        if !context.sleep(pause(tries)).await {
            return None;
        }
    }
}

/// How long to wait before an operation that failed is tried again: a lock is soon gone, a full disk is not.
pub fn pause(tries: u32) -> Duration {
    Duration::from_millis(50 << tries.min(6))
}

/// The event of one result.
fn tell(entry: &Entry, outcome: &Admitted) {
    let key = entry.directives.key.as_ref().map(|key| key.0.as_str());
    let activity = entry.facts.activity();
    let who = |submission| Who {
        submission,
        key,
        activity: activity.as_ref().map(ActivityKey::text),
        source: entry.directives.source.as_deref(),
    };
    match outcome {
        Admitted::Accepted(id) => events::accepted_one(who(*id), &place(&entry.origin)),
        Admitted::Invalid { id, why } => {
            let how = How {
                message: Some(why),
                hint: Some(INVALID_HINT),
                ..How::default()
            };
            events::dead_lettered(who(*id), how, DeadReason::Invalid.into_str());
        }
        Admitted::Duplicate { of } => events::duplicate(key.unwrap_or_default(), *of, &place(&entry.origin)),
        Admitted::AlreadyTaken => {}
    }
}

/// Where a result came from, as logs and commands show it.
pub fn place(origin: &Origin) -> String {
    match origin {
        Origin::File {
            name, line: Some(line), ..
        } => format!("{name}:{line}"),
        Origin::File {
            name, item: Some(item), ..
        } => format!("{name}, item {item}"),
        Origin::File { name, .. } => name.clone(),
        Origin::Row { id } => format!("row {id}"),
        Origin::User { name, line: Some(line) } => format!("{name}'s input, line {line}"),
        Origin::User { name, line: None } => format!("{name}'s input"),
    }
}
