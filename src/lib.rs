//! `reten-outbox`: a durable outbox between the systems that produce activity results and the Reten integration API.
//!
//! ```text
//!  files ─┐                       ┌──────────── policy (pure) ───────────┐
//!  rows  ─┼─ intake ──► store ──► delivery ──► api ──► verdict ──► store │  delivered · pending(due) · dead · parked
//!  CLI   ─┘   admit     (outbox)   claim       send     judge      settle└──────────────────────────────────────────
//! ```
//!
//! `intake` and `delivery` never meet except in `store`: either may stop, fail or be full without the other. The
//! database is the truth; no queue lives in memory beyond what is claimed and in flight.
//!
//! # Where to start
//! `model` has the words, `policy` the decisions, `store` the one durable thing. `delivery` and `intake` are the
//! two engines round it, `daemon` starts and stops them, `cli` is what an operator types.
//!
//! # What is never here
//! - `policy` contains no `async`, no clock and no randomness.
//! - No type of `sqlx` or `reqwest` is in a signature outside `store` (with `intake::rows`) and `api`.
//! - `delivery` knows no SQL, `store` no meaning of HTTP, `api` decides nothing, `sandbox` uses nothing of ours.
//! - Nothing is removed from the inbox, and no outcome acted upon, before the commit that records it.

mod clock;
mod lock;
mod model;
mod policy;
mod sqlite_file;

mod config;

mod api;
mod store;
mod telemetry;

mod delivery;
mod intake;

mod daemon;

mod sandbox;

mod cli;

pub use cli::main;

/// What the benchmarks drive without a process between.
#[doc(hidden)]
pub mod bench {
    pub use crate::clock::{Timestamp, now};
    pub use crate::model::{Address, Host, Server, SslMode};
    pub use crate::model::{Admission, Answer, Attempt, Directives, Ending, Entry, Object, Origin, StateName};
    pub use crate::sandbox::SUBMIT_PATH;
    pub use crate::store::{ClaimOrder, ClaimRequest, Claimed, Outbox, Role, Settlement, statements_of_a_turn};
}
