//! When the next attempt is due. The only file that knows the `backoff` crate.

use std::time::Duration;

/// `[retry]` of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrySettings {
    /// The wait after the first fault.
    pub initial_interval: Duration,
    /// Each wait is this many times the one before; at least 1.
    pub multiplier: f64,
    /// The share by which a wait is shortened or lengthened at random; 0 to 1.
    pub randomization_factor: f64,
    /// No wait is longer.
    pub max_interval: Duration,
    /// Then dead, `retries_exhausted`; `None` = never. Counted in waits served.
    pub max_age: Option<Duration>,
    /// Then dead, `retries_exhausted`; `None` = no limit.
    pub max_attempts: Option<u32>,
}
