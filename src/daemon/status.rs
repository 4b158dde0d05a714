//! The line of `systemctl status`: how the queue stands, in words for the person who looks there first.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::clock::{self, Timestamp};
use crate::delivery::Meters;
use crate::model::StateName;
use crate::store::{Outbox, StoreError, Tally};
use crate::telemetry::systemd::Notifier;

use super::rooms::count;
use super::summary::gate;

/// How often the line is made anew: six rows of a table, as often as a person looks.
const EVERY: Duration = Duration::from_secs(5);

/// How often the gate is looked at, which costs nothing.
const GATE_LOOK: Duration = Duration::from_secs(1);

/// Who tells it.
#[derive(Debug)]
pub(super) struct Teller {
    pub(super) outbox: Outbox,
    pub(super) meters: Arc<Meters>,
    pub(super) notifier: Arc<Notifier>,
}

impl Teller {
    /// Tells until `shutdown` says so, and only what is new. The only error is an outbox that is closed.
    pub(super) async fn run(self, mut shutdown: watch::Receiver<bool>) -> Result<(), StoreError> {
        let mut told = String::new();
        loop {
            let gate = gate(&self.meters);
            match self.outbox.tally().await {
                Ok(tally) => {
                    let line = line(&tally, gate, clock::now());
                    if line != told {
                        self.notifier.status(&line);
                        told = line;
                    }
                }
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                // Whoever needs the outbox says so in the log; the line is a comfort.
                Err(StoreError::Busy(_) | StoreError::Full(_) | StoreError::Broken(_)) => {}
            }
            tokio::select! {
                () = self.rest(gate) => {}
                // An error is a sender that is gone: the end as well.
                _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    }

    /// Until the line may be another one. Without a listener: for ever.
    async fn rest(&self, told: &'static str) {
        if !self.notifier.is_heard() {
            return std::future::pending().await;
        }
        let next = Instant::now() + EVERY;
        while Instant::now() < next && gate(&self.meters) == told {
            sleep(GATE_LOOK).await;
        }
    }
}

fn line(tally: &Tally, gate: &str, now: Timestamp) -> String {
    let oldest = tally
        .oldest_pending
        .map_or_else(String::new, |since| format!(" (oldest {})", age(now.since(since))));
    let pending = count(tally, StateName::Pending) + count(tally, StateName::Sending);
    let (dead, parked) = (count(tally, StateName::Dead), count(tally, StateName::Parked));
    format!("pending {pending}{oldest} · dead {dead} · parked {parked} · gate {gate}")
}

/// To the unit that a person would say it in.
fn age(age: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match age.as_secs() {
        seconds @ ..MINUTE => format!("{seconds} s"),
        seconds @ MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        seconds @ HOUR..DAY => format!("{} h", seconds / HOUR),
        seconds => format!("{} d", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_a_person_asks_first() {
        let now = Timestamp::from_millis(1_795_428_000_000);
        let tally = Tally {
            counts: vec![
                (StateName::Pending, 11),
                (StateName::Sending, 1),
                (StateName::Dead, 3),
                (StateName::Parked, 1),
            ],
            oldest_pending: Some(Timestamp::from_millis(1_795_428_000_000 - 299_000)),
            ..Tally::default()
        };
        assert_eq!(
            line(&tally, "open", now),
            "pending 12 (oldest 4 min) · dead 3 · parked 1 · gate open"
        );
        assert_eq!(
            line(&Tally::default(), "paused", now),
            "pending 0 · dead 0 · parked 0 · gate paused"
        );
    }

    #[test]
    fn an_age_is_told_in_one_unit() {
        let told = [0, 59, 60, 3599, 3600, 86_399, 86_400, 900_000].map(|seconds| age(Duration::from_secs(seconds)));
        assert_eq!(told, ["0 s", "59 s", "1 min", "59 min", "1 h", "23 h", "1 d", "10 d"]);
    }
}
