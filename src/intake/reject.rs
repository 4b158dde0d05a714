//! `rejected/`: where a file goes that cannot be taken, or the bad lines of one, with a `NAME.error.json` beside it that says why.
//!
//! Nothing there is ever overwritten. The order is: the report durable under a hidden name, the file moved to its place, the report to its
//! own, both directories synced. A crash between leaves a hidden report, which [`recover`] gives its name or removes.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileExt as _;

use serde::Serialize;

use crate::clock::Timestamp;

use super::folder::{Folder, Look, hidden, inode_of, shown};
use super::parse::{Bad, Format};
use super::pieces::{Pieces, Pulse, ReadError, digest_of_beginning};
use super::taking::fault_of;

/// The name of the directory in `inbox.dir`.
pub const REJECTED: &str = "rejected";
/// What is appended to a rejected file's name for its report.
pub const REPORT_ENDING: &str = ".error.json";
/// The most bad lines that a report lists (interface.md).
const LISTED_MAX: usize = 1000;
/// The longest name of a file, in bytes, on every file system that matters.
const NAME_BYTES_MAX: usize = 255;
/// For whom rejected results are readable: they may be anybody's data, so not for others.
const MODE: u32 = 0o750;

/// What `NAME.error.json` says.
#[derive(Debug, Serialize)]
struct Report<'a> {
    file: &'a str,
    reason: &'a str,
    lines: &'a [BadLine],
    total_bad: u64,
    rejected_at: Timestamp,
}

/// A bad line in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// From 1.
    pub line: u64,
    /// What is wrong, and where in the line.
    pub error: String,
}

/// Why something is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// In one line.
    pub why: String,
    /// The bad lines, as many as a report lists.
    pub lines: Vec<BadLine>,
    /// How many there are.
    pub total_bad: u64,
    /// The present.
    pub rejected_at: Timestamp,
}

impl Reason {
    /// Of a file that is rejected whole.
    pub fn whole(why: String, bad: &Bad, rejected_at: Timestamp) -> Self {
        Self {
            why,
            lines: vec![BadLine {
                line: bad.place.line,
                error: bad.to_string(),
            }],
            total_bad: 1,
            rejected_at,
        }
    }
}

/// Opens `rejected/`, creating it where it is missing.
pub fn open(inbox: &Folder) -> io::Result<Folder> {
    inbox.sub(REJECTED, MODE)
}

/// Moves a whole file there; returns the name it has there, or `None` when its name belongs to another file by now.
pub fn whole(inbox: &Folder, name: &OsStr, look: &Look, reason: &Reason) -> io::Result<Option<OsString>> {
    if inbox.look(name)?.is_none_or(|now| now.inode != look.inode) {
        return Ok(None);
    }
    let rejected = open(inbox)?;
    let moved = publish(inbox, name, look.inode, &rejected, (name, reason))?;
    if rejected.look(&moved)?.is_some_and(|now| now.inode != look.inode) {
        // Another file was renamed over it in between: that one goes back, its reason is not ours.
        rejected.rename(&moved, inbox, name)?;
        rejected.remove(&with_ending(&moved))?;
        return Ok(None);
    }
    rejected.sync()?;
    // Crash before this: the file is in both places after a power cut at worst, and is rejected once more.
    inbox.sync()?;
    Ok(Some(moved))
}

/// Writes the bad lines of an NDJSON file there, as a file of that name; the original stays where it is. `is_resumed`: an earlier life of
/// the daemon may have done it already, so an equal one is not written twice. Returns the name and the reason that was written.
pub fn lines(
    inbox: &Folder,
    name: &OsStr,
    source: &File,
    limits: (usize, u64),
    at: (Timestamp, bool),
) -> Result<(OsString, Reason), ReadError> {
    let (rejected_at, is_resumed) = at;
    let rejected = open(inbox)?;
    let draft = hidden("lines", Look::at(source)?.inode);
    // What a crash left of an earlier try.
    rejected.remove(&draft)?;
    let file = rejected.create(&draft)?;
    let (lines, total_bad) = collect(source, &file, limits, inbox.pulse())?;
    file.sync_all()?;
    let reason = Reason {
        why: format!("{total_bad} of its lines cannot be taken; the others are"),
        lines,
        total_bad,
        rejected_at,
    };
    if is_resumed && let Some(earlier) = equal_one(&rejected, name, &file)? {
        rejected.remove(&draft)?;
        return Ok((earlier, reason));
    }
    let moved = publish(&rejected, &draft, Look::at(&file)?.inode, &rejected, (name, &reason))?;
    rejected.sync()?;
    Ok((moved, reason))
}

