//! Intake: takes results out of the inbox (files, rows) into the outbox, exactly once through a crash at any line.
//!
//! ```text
//!  watch ─► settle ─► gather ─► admit ─► finish          files: parse · pieces · taking · reject · remove
//!  look ──────────► read ─────► admit ─► delete          rows
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

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch as channel};

use crate::clock;
use crate::config::{Config, ValidationMode};
use crate::policy::validate::{Criteria, ResultType};
use crate::store::Outbox;
use crate::telemetry::hindrance::Hindrances;
use crate::telemetry::liveness::lively;

use backpressure::Backpressure;
pub use backpressure::{WaitReason, of_backlog, of_disk};
pub use inbox_lock::InboxLock;
pub use inventory::{Inventory, inventory};
pub use prepare::{PrepareError, prepare};

/// A loop turns at least this often, so that a watchdog can tell a quiet one from a stuck one.
pub const TURN_MAX: Duration = Duration::from_secs(5);
/// How often a hindrance (a full disk, a large backlog) is looked at again.
const PRESSURE_PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Clone)]
pub struct IntakeContext {
    pub outbox: Outbox,
    pub config: channel::Receiver<Arc<Config>>,
    /// The API's list of result types, where it is known.
    pub result_types: channel::Receiver<Option<Arc<[ResultType]>>>,
    /// Told when a result has a type that is not in that list.
    pub unknown_code: Arc<Notify>,
    /// Told after each admission that accepted something.
    pub arrivals: Arc<Notify>,
    /// True when the daemon is to end.
    pub shutdown: channel::Receiver<bool>,
    /// Counts the turns of the files' loop; it stands still only when that is stuck.
    pub progress: Arc<AtomicU64>,
    /// The same for the rows' loop.
    pub rows_progress: Arc<AtomicU64>,
    /// Each turns at least this often, however little there is to do; [`TURN_MAX`] or less.
    pub turn_max: Duration,
    /// Where what hinders is told.
    pub hindrances: Arc<Hindrances>,
}

/// So long the first results wait at the very first start for the list of result types: else what lies in the inbox
/// would be judged without it, a moment before it is there. Later starts remember the list, and an API that does not
/// answer is not waited for any longer.
const FIRST_LIST_WAIT: Duration = Duration::from_secs(2);

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

impl IntakeContext {
    /// A turn of a loop.
    fn turn(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Does this, and turns meanwhile.
    async fn lively<T>(&self, work: impl Future<Output = T>) -> T {
        lively(&self.progress, self.turn_max, work).await
    }

    async fn first_list(&self) {
        let validation = self.config.borrow().validation.clone();
        let mut list = self.result_types.clone();
        if validation.mode == ValidationMode::Off || !validation.result_types || list.borrow().is_some() {
            return;
        }
        let first = async {
            tokio::select! {
                _told_or_never = list.changed() => {}
                () = tokio::time::sleep(FIRST_LIST_WAIT) => {}
                () = self.ending() => {}
            }
        };
        tokio::pin!(first);
        loop {
            tokio::select! {
                () = &mut first => return,
                // Whoever watches counts from the very start.
                () = tokio::time::sleep(self.turn_max) => {
                    self.turn();
                    self.rows_progress.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn is_ending(&self) -> bool {
        *self.shutdown.borrow()
    }

    /// Waits for the shutdown; a daemon that is gone without saying so is one, too.
    async fn ending(&self) {
        let mut shutdown = self.shutdown.clone();
        let _gone_counts_as_well = shutdown.wait_for(|is_ending| *is_ending).await;
    }

    /// Sleeps; false when the shutdown came.
    async fn sleep(&self, duration: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            () = self.ending() => false,
        }
    }

    fn criteria(&self) -> Criteria {
        Criteria::new(
            &self.config.borrow().validation,
            self.result_types.borrow().clone(),
            clock::now(),
        )
    }
}

/// Does something that blocks on a thread that may; a panic there is an error here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
