//! The outbox: the one durable thing of the program, and the only seam between intake and delivery.
//!
//! [`Outbox`] speaks in the domain's verbs and in `model` types only. Whatever a method promises is committed before the
//! method returns. What every store decides alike is in [`rules`], without SQL; [`sqlite`] keeps an outbox in a file of
//! one daemon, [`postgres`] in a schema that any number of daemons share.

mod acts;
mod beside;
mod cargo;
mod error;
mod minutes;
mod moving;
mod nodes;
mod operation;
mod outbox;
mod postgres;
mod rules;
mod sending;
mod sqlite;
mod touch;
mod views;
pub mod wreck;

#[cfg(test)]
mod tests;

pub use acts::{ACT_IDS_MAX, ActRequest, Acted, Still, Sweep};
pub use beside::lock::{Running, daemon_is_running};
pub use beside::note::read_note;
pub use error::{OpenError, StoreError};
pub use minutes::{Minute, MinuteCursor, Standing};
pub use moving::{Moved, move_outbox};
pub use nodes::{NodeEvent, NodeState, NodeView, Tenure};
pub use outbox::Outbox;
pub use postgres::statements_of_a_turn;
pub use rules::marks::Marks;
pub use sending::{ClaimOrder, ClaimRequest, Claimed, Leap, Relations, Settled, Settlement, SourceCursor, Stretch};
pub use sqlite::{Backup, BackupFile, Holder, Restored, Way, free_bytes, holder, restore};
pub use touch::Touch;
pub use views::{Content, DeadLetter, Event, Filter, Finished, Listed, Miscount, Pace, Producer, Story, Tally};
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
