//! `rejected/`: where a file goes that cannot be taken, or the bad lines of one, with a `NAME.error.json` beside it
//! that says why.
//!
//! Nothing there is ever overwritten. The order is: the report durable in the [`private_dir`], the file moved to its
//! place, the report to its own, the directories synced. A crash between leaves a report in the private directory,
//! which [`recover`] gives its name or removes.
//!
//! Rejected results may be anybody's data, and are the only copy: the directory is looked at before each use, and where
//! others may change it the file stays in the inbox.

mod names;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::ffi::OsStrExt as _;

use serde::Serialize;

use crate::clock::Timestamp;

use super::folder::{FileStat, Folder, hidden, inode_of, shown};
use super::open_file::fault_of;
use super::parse::{Format, ParseFault};
use super::private_dir;
use super::result_reader::{Progress, ReadError, ResultReader, digest_of_beginning, read_blocks};
use super::trust::DirOwner;
pub use names::{REPORT_ENDING, numbered};
use names::{is_numbered, with_ending};

/// The name of the directory in `inbox.dir`.
pub const REJECTED: &str = "rejected";
/// The most bad lines that a report lists.
const LISTED_MAX: usize = 1000;
/// For whom rejected results are readable: they may be anybody's data, so not for others.
const MODE: u32 = 0o750;

/// What a report says of a file that is all of it.
const WHOLE: &str = "the file as it came; nothing of it was taken, unless the reason says so";
/// What a report says of a file that holds bad lines.
const LINES: &str = "the bad lines alone, one after the other in the order of `lines`, where `line` is the number in the original and `line_here` the \
                     one in this file; the good lines were taken";
/// What a report says is to be done.
const NEXT: &str = "mend it and move it into the inbox, then delete this report, and what is still here of the file: nothing removes them by itself";

/// A bad line in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// Its number in the original, from 1.
    pub line: u64,
    /// Its number in the file that holds the bad ones alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_here: Option<u64>,
    /// What is wrong, and where in the line.
    pub error: String,
}

impl BadLine {
    fn of(bad: &ParseFault) -> Self {
        Self {
            line: bad.place.line,
            line_here: None,
            error: bad.to_string(),
        }
    }
}

/// What the report of a rejected file says, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectReport {
    /// The name it had in the inbox.
    file: String,
    pub reason: String,
    holds: &'static str,
    next: &'static str,
    /// The bad lines, as many as a report lists.
    pub lines: Vec<BadLine>,
    pub total_bad: u64,
    rejected_at: Timestamp,
}

impl RejectReport {
    /// Of a file that is rejected whole, with its bad lines and how many there are.
    pub fn whole(name: &OsStr, reason: String, bad: (Vec<BadLine>, u64), rejected_at: Timestamp) -> Self {
        let (lines, total_bad) = bad;
        Self {
            file: shown(name),
            reason,
            holds: WHOLE,
            next: NEXT,
            lines,
            total_bad,
            rejected_at,
        }
    }

    /// Of a file that is rejected whole for one fault.
    pub fn of_fault(name: &OsStr, reason: String, bad: &ParseFault, rejected_at: Timestamp) -> Self {
        Self::whole(name, reason, (vec![BadLine::of(bad)], 1), rejected_at)
    }
}

/// Opens `rejected/`, creating it where it is missing. An error where others may change what lies in it.
pub fn open(inbox: &Folder) -> io::Result<Folder> {
    inbox.sub(REJECTED, MODE, DirOwner::UsOrRoot)
}

/// Moves a whole file there; returns the name it has there, or `None` when its name belongs to another file by now.
pub fn whole(inbox: &Folder, name: &OsStr, stat: &FileStat, report: &RejectReport) -> io::Result<Option<OsString>> {
    if inbox.stat(name)?.is_none_or(|now| now.inode != stat.inode) {
        return Ok(None);
    }
    let rejected = open(inbox)?;
    let moved = publish(
        (inbox, name, stat.inode),
        inbox.private_dir()?,
        &rejected,
        (name, report),
    )?;
    if rejected.stat(&moved)?.is_some_and(|now| now.inode != stat.inode) {
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

/// Writes the bad lines of an NDJSON file there, as a file of that name; the original stays where it is. `is_resumed`:
/// an earlier life of the daemon may have done it already, so an equal one is not written twice. Returns the name and
/// the report that was written.
pub fn lines(
    inbox: &Folder,
    name: &OsStr,
    source: &File,
    limits: (usize, u64),
    at: (Timestamp, bool),
) -> Result<(OsString, RejectReport), ReadError> {
    let (rejected_at, is_resumed) = at;
    let rejected = open(inbox)?;
    let private_dir = inbox.private_dir()?;
    let draft = hidden("lines", FileStat::at(source)?.inode);
    // What a crash left of an earlier try.
    private_dir.remove(&draft)?;
    let file = private_dir.create(&draft)?;
    let (mut lines, total_bad) = collect(source, &file, limits, inbox.progress())?;
    file.sync_all()?;
    for (number, line) in (1..).zip(&mut lines) {
        line.line_here = Some(number);
    }
    let why = format!("{total_bad} of its lines cannot be taken; the others are");
    let report = RejectReport {
        holds: LINES,
        ..RejectReport::whole(name, why, (lines, total_bad), rejected_at)
    };
    if is_resumed && let Some(earlier) = equal_one(&rejected, name, &file)? {
        private_dir.remove(&draft)?;
        return Ok((earlier, report));
    }
    let moved = publish(
        (private_dir, &draft, FileStat::at(&file)?.inode),
        private_dir,
        &rejected,
        (name, &report),
    )?;
    rejected.sync()?;
    Ok((moved, report))
}

/// Lists the bad lines in the first `limits.1` bytes of a file, and copies them.
pub fn collect(
    source: &File,
    to: impl io::Write,
    limits: (usize, u64),
    progress: &Progress,
) -> Result<(Vec<BadLine>, u64), ReadError> {
    let (bytes_max, taken) = limits;
    let mut pieces = ResultReader::new(source.try_clone()?, u64::MAX, Format::Lines, bytes_max).with_progress(progress);
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
                ..BadLine::of(&bad)
            });
        }
        // By its place in the file: a line may be longer than what is ever held of it.
        read_blocks(source, piece.span, progress, |block| to.write_all(block))?;
        to.write_all(b"\n")?;
    }
    to.flush()?;
    Ok((listed, total))
}

