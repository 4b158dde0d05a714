//! The vocabulary: what every other room speaks of. Values only; nothing here waits, reads or writes.

pub mod activity;
pub mod answer;
pub mod attempt;
pub mod entry;
pub mod payload;
pub mod submission;
pub mod token;
pub mod transition;

pub use activity::{ActivityKey, Digest, Lane, SubmissionKey};
pub use answer::{Answer, Exchange, Fault, FaultKind};
pub use attempt::{Attempt, AttemptNumber, AttemptOutcome};
pub use entry::{Admission, Admitted, Directives, Entry, FileReceipt, Origin, Receipt, RowReceipt};
pub use payload::{Facts, Object, Payload};
pub use submission::{ConflictPolicy, DeadReason, ParkReason, State, StateName, SubmissionId};
pub use token::ReplaceToken;
pub use transition::{Actor, Transition};
