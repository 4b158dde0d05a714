//! The names of rejected files and of their reports.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// What is appended to a rejected file's name for its report.
pub const REPORT_ENDING: &str = ".error.json";
/// The longest name of a file, in bytes, on every file system that matters.
pub(super) const NAME_BYTES_MAX: usize = 255;

/// Whether this is the name of a rejected file of that name, whichever its number.
pub(super) fn is_numbered(candidate: &OsStr, name: &OsStr) -> bool {
    if candidate == numbered(name, 1) {
        return true;
    }
    let bytes = candidate.as_bytes();
    let dot = bytes.iter().rposition(|byte| *byte == b'.').unwrap_or(bytes.len());
    let stem = &bytes[..dot];
    let number = stem
        .rsplit(|byte| *byte == b'.')
        .next()
        .and_then(|digits| std::str::from_utf8(digits).ok());
    let number: Option<u64> = number.and_then(|digits| digits.parse().ok());
    number.is_some_and(|number| number > 1 && candidate == numbered(name, number))
}

pub(super) fn with_ending(name: &OsStr) -> OsString {
    let mut name = name.to_owned();
    name.push(REPORT_ENDING);
    name
}

/// `name.json`, `name.2.json`, `name.3.json` …, short enough for its report's name.
pub fn numbered(name: &OsStr, number: u64) -> OsString {
    let bytes = name.as_bytes();
    let dot = bytes.iter().rposition(|byte| *byte == b'.').unwrap_or(bytes.len());
    let (stem, ending) = bytes.split_at(dot);
    let middle = if number == 1 {
        String::new()
    } else {
        format!(".{number}")
    };
    let room = NAME_BYTES_MAX.saturating_sub(REPORT_ENDING.len() + middle.len() + ending.len());
    let mut end = stem.len().min(room);
    // Not within a character, where it is text.
    while end < stem.len() && end > 0 && stem[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    OsString::from_vec([&stem[..end], middle.as_bytes(), ending].concat())
}
