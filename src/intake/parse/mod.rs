//! Bytes to results: a state machine fed with pieces of a file of any length, which holds one result at a time. Pure.
//!
//! It only finds where each result begins and ends and whether it is UTF-8 within the limit of size; whether the text
//! between is a JSON object is asked of [`Object::parse`](crate::model::payload::Object::parse) by whoever takes the
//! [`RawResult`], and where it is not, [`Position::bad`] says where in the file. How the bytes were cut into pieces
//! never matters. Nothing here recurses, however deep a result nests.
//!
//! Two formats, two kinds of failure: a `.json` file is taken whole or not at all, so the first fault ends it (`Err`);
//! of NDJSON only the bad line is lost, so a fault is a [`RawResult`] like any other.

mod json;
mod lines;
mod raw_result;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use json::JsonSplitter;
use lines::LineSplitter;
pub use raw_result::{ParseFault, Position, RawResult};

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
