//! How it goes, in numbers: for the summary, for `status` and for the line that systemd shows. Everything is counted
//! after its commit, and in bounded memory.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::config::Api;
use crate::policy::gate::GateName;
use crate::telemetry::counters;
use crate::telemetry::events::{How, Who, Window};
use crate::telemetry::hindrance::Hindrances;

/// The newest answer times that the percentiles go by: enough for a steady 95th of 100, and 4 KiB.
const TIMES_MAX: usize = 1024;
/// The length of a rate's window, in seconds.
const WINDOW_SECONDS: i64 = 60;

/// The counters. Shared; each call is short.
#[derive(Debug, Default)]
pub struct Meters {
    in_flight: AtomicU64,
    counts: Mutex<Counters>,
    hindrances: Arc<Hindrances>,
    /// What is written down once a minute.
    counters: Arc<counters::Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    delivered: u64,
    failed: u64,
    /// Answer times in milliseconds, newest last.
    times: VecDeque<u32>,
    /// Deliveries by second of the clock, for the last minute; newest last.
    seconds: VecDeque<(i64, u64)>,
    last_error: Option<LastError>,
    gate: Option<GateName>,
    /// A mark of the settings of `[api]` that are in force, and of those with which the API itself has answered.
    api: Option<u64>,
    works_with: Option<u64>,
}

/// The last attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// Milliseconds since 1970.
    pub at: i64,
    pub submission: i64,
    pub status: Option<u16>,
    /// The API's `error`, or the name of the fault.
    pub error: Option<String>,
    /// The API's `message`, or the fault's story.
    pub message: Option<String>,
}

impl LastError {
    /// From what the event of that attempt says.
    pub(super) fn of(who: Who<'_>, how: How<'_>, at: Timestamp) -> Self {
        Self {
            at: at.millis(),
            submission: who.submission.0,
            status: how.status,
            error: how.error.map(str::to_owned),
            message: how.message.map(str::to_owned),
        }
    }
}

/// How it goes at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// Milliseconds since 1970.
    pub at: i64,
    /// Submissions delivered within the last minute.
    pub delivered_per_minute: u64,
    pub in_flight: u64,
    /// The last attempt that failed since the daemon started.
    #[serde(default)]
    pub last_error: Option<LastError>,
    /// A mark of the settings with which the API itself has answered: a start during an outage need not doubt what
    /// worked for days.
    #[serde(default)]
    pub works_with: Option<u64>,
}

impl Meters {
    /// An answer came, after so long.
    pub fn answered(&self, elapsed: Duration) {
        self.counters.answered(elapsed);
        let mut counts = self.counts();
        if counts.times.len() == TIMES_MAX {
            counts.times.pop_front();
        }
        counts
            .times
            .push_back(u32::try_from(elapsed.as_millis()).unwrap_or(u32::MAX));
    }

    /// A submission is delivered.
    pub fn delivered(&self, at: Timestamp) {
        let mut counts = self.counts();
        counts.delivered += 1;
        let second = at.millis().div_euclid(1000);
        match counts.seconds.back_mut() {
            Some((last, count)) if *last == second => *count += 1,
            Some(_) | None => counts.seconds.push_back((second, 1)),
        }
        // One more than the window has, whatever the clock did.
        while counts.seconds.len() > usize::try_from(WINDOW_SECONDS + 1).unwrap_or(usize::MAX) {
            counts.seconds.pop_front();
        }
        drop(counts);
        self.hindrances.wake_observer();
    }

    pub fn failed(&self, error: LastError) {
        let mut counts = self.counts();
        counts.failed += 1;
        counts.last_error = Some(error);
        drop(counts);
        self.hindrances.wake_observer();
    }

    /// So many requests are in flight.
    pub fn set_in_flight(&self, count: usize) {
        self.in_flight.store(count as u64, Ordering::Relaxed);
    }

    /// How many requests are in flight.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The gate came into this state, for this reason.
    pub fn set_gate(&self, name: GateName, why: &str, at: Timestamp) {
        self.counts().gate = Some(name);
        self.counters.gate(name, why, at);
        self.hindrances.wake_observer();
    }

    /// `None` until it is recalled how it was left: until then it may be closed.
    pub fn gate(&self) -> Option<GateName> {
        self.counts().gate
    }

    /// These settings are in force.
    pub fn set_api(&self, api: &Api) {
        let mut hasher = DefaultHasher::new();
        // Of a type of ours, and compared with nothing but itself: another version's mark may differ, and then nothing
        // is known yet.
        format!("{api:?}").hash(&mut hasher);
        self.counts().api = Some(hasher.finish());
    }

    /// The API itself has answered.
    pub fn api_answered(&self) {
        let mut counts = self.counts();
        counts.works_with = counts.api;
    }

