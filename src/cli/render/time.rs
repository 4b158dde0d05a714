//! Times for people: how long, how long ago, how soon. JSON has the exact ones.

use std::time::Duration;

use crate::clock::Timestamp;

/// A span in its two largest units at most: `0 s`, `42 s`, `4 min`, `3 h 12 min`, `2 days 3 h`.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |large: String, small: u64, unit: &str| if small == 0 { large } else { format!("{large} {small} {unit}") };
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=3599 => format!("{minutes} min"),
        3600..=86_399 => pair(format!("{hours} h"), minutes % 60, "min"),
        _ => pair(format!("{days} {}", if days == 1 { "day" } else { "days" }), hours % 24, "h"),
    }
}

/// The same in its largest unit alone, for narrow columns.
pub fn short_span(duration: Duration) -> String {
    let text = span(duration);
    let mut words = text.split(' ');
    format!("{} {}", words.next().unwrap_or_default(), words.next().unwrap_or_default())
}

/// `4 min ago`; `just now` within a second (or when the clock was set back).
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    match now.since(at) {
        young if young < Duration::from_secs(1) => "just now".to_owned(),
        old => format!("{} ago", short_span(old)),
    }
}

/// `due now`, or `in 12 s`. Rounded up: what is due in half a second is not due yet.
pub fn due(at: Timestamp, now: Timestamp) -> String {
    let wait = at.since(now);
    if wait.is_zero() {
        return "due now".to_owned();
    }
    format!(
        "in {}",
        short_span(Duration::from_secs(wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)))
    )
}

/// A time in full with how long ago it was.
pub fn full(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        return format!("{at} ({})", due(at, now));
    }
    format!("{at} ({})", ago(at, now))
}

/// Milliseconds as people say them: `0.8 s` is `800 ms`, longer ones have a digit behind the point.
pub fn elapsed(ms: u64) -> String {
    if ms < 1000 {
        return format!("{ms} ms");
    }
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_at_most_two_units() {
        let cases = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (11_520, "3 h 12 min"),
            (86_400, "1 day"),
            (183_600, "2 days 3 h"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(short_span(Duration::from_hours(51)), "2 days");
    }

    #[test]
    fn past_and_future_are_told_from_now() {
        let now = Timestamp::from_millis(1_000_000);
        let at = |offset: i64| Timestamp::from_millis(1_000_000 + offset);
        assert_eq!(ago(at(-240_000), now), "4 min ago");
        assert_eq!(ago(at(-10), now), "just now");
        assert_eq!(ago(at(5_000), now), "just now");
        assert_eq!(due(at(0), now), "due now");
        assert_eq!(due(at(-5), now), "due now");
        assert_eq!(due(at(500), now), "in 1 s");
        assert_eq!(due(at(90_000), now), "in 1 min");
        assert_eq!(elapsed(412), "412 ms");
        assert_eq!(elapsed(30_060), "30.0 s");
    }
}
