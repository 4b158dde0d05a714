//! How the queue stands, in one line of the log, every `log.summary_interval` in which something changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::clock::Timestamp;
use crate::config::Config;
use crate::delivery::Meters;
use crate::model::StateName;
use crate::store::{Outbox, StoreError, Tally, free_bytes};
use crate::telemetry::events::{self, Summary};

/// Who looks.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) outbox: Outbox,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) meters: Arc<Meters>,
}

/// What has to change for another line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    pending: u64,
    sending: u64,
    dead: u64,
    parked: u64,
    gate: &'static str,
    /// Of the dead letter that has waited longest.
    oldest_dead: Option<Timestamp>,
}

impl Default for Seen {
    fn default() -> Self {
        Self::of(&Tally::default(), "open")
    }
}

impl Watcher {
    /// Looks until `shutdown` says so. The only error is an outbox that is closed.
    pub(super) async fn run(mut self, mut shutdown: watch::Receiver<bool>) -> Result<(), StoreError> {
        // An empty outbox is nothing to tell.
        let mut told = Seen::default();
        // The first one at once: what is there when the daemon comes up.
        let mut next = Instant::now();
        let mut fails = false;
        loop {
            if next <= Instant::now() {
                next = Instant::now() + self.interval();
                match self.look(&mut told).await {
                    Ok(()) if std::mem::take(&mut fails) => events::storage_resumed("the summary can be made again"),
                    Ok(()) => {}
                    Err(StoreError::Closed) => return Err(StoreError::Closed),
                    Err(StoreError::Busy(_) | StoreError::Full(_) | StoreError::Broken(_)) if fails => {}
                    Err(error @ (StoreError::Busy(_) | StoreError::Full(_) | StoreError::Broken(_))) => {
                        fails = true;
                        events::storage_error(
                            "summary",
                            &error.to_string(),
                            "it is tried again at every log.summary_interval",
                        );
                    }
                }
            }
            tokio::select! {
                () = sleep_until(next) => {}
                // A reload may have changed the interval.
                Ok(()) = self.config.changed() => next = next.min(Instant::now() + self.interval()),
                // An error is a sender that is gone: the end as well.
                _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    }

    fn interval(&self) -> Duration {
        self.config.borrow().log.summary_interval
    }

    async fn look(&self, told: &mut Seen) -> Result<(), StoreError> {
        let tally = self.outbox.tally().await?;
        let seen = Seen::of(&tally, self.meters.gate().into_str());
        let since = self.meters.take();
        if *told == seen && since.delivered == 0 && since.failed == 0 {
            return Ok(());
        }
        let free_disk = self.config.borrow().outbox.database.parent().and_then(free_bytes);
        events::summary(&Summary {
            pending: seen.pending,
            sending: seen.sending,
            dead: seen.dead,
            parked: seen.parked,
            delivered: since.delivered,
            failed: since.failed,
            oldest_due: tally.oldest_due,
            oldest_dead: tally.oldest_dead,
            p50_ms: since.p50_ms,
            p95_ms: since.p95_ms,
            gate: seen.gate,
            free_disk,
        });
        *told = seen;
        Ok(())
    }
}

impl Seen {
    fn of(tally: &Tally, gate: &'static str) -> Self {
        Self {
            pending: tally.count(StateName::Pending),
            sending: tally.count(StateName::Sending),
            dead: tally.count(StateName::Dead),
            parked: tally.count(StateName::Parked),
            gate,
            oldest_dead: tally.oldest_dead,
        }
    }
}
