//! Times for people: how long, how long ago, how soon. JSON has the exact ones.

use std::time::Duration;

use crate::clock::Timestamp;

/// A span in its two largest units at most: `0 s`, `42 s`, `4 min`, `3 h 12 min`, `2 days 3 h`.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |large: String, small: u64, unit: &str| {
        if small == 0 {
            large
        } else {
            format!("{large} {small} {unit}")
        }
    };
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=3599 => format!("{minutes} min"),
        3600..=86_399 => pair(format!("{hours} h"), minutes % 60, "min"),
        _ => pair(
            format!("{days} {}", if days == 1 { "day" } else { "days" }),
            hours % 24,
            "h",
        ),
    }
}

/// The same in its largest unit alone, for narrow columns.
pub fn short_span(duration: Duration) -> String {
    let text = span(duration);
    let mut words = text.split(' ');
    format!(
        "{} {}",
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default()
    )
}

/// `4 min ago`; `just now` within a second (or when the clock was set back).
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    match now.since(at) {
        young if young < Duration::from_secs(1) => "just now".to_owned(),
        old => format!("{} ago", short_span(old)),
    }
}

/// What is further away than this is a date: nobody counts in thousands of days.
const FAR: Duration = Duration::from_hours(10 * 24);

/// `due now`, `in 12 s`, or `on 2099-01-01`. Rounded up: what is due in half a second is not due yet.
pub fn due(at: Timestamp, now: Timestamp) -> String {
    let wait = at.since(now);
    if wait.is_zero() {
        return "due now".to_owned();
    }
    if wait >= FAR {
        return format!("on {}", at.to_string().chars().take(DATE_CHARS).collect::<String>());
    }
    format!(
        "in {}",
        short_span(Duration::from_secs(
            wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
        ))
    )
}

/// The date of a time as it is written.
const DATE_CHARS: usize = "2099-01-01".len();

/// `in 12 s (2026-…)`; of what is far away the time alone, `on 2099-…`.
pub fn due_in_full(at: Timestamp, now: Timestamp) -> String {
    if at.since(now) >= FAR {
        return format!("on {at}");
    }
    format!("{} ({at})", due(at, now))
}

/// A time in full with how long ago it was, or how soon it is where it is soon.
pub fn full(at: Timestamp, now: Timestamp) -> String {
    if at.since(now) >= FAR {
        return at.to_string();
    }
    if at > now {
        return format!("{at} ({})", due(at, now));
    }
    format!("{at} ({})", ago(at, now))
}

/// Milliseconds as people say them: `0.8 s` is `800 ms`, longer ones have a digit after the point.
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
        let far = Timestamp::parse_iso8601("2099-01-01T00:00:00Z").unwrap();
        assert_eq!(due(far, now), "on 2099-01-01");
        assert_eq!(
            (due_in_full(far, now), full(far, now)),
            (format!("on {far}"), far.to_string())
        );
        assert_eq!(due_in_full(at(5_000), now), format!("in 5 s ({})", at(5_000)));
        assert_eq!(elapsed(412), "412 ms");
        assert_eq!(elapsed(30_060), "30.0 s");
    }
}
