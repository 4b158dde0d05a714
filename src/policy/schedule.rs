//! When the next attempt is due. The only file that knows the `backoff` crate.
//!
//! The crate gives the curve. Its jitter is left out, because it exceeds the maximum by up to half and cannot be given
//! its randomness; so is its limit on the elapsed time (15 minutes unless told otherwise), because that counts the time
//! of one process.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

use crate::config::RetrySettings;

/// The wait, in whole milliseconds, after the attempt number `tries` (from 1) and `waited` in waits served; `None`
/// where no attempt follows (`retries_exhausted`). `not_earlier` is what `Retry-After` asked for, `roll` a random
/// number from 0 to 1: the place of the wait between the shortest and the longest one that are allowed.
pub fn next(
    settings: &RetrySettings,
    tries: u32,
    waited: Duration,
    not_earlier: Option<Duration>,
    roll: f64,
) -> Option<Duration> {
    let tried_enough = settings.max_attempts.is_some_and(|max| tries >= max);
    let too_old = settings.max_age.is_some_and(|max| waited >= max);
    if tried_enough || too_old {
        return None;
    }
    let max = settings.max_interval.as_secs_f64();
    let spread = settings.randomization_factor.clamp(0.0, 1.0);
    let curve = curve(settings, tries).as_secs_f64();
    let asked = not_earlier.map_or(0.0, |wait| wait.as_secs_f64().min(max));
    // The roll moves the wait within what is allowed; cutting it off afterwards would leave a herd exactly on the
    // maximum, and another one exactly on `Retry-After`.
    let shortest = (curve * (1.0 - spread)).max(asked);
    let longest = (curve * (1.0 + spread)).max(asked + curve * spread).min(max);
    let wait = shortest + (longest - shortest).max(0.0) * roll.clamp(0.0, 1.0);
    Some(whole_milliseconds(wait.min(max), asked))
}

/// The wait after attempt number `tries`, without jitter.
fn curve(settings: &RetrySettings, tries: u32) -> Duration {
    let steps = i32::try_from(tries.saturating_sub(1)).unwrap_or(i32::MAX);
    let grown = settings.initial_interval.as_secs_f64() * settings.multiplier.max(1.0).powi(steps);
    // `min` also turns the NaN of zero times infinity into the maximum.
    let current = grown.min(settings.max_interval.as_secs_f64());
    let mut backoff = ExponentialBackoff {
        current_interval: whole_microseconds(Duration::try_from_secs_f64(current).unwrap_or(settings.max_interval)),
        initial_interval: settings.initial_interval,
        multiplier: settings.multiplier.max(1.0),
        randomization_factor: 0.0,
        max_interval: settings.max_interval,
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    whole_microseconds(backoff.next_backoff().unwrap_or(settings.max_interval)).min(settings.max_interval)
}

/// Whole microseconds in and out of the crate: it adds up to a nanosecond at random even without jitter, and a wait of
/// 599.9999999999 s came back as 600.9999999999, because its seconds are rounded and its nanoseconds are not.
fn whole_microseconds(wait: Duration) -> Duration {
    Duration::from_micros(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX))
}

/// The store's unit: rounded down, but never below what was asked for.
fn whole_milliseconds(wait: f64, asked: f64) -> Duration {
    let floor = Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX).as_millis();
    let asked = Duration::try_from_secs_f64(asked).unwrap_or(Duration::MAX).as_millis();
    Duration::from_millis(u64::try_from(floor.max(asked)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
