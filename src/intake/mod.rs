//! Intake: takes results out of the inbox (files, rows) into the outbox, exactly once through a crash at any line.
//!
//! ```text
//!  watch ─► stability ─► gather ─► admit ─► finish       files: parse · result_reader · open_file · reject · remove
//!  snapshot ───────────► read ───► admit ─► delete       rows
//! ```
//!
//! What holds everywhere here:
//! - Nothing leaves the inbox before the commit that records it; nothing is admitted before it is durable where it
//!   lies.
//! - With what is admitted a receipt is committed, which is forgotten only after the source is durably gone. Whatever a
//!   crash leaves between is recognised by it and not taken twice.
//! - Errors end nothing: they are said once, and what failed is tried again. Deliveries never notice.

pub mod admit;
mod backpressure;
mod context;
pub mod directives;
mod durable;
pub mod entry;
mod file_batches;
mod file_inbox;
mod file_loop;
mod finish;
mod folder;
mod gather;
mod hung_disk;
mod identity;
mod inbox_lock;
mod inventory;
mod listing;
mod observer;
pub mod open_file;
mod openers;
pub mod parse;
mod pending_removals;
mod prepare;
mod private_dir;
mod receipts;
mod reject;
mod remove;
pub mod result_reader;
pub mod rows;
mod scan;
mod skipped;
mod space;
mod stability;
#[cfg(test)]
mod tests;
mod trust;
mod watch;

use std::sync::Arc;

use backpressure::Backpressure;
pub use backpressure::{WaitReason, of_backlog, of_disk};
pub use context::{IntakeContext, TURN_MAX};
pub use inbox_lock::InboxLock;
pub use inventory::{Inventory, inventory};
pub use prepare::{PrepareError, prepare};

/// Takes files and rows until shutdown; what is being admitted then is finished first. `inbox_lock` is what [`prepare`]
/// brought.
pub async fn run(context: IntakeContext, inbox_lock: Option<InboxLock>) {
    context.first_list().await;
    let backpressure = Backpressure::new(&context.hindrances);
    // Each counts its own turns: one that is stuck must not hide behind the other.
    let of_rows = IntakeContext {
        progress: Arc::clone(&context.rows_progress),
        ..context.clone()
    };
    tokio::join!(
        file_loop::run(&context, &backpressure, inbox_lock),
        rows::run(&of_rows, &backpressure)
    );
}
