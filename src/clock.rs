//! Time as the program knows it: milliseconds since 1970 in UTC, and the one caller of the system's clock.
//!
//! Everything below the edges takes a [`Timestamp`] as an argument. Only what starts a step (the daemon's loops, a
//! command) asks [`now`], once a step.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z. Shown and serialised as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// The first and last millisecond that the time library can show; what lies outside is clamped, on display only.
const SHOWN: (i64, i64) = (-62_135_596_800_000, 253_402_207_200_000);

impl Timestamp {
    /// From milliseconds since 1970, as the database stores it.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Later by `by`; saturates at the end of time instead of wrapping.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Earlier by `by`; saturates at the beginning of time.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long ago `earlier` was; zero when it lies in the future (a clock that was set back).
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Parses ISO 8601 as the API's callers write it: a date and time with `Z` or an offset, a date
    /// and time without one (read as UTC), or a date alone (its first moment in UTC). `None` for everything else.
    pub fn parse_iso8601(text: &str) -> Option<Self> {
        let at = text.parse::<jiff::Timestamp>().ok().or_else(|| {
            let civil = text.parse::<jiff::civil::DateTime>().ok().or_else(|| {
                text.parse::<jiff::civil::Date>()
                    .ok()
                    .map(|date| date.to_datetime(jiff::civil::Time::midnight()))
            })?;
            jiff::tz::Offset::UTC.to_timestamp(civil).ok()
        })?;
        Some(Self(at.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.clamp(SHOWN.0, SHOWN.1);
        match jiff::Timestamp::from_millisecond(shown) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{shown}ms"),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The system's clock, asked once a step at the edges.
pub fn now() -> Timestamp {
    Timestamp(host().saturating_add(AHEAD.load(Ordering::Relaxed)))
}

/// How far the clock that all go by is ahead of this host's, in milliseconds; 0 where this host's is that clock.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// From here on [`now`] goes by the clock that shows this: of a database that several hosts share, so that none of them
/// is early or late by its own. By how many milliseconds [`now`] is later for it.
pub fn follow(shared: Timestamp) -> i64 {
    let ahead = shared.0.saturating_sub(host());
    ahead.saturating_sub(AHEAD.swap(ahead, Ordering::Relaxed))
}

/// This host's own clock: by it the times of its files are written.
pub fn here() -> Timestamp {
    Timestamp(host())
}

#[expect(clippy::disallowed_methods, reason = "the one caller of the system's clock")]
fn host() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_8601_is_read_as_callers_write_it() {
        let cases = [
            ("2026-11-23T10:00:00Z", Some(1_795_428_000_000)),
            ("2026-11-23T10:00:00.250Z", Some(1_795_428_000_250)),
            ("2026-11-23T07:00:00-03:00", Some(1_795_428_000_000)),
            ("2026-11-23T10:00:00", Some(1_795_428_000_000)),
            ("2026-11-23 10:00:00Z", Some(1_795_428_000_000)),
            ("2026-11-23", Some(1_795_392_000_000)),
            ("23/11/2026", None),
            ("yesterday", None),
            ("2026-13-01T00:00:00Z", None),
            ("", None),
        ];
        for (text, millis) in cases {
            assert_eq!(Timestamp::parse_iso8601(text).map(Timestamp::millis), millis, "{text}");
        }
    }

    #[test]
    fn times_are_shown_in_utc_with_milliseconds() {
        assert_eq!(
            Timestamp::from_millis(1_795_428_000_000).to_string(),
            "2026-11-23T10:00:00.000Z"
        );
        assert_eq!(Timestamp::from_millis(i64::MAX).to_string(), "9999-12-30T22:00:00.000Z");
        assert_eq!(Timestamp::from_millis(i64::MIN).to_string(), "0001-01-01T00:00:00.000Z");
    }
}
