//! What is found in a file: a result as text, or a fault, and where it is.

use std::fmt;
use std::ops::Range;

use serde::de::IgnoredAny;

use crate::model::payload::NotAnObject;

/// The byte order mark that some editors write.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Where something is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: u64,
    /// In bytes, from 1.
    pub column: u64,
    /// The item of an array, from 1.
    pub item: Option<u64>,
}

/// What is wrong with a file, or with a line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseFault {
    pub place: Position,
    /// What, and what would be right.
    pub why: String,
    /// Whether more bytes could mend it: the file may still be being written.
    pub unfinished: bool,
}

impl fmt::Display for ParseFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column, item } = self.place;
        write!(f, "line {line}, column {column}")?;
        if let Some(item) = item {
            write!(f, " (item {item})")?;
        }
        write!(f, ": {}", self.why)
    }
}

/// One result of a file, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawResult {
    pub place: Position,
    /// Its bytes in the file, without a line's break.
    pub span: Range<u64>,
    /// The text; of a line that cannot be one, what is wrong.
    pub text: Result<String, ParseFault>,
    /// Whether a line ended with its line break (an item of a `.json` always has its end).
    pub ended: bool,
}

impl Position {
    /// Why `text`, which begins here, is no result; `ended` as in [`RawResult`].
    pub fn bad(self, text: &str, why: &NotAnObject, ended: bool) -> ParseFault {
        match why {
            NotAnObject::Other(_) => ParseFault {
                place: self,
                why: why.to_string(),
                // `12` may become `12{`, which is no better.
                unfinished: false,
            },
            NotAnObject::Syntax(_) => self.syntax(text.as_bytes(), ended),
        }
    }

    /// What JSON's grammar says of `bytes`, which begin here, at its place in the file.
    pub(super) fn syntax(self, bytes: &[u8], ended: bool) -> ParseFault {
        let Err(error) = serde_json::from_slice::<IgnoredAny>(bytes) else {
            return ParseFault {
                place: self,
                why: "not JSON".into(),
                unfinished: false,
            };
        };
        let described = error.to_string();
        // The parser counts from the beginning of the result; we name the place in the file.
        let what = described
            .rsplit_once(" at line ")
            .map_or(described.as_str(), |(what, _)| what);
        let (down, right) = (error.line().saturating_sub(1) as u64, error.column() as u64);
        let column = if down == 0 {
            self.column + right.saturating_sub(1)
        } else {
            right.max(1)
        };
        ParseFault {
            place: Self {
                line: self.line + down,
                column,
                item: self.item,
            },
            why: format!("not JSON: {what}"),
            unfinished: error.is_eof() && !ended,
        }
    }

    /// The place after `bytes`, which begin here.
    fn after(self, bytes: &[u8]) -> Self {
        let down = line_breaks(bytes);
        let column = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => (bytes.len() - at) as u64,
            None => self.column + bytes.len() as u64,
        };
        Self {
            line: self.line + down,
            column,
            item: self.item,
        }
    }

    pub(super) fn over(self, bytes_max: usize) -> ParseFault {
        ParseFault {
            place: self,
            why: format!("larger than inbox.max_result_size ({bytes_max} bytes)"),
            unfinished: false,
        }
    }

    /// Bytes that begin here as text.
    pub(super) fn text(self, bytes: Vec<u8>) -> Result<String, ParseFault> {
        String::from_utf8(bytes).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let wrong = error.as_bytes().get(good).copied().unwrap_or_default();
            ParseFault {
                place: self.after(&error.as_bytes()[..good]),
                why: format!("byte 0x{wrong:02X} is not UTF-8; write the file in UTF-8"),
                unfinished: false,
            }
        })
    }
}

pub(super) fn line_breaks(bytes: &[u8]) -> u64 {
    bytes.split(|byte| *byte == b'\n').count() as u64 - 1
}
