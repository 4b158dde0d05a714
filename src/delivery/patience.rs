//! Waiting out an outbox that cannot be used just now. What was to be stored is kept and tried again; the log hears of it at the first
//! failure and then seldom.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::StoreError;
use crate::telemetry::events;

/// The first pause: a foreign lock is often gone by then.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause: a disk that has room again is noticed within this.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// An outage of the outbox is one event a minute, not one a try.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Counts failures until something works again.
#[derive(Debug)]
pub(super) struct Patience {
    pause: Duration,
    told: Option<Instant>,
}

impl Patience {
    /// Nothing has failed yet.
    pub(super) const fn new() -> Self {
        Self {
            pause: PAUSE_MIN,
            told: None,
        }
    }

    /// Whether it has failed before.
    pub(super) const fn was_tried(&self) -> bool {
        self.told.is_some()
    }

    /// This operation failed: how long to leave the outbox alone.
    pub(super) fn failed(&mut self, operation: &str, error: &StoreError, now: Instant) -> Duration {
        if self.told.is_none_or(|told| now.duration_since(told) >= TELL_EVERY) {
            self.told = Some(now);
            events::storage_error(operation, &error.to_string(), hint(error));
        }
        let pause = self.pause;
        self.pause = pause.saturating_mul(2).min(PAUSE_MAX);
        pause
    }

    /// It worked.
    pub(super) const fn worked(&mut self) {
        self.pause = PAUSE_MIN;
        self.told = None;
    }
}

const fn hint(error: &StoreError) -> &'static str {
    match error {
        StoreError::Busy(_) => "another process holds the outbox; it is tried again until it is free",
        StoreError::Full(_) => "make room on the disk of the outbox; it is tried again by itself",
        StoreError::Broken(_) => "check the disk and the file of the outbox; it is tried again by itself",
        StoreError::Closed => "the daemon is ending",
    }
}
