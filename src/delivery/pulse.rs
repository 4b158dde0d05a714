//! How it goes, remembered in the outbox for `status`, which is another process.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{self, Timestamp};
use crate::store::Outbox;
use crate::telemetry::hindrance::Hindrance;

use super::meters::{Meters, Pulse};

/// The name under which the pulse is remembered ([`Pulse`] as JSON).
pub const PULSE: &str = "pulse";

/// How often it is remembered, where it changed: a commit each, so not more often than an operator looks.
const EVERY: Duration = Duration::from_secs(5);

/// The most characters of a message that the daemon says of itself: it comes from the API.
const MESSAGE_CHARS_MAX: usize = 1000;

/// Beyond this a note of the daemon leaves out what it can spare.
const NOTE_BYTES_MAX: usize = 15 << 10;

/// What the daemon says of itself to those who look, at most seconds old, also while nothing can be stored: see
/// [`Outbox::note`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vitals {
    /// Its process: what another one left behind is no news of this one.
    pub pid: u32,
    pub pulse: Pulse,
    pub hindrances: Vec<Hindrance>,
    /// Since when rows wait that were seen and may not be taken, in milliseconds since 1970.
    pub rows_wait_since: Option<i64>,
}

impl Vitals {
    /// As they are at this time.
    pub fn of(meters: &Meters, now: Timestamp) -> Self {
        let hindrances = meters.hindrances();
        Self {
            pid: std::process::id(),
            pulse: meters.pulse(now),
            hindrances: hindrances.all(),
            rows_wait_since: hindrances.rows_wait_since(),
        }
    }

    /// Whether both say the same, at whatever time.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let mut other = other.clone();
        other.pulse.at = self.pulse.at;
        *self == other
    }

    /// As a note, of bounded length.
    pub fn text(&self) -> Option<String> {
        let mut vitals = self.clone();
        if let Some(error) = &mut vitals.pulse.last_error {
            error.message = error
                .message
                .take()
                .map(|text| text.chars().take(MESSAGE_CHARS_MAX).collect());
        }
        let whole = serde_json::to_string(&vitals).ok()?;
        if whole.len() <= NOTE_BYTES_MAX {
            return Some(whole);
        }
        // Mostly of characters that JSON writes with six: what was said last can be spared.
        vitals.pulse.last_error = None;
        serde_json::to_string(&vitals).ok()
    }

    /// Out of a note; what another version wrote may say nothing to this one.
    pub fn parse(note: &str) -> Option<Self> {
        serde_json::from_str(note).ok()
    }
}

/// What an earlier daemon knew of the API.
pub(super) async fn recall(outbox: &Outbox, meters: &Meters) {
    // No loss where it cannot be read: then nothing is known.
    let Ok(Some(text)) = outbox.recall(PULSE).await else {
        return;
    };
    if let Ok(Pulse {
        works_with: Some(mark), ..
    }) = serde_json::from_str(&text)
    {
        meters.acquainted_with(mark);
    }
}

/// Remembers the pulse until it is stopped, where it changed. On a loop of its own: it waits for whoever holds the
/// outbox, which those who observe must not.
pub(super) async fn keep(outbox: Outbox, meters: Arc<Meters>) {
    let mut last: Option<Pulse> = None;
    loop {
        tokio::time::sleep(EVERY).await;
        let pulse = meters.pulse(clock::now());
        let is_known = last.is_some_and(|last| Pulse { at: pulse.at, ..last } == pulse);
        last = (is_known || store(&outbox, &pulse).await).then_some(pulse);
    }
}

/// Whether it could be stored. A pulse that could not is no loss: the next one says the same.
pub(super) async fn store(outbox: &Outbox, pulse: &Pulse) -> bool {
    let Ok(text) = serde_json::to_string(pulse) else {
        return false;
    };
    let at = Timestamp::from_millis(pulse.at);
    outbox.remember(PULSE, Some(text), at).await.is_ok()
}
