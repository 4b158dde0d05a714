//! A look at the whole inbox directory: opened anew, held, its workshop and `rejected/` in order, its files listed.
//! Blocking.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::FileReceipt;

use super::folder::Folder;
use super::hold::Hold;
use super::identity::{InboxId, identify};
use super::listing::{Listing, Search};
use super::parse::Format;
use super::pieces::Pulse;
use super::remove::{self, bring_back};
use super::watch::Watch;
use super::{reject, workshop};

/// What a scan is to do.
#[derive(Debug)]
pub struct Task {
    /// The inbox.
    pub dir: PathBuf,
    /// What counts its looks.
    pub pulse: Pulse,
    /// The receipts that are kept.
    pub receipts: Vec<FileReceipt>,
    /// What to list.
    pub search: Search,
    /// Whether what a crash left half done in `rejected/` is to be finished.
    pub recover: bool,
    /// Whether a new watch is wanted.
    pub watch: bool,
}

/// What a scan found.
#[derive(Debug)]
pub struct Scan {
    /// The directory.
    pub folder: Folder,
    /// Which one it is.
    pub id: InboxId,
    /// The files.
    pub listing: Listing,
    /// Receipts whose files are durably gone.
    pub gone: Vec<FileReceipt>,
    /// Whether `rejected/` can be used.
    pub rejected: io::Result<()>,
    /// The new watch, where there is one.
    pub watch: Option<Watch>,
}

/// Opens the inbox that the path names just now, asks it which one it is, and holds it: a directory that took the
/// other's place is held anew, or left alone where another daemon has it.
pub fn open(dir: &Path, pulse: Pulse, hold: &mut Option<Hold>) -> io::Result<(Folder, InboxId)> {
    let folder = Folder::open(dir)?.with_pulse(pulse);
    let is_held = hold.as_ref().map(|hold| hold.is_of(&folder)).transpose()?;
    if is_held != Some(true) {
        *hold = None;
        *hold = Some(Hold::take(&folder)?);
    }
    let id = identify(folder.workshop()?)?;
    Ok((folder.with_id(id), id))
}

/// Scans.
pub fn scan(task: Task, hold: &mut Option<Hold>) -> io::Result<Scan> {
    // Before the directory is read: what comes in between is seen twice and never missed.
    let watch = if task.watch { Watch::files(&task.dir).ok() } else { None };
    let (folder, id) = open(&task.dir, task.pulse, hold)?;
    // Those of another directory say nothing of this one.
    let mut receipts = task.receipts;
    receipts.retain(|receipt| receipt.inbox == Some(id));
    let gone = gone(&folder, &receipts)?;
    let rejected = if task.recover {
        reject::recover(&folder)
    } else {
        reject::open(&folder).map(drop)
    };
    let listing = folder.oldest(&task.search, |name| Format::of(name).is_some())?;
    Ok(Scan {
        folder,
        id,
        listing,
        gone,
        rejected,
        watch,
    })
}

fn gone(folder: &Folder, receipts: &[FileReceipt]) -> io::Result<Vec<FileReceipt>> {
    if receipts.is_empty() {
        return Ok(Vec::new());
    }
    let aside: HashSet<u64> = bring_back(folder, receipts)?;
    let mut gone = Vec::new();
    for receipt in receipts {
        // A name at which no look succeeds may be its file.
        let is_there = folder
            .look(&receipt.name)
            .map_or(true, |look| look.is_some_and(|look| look.inode == receipt.inode));
        if !is_there && !aside.contains(&receipt.inode) {
            gone.push(receipt.clone());
        }
    }
    // Before they are forgotten: a power cut must not bring such a file back.
    for workshop in workshop::all(folder)? {
        workshop.sync()?;
    }
    remove::sync(folder)?;
    Ok(gone)
}
