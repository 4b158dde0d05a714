//! The outbox: the one durable thing of the program, and the only seam between intake and delivery.
//!
//! [`Outbox`] speaks in the domain's verbs and in `model` types only; that it is SQLite is known below `sqlite` alone.
//! One task owns the one write connection of this process; whatever a method promises is committed (WAL,
//! `synchronous=FULL`) before the method returns.
//!
//! A second kind of store makes [`Outbox`] an enum; nobody who calls it changes.

mod acts;
mod error;
mod sending;
mod sqlite;
mod views;
pub mod wreck;

#[cfg(test)]
mod tests;

pub use acts::{ACT_IDS_MAX, ActRequest, Acted, Still, Sweep};
pub use error::{OpenError, StoreError};
pub use sending::{ClaimOrder, ClaimRequest, Claimed, Leap, Relations, Settled, Settlement, SourceCursor, Stretch};
pub use sqlite::{
    Backup, BackupFile, Holder, Marks, Outbox, Restored, Running, Touch, Way, daemon_is_running, free_bytes, holder,
    read_note, restore,
};
pub use views::{Content, DeadLetter, Event, Filter, Listed, Miscount, Story, Tally};
pub use wreck::{Found, Wreck};

/// Who opens the outbox, and so what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one daemon: takes the lock, creates and migrates, checks, recovers what a crash left.
    Daemon,
    /// A command that changes something, beside the daemon or without it. Creates and migrates too (`enqueue` before
    /// the first start).
    Tool,
    /// A command that only looks. Never writes a byte; a missing database is [`OpenError::Missing`].
    Reader,
}
