//! The outbox: the one durable thing of the house, and the only seam between intake and delivery.
//!
//! [`Outbox`] speaks in the domain's verbs and in `model` types only; that it is SQLite is known below [`sqlite`] alone. One task owns the
//! one write connection of this process; whatever a method promises is committed (WAL, `synchronous=FULL`) before the method returns.

use std::path::Path;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::{
    Actor, Admission, Admitted, Attempt, AttemptNumber, ConflictPolicy, Entry, Facts, FileReceipt, Origin, Payload, Receipt, State,
    StateName, SubmissionId, SubmissionKey, Transition,
};

/// Who opens the outbox, and so what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one daemon: takes the lock, creates and migrates, checks, recovers what a crash left.
    Daemon,
    /// A command that changes something, beside the daemon or without it. Creates and migrates too (`enqueue` before the first start).
    Tool,
    /// A command that only looks. Never writes a byte; a missing database is [`OpenError::Missing`].
    Reader,
}

/// Why the outbox cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon has it (exit 69).
    #[error("{0}")]
    InUse(String),
    /// Locked for longer than we wait (exit 69).
    #[error("{0}")]
    Busy(String),
    /// There is none yet.
    #[error("{0}")]
    Missing(String),
    /// Corrupt, truncated, newer, read-only, no database at all, a wrong owner (exit 78): names the file and what to do.
    #[error("{0}")]
    Unusable(String),
}

/// Why an operation could not be done. A COMMIT that fails is an unknown outcome: every operation is safe to repeat.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the write lock; waiting helps.
    #[error("the outbox is locked by another process: {0}")]
    Busy(String),
    /// The disk is full.
    #[error("the disk of the outbox is full: {0}")]
    Full(String),
    /// Anything else SQLite says.
    #[error("the outbox cannot be used: {0}")]
    Broken(String),
    /// The writer has ended (shutdown).
    #[error("the outbox is closed")]
    Closed,
}

/// What to claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimRequest {
    /// At most this many.
    pub limit: u32,
    /// Whose turn it is.
    pub order: ClaimOrder,
    /// The present.
    pub now: Timestamp,
    /// Nothing waits longer than this from now, whatever the clock did (`retry.max_interval`); `not_before` excepted.
    pub wait_max: Duration,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimOrder {
    /// What is due, the longest due first.
    Due,
    /// Any pending head of its lane (its due time does not matter, its `not_before` does), the least tried first: a probe.
    LeastTried,
}

/// A submission that a sender holds: its attempt is counted and durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Which one.
    pub id: SubmissionId,
    /// This attempt.
    pub attempt: AttemptNumber,
    /// Attempts charged since it last started anew, this one included: what the retry schedule counts.
    pub tries: u32,
    /// The waits served since it last started anew: its age for `retry.max_age`.
    pub waited: Duration,
    /// The body.
    pub payload: Payload,
    /// Whether `"hard_override": true` is to be put into it.
    pub hard_override: bool,
    /// Whether an earlier attempt with this payload may have reached the API without our seeing the answer.
    pub lost_response: bool,
    /// Whether the key was refused on it before (it was requeued by an opening gate).
    pub was_unauthorized: bool,
    /// For logs.
    pub key: Option<SubmissionKey>,
    /// The activity's id, for logs.
    pub activity: Option<String>,
    /// Which producer.
    pub source: Option<String>,
    /// Its own word on a 409.
    pub on_conflict: Option<ConflictPolicy>,
    /// When it was claimed.
    pub claimed_at: Timestamp,
}

/// How a claimed one ends. Guarded by id, attempt and state: a settlement that comes too late changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Which one.
    pub id: SubmissionId,
    /// The attempt that was claimed.
    pub attempt: AttemptNumber,
    /// One of those that start from `sending`.
    pub transition: Transition,
    /// What is remembered of the attempt. Not kept for [`Transition::Release`].
    pub record: Attempt,
}

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is durable.
    Done,
    /// The submission was no longer `sending` with this attempt: nothing changed.
    Stale,
}

