//! Questions and answers of the sending side: what to claim, how it ended, what its neighbours say.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::{Attempt, AttemptNumber, ConflictPolicy, Ending, Payload, SubmissionId, SubmissionKey};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// At most this many.
    pub limit: u32,
    /// Whose turn it is.
    pub order: ClaimOrder,
    pub now: Timestamp,
    /// Nothing waits longer than this from now, whatever the clock did (`retry.max_interval`); `not_before` excepted.
    pub wait_max: Duration,
}

/// Whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimOrder {
    /// What is due, the longest due first.
    Due,
    /// Any pending head of its lane that no `not_before` holds: of those that are due the least tried, and where none
    /// is due the one that will be soonest. A probe.
    LeastTried,
    /// The same, but one on which the key was refused before only where there is no other: it goes first after an
    /// opening, and one that the key may never touch must not close the gate on everyone again and again.
    Lead,
    /// The same, to find out whether the key has its permission back.
    Trial {
        /// Those that were refused on trial, the latest last: each only where there is none that was not, the one
        /// refused longest ago first.
        refused: Vec<SubmissionId>,
        /// Whether the opening will requeue this episode's dead letters: then none is taken that would overtake one of
        /// its own activity. Decided here, in the transaction of the claim: a list that was read before it may miss
        /// one.
        spare_dead: bool,
    },
    /// This very one, if it is a pending head that no `not_before` holds: a sample of a producer's, found in a
    /// [`Stretch`].
    This(SubmissionId),
}

/// A place among the pending heads, the least tried first: tries and number. The default lies before all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceCursor {
    /// Attempts charged since it last started anew.
    pub tries: u32,
    pub id: SubmissionId,
}

impl Default for SourceCursor {
    fn default() -> Self {
        Self {
            tries: 0,
            id: SubmissionId(0),
        }
    }
}

/// What one look through a bounded number of heads found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Each producer that was met (the empty name stands for none), and the first head of its.
    pub sources: Vec<(String, SubmissionId)>,
    /// Where the next look begins; `None`: there are no more heads.
    pub end: Option<SourceCursor>,
}

/// How the clock was last set forward while this process ran: a wait that spans it was shorter than its two ends say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leap {
    /// What the clock would have shown when it was noticed.
    pub before: Timestamp,
    /// How far it leapt.
    pub by: Duration,
}

/// A submission that a sender holds: its attempt is counted and durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub id: SubmissionId,
    pub attempt: AttemptNumber,
    /// Attempts charged since it last started anew, this one included: what the retry schedule counts.
    pub tries: u32,
    /// The waits served since it last started anew: its age for `retry.max_age`.
    pub waited: Duration,
    pub payload: Payload,
    /// Whether `"hard_override": true` is to be put into it.
    pub hard_override: bool,
    /// Whether an earlier attempt with this payload may have reached the API without our seeing the answer.
    pub lost_response: bool,
    /// Whether the key was refused on it before (it was requeued by an opening gate).
    pub was_unauthorized: bool,
    pub key: Option<SubmissionKey>,
    /// The activity's id, for logs.
    pub activity: Option<String>,
    pub source: Option<String>,
    /// Its own word on a 409.
    pub on_conflict: Option<ConflictPolicy>,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// By which incarnation of this daemon: what an earlier one claimed is no longer ours. 0 where only one can.
    pub incarnation: i64,
}

/// How a claimed one ends. Guarded by id, attempt and state: a settlement that comes too late changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    pub id: SubmissionId,
    /// What becomes of it.
    pub ending: Ending,
    /// What is remembered of the attempt that was claimed, under the name of the ending. Not kept for
    /// [`Ending::Released`].
    pub record: Attempt,
}

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Done,
    /// It is pending again, uncharged, although the key was refused on it: another daemon's key is open, or the gate of this
    /// key was opened meanwhile.
    Uncharged,
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
    /// The newest delivered one of this activity, by number; retention may have taken it away.
    pub delivered_last: Option<SubmissionId>,
}
