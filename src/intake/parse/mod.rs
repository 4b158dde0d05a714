//! Bytes to results: a state machine fed with pieces of a file of any length, which holds one result at a time. Pure.
//!
//! It only finds where each result begins and ends and whether it is UTF-8 within the limit of size; whether the text
//! between is a JSON object is asked of [`Object::parse`](crate::model::payload::Object::parse) by whoever takes the
//! [`RawResult`], and where it is not, [`Position::bad`] says where in the file. How the bytes were cut into pieces never
//! matters. Nothing here recurses, however deep a result nests.
//!
//! Two formats, two kinds of failure: a `.json` file is taken whole or not at all, so the first fault ends it (`Err`);
//! of NDJSON only the bad line is lost, so a fault is a [`RawResult`] like any other.

mod json;
mod lines;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fmt;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;

use serde::de::IgnoredAny;

use crate::model::payload::NotAnObject;

use json::JsonSplitter;
use lines::LineSplitter;

/// The byte order mark that some editors write.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// How a file holds its results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One object, or an array of them (`.json`).
    Json,
    /// One object a line (`.ndjson`, `.jsonl`).
    Lines,
}

impl Format {
    /// The format of a file by its name; `None` for names that are not ours: others, hidden ones, `.tmp` and `.part`.
    pub fn of(name: &OsStr) -> Option<Self> {
        let name = name.as_bytes();
        // A name that is nothing but an ending is a hidden file.
        if name.starts_with(b".") {
            None
        } else if name.ends_with(b".json") {
            Some(Self::Json)
        } else if name.ends_with(b".ndjson") || name.ends_with(b".jsonl") {
            Some(Self::Lines)
        } else {
            None
        }
    }
}

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
    fn syntax(self, bytes: &[u8], ended: bool) -> ParseFault {
        let Err(error) = serde_json::from_slice::<IgnoredAny>(bytes) else {
            return ParseFault {
                place: self,
                why: "not JSON".into(),
                unfinished: false,
            };
        };
        let told = error.to_string();
        // The parser counts from the beginning of the result; we name the place in the file.
        let what = told.rsplit_once(" at line ").map_or(told.as_str(), |(what, _)| what);
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

    /// The place behind `bytes`, which begin here.
    fn behind(self, bytes: &[u8]) -> Self {
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

    fn over(self, bytes_max: usize) -> ParseFault {
        ParseFault {
            place: self,
            why: format!("larger than inbox.max_result_size ({bytes_max} bytes)"),
            unfinished: false,
        }
    }

    /// Bytes that begin here as text.
    fn text(self, bytes: Vec<u8>) -> Result<String, ParseFault> {
        String::from_utf8(bytes).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let wrong = error.as_bytes().get(good).copied().unwrap_or_default();
            ParseFault {
                place: self.behind(&error.as_bytes()[..good]),
                why: format!("byte 0x{wrong:02X} is not UTF-8; write the file in UTF-8"),
                unfinished: false,
            }
        })
    }
}

fn line_breaks(bytes: &[u8]) -> u64 {
    bytes.split(|byte| *byte == b'\n').count() as u64 - 1
}

/// Finds the results in the bytes of one file.
#[derive(Debug, Clone)]
pub enum Splitter {
    Json(JsonSplitter),
    Lines(LineSplitter),
}

impl Splitter {
    /// At the beginning of a file. No result may have more than `bytes_max` bytes.
    pub fn new(format: Format, bytes_max: usize) -> Self {
        match format {
            Format::Json => Self::Json(JsonSplitter::new(bytes_max)),
            Format::Lines => Self::Lines(LineSplitter::new(bytes_max)),
        }
    }

    /// Takes bytes from the front of `input` until a result ends (`Some`) or none are left (`None`). `Err` is the end
    /// of a `.json`.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<RawResult>, ParseFault> {
        match self {
            Self::Json(splitter) => splitter.next(input),
            Self::Lines(splitter) => Ok(splitter.next(input)),
        }
    }

    /// The file ends here: whether it may. Gives the last line where it has no line break; more may be fed afterwards,
    /// if it grew.
    pub fn finish(&mut self) -> Result<Option<RawResult>, ParseFault> {
        match self {
            Self::Json(splitter) => splitter.finish().map(|()| None),
            Self::Lines(splitter) => splitter.finish(),
        }
    }

    /// How many results (items, or lines that are not blank) have come so far.
    pub fn found(&self) -> u64 {
        match self {
            Self::Json(splitter) => splitter.found(),
            Self::Lines(splitter) => splitter.found(),
        }
    }
}
