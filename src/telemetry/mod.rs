//! How the daemon is watched: one function an event of the contract ([`events`]), rendered as text or JSON with
//! everything from outside escaped, and written by a thread of its own, so that logging never holds the queue up.
//!
//! ```text
//! events::parked(…) ── tracing ──► layer (renders, escapes)
//!     ──► lines (bounded; drops and counts) ──► thread ──► standard error
//! ```
//!
//! A full pipe, a stuck terminal or a full disk costs log lines, never time: what is lost is counted and told by
//! [`events::lines_lost`] when writing works again. [`systemd`] tells the service manager how we are.

pub mod counters;
pub mod escape;
pub mod events;
mod fields;
pub mod hindrance;
mod init;
pub mod journald;
mod layer;
mod lines;
pub mod liveness;
mod said_once;
pub mod systemd;

pub use init::{Telemetry, init};
pub use said_once::SaidOnce;