    /// The API has answered with the settings of this mark, says an earlier daemon.
    pub fn acquainted_with(&self, mark: u64) {
        self.counts().works_with.get_or_insert(mark);
    }

    /// Whether it has with those in force: then a fault on the way says nothing against them.
    pub fn is_acquainted(&self) -> bool {
        let counts = self.counts();
        counts.api.is_some() && counts.works_with == counts.api
    }

    /// What is counted for the minutes that the outbox keeps.
    pub const fn counters(&self) -> &Arc<counters::Counters> {
        &self.counters
    }

    /// What hinders intake and deliveries.
    pub const fn hindrances(&self) -> &Arc<Hindrances> {
        &self.hindrances
    }

    /// What happened since this was last asked; counting begins anew.
    pub fn take(&self) -> Window {
        let mut counts = self.counts();
        let mut times: Vec<u32> = counts.times.drain(..).collect();
        times.sort_unstable();
        Window {
            delivered: std::mem::take(&mut counts.delivered),
            failed: std::mem::take(&mut counts.failed),
            p50_ms: percentile(&times, 50),
            p95_ms: percentile(&times, 95),
        }
    }

    /// The pulse at this time.
    pub fn pulse(&self, now: Timestamp) -> Pulse {
        let counts = self.counts();
        let second = now.millis().div_euclid(1000);
        let delivered_per_minute = counts
            .seconds
            .iter()
            .filter(|(at, _)| *at > second - WINDOW_SECONDS && *at <= second)
            .map(|(_, count)| count)
            .sum();
        Pulse {
            at: now.millis(),
            delivered_per_minute,
            in_flight: self.in_flight(),
            last_error: counts.last_error.clone(),
            works_with: counts.works_with,
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counters> {
        // A panic while it was held leaves numbers that may be off by one: still worth showing.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value that so many of a hundred do not exceed.
fn percentile(sorted: &[u32], of_hundred: usize) -> Option<u64> {
    let place = (sorted.len() * of_hundred).div_ceil(100).saturating_sub(1);
    sorted.get(place).map(|value| u64::from(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(submission: i64) -> LastError {
        LastError {
            at: 0,
            submission,
            status: Some(503),
            error: None,
            message: None,
        }
    }

    #[test]
    fn percentiles_are_of_the_answers_since_the_last_time() {
        let meters = Meters::default();
        assert_eq!(meters.take(), Window::default());
        for millis in (1..=100).rev() {
            meters.answered(Duration::from_millis(millis));
        }
        let since = meters.take();
        assert_eq!((since.p50_ms, since.p95_ms), (Some(50), Some(95)));
        assert_eq!(meters.take().p50_ms, None);
    }

    #[test]
    fn only_the_newest_times_are_kept() {
        let meters = Meters::default();
        for _ in 0..TIMES_MAX {
            meters.answered(Duration::from_hours(1));
        }
        for _ in 0..TIMES_MAX {
            meters.answered(Duration::from_millis(7));
        }
        assert_eq!(meters.take().p95_ms, Some(7));
    }

    #[test]
    fn counts_begin_anew_when_they_are_taken() {
        let meters = Meters::default();
        meters.delivered(Timestamp::from_millis(5));
        meters.failed(error(1));
        let since = meters.take();
        assert_eq!((since.delivered, since.failed), (1, 1));
        assert_eq!(meters.take(), Window::default());
    }

    #[test]
    fn an_api_that_has_answered_is_known_until_its_settings_are_others() {
        let mut api = crate::config::Config::defaults().unwrap().api;
        let meters = Meters::default();
        assert!(!meters.is_acquainted());
        meters.set_api(&api);
        meters.api_answered();
        assert!(meters.is_acquainted());
        let mark = meters.pulse(Timestamp::from_millis(0)).works_with.unwrap();
        api.timeout += Duration::from_secs(1);
        meters.set_api(&api);
        assert!(!meters.is_acquainted());
        api.timeout -= Duration::from_secs(1);
        let next = Meters::default();
        next.acquainted_with(mark);
        assert!(!next.is_acquainted());
        next.set_api(&api);
        assert!(next.is_acquainted(), "it outlives a restart");
    }

    #[test]
    fn the_rate_is_of_the_last_minute_and_the_last_error_stays() {
        let meters = Meters::default();
        let at = |second: i64| Timestamp::from_millis(second * 1000);
        for second in 0..200 {
            meters.delivered(at(second));
            meters.delivered(at(second));
        }
        meters.failed(error(4));
        assert_eq!(meters.pulse(at(199)).delivered_per_minute, 120);
        assert_eq!(meters.pulse(at(229)).delivered_per_minute, 60);
        assert_eq!(meters.pulse(at(1000)).delivered_per_minute, 0);
        assert_eq!(meters.pulse(at(1000)).last_error, Some(error(4)));
    }
}
