//! Opens what is ready and reads as many whole files as fit into one admission, so that a thousand small files cost a
//! few commits and not a thousand. Blocking, and without the store.

use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;

use crate::model::FileReceipt;
use crate::policy::validate::Criteria;

use super::folder::{FileStat, Folder};
use super::open_file::{CHUNK_BYTES, CHUNK_RESULTS, Chunk, End, OpenFile};
use super::parse::ParseFault;
use super::result_reader::ReadError;
use super::stability::Ready;

/// The most files of one admission: each is held open until its name is gone, and a process may have 1,024 open by
/// default.
pub const FILES_MAX: usize = 256;
/// So many files are made durable one by one; above that the whole file system is, at once, unless that takes long.
const SYNC_EACH_MAX: usize = 8;

/// What was found under a name that was ready.
#[derive(Debug)]
pub enum ReadOutcome {
    /// Its results, or the first of them; boxed, for it holds a block.
    Results(Box<OpenFile>, Chunk),
    Bad(Box<OpenFile>, ParseFault),
    /// It breaks off and may still be being written.
    Unfinished(OsString, FileStat),
    /// It cannot be taken as it is, but somebody has it open.
    Open(OsString, FileStat),
    /// It may not be read, or the file system fails.
    Left(OsString, io::Error),
    /// There is no such file any more.
    Gone(OsString),
}

impl ReadOutcome {
    /// Its name in the inbox.
    pub fn name(&self) -> &OsStr {
        match self {
            Self::Results(open_file, _) | Self::Bad(open_file, _) => &open_file.name,
            Self::Unfinished(name, _) | Self::Open(name, _) | Self::Left(name, _) | Self::Gone(name) => name,
        }
    }
}

#[derive(Debug, Default)]
pub struct Gathered {
    /// In intake order. Only the last one may have more results than are here.
    pub files: Vec<ReadOutcome>,
    /// Receipts that are of other files than those that have their names now.
    pub stale: Vec<FileReceipt>,
    /// What was not opened yet.
    pub rest: VecDeque<(Ready, Option<FileReceipt>)>,
    /// The names that were opened.
    pub opened: HashSet<OsString>,
    /// Why they could not be made durable: then nothing of them may be admitted.
    pub unsynced: Option<io::Error>,
}

/// Reads files until an admission is full, each with the receipt that was found under its name, and makes those with
/// results durable. `limits`: the largest result in bytes, and what else each is judged by.
pub fn gather(
    folder: &Folder,
    mut ready: VecDeque<(Ready, Option<FileReceipt>)>,
    limits: (usize, &Criteria),
) -> Gathered {
    let mut gathered = Gathered::default();
    let (mut results, mut bytes) = (0, 0);
    while gathered.files.len() < FILES_MAX
        && results < CHUNK_RESULTS
        && bytes < CHUNK_BYTES
        && let Some((ready, receipt)) = ready.pop_front()
    {
        let found = one(folder, &ready, receipt, limits, &mut gathered)
            .unwrap_or_else(|error| ReadOutcome::Left(ready.name, error));
        let mut is_full = false;
        if let ReadOutcome::Results(_, chunk) = &found {
            results += chunk.entries.len();
            bytes += chunk
                .entries
                .iter()
                .map(|entry| entry.payload.bytes().len())
                .sum::<usize>();
            is_full = chunk.end == End::More;
        }
        gathered.files.push(found);
        if is_full {
            break;
        }
    }
    gathered.rest = ready;
    gathered.unsynced = sync(folder, &mut gathered.files).err();
    gathered
}

fn one(
    folder: &Folder,
    ready: &Ready,
    receipt: Option<FileReceipt>,
    (bytes_max, criteria): (usize, &Criteria),
    gathered: &mut Gathered,
) -> io::Result<ReadOutcome> {
    let Some(mut open_file) = OpenFile::open(folder, ready.name.clone(), receipt.as_ref(), bytes_max)? else {
        return Ok(ReadOutcome::Gone(ready.name.clone()));
    };
    if !open_file.is_resumed {
        gathered.stale.extend(receipt);
    }
    gathered.opened.insert(ready.name.clone());
    open_file.stays = ready.stays();
    open_file.is_last_look = ready.is_last_look && !open_file.stays;
    match open_file.chunk(criteria) {
        Ok(chunk) => Ok(ReadOutcome::Results(open_file, chunk)),
        Err(ReadError::Bad(_)) if open_file.stays => Ok(ReadOutcome::Open(open_file.name, open_file.stat)),
        Err(ReadError::Bad(bad)) if bad.unfinished && !ready.is_last_look => {
            Ok(ReadOutcome::Unfinished(open_file.name, open_file.stat))
        }
        Err(ReadError::Bad(bad)) => Ok(ReadOutcome::Bad(open_file, bad)),
        Err(ReadError::Io(error)) => Err(error),
    }
}

/// Makes the files with results durable, before their results are admitted.
fn sync(folder: &Folder, files: &mut [ReadOutcome]) -> io::Result<()> {
    let mut open_files: Vec<&mut OpenFile> = files
        .iter_mut()
        .filter_map(|found| match found {
            ReadOutcome::Results(open_file, chunk) if !chunk.entries.is_empty() => Some(open_file.as_mut()),
            ReadOutcome::Results(..)
            | ReadOutcome::Bad(..)
            | ReadOutcome::Unfinished(..)
            | ReadOutcome::Open(..)
            | ReadOutcome::Left(..)
            | ReadOutcome::Gone(_) => None,
        })
        .collect();
    if open_files.len() > SYNC_EACH_MAX && folder.sync_all_files()? {
        for open_file in open_files {
            open_file.mark_synced();
        }
        return Ok(());
    }
    for open_file in &open_files {
        // Begins to write them all: else each sync, which allocates what it writes, has the file system's journal
        // committed anew. Only advice.
        let _begun = rustix::fs::fadvise(open_file.file(), 0, None, rustix::fs::Advice::DontNeed);
    }
    open_files.iter_mut().try_for_each(|open_file| {
        folder.progress().tick();
        open_file.sync()
    })
}
