//! `delivery.max_per_second`: never more than that in any second, and evenly, not in bursts.

use std::time::Duration;

use tokio::time::Instant;

/// How late a departure may be and still keep its place in the row. Timers are late by a millisecond or two; without
/// slack each delay would be lost for good, and 1,000 a second would be 600.
const SLACK: Duration = Duration::from_millis(10);

/// Places departures `gap` apart. A place may be taken up to [`SLACK`] late, so the gaps are made for a second and that
/// slack: then no second holds more than the limit, however the delays fall.
#[derive(Debug, Clone)]
pub(super) struct Pacer {
    limit: Option<u32>,
    /// Among how many daemons the limit is divided.
    sharers: u32,
    next: Option<Instant>,
}

impl Pacer {
    /// A pacer for `delivery.max_per_second`.
    pub(super) const fn new(limit: Option<u32>) -> Self {
        Self {
            limit,
            sharers: 1,
            next: None,
        }
    }

    /// Another limit from now on; the last departure still counts.
    pub(super) const fn set_limit(&mut self, limit: Option<u32>) {
        self.limit = limit;
    }

    /// So many daemons divide the limit evenly, whether or not each has something to send.
    pub(super) const fn divide_among(&mut self, sharers: u32) {
        self.sharers = sharers;
    }

    /// How many may depart at `now`.
    pub(super) fn ready(&self, now: Instant) -> u32 {
        let Some(gap) = self.gap() else { return u32::MAX };
        let from = self.from(now);
        if from > now {
            return 0;
        }
        u32::try_from((now - from).as_nanos() / gap.as_nanos() + 1).unwrap_or(u32::MAX)
    }

    /// How many leave within this time; `None` where nothing limits them.
    pub(super) fn within(&self, span: Duration) -> Option<u32> {
        let gap = self.gap()?;
        Some(
            u32::try_from(span.as_nanos() / gap.as_nanos())
                .unwrap_or(u32::MAX)
                .max(1),
        )
    }

    /// So many departed at `now`.
    pub(super) fn departed(&mut self, count: u32, now: Instant) {
        if let Some(gap) = self.gap() {
            self.next = Some(self.from(now) + gap * count);
        }
    }

    /// When the next one may depart, where it may not now.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.gap()?;
        Some(self.from(now).saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    fn gap(&self) -> Option<Duration> {
        let limit = self.limit.filter(|limit| *limit > 0)?;
        // Rounded up: a gap a nanosecond too short lets one too many into a second.
        Some((Duration::from_secs(1) + SLACK) * self.sharers / limit + Duration::from_nanos(1))
    }

    /// The next free place.
    fn from(&self, now: Instant) -> Instant {
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        self.next.map_or(now, |next| next.max(earliest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_a_limit_everything_may_go() {
        let now = Instant::now();
        assert_eq!(Pacer::new(None).ready(now), u32::MAX);
        assert_eq!(Pacer::new(None).wait(now), None);
    }

    #[test]
    fn a_limit_is_divided_among_those_who_share_the_outbox() {
        let now = Instant::now();
        let mut pacer = Pacer::new(Some(10));
        pacer.divide_among(5);
        pacer.departed(1, now);
        assert_eq!(pacer.ready(now + Duration::from_millis(490)), 0);
        assert_eq!(pacer.ready(now + Duration::from_millis(510)), 1);
    }

    #[test]
    fn one_a_second_waits_a_second() {
        let now = Instant::now();
        let mut pacer = Pacer::new(Some(1));
        assert_eq!(pacer.ready(now), 1);
        pacer.departed(1, now);
        assert_eq!(pacer.ready(now), 0);
        assert!(pacer.wait(now).unwrap() > Duration::from_secs(1));
        assert_eq!(pacer.ready(now + Duration::from_secs(1)), 0);
        assert_eq!(pacer.ready(now + Duration::from_millis(1011)), 1);
        assert_eq!(pacer.ready(now + Duration::from_hours(1)), 1, "a rest is no credit");
    }

    proptest! {
        #[test]
        fn no_second_holds_more_than_the_limit(limit in 1_u32..2000, delays in proptest::collection::vec(0_u64..5_000, 1..400)) {
            let start = Instant::now();
            let mut now = start;
            let mut pacer = Pacer::new(Some(limit));
            let mut departures: Vec<Duration> = Vec::new();
            for delay in delays {
                let count = pacer.ready(now);
                departures.extend((0..count).map(|_| now - start));
                pacer.departed(count, now);
                now += pacer.wait(now).unwrap_or_default() + Duration::from_micros(delay);
            }
            let limit = usize::try_from(limit).unwrap();
            for window in departures.windows(limit + 1) {
                prop_assert!(window[limit].saturating_sub(window[0]) >= Duration::from_secs(1));
            }
        }
    }
}
