//! A look at the whole inbox directory: opened anew, held, its private directory and `rejected/` in order, its files
//! listed. Blocking.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::{FileReceipt, InboxId};

use super::folder::Folder;
use super::identity::identify;
use super::inbox_lock::InboxLock;
use super::listing::{Listing, Search};
use super::parse::Format;
use super::remove::{self, bring_back};
use super::result_reader::Progress;
use super::watch::Watch;
use super::{private_dir, reject};

/// What a scan is to do.
#[derive(Debug)]
pub struct ScanTask {
    pub dir: PathBuf,
    pub progress: Progress,
    /// The receipts that are kept.
    pub receipts: Vec<FileReceipt>,
    pub search: Search,
    /// Whether what a crash left half done in `rejected/` is to be finished.
    pub recover: bool,
    /// Whether a new watch is wanted.
    pub watch: bool,
}

#[derive(Debug)]
pub struct Scan {
    pub folder: Folder,
    pub id: InboxId,
    pub listing: Listing,
    /// Ledger whose files are durably gone.
    pub gone: Vec<FileReceipt>,
    /// Whether `rejected/` can be used.
    pub rejected: io::Result<()>,
    /// The new watch, where there is one.
    pub watch: Option<Watch>,
}

/// Opens the inbox that the path names just now, asks it which one it is, and holds it: a directory that took the
/// other's place is held anew, or left alone where another daemon has it.
pub fn open(dir: &Path, progress: Progress, inbox_lock: &mut Option<InboxLock>) -> io::Result<(Folder, InboxId)> {
    let folder = Folder::open(dir)?.with_progress(progress);
    let is_held = inbox_lock.as_ref().map(|lock| lock.is_of(&folder)).transpose()?;
    if is_held != Some(true) {
        *inbox_lock = None;
        *inbox_lock = Some(InboxLock::take(&folder)?);
    }
    let id = identify(folder.private_dir()?)?;
    Ok((folder.with_id(id), id))
}

pub fn scan(task: ScanTask, inbox_lock: &mut Option<InboxLock>) -> io::Result<Scan> {
    // Before the directory is read: what comes in between is seen twice and never missed.
    let watch = if task.watch { Watch::files(&task.dir).ok() } else { None };
    let (folder, id) = open(&task.dir, task.progress, inbox_lock)?;
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
            .stat(&receipt.name)
            .map_or(true, |stat| stat.is_some_and(|stat| stat.inode == receipt.inode));
        if !is_there && !aside.contains(&receipt.inode) {
            gone.push(receipt.clone());
        }
    }
    // Before they are forgotten: a power cut must not bring such a file back.
    for private_dir in private_dir::all(folder)? {
        private_dir.sync()?;
    }
    remove::sync(folder)?;
    Ok(gone)
}