/// Lists the bad lines in the first `limits.1` bytes of a file, and copies them.
pub fn collect(source: &File, to: impl io::Write, limits: (usize, u64), pulse: &Pulse) -> Result<(Vec<BadLine>, u64), ReadError> {
    let (bytes_max, taken) = limits;
    let mut pieces = Pieces::new(source.try_clone()?, u64::MAX, Format::Lines, bytes_max).with_pulse(pulse);
    let mut to = BufWriter::new(to);
    let mut listed = Vec::new();
    let mut total = 0;
    while let Some(piece) = pieces.read_next()? {
        if piece.span.start >= taken {
            break;
        }
        let Some(bad) = fault_of(&piece) else { continue };
        total += 1;
        if listed.len() < LISTED_MAX {
            listed.push(BadLine {
                line: piece.place.line,
                error: bad.to_string(),
            });
        }
        // By its place in the file: a line may be longer than what is ever held of it.
        copy(source, &mut to, piece.span, pulse)?;
        to.write_all(b"\n")?;
    }
    to.flush()?;
    Ok((listed, total))
}

fn copy(source: &File, to: &mut impl io::Write, span: std::ops::Range<u64>, pulse: &Pulse) -> io::Result<()> {
    let mut block = vec![0; 64 * 1024];
    let mut at = span.start;
    while at < span.end {
        let room = usize::try_from(span.end - at).unwrap_or(block.len()).min(block.len());
        let length = source.read_at(&mut block[..room], at)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&block[..length])?;
        at += length as u64;
        pulse.beat();
    }
    Ok(())
}

/// Gives hidden reports their names, where their file is there, and removes what a crash left half done. At start.
pub fn recover(inbox: &Folder) -> io::Result<()> {
    let rejected = open(inbox)?;
    let names = rejected.names()?;
    for hidden_name in &names {
        if inode_of("lines", hidden_name).is_some() {
            rejected.remove(hidden_name)?;
        }
        let Some(inode) = inode_of("report", hidden_name) else { continue };
        let mut home = None;
        for name in names.iter().filter(|name| !name.as_bytes().starts_with(b".")) {
            if rejected.look(name)?.is_some_and(|look| look.inode == inode) {
                home = Some(with_ending(name));
            }
        }
        let moved = match home {
            Some(home) => rejected.rename(hidden_name, &rejected, &home)?,
            None => false,
        };
        if !moved {
            rejected.remove(hidden_name)?;
        }
    }
    rejected.sync()
}

/// Moves a file to a free name in `rejected/` and puts its report beside it.
fn publish(from: &Folder, from_name: &OsStr, inode: u64, rejected: &Folder, what: (&OsStr, &Reason)) -> io::Result<OsString> {
    let (name, reason) = what;
    let draft = hidden("report", inode);
    rejected.remove(&draft)?;
    let mut file = rejected.create(&draft)?;
    serde_json::to_writer_pretty(
        &mut file,
        &Report {
            file: &shown(name),
            reason: &reason.why,
            lines: &reason.lines,
            total_bad: reason.total_bad,
            rejected_at: reason.rejected_at,
        },
    )?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    for number in 1_u64.. {
        let free = numbered(name, number);
        let report = with_ending(&free);
        if rejected.look(&report)?.is_none() && from.rename(from_name, rejected, &free)? {
            // Crash here: the file is there, its report still hidden. `recover` puts it beside it.
            rejected.rename(&draft, rejected, &report)?;
            return Ok(free);
        }
    }
    Err(io::Error::other("no free name in rejected/"))
}

/// An earlier one of that name with the same content.
fn equal_one(rejected: &Folder, name: &OsStr, file: &File) -> io::Result<Option<OsString>> {
    let length = Look::at(file)?.size;
    let digest = digest_of_beginning(file, length, rejected.pulse())?;
    for number in 1_u64.. {
        let candidate = numbered(name, number);
        let Some((earlier, look)) = rejected.open_file(&candidate)? else {
            break;
        };
        if look.size == length && digest_of_beginning(&earlier, length, rejected.pulse())? == digest {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

fn with_ending(name: &OsStr) -> OsString {
    let mut name = name.to_owned();
    name.push(REPORT_ENDING);
    name
}

/// `name.json`, `name.2.json`, `name.3.json` …, short enough for its report's name.
fn numbered(name: &OsStr, number: u64) -> OsString {
    let bytes = name.as_bytes();
    let dot = bytes.iter().rposition(|byte| *byte == b'.').unwrap_or(bytes.len());
    let (stem, ending) = bytes.split_at(dot);
    let middle = if number == 1 { String::new() } else { format!(".{number}") };
    let room = NAME_BYTES_MAX.saturating_sub(REPORT_ENDING.len() + middle.len() + ending.len());
    let mut end = stem.len().min(room);
    // Not within a character, where it is text.
    while end < stem.len() && end > 0 && stem[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    OsString::from_vec([&stem[..end], middle.as_bytes(), ending].concat())
}

#[cfg(test)]
mod tests;
