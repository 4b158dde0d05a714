//! How it goes, remembered in the outbox for `status`, which is another process.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{self, Timestamp};
use crate::store::Outbox;

use super::meters::{LastError, Meters};

/// The name under which the pulse is remembered ([`Pulse`] as JSON).
pub const PULSE: &str = "pulse";

/// How often it is remembered, where it changed: a commit each, so not more often than a person looks.
const EVERY: Duration = Duration::from_secs(5);

/// How it goes at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// Milliseconds since 1970.
    pub at: i64,
    /// Submissions delivered within the last minute.
    pub delivered_per_minute: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// The last attempt that failed since the daemon started.
    #[serde(default)]
    pub last_error: Option<LastError>,
}

/// Remembers the pulse until it is stopped.
pub(super) async fn keep(outbox: Outbox, meters: Arc<Meters>) {
    let mut last: Option<Pulse> = None;
    loop {
        tokio::time::sleep(EVERY).await;
        let pulse = meters.pulse(clock::now());
        let changed = last.as_ref().is_none_or(|last| {
            Pulse {
                at: pulse.at,
                ..last.clone()
            } != pulse
        });
        if changed && store(&outbox, &pulse).await {
            last = Some(pulse);
        }
    }
}

/// Remembers it once more, at the end.
pub(super) async fn remember(outbox: &Outbox, meters: &Meters, now: Timestamp) {
    store(outbox, &meters.pulse(now)).await;
}

/// Whether it could be stored. A pulse that could not is no loss: the next one says the same.
async fn store(outbox: &Outbox, pulse: &Pulse) -> bool {
    let Ok(text) = serde_json::to_string(pulse) else { return false };
    outbox.remember(PULSE, Some(text), Timestamp::from_millis(pulse.at)).await.is_ok()
}
