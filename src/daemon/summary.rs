//! How the queue stands, in one line for the log and one for the service manager, every `log.summary_interval` in which something changed.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::clock::Timestamp;
use crate::config::Config;
use crate::delivery::Meters;
use crate::model::StateName;
use crate::policy::gate::{GATE, GateRecord, PAUSE};
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

/// What has to change for another line. Times are no part of it: the oldest due moves by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    pending: u64,
    sending: u64,
    dead: u64,
    parked: u64,
    gate: String,
}

impl Watcher {
    /// Looks until `shutdown` says so. The only error is an outbox that is closed.
    pub(super) async fn run(mut self, mut shutdown: watch::Receiver<bool>) -> Result<(), StoreError> {
        let mut last = None;
        loop {
            let interval = self.config.borrow_and_update().log.summary_interval;
            tokio::select! {
                () = sleep(interval) => {}
                // A new interval counts from its coming into force.
                Ok(()) = self.config.changed() => continue,
                // An error is a sender that is gone: the end as well.
                _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
            }
            match self.look(&mut last).await {
                Ok(()) => {}
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                Err(error @ (StoreError::Busy(_) | StoreError::Full(_) | StoreError::Broken(_))) => {
                    events::storage_error("summary", &error.to_string(), "the next one comes in its time");
                }
            }
        }
    }

    async fn look(&self, last: &mut Option<Seen>) -> Result<(), StoreError> {
        let tally = self.outbox.tally().await?;
        let seen = Seen::of(&tally, gate(&self.outbox).await?);
        let reading = self.meters.take();
        if last.as_ref() == Some(&seen) && reading.delivered == 0 && reading.failed == 0 {
            return Ok(());
        }
        let free_disk = free_bytes(&self.config.borrow().outbox.database);
        events::summary(&Summary {
            pending: seen.pending,
            sending: seen.sending,
            dead: seen.dead,
            parked: seen.parked,
            delivered: reading.delivered,
            failed: reading.failed,
            oldest_due: tally.oldest_due,
            oldest_dead: tally.oldest_dead,
            p50_ms: reading.p50_ms,
            p95_ms: reading.p95_ms,
            gate: &seen.gate,
            free_disk,
        });
        self.notifier.status(&seen.line(tally.oldest_dead));
        *last = Some(seen);
        Ok(())
    }
}

impl Seen {
    fn of(tally: &Tally, gate: String) -> Self {
        Self {
            pending: count(tally, StateName::Pending),
            sending: count(tally, StateName::Sending),
            dead: count(tally, StateName::Dead),
            parked: count(tally, StateName::Parked),
            gate,
        }
    }

    /// For `systemctl status`.
    fn line(&self, oldest_dead: Option<Timestamp>) -> String {
        let since = oldest_dead.map_or_else(String::new, |at| format!(" (oldest since {at})"));
        let Self {
            pending,
            sending,
            dead,
            parked,
            gate,
        } = self;
        format!("gate {gate}; {pending} pending, {sending} sending, {dead} dead{since}, {parked} parked")
    }
}

/// The gate's public name, as the outbox remembers it. What cannot be read is from a newer version: its rooms know better than we.
async fn gate(outbox: &Outbox) -> Result<String, StoreError> {
    if outbox.recall(PAUSE).await?.is_some() {
        return Ok("paused".to_owned());
    }
    let record = outbox
        .recall(GATE)
        .await?
        .and_then(|text| serde_json::from_str::<GateRecord>(&text).ok());
    Ok(record.map_or_else(|| "open".to_owned(), |record| record.state))
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
            ..Tally::default()
        };
        let seen = Seen::of(&tally, "unauthorized".to_owned());
        let line = seen.line(Some(Timestamp::from_millis(1_795_428_000_000)));
        assert_eq!(
            line,
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
