//! One request for a submission, as it is remembered.

use crate::clock::Timestamp;

use super::answer::{Answer, Fault};
use super::ending::EndingName;

/// Counts the attempts of a submission from 1, over its whole life. With the id and the state it guards every
/// settlement: an answer to an attempt that is no longer the current one changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptNumber(pub u32);

/// An attempt that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub number: AttemptNumber,
    /// The name of the daemon that made it, as read from an outbox that several may share; `None` for what is not
    /// stored yet, of an outbox in a file, and of a node that was forgotten since.
    pub node: Option<String>,
    /// When it was claimed.
    pub started_at: Timestamp,
    /// How long the request took, in milliseconds; 0 where it was interrupted.
    pub elapsed_ms: u64,
    /// Whether the request carried `"hard_override": true` (ours or the producer's).
    pub hard_override: bool,
    /// What was made of it.
    pub outcome: EndingName,
    /// Whether it may have reached the API without our seeing the answer (a lost response).
    pub lost_response: bool,
    /// The answer, where one came in full.
    pub answer: Option<Answer>,
    /// The fault, where none did.
    pub fault: Option<Fault>,
}
