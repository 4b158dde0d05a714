//! Whether the clock was set while we ran: due times are the clock's, and waits are to be the time that passes.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::store::Leap;

/// Below it the clock is only being adjusted (or two readings of ours were held up between them); looks are a fraction
/// of a second apart.
const NOTICED: Duration = Duration::from_secs(2);

/// When the next submission is due: by the clock, and as the wait that was left when it was learned. What is remembered
/// must not outlive a clock that is set back: whichever comes first is the time to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: Timestamp,
    /// `None`: beyond what the process can count.
    by: Option<Instant>,
}

impl Due {
    /// Due then, learned now.
    pub(super) fn learned(at: Timestamp, now: Timestamp, instant: Instant) -> Self {
        Self {
            at,
            by: instant.checked_add(at.since(now)),
        }
    }

    pub(super) fn has_come(&self, now: Timestamp, instant: Instant) -> bool {
        self.at <= now || self.by.is_some_and(|by| by <= instant)
    }
}

/// The clock beside the time that passes.
#[derive(Debug)]
pub(super) struct ClockWatch {
    last: (Timestamp, Instant),
    leap: Leap,
}

/// The clock was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClockSet {
    Forward(Duration),
    Back(Duration),
}

impl fmt::Display for ClockSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward(by) => write!(f, "the clock was set forward by {} s", by.as_secs()),
            Self::Back(by) => write!(f, "the clock was set back by {} s", by.as_secs()),
        }
    }
}

impl ClockWatch {
    pub(super) fn new(now: Timestamp, instant: Instant) -> Self {
        Self {
            last: (now, instant),
            leap: Leap::default(),
        }
    }

    /// Compares the two since the last look.
    pub(super) fn compare(&mut self, now: Timestamp, instant: Instant) -> Option<ClockSet> {
        let (then, since) = std::mem::replace(&mut self.last, (now, instant));
        let expected = then.plus(instant.saturating_duration_since(since));
        if now < self.leap.before {
            // What happens from here on would be taken for older than the leap.
            self.leap = Leap::default();
        }
        let (forward, back) = (now.since(expected), expected.since(now));
        if forward >= NOTICED {
            // Where two leaps lie close together a wait between them counts less than it was: nothing is given up too
            // early.
            self.leap = Leap {
                before: expected,
                by: self.leap.by.saturating_add(forward),
            };
            return Some(ClockSet::Forward(forward));
        }
        (back >= NOTICED).then_some(ClockSet::Back(back))
    }

    /// How it was last set forward.
    pub(super) const fn leap(&self) -> Leap {
        self.leap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_and_one_that_only_goes_is_not() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut watch = ClockWatch::new(at(0), start);
        assert_eq!(watch.compare(at(1), after(1)), None);
        assert_eq!(
            watch.compare(at(3601), after(3600)),
            None,
            "an hour with a second of drift"
        );
        assert_eq!(watch.leap(), Leap::default());
        assert_eq!(
            watch.compare(at(7211), after(3610)),
            Some(ClockSet::Forward(Duration::from_hours(1)))
        );
        let leap = Leap {
            before: at(3611),
            by: Duration::from_hours(1),
        };
        assert_eq!(watch.leap(), leap);
        assert_eq!(
            watch.compare(at(6211), after(3610)),
            Some(ClockSet::Back(Duration::from_secs(1000)))
        );
        assert_eq!(
            watch.leap(),
            leap,
            "what changed before the leap is still older than it"
        );
        assert_eq!(
            watch.compare(at(0), after(3610)),
            Some(ClockSet::Back(Duration::from_secs(6211)))
        );
        assert_eq!(watch.leap(), Leap::default());
    }

    #[test]
    fn a_due_time_comes_by_the_clock_or_by_the_wait_that_was_left() {
        let start = Instant::now();
        let due = Due::learned(at(60), at(0), start);
        assert!(!due.has_come(at(59), start + Duration::from_secs(59)));
        assert!(due.has_come(at(60), start), "the clock was set forward");
        assert!(
            due.has_come(at(-86_400), start + Duration::from_mins(1)),
            "it was set back"
        );
        let far = Due::learned(Timestamp::from_millis(i64::MAX), at(0), start);
        assert!(!far.has_come(at(0), start + Duration::from_mins(1)));
    }
}
