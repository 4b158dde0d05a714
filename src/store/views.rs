//! Questions and answers of those who only look.

use crate::clock::Timestamp;
use crate::model::{
    Attempt, ConflictPolicy, Digest, Facts, Origin, Payload, State, StateName, SubmissionId, SubmissionKey,
};

/// Which submissions. Every condition that is named must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// In one of these states; none named: in any.
    pub states: Vec<StateName>,
    /// The reason of a dead or parked one, by its public name.
    pub reason: Option<String>,
    /// The status of its last answer.
    pub http_status: Option<u16>,
    /// The activity's id (`activity_id` in any case, or `provider_activity_id`).
    pub activity: Option<String>,
    pub source: Option<String>,
    /// Created at or after.
    pub since: Option<Timestamp>,
    /// In its state since then or later.
    pub changed_since: Option<Timestamp>,
}

/// A submission as `list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub id: SubmissionId,
    pub key: Option<SubmissionKey>,
    pub facts: Facts,
    pub source: Option<String>,
    /// Its own word on a 409.
    pub on_conflict: Option<ConflictPolicy>,
    /// Not sent before this; `None`: as soon as it is its turn.
    pub not_before: Option<Timestamp>,
    /// Its state, and since when it is due.
    pub state: State,
    /// All attempts over its life that were charged, the one on its way included.
    pub attempts: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// Why it is invalid, in one line, where it is.
    pub invalid: Option<String>,
    /// Whether it waits behind an earlier one of its activity.
    pub waits_behind: Option<SubmissionId>,
    /// Whether an earlier attempt may have reached the API unseen.
    pub lost_response: bool,
    /// The daemon that sends it, where several share the outbox.
    pub node: Option<String>,
    /// Its last attempt that ended.
    pub last: Option<Attempt>,
}

impl Listed {
    /// Where it stands among what is pending: what waits behind another one after the others, each by when it is due.
    pub fn turn(&self) -> (bool, Timestamp, SubmissionId) {
        let due = match self.state {
            State::Pending { due } => due,
            State::Sending | State::Delivered | State::Dead(_) | State::Parked(_) | State::Dismissed => self.updated_at,
        };
        (self.waits_behind.is_some(), due, self.id)
    }
}

/// One line of a submission's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub at: Timestamp,
    pub actor: String,
    /// What: the name of the transition.
    pub what: String,
    /// What the name of the act does not say, for people.
    pub detail: Option<String>,
    /// The payload that was replaced by an edit.
    pub old_payload: Option<Payload>,
}

/// A submission as `show` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    pub listed: Listed,
    pub payload: Payload,
    /// Every attempt that ended, oldest first.
    pub attempts: Vec<Attempt>,
    /// Every other change, oldest first.
    pub history: Vec<Event>,
    /// The later delivered one of its activity.
    pub superseded_by: Option<SubmissionId>,
    /// Whether the last delivered result of its activity was ours and older.
    pub registered_by_us: bool,
    /// The newest delivered one of its activity, by number; retention may have taken it away.
    pub delivered_last: Option<SubmissionId>,
}

/// A submission by what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub id: SubmissionId,
    pub created_at: Timestamp,
    pub key: Option<SubmissionKey>,
    /// The digest of its object, in any order, where a key is.
    pub object: Option<Digest>,
    /// The digest of the payload, letter for letter.
    pub text: Digest,
}

/// The most that a rate counts in one look.
pub const COUNTED_MAX: u32 = 100_000;

/// How it went within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// When the last one was taken in, of those that are still kept.
    pub last_in: Option<Timestamp>,
    /// When the last one was delivered, of those that are still kept.
    pub last_out: Option<Timestamp>,
    /// So many were delivered, [`COUNTED_MAX`] at most.
    pub delivered: u64,
    /// So many became dead, likewise.
    pub dead: u64,
}

/// What came of one producer, of the newest submissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// `None`: those that name none.
    pub source: Option<String>,
    pub taken: u64,
    pub delivered: u64,
    pub dead: u64,
    /// When its newest was taken in.
    pub last_seen: Timestamp,
}

/// A submission that is over: delivered, dead or dismissed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub id: SubmissionId,
    pub at: Timestamp,
    /// By its public name.
    pub state: String,
    /// Of a dead one, by its public name.
    pub reason: Option<String>,
    /// The status of its last answer.
    pub http_status: Option<u16>,
    /// The name of its last fault.
    pub fault: Option<String>,
    /// How long its last attempt took.
    pub elapsed_ms: Option<u64>,
    pub source: Option<String>,
    pub activity: Option<String>,
}

/// Why a dead letter is one, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub id: SubmissionId,
    /// Since when it is dead.
    pub at: Timestamp,
    /// By its public name.
    pub reason: String,
    /// The status of its last answer.
    pub http_status: Option<u16>,
    pub source: Option<String>,
    /// Why it is invalid, in one line, where it is.
    pub invalid: Option<String>,
    /// The first bytes of its last answer.
    pub body: Option<Vec<u8>>,
    /// The name of its last fault.
    pub fault: Option<String>,
}

/// The queue in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many in each state, zeros included, in the contract's order.
    pub counts: Vec<(StateName, u64)>,
    /// When the oldest pending one was taken in.
    pub oldest_pending: Option<Timestamp>,
    /// The earliest time at which a pending one is due (or was).
    pub oldest_due: Option<Timestamp>,
    /// When the dead letter that has waited longest became one.
    pub oldest_dead: Option<Timestamp>,
}

impl Tally {
    pub fn count(&self, state: StateName) -> u64 {
        self.counts
            .iter()
            .find(|(name, _)| *name == state)
            .map_or(0, |(_, count)| *count)
    }
}

/// A count by state that was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Miscount {
    pub state: StateName,
    /// The count that was stored.
    pub was: u64,
    /// What was counted, at most as far as a count goes.
    pub is: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_without_submissions_count_zero() {
        let tally = Tally {
            counts: vec![(StateName::Dead, 3)],
            ..Tally::default()
        };
        assert_eq!((tally.count(StateName::Dead), tally.count(StateName::Parked)), (3, 0));
    }
}
