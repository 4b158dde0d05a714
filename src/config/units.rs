//! Durations and sizes as people write them: `250ms`, `30s`, `1h30m`, `7d`, `64KiB`, `10MB`, and a bare `0` for either.
//! Pure.
//!
//! What is shown is read back as the same value (a property below), so that `check-config` prints a file that can be
//! used.

use std::time::Duration;

/// The longest duration: a hundred years. Longer ones say "never" by accident, and would bring the arithmetic of time
/// to its end.
pub const DURATION_MAX: Duration = Duration::from_hours(36_500 * 24);

/// The units of a duration in milliseconds, in the order in which they may follow one another.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The units of a size in bytes; the first that divides a size evenly is the one it is shown in.
const SIZE_UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads a duration: whole numbers with their units, the larger unit first, each at most once. `None` for anything
/// else, and above [`DURATION_MAX`].
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut units = DURATION_UNITS.as_slice();
    let mut millis = 0_u64;
    while !rest.is_empty() {
        let (number, behind) = leading_number(rest)?;
        let unit_length = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_length);
        let place = units.iter().position(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.checked_mul(units[place].1)?)?;
        units = &units[place + 1..];
        rest = behind;
    }
    let duration = Duration::from_millis(millis);
    (!text.is_empty() && duration <= DURATION_MAX).then_some(duration)
}

/// Shows a duration so that [`parse_duration`] reads it back; what is less than a millisecond is cut off.
pub fn show_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let parts = DURATION_UNITS.iter().filter_map(|(name, unit)| {
        let count = left / unit;
        left %= unit;
        (count > 0).then(|| format!("{count}{name}"))
    });
    let shown: String = parts.collect();
    if shown.is_empty() { "0".to_owned() } else { shown }
}

/// Reads a size in bytes: one whole number with its unit, or a bare `0`.
pub fn parse_size(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let (number, unit) = leading_number(text)?;
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*bytes)
}

/// Shows a size so that [`parse_size`] reads it back.
pub fn show_size(bytes: u64) -> String {
    let unit = SIZE_UNITS
        .iter()
        .find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| "0".to_owned(), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// The digits a text begins with, and what follows them. `None` without a digit, and above 64 bits.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let length = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(length);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_with_their_units_only() {
        let cases = [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("10m", Some(600_000)),
            ("1h30m", Some(5_400_000)),
            ("7d", Some(604_800_000)),
            ("1s500ms", Some(1_500)),
            ("90m", Some(5_400_000)),
            ("36500d", Some(3_153_600_000_000)),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text}");
        }
        let wrong = [
            "",
            " ",
            "7",
            "00",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            "10 minutes",
            "10 m",
            " 10m",
            "10m ",
            "30m1h",
            "1s1s",
            "1ms1s",
            "5M",
            "5w",
            "36501d",
            "99999999999999999999s",
            "18446744073709551615d",
            "forever",
            "1h30",
            "१s",
        ];
        for text in wrong {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_with_their_unit_only() {
        let cases = [
            ("0", 0),
            ("0B", 0),
            ("65536B", 65_536),
            ("64KiB", 65_536),
            ("1MiB", 1_048_576),
            ("10MB", 10_000_000),
            ("5kB", 5_000),
            ("2GiB", 2_147_483_648),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "64",
            "64K",
            "64kib",
            "64 KiB",
            "KiB",
            "1.5MiB",
            "-1B",
            "1MiB1KiB",
            "99999999999TiB",
            "1b",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn round_values_are_shown_in_their_round_units() {
        assert_eq!(show_duration(Duration::from_hours(7 * 24)), "7d");
        assert_eq!(show_duration(Duration::from_mins(90)), "1h30m");
        assert_eq!(show_duration(Duration::ZERO), "0");
        assert_eq!(show_size(65_536), "64KiB");
        assert_eq!(show_size(10_000_000), "10MB");
        assert_eq!(show_size(7), "7B");
        assert_eq!(show_size(0), "0");
    }

    proptest! {
        #[test]
        fn a_duration_that_is_shown_is_read_back(millis in 0..=3_153_600_000_000_u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }

        #[test]
        fn a_size_that_is_shown_is_read_back(bytes: u64) {
            prop_assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "\\PC{0,20}|[0-9]{0,21}(ms|s|m|h|d|KiB|MB)?[0-9]*") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
