//! Waiting out an outbox that cannot be used just now. What was to be stored is kept and tried again; the log hears of
//! it at the first failure and then seldom.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::store::StoreError;
use crate::telemetry::hindrance::{Cause, HeldUp, Hindrances};

/// The first pause: a foreign lock is often gone by then.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause: a disk that has room again is noticed within this.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// What only looks. That it works says nothing of a full disk or a foreign lock, which keep others from writing.
const READS: [&str; 6] = ["changed", "next_due", "find_sources", "list", "recall", "relations"];

/// Counters failures until something works again.
#[derive(Debug)]
pub(super) struct StoreRetry {
    hindrances: Arc<Hindrances>,
    pause: Duration,
    failed_at: Option<Instant>,
    held: Option<HeldUp>,
    /// Whether nothing but a look has failed.
    is_reading: bool,
}

impl StoreRetry {
    /// Nothing has failed yet.
    pub(super) fn new(hindrances: &Arc<Hindrances>) -> Self {
        Self {
            hindrances: Arc::clone(hindrances),
            pause: PAUSE_MIN,
            failed_at: None,
            held: None,
            is_reading: true,
        }
    }

    /// Whether it has failed before.
    pub(super) const fn was_tried(&self) -> bool {
        self.failed_at.is_some()
    }

    /// This operation failed: how long to leave the outbox alone.
    pub(super) fn failed(&mut self, operation: &str, error: &StoreError, now: Instant) -> Duration {
        self.failed_at = Some(now);
        self.is_reading &= READS.contains(&operation);
        let (why, hint) = (error.to_string(), hint(error));
        match &self.held {
            Some(held) => held.again(operation, &why, hint),
            None => self.held = Some(self.hindrances.hold(Cause::Storage, operation, &why, hint)),
        }
        let pause = self.pause;
        self.pause = pause.saturating_mul(2).min(PAUSE_MAX);
        pause
    }

    pub(super) fn worked(&mut self) {
        self.pause = PAUSE_MIN;
        self.failed_at = None;
        self.is_reading = true;
        if let Some(held) = self.held.take() {
            held.over();
        }
    }

    pub(super) fn has_read(&mut self) {
        if self.is_reading && self.failed_at.is_some() {
            self.worked();
        }
    }
}

const fn hint(error: &StoreError) -> &'static str {
    match error {
        StoreError::Busy(_) => {
            "end the process that holds the outbox, or wait until it is done; deliveries wait meanwhile, \
             and nothing is lost"
        }
        StoreError::Away(_) => {
            "see that the database runs and can be reached from here; deliveries wait, and go on by themselves when \
             it is back; nothing is lost"
        }
        StoreError::Full(_) => {
            "make room on the disk of the outbox; deliveries wait until their outcomes can be stored, \
             and nothing is lost"
        }
        StoreError::Broken(_) => {
            "check the disk and the files of the outbox; deliveries wait until it works, and nothing is lost"
        }
        StoreError::Closed => "the daemon is ending",
    }
}
