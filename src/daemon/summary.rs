//! How the queue stands, every `log.summary_interval` in which something changed: one line for the log and one for the service manager, who
//! also hears of a changed gate at once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::clock::Timestamp;
use crate::config::Config;
use crate::delivery::Meters;
use crate::model::StateName;
use crate::store::{Outbox, StoreError, Tally};
use crate::telemetry::events::{self, Summary};
use crate::telemetry::systemd::Notifier;

use super::rooms::count;

/// Who looks, and whom it tells.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) outbox: Outbox,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) meters: Arc<Meters>,
    pub(super) notifier: Arc<Notifier>,
}

/// How often the gate is looked at, which costs nothing.
const GATE_LOOK: Duration = Duration::from_secs(1);

/// What was told last.
#[derive(Debug, Default)]
struct Told {
    /// To the log.
    summary: Option<Seen>,
    /// To the service manager.
    status: Seen,
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
    pub(super) async fn run(self, mut shutdown: watch::Receiver<bool>) -> Result<(), StoreError> {
        let mut told = Told::default();
        let mut last = Instant::now();
        loop {
            tokio::select! {
                () = sleep(GATE_LOOK.min(self.interval())) => {}
                // An error is a sender that is gone: the end as well.
                _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
            }
            self.look_at_gate(&mut told);
            if last.elapsed() < self.interval() {
                continue;
            }
            last = Instant::now();
            match self.look(&mut told).await {
                Ok(()) => {}
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                Err(error @ (StoreError::Busy(_) | StoreError::Full(_) | StoreError::Broken(_))) => {
                    events::storage_error("summary", &error.to_string(), "the next one comes in its time");
                }
            }
        }
    }

    /// As it is configured now: a reload may have changed it.
    fn interval(&self) -> Duration {
        self.config.borrow().log.summary_interval
    }

    fn gate(&self) -> &'static str {
        // Before delivery has begun nothing has closed it.
        self.meters.gate().map_or("open", |gate| gate.state)
    }

    fn look_at_gate(&self, told: &mut Told) {
        let gate = self.gate();
        if told.status.gate != gate {
            told.status.gate = gate;
            self.notifier.status(&told.status.line());
        }
    }

    async fn look(&self, told: &mut Told) -> Result<(), StoreError> {
        let tally = self.outbox.tally().await?;
        let seen = Seen::of(&tally, self.gate());
        let since = self.meters.take();
        if told.summary.as_ref() == Some(&seen) && since.delivered == 0 && since.failed == 0 {
            return Ok(());
        }
        let free_disk = free_bytes(&self.config.borrow().outbox.database);
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
        self.notifier.status(&seen.line());
        told.status = seen.clone();
        told.summary = Some(seen);
        Ok(())
    }
}

impl Seen {
    fn of(tally: &Tally, gate: &'static str) -> Self {
        Self {
            pending: count(tally, StateName::Pending),
            sending: count(tally, StateName::Sending),
            dead: count(tally, StateName::Dead),
            parked: count(tally, StateName::Parked),
            gate,
            oldest_dead: tally.oldest_dead,
        }
    }

    /// For `systemctl status`.
    fn line(&self) -> String {
        let since = self.oldest_dead.map_or_else(String::new, |at| format!(" (oldest since {at})"));
        let Self {
            pending,
            sending,
            dead,
            parked,
            gate,
            oldest_dead: _,
        } = self;
        format!("gate {gate}; {pending} pending, {sending} sending, {dead} dead{since}, {parked} parked")
    }
}

/// What is free for us where the outbox lies.
fn free_bytes(database: &Path) -> Option<u64> {
    let directory = database
        .parent()
        .filter(|parent| *parent != Path::new(""))
        .unwrap_or(Path::new("."));
    let found = rustix::fs::statvfs(directory).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_line_says_the_gate_first() {
        let tally = Tally {
            counts: vec![(StateName::Pending, 12), (StateName::Dead, 1)],
            oldest_dead: Some(Timestamp::from_millis(1_795_428_000_000)),
            ..Tally::default()
        };
        assert_eq!(
            Seen::of(&tally, "unauthorized").line(),
            "gate unauthorized; 12 pending, 0 sending, 1 dead (oldest since 2026-11-23T10:00:00.000Z), 0 parked"
        );
    }

    #[test]
    fn free_space_is_that_of_the_databases_directory() {
        assert!(free_bytes(Path::new("/outbox.db")).is_some_and(|bytes| bytes > 0));
        assert!(free_bytes(Path::new("outbox.db")).is_some());
        assert_eq!(free_bytes(Path::new("/no/such/place/outbox.db")), None);
    }
}
