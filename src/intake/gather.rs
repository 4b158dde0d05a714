//! Opens what is ready and reads as many whole files as fit into one admission, so that a thousand small files cost a
//! few commits and not a thousand. Blocking, and without the store.

use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;

use crate::model::FileReceipt;

use super::folder::{Folder, Look};
use super::parse::Bad;
use super::pieces::ReadError;
use super::settle::Ready;
use super::taking::{CHUNK_BYTES, CHUNK_RESULTS, Chunk, End, Opened, Standards, Taking};

/// The most files of one admission: each is held open until its name is gone, and a process may have 1,024 open by
/// default.
pub const FILES_MAX: usize = 256;
/// So many files are made durable one by one; above that the whole file system is, at once, unless that takes long.
const SYNC_EACH_MAX: usize = 8;

/// What was found behind a name that was ready.
#[derive(Debug)]
pub enum Found {
    /// Its results, or the first of them; boxed, for it holds a block.
    Results(Box<Taking>, Chunk),
    /// It cannot be taken.
    Bad(Box<Taking>, Bad),
    /// It breaks off and may still be being written.
    Unfinished(OsString, Look),
    /// It cannot be taken as it is, but somebody has it open.
    Open(OsString, Look),
    /// It may not be read, or the file system fails.
    Left(OsString, io::Error),
    /// There is no such file any more.
    Gone(OsString),
}

impl Found {
    /// Its name in the inbox.
    pub fn name(&self) -> &OsStr {
        match self {
            Self::Results(taking, _) | Self::Bad(taking, _) => &taking.name,
            Self::Unfinished(name, _) | Self::Open(name, _) | Self::Left(name, _) | Self::Gone(name) => name,
        }
    }
}

/// Some files, read.
#[derive(Debug, Default)]
pub struct Gathered {
    /// In intake order. Only the last one may have more results than are here.
    pub files: Vec<Found>,
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
/// results durable.
pub fn gather(folder: &Folder, mut ready: VecDeque<(Ready, Option<FileReceipt>)>, standards: &Standards) -> Gathered {
    let mut gathered = Gathered::default();
    let (mut results, mut bytes) = (0, 0);
    while gathered.files.len() < FILES_MAX
        && results < CHUNK_RESULTS
        && bytes < CHUNK_BYTES
        && let Some((ready, receipt)) = ready.pop_front()
    {
        let found = one(folder, &ready, receipt, standards, &mut gathered)
            .unwrap_or_else(|error| Found::Left(ready.name, error));
        let mut is_full = false;
        if let Found::Results(_, chunk) = &found {
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
    standards: &Standards,
    gathered: &mut Gathered,
) -> io::Result<Found> {
    let bytes_max = standards.config.inbox.max_result_size;
    let mut taking = match Taking::open(folder, ready.name.clone(), receipt.as_ref(), bytes_max)? {
        Opened::Gone => return Ok(Found::Gone(ready.name.clone())),
        Opened::Taking(taking) => taking,
        Opened::Stale(taking) => {
            gathered.stale.extend(receipt);
            taking
        }
    };
    gathered.opened.insert(ready.name.clone());
    taking.stays = ready.stays();
    taking.is_last_look = ready.is_last_look && !taking.stays;
    match taking.chunk(standards) {
        Ok(chunk) => Ok(Found::Results(taking, chunk)),
        Err(ReadError::Bad(_)) if taking.stays => Ok(Found::Open(taking.name, taking.look)),
        Err(ReadError::Bad(bad)) if bad.unfinished && !ready.is_last_look => {
            Ok(Found::Unfinished(taking.name, taking.look))
        }
        Err(ReadError::Bad(bad)) => Ok(Found::Bad(taking, bad)),
        Err(ReadError::Io(error)) => Err(error),
    }
}

/// Makes the files with results durable, before their results are admitted.
fn sync(folder: &Folder, files: &mut [Found]) -> io::Result<()> {
    let mut takings: Vec<&mut Taking> = files
        .iter_mut()
        .filter_map(|found| match found {
            Found::Results(taking, chunk) if !chunk.entries.is_empty() => Some(taking.as_mut()),
            Found::Results(..)
            | Found::Bad(..)
            | Found::Unfinished(..)
            | Found::Open(..)
            | Found::Left(..)
            | Found::Gone(_) => None,
        })
        .collect();
    if takings.len() > SYNC_EACH_MAX && folder.sync_all_files()? {
        for taking in takings {
            taking.mark_synced();
        }
        return Ok(());
    }
    for taking in &takings {
        // Begins to write them all: else each sync, which allocates what it writes, has the file system's journal
        // committed anew. Only advice.
        let _begun = rustix::fs::fadvise(taking.file(), 0, None, rustix::fs::Advice::DontNeed);
    }
    takings.iter_mut().try_for_each(|taking| {
        folder.pulse().beat();
        taking.sync()
    })
}