/// What the other submissions of the same activity say, asked when a 409 comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Relations {
    /// A later one of its activity has been delivered.
    pub superseded_by: Option<SubmissionId>,
    /// The last delivered result of this activity was ours and older.
    pub registered_by_us: bool,
}

/// What a person does to submissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Due now, attempts and age anew.
    Requeue,
    /// Ours replaces the registered one.
    Override,
    /// The registered one is ours.
    Accept,
    /// Close without delivering.
    Dismiss,
    /// A corrected payload (boxed: it is far larger than the others). `invalid` in it is a reason to refuse, before this is called.
    Edit(Box<Entry>),
}

/// An act on some submissions, in one transaction: callers bring at most [`ACT_IDS_MAX`] ids at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActRequest {
    /// Which ones.
    pub ids: Vec<SubmissionId>,
    /// What.
    pub act: Act,
    /// Who.
    pub actor: Actor,
    /// Touch superseded ones too.
    pub force: bool,
    /// Change nothing; say what would happen.
    pub dry_run: bool,
    /// The present.
    pub now: Timestamp,
}

/// The most ids of one [`ActRequest`]: keeps the write lock short, so that the daemon beside us goes on.
pub const ACT_IDS_MAX: usize = 500;

/// What became of one id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acted {
    /// Done (or would be).
    Done,
    /// There is no such submission.
    NoSuch,
    /// Not from this state.
    WrongState(State),
    /// A later one of its activity has been delivered.
    Superseded(SubmissionId),
}

/// Which submissions. Every condition that is named must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// The state.
    pub state: Option<StateName>,
    /// The reason of a dead or parked one, by its public name.
    pub reason: Option<String>,
    /// The status of its last answer.
    pub http_status: Option<u16>,
    /// The activity's id (`activity_id` in any case, or `provider_activity_id`).
    pub activity: Option<String>,
    /// The producer.
    pub source: Option<String>,
    /// Created at or after.
    pub since: Option<Timestamp>,
}

/// A submission as `list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number.
    pub id: SubmissionId,
    /// The producer's key.
    pub key: Option<SubmissionKey>,
    /// Its ids.
    pub facts: Facts,
    /// The producer.
    pub source: Option<String>,
    /// Its own word on a 409.
    pub on_conflict: Option<ConflictPolicy>,
    /// Not before.
    pub not_before: Option<Timestamp>,
    /// Where it stands.
    pub state: State,
    /// All attempts over its life.
    pub attempts: u32,
    /// Taken in.
    pub created_at: Timestamp,
    /// Last changed.
    pub updated_at: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// Why it is invalid, in one line, where it is.
    pub invalid: Option<String>,
    /// Whether it waits behind an earlier one of its activity.
    pub waits_behind: Option<SubmissionId>,
    /// Whether an earlier attempt may have reached the API unseen.
    pub lost_response: bool,
    /// Its last attempt that ended.
    pub last: Option<Attempt>,
}

/// One line of a submission's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What: the name of the transition.
    pub what: String,
    /// More, in words.
    pub detail: Option<String>,
    /// The payload that was replaced by an edit.
    pub old_payload: Option<Payload>,
}

/// A submission as `show` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// What `list` shows.
    pub listed: Listed,
    /// What is sent.
    pub payload: Payload,
    /// Every attempt that ended, oldest first.
    pub attempts: Vec<Attempt>,
    /// Every other change, oldest first.
    pub history: Vec<Event>,
    /// The later delivered one of its activity.
    pub superseded_by: Option<SubmissionId>,
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

/// What may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep {
    /// In this state: `delivered` or `dismissed` by retention, others by `purge`.
    pub state: StateName,
    /// Not changed since.
    pub older_than: Timestamp,
    /// At most this many in one transaction.
    pub limit: u32,
}

/// The outbox. Cheap to clone; every clone shares one writer and one small pool of readers.
#[derive(Debug, Clone)]
pub struct Outbox {}

