//! The vocabulary: what every other room speaks of. Values only; nothing here waits, reads or writes.

pub mod act;
pub mod activity;
pub mod address;
pub mod answer;
pub mod attempt;
pub mod ending;
pub mod entry;
pub mod figures;
pub mod payload;
pub mod submission;
pub mod token;

pub use act::{Act, ActName, Actor, Decision, REPLACEABLE, REPLACED, Undo};
pub use activity::{ActivityKey, Digest, Lane, SubmissionKey, hexadecimal};
pub use address::{Address, Host, Password, Server, SslMode};
pub use answer::{Answer, Exchange, Fault, FaultKind};
pub use attempt::{Attempt, AttemptNumber};
pub use ending::{Ending, EndingName};
pub use entry::{Admission, Admitted, Directives, Entry, FileReceipt, InboxId, Origin, Receipt, RowReceipt};
pub use figures::{ANSWER_MS, Door, Figure, Figures, StatusClass};
pub use payload::{Facts, Object, Payload};
pub use submission::{ConflictPolicy, DeadReason, ParkReason, State, StateName, SubmissionId};
pub use token::ReplaceToken;