/// Gives reports their names that a crash left in a private directory, where their file is there, and removes what it
/// left half done. At start.
pub fn recover(inbox: &Folder) -> io::Result<()> {
    let rejected = open(inbox)?;
    // Up to version 0.1 drafts lay in the directory itself.
    let mut places = private_dir::all(inbox)?;
    places.push(open(inbox)?);
    let mut homes: Option<HashMap<u64, OsString>> = None;
    for place in places {
        for draft in place.names()? {
            if inode_of("lines", &draft).is_some() {
                place.remove(&draft)?;
            }
            let Some(inode) = inode_of("report", &draft) else {
                continue;
            };
            // One walk, however many there are.
            let homes = match &mut homes {
                Some(homes) => homes,
                None => homes.insert(by_inode(&rejected)?),
            };
            let moved = match homes.get(&inode) {
                Some(name) => place.rename(&draft, &rejected, &with_ending(name))?,
                None => false,
            };
            if !moved {
                place.remove(&draft)?;
            }
        }
    }
    rejected.sync()
}

fn by_inode(rejected: &Folder) -> io::Result<HashMap<u64, OsString>> {
    let mut homes = HashMap::new();
    for name in rejected.names()? {
        if !name.as_bytes().starts_with(b".")
            && let Some(stat) = rejected.stat(&name)?
        {
            homes.insert(stat.inode, name);
        }
        rejected.progress().tick();
    }
    Ok(homes)
}

/// Moves a file to a free name in `rejected/` and puts its report beside it. `from`: where it lies, under which name,
/// and its inode.
fn publish(
    from: (&Folder, &OsStr, u64),
    private_dir: &Folder,
    rejected: &Folder,
    what: (&OsStr, &RejectReport),
) -> io::Result<OsString> {
    let (place, place_name, inode) = from;
    let (name, report) = what;
    let draft = hidden("report", inode);
    private_dir.remove(&draft)?;
    write_report(private_dir.create(&draft)?, report)?;
    loop {
        let free = numbered(name, free_number(rejected, name)?);
        // Only somebody else's hand in the directory can have been quicker.
        if place.rename(place_name, rejected, &free)? {
            // Crash here: the file is there, its report still in the private directory. `recover` puts it beside it.
            private_dir.rename(&draft, rejected, &with_ending(&free))?;
            return Ok(free);
        }
    }
}

fn write_report(mut file: File, report: &RejectReport) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut file, report)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// A number under which neither a file of this name nor its report lies. Found in a few looks, however many there are:
/// they lie without gaps, and where an operator made some any of them will do.
fn free_number(rejected: &Folder, name: &OsStr) -> io::Result<u64> {
    let is_free = |number| {
        let name = numbered(name, number);
        Ok::<_, io::Error>(rejected.stat(&name)?.is_none() && rejected.stat(&with_ending(&name))?.is_none())
    };
    let (mut taken, mut free) = (0, 1);
    while !is_free(free)? {
        taken = free;
        free *= 2;
    }
    while free - taken > 1 {
        let middle = taken.midpoint(free);
        if is_free(middle)? {
            free = middle;
        } else {
            taken = middle;
        }
    }
    Ok(free)
}

/// An earlier one of that name with the same content. One walk of the directory: needed only after a crash, and for a
/// file that grows.
fn equal_one(rejected: &Folder, name: &OsStr, file: &File) -> io::Result<Option<OsString>> {
    let length = FileStat::at(file)?.size;
    let mut digest = None;
    for candidate in rejected.names()? {
        rejected.progress().tick();
        if !is_numbered(&candidate, name) {
            continue;
        }
        let Some((earlier, stat)) = rejected.open_file(&candidate)? else {
            continue;
        };
        if stat.size != length {
            continue;
        }
        if digest.is_none() {
            digest = digest_of_beginning(file, length, rejected.progress())?;
        }
        if digest_of_beginning(&earlier, length, rejected.progress())? == digest {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}