impl Outbox {
    /// Opens the outbox (design: "Opening"): lock, schema version, integrity, write test, in this order, before a byte changes; then
    /// migrates, and as [`Role::Daemon`] recovers what a crash left in `sending` (see [`Outbox::recovered`]).
    pub async fn open(_path: &Path, _role: Role, _now: Timestamp) -> Result<Self, OpenError> {
        unimplemented!()
    }

    /// How many were in `sending` when the daemon opened it, and are pending again.
    pub fn recovered(&self) -> u64 {
        unimplemented!()
    }

    /// Takes results in, with the receipts that prove it, in one transaction; one answer an entry, in order.
    pub async fn admit(&self, _admission: Admission, _now: Timestamp) -> Result<Vec<Admitted>, StoreError> {
        unimplemented!()
    }

    /// The file receipts that are still there: what a crash may have left in the inbox although it is taken.
    pub async fn file_receipts(&self) -> Result<Vec<FileReceipt>, StoreError> {
        unimplemented!()
    }

    /// Forgets receipts whose sources are durably gone.
    pub async fn forget(&self, _receipts: Vec<Receipt>) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Hands out submissions, their attempts counted and durable.
    pub async fn claim(&self, _request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        unimplemented!()
    }

    /// Records how an attempt ended, and promotes the next of its activity.
    pub async fn settle(&self, _settlement: Settlement, _now: Timestamp) -> Result<Settled, StoreError> {
        unimplemented!()
    }

    /// When the next claim of [`ClaimOrder::Due`] could find something; `None` when nothing is pending. May lie in the past.
    pub async fn next_due(&self, _wait_max: Duration) -> Result<Option<Timestamp>, StoreError> {
        unimplemented!()
    }

    /// Whether another process has written since the last call (`PRAGMA data_version` on the writing connection).
    pub async fn changed(&self) -> Result<bool, StoreError> {
        unimplemented!()
    }

    /// What the others of its activity say.
    pub async fn relations(&self, _id: SubmissionId) -> Result<Relations, StoreError> {
        unimplemented!()
    }

    /// Does an act; one answer an id, in order.
    pub async fn act(&self, _request: ActRequest) -> Result<Vec<(SubmissionId, Acted)>, StoreError> {
        unimplemented!()
    }

    /// The numbers of what matches, oldest first.
    pub async fn select(&self, _filter: &Filter) -> Result<Vec<SubmissionId>, StoreError> {
        unimplemented!()
    }

    /// What matches, newest first, at most `limit`, with numbers below `before` (to page through any number of them).
    pub async fn list(&self, _filter: &Filter, _before: Option<SubmissionId>, _limit: u32) -> Result<Vec<Listed>, StoreError> {
        unimplemented!()
    }

    /// Everything about one.
    pub async fn show(&self, _id: SubmissionId) -> Result<Option<Story>, StoreError> {
        unimplemented!()
    }

    /// The queue in numbers.
    pub async fn tally(&self) -> Result<Tally, StoreError> {
        unimplemented!()
    }

    /// A value that was remembered.
    pub async fn recall(&self, _name: &str) -> Result<Option<String>, StoreError> {
        unimplemented!()
    }

    /// Remembers a value, or forgets it.
    pub async fn remember(&self, _name: &str, _value: Option<String>, _now: Timestamp) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Stores the gate's state under `name` and, in the same transaction, requeues what this episode dead-lettered as `unauthorized`
    /// (superseded ones excepted), or only forgets the episode (`requeue` false). Returns how many were requeued.
    pub async fn open_gate(&self, _name: &str, _value: String, _requeue: bool, _now: Timestamp) -> Result<u64, StoreError> {
        unimplemented!()
    }

    /// Deletes what may leave, oldest first; returns how many.
    pub async fn sweep(&self, _sweep: Sweep) -> Result<u64, StoreError> {
        unimplemented!()
    }

    /// Checkpoints, gives free pages back, and keeps the WAL bounded. Cheap when there is nothing to do.
    pub async fn tidy(&self) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Ends the writer after what is queued, checkpoints and closes every connection.
    pub async fn close(&self) {}
}
