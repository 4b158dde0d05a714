//! What the two loops of intake share, and how they wait: for the shutdown, for threads that block, and with signs of
//! life.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch as channel};

use crate::clock;
use crate::config::{Config, ValidationMode};
use crate::policy::validate::{Criteria, ResultType};
use crate::store::Outbox;
use crate::telemetry::counters::Counters;
use crate::telemetry::hindrance::Hindrances;
use crate::telemetry::liveness::lively;

/// A loop turns at least this often, so that a watchdog can tell a quiet one from a stuck one.
pub const TURN_MAX: Duration = Duration::from_secs(5);
/// How often a hindrance (a full disk, a large backlog) is checked again.
pub const PRESSURE_PAUSE: Duration = Duration::from_millis(250);

/// So long the first results wait at the very first start for the list of result types: else what lies in the inbox
/// would be judged without it, a moment before it is there. Later starts remember the list, and an API that does not
/// answer is not waited for any longer.
const FIRST_LIST_WAIT: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub struct IntakeContext {
    pub outbox: Outbox,
    pub config: channel::Receiver<Arc<Config>>,
    /// The API's list of result types, where it is known.
    pub result_types: channel::Receiver<Option<Arc<[ResultType]>>>,
    /// Notified when a result has a type that is not in that list.
    pub unknown_code: Arc<Notify>,
    /// Notified after each admission that accepted something.
    pub arrivals: Arc<Notify>,
    /// True when the daemon is to end.
    pub shutdown: channel::Receiver<bool>,
    /// Counts the turns of the files' loop; it does not move only while that is stuck.
    pub progress: Arc<AtomicU64>,
    /// The same for the rows' loop.
    pub rows_progress: Arc<AtomicU64>,
    /// Each turns at least this often, however little there is to do; [`TURN_MAX`] or less.
    pub turn_max: Duration,
    /// Where what hinders is reported.
    pub hindrances: Arc<Hindrances>,
    /// Where what comes in is counted.
    pub counters: Arc<Counters>,
}

impl IntakeContext {
    /// A turn of a loop.
    pub fn turn(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Does this, and turns meanwhile.
    pub async fn lively<T>(&self, work: impl Future<Output = T>) -> T {
        lively(&self.progress, self.turn_max, work).await
    }

    pub async fn first_list(&self) {
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

    pub fn is_ending(&self) -> bool {
        *self.shutdown.borrow()
    }

    /// Waits for the shutdown; a daemon that is gone without saying so is one, too.
    pub async fn ending(&self) {
        let mut shutdown = self.shutdown.clone();
        let _gone_counts_as_well = shutdown.wait_for(|is_ending| *is_ending).await;
    }

    /// Sleeps; false when the shutdown came.
    pub async fn sleep(&self, duration: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            () = self.ending() => false,
        }
    }

    pub fn criteria(&self) -> Criteria {
        Criteria::new(
            &self.config.borrow().validation,
            self.result_types.borrow().clone(),
            clock::now(),
        )
    }
}

/// Does something that blocks on a thread that may; a panic there is an error here.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
