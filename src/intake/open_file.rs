//! One file on its way into the outbox: read in chunks that are admitted one by one, and recognised again after a crash
//! by its receipt. Blocking, and without the store: [`take`](super::file_batches) does what is decided here.
//!
//! A `.json` is read to its end before its first chunk is given out: it is taken whole or not at all. Of NDJSON the bad
//! lines are counted and passed over; [`reject`](super::reject) reads the file once more to collect them.

use std::ffi::OsString;
use std::fs::File;
use std::io;

use crate::model::payload::Object;
use crate::model::{Entry, FileReceipt, InboxId, Origin};
use crate::policy::validate::Criteria;

use super::entry::{Judged, entry};
use super::folder::{FileStat, Folder, shown};
use super::parse::{Format, ParseFault, RawResult};
use super::result_reader::{Bookmark, Progress, ReadError, ResultReader, digest_of_beginning};

/// The most results of one admission: the claims of the senders wait for the write lock meanwhile, some milliseconds.
pub const CHUNK_RESULTS: usize = 500;
/// The most payload bytes of one admission; one result more may lie above it.
pub const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// A file that is being taken. It is held open: as long as it is, its inode is not given to another file.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is another thing that was seen of the file, and no two of them exclude one another"
)]
pub struct OpenFile {
    /// Its name in the inbox.
    pub name: OsString,
    pub shown: String,
    /// How it holds its results.
    pub format: Format,
    /// The last look at it.
    pub stat: FileStat,
    /// Whether it was written while it was read: then its bytes are compared before it is removed.
    pub was_written: bool,
    /// How many results came out of it in this life of the daemon.
    pub results: u64,
    /// How many bad lines it has before [`OpenFile::mark`].
    pub bad_lines: u64,
    /// Whether a receipt of an earlier take was continued.
    pub is_resumed: bool,
    /// It stood still since it seemed unfinished: a last line that does not parse is a bad one.
    pub is_last_look: bool,
    /// Somebody may still be writing to it: it is neither removed nor rejected.
    pub stays: bool,
    pieces: ResultReader,
    /// How far it is given out.
    mark: Bookmark,
    /// The look at which it was made durable.
    synced: Option<FileStat>,
    /// The inbox in which it lies.
    inbox: Option<InboxId>,
    /// The largest result, by the configuration at the first reading: a line is judged alike each time it is read, or
    /// it would fall between being taken and being rejected.
    result_bytes_max: usize,
}

/// Some results of a file.
#[derive(Debug, Default)]
pub struct Chunk {
    pub entries: Vec<Entry>,
    /// Under `validation.mode = "warn"`: what is to be said, with the line.
    pub warnings: Vec<String>,
    /// Whether one of them has a result type that is not in the list.
    pub has_unknown_code: bool,
    pub end: End,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum End {
    #[default]
    More,
    /// Nothing: the file is read to its end.
    Whole,
    /// A last line that does not parse and may still be being written.
    Unfinished(ParseFault),
}

impl OpenFile {
    /// Opens a file of the inbox and continues where `receipt` says, if it is of this very file; else the receipt is to
    /// be forgotten, and `is_resumed` stays false. Boxed, for it holds a block. `None`: no regular file has that name.
    pub fn open(
        folder: &Folder,
        name: OsString,
        receipt: Option<&FileReceipt>,
        bytes_max: usize,
    ) -> io::Result<Option<Box<Self>>> {
        let Some(format) = Format::of(&name) else {
            return Ok(None);
        };
        let Some((file, stat)) = folder.open_file(&name)? else {
            return Ok(None);
        };
        let pieces =
            |file, bytes_max| ResultReader::new(file, stat.size, format, bytes_max).with_progress(folder.progress());
        let first_max = receipt
            .and_then(|receipt| receipt.result_bytes_max)
            .unwrap_or(bytes_max);
        let mut open_file = Self::new(pieces(file, first_max), name, format, stat);
        (open_file.inbox, open_file.result_bytes_max) = (folder.id(), first_max);
        match receipt {
            None => Ok(Some(Box::new(open_file))),
            Some(receipt) if open_file.resume(receipt)? => Ok(Some(Box::new(open_file))),
            Some(_) => {
                let mut fresh = Self::new(
                    pieces(open_file.pieces.file().try_clone()?, bytes_max),
                    open_file.name,
                    format,
                    stat,
                );
                (fresh.inbox, fresh.result_bytes_max) = (folder.id(), bytes_max);
                Ok(Some(Box::new(fresh)))
            }
        }
    }

    fn new(pieces: ResultReader, name: OsString, format: Format, stat: FileStat) -> Self {
        Self {
            shown: shown(&name),
            name,
            format,
            stat,
            was_written: false,
            results: 0,
            bad_lines: 0,
            is_resumed: false,
            is_last_look: false,
            stays: false,
            mark: pieces.bookmark(),
            pieces,
            synced: None,
            inbox: None,
            result_bytes_max: 0,
        }
    }

    /// Reads what the receipt says is taken; false when these are other bytes. An equal file dropped later under the
    /// same name has another modification time, unless it was given the same one on purpose.
    fn resume(&mut self, receipt: &FileReceipt) -> io::Result<bool> {
        let nothing_more = self.stat.size == receipt.taken;
        if self.stat.inode != receipt.inode || self.stat.size < receipt.taken {
            return Ok(false);
        }
        if nothing_more && self.stat.modified_ns != receipt.modified_ns {
            return Ok(false);
        }
        loop {
            match self.pieces.read_until(receipt.taken) {
                Ok(Some(piece)) => self.bad_lines += u64::from(fault_of(&piece).is_some()),
                Ok(None) => break,
                // It was taken once, so what does not parse now is something else.
                Err(ReadError::Bad(_)) => return Ok(false),
                Err(ReadError::Io(error)) => return Err(error),
            }
        }
        if self.pieces.bookmark().digest() != receipt.digest {
            return Ok(false);
        }
        if self.format == Format::Lines {
            let last = self.pieces.last_line();
            self.bad_lines += u64::from(last.is_some_and(|piece| fault_of(&piece).is_some()));
        }
        self.mark = self.pieces.bookmark();
        self.is_resumed = true;
        Ok(true)
    }

    /// The next results. `Err(Bad)`: the file cannot be taken; of a `.json` nothing was given out before, unless it was
    /// changed while it is read.
    pub fn chunk(&mut self, criteria: &Criteria) -> Result<Chunk, ReadError> {
        let is_first = self.mark.found() == 0;
        let chunk = self.read(criteria)?;
        if self.format == Format::Json && is_first && chunk.end == End::More {
            self.check()?;
            self.pieces.return_to(&self.mark);
        }
        // Only now, after the reading: the receipt is to know a time that is no older than the bytes it speaks of.
        self.stat_again()?;
        self.results += chunk.entries.len() as u64;
        Ok(chunk)
    }

    fn read(&mut self, criteria: &Criteria) -> Result<Chunk, ReadError> {
        let mut chunk = Chunk::default();
        let mut bytes = 0;
        let mut seen = 0;
        while seen < CHUNK_RESULTS && bytes < CHUNK_BYTES {
            let Some(piece) = self.pieces.read_next()? else {
                if !self.is_at_end()? {
                    continue; // It grew while it was read.
                }
                self.mark = self.pieces.bookmark();
                chunk.end = End::Whole;
                break;
            };
            seen += 1;
            match self.judge(&piece, criteria) {
                Ok(judged) => {
                    bytes += judged.entry.payload.bytes().len();
                    let place = piece.place.line;
                    chunk.has_unknown_code |= judged.has_unknown_code;
                    chunk.warnings.extend(
                        judged
                            .warning
                            .map(|what| format!("{}, line {place}: {what}", self.shown)),
                    );
                    chunk.entries.push(judged.entry);
                }
                Err(bad) if self.format == Format::Json => return Err(ReadError::Bad(bad)),
                Err(bad) if !piece.ended && !self.is_last_look => {
                    // The mark stays before it: the next take reads it again, with what has come by then.
                    chunk.end = End::Unfinished(bad);
                    break;
                }
                Err(_) => self.bad_lines += 1,
            }
            self.mark = self.pieces.bookmark();
        }
        Ok(chunk)
    }

    fn judge(&self, piece: &RawResult, criteria: &Criteria) -> Result<Judged, ParseFault> {
        let text = piece.text.as_deref().map_err(Clone::clone)?;
        let origin = Origin::File {
            name: self.shown.clone(),
            line: (self.format == Format::Lines).then_some(piece.place.line),
            item: piece.place.item,
        };
        entry(text, origin, None, criteria).map_err(|why| piece.place.bad(text, &why, piece.ended))
    }

    /// Reads a `.json` to its end, for its faults alone.
    fn check(&mut self) -> Result<(), ReadError> {
        while let Some(piece) = self.pieces.read_next()? {
            if let Some(bad) = fault_of(&piece) {
                return Err(ReadError::Bad(bad));
            }
        }
        Ok(())
    }

    /// Looks at the file again where its end seems to be: false when it grew meanwhile.
    fn is_at_end(&mut self) -> io::Result<bool> {
        self.stat_again()?;
        Ok(self.stat.size <= self.pieces.bookmark().taken())
    }

    fn stat_again(&mut self) -> io::Result<()> {
        let stat = FileStat::at(self.pieces.file())?;
        self.was_written |= !stat.is_same_content(&self.stat);
        self.stat = stat;
        Ok(())
    }

    /// Makes the file's bytes and times durable, where they are not yet. Before each admission: else a power cut could
    /// bring the name back with other bytes or another time than the receipt knows, and what is left of them would be
    /// taken once more.
    pub fn sync(&mut self) -> io::Result<()> {
        if !self.synced.is_some_and(|synced| synced.is_same_content(&self.stat)) {
            self.pieces.file().sync_all()?;
            self.mark_synced();
        }
        Ok(())
    }

    /// Somebody else made it durable, with others of its file system.
    pub fn mark_synced(&mut self) {
        self.synced = Some(self.stat);
    }

    /// The receipt of what was given out.
    pub fn receipt(&self) -> FileReceipt {
        FileReceipt {
            inbox: self.inbox,
            name: self.name.clone(),
            inode: self.stat.inode,
            modified_ns: self.stat.modified_ns,
            taken: self.mark.taken(),
            lines: self.mark.found(),
            digest: self.mark.digest(),
            result_bytes_max: Some(self.result_bytes_max),
        }
    }

    /// The largest result that is taken of it, in bytes.
    pub fn result_bytes_max(&self) -> usize {
        self.result_bytes_max
    }

    /// Whether the file still begins with what was given out.
    pub fn is_as_taken(&self) -> io::Result<bool> {
        Ok(
            digest_of_beginning(self.pieces.file(), self.mark.taken(), self.pieces.progress())?
                == Some(self.mark.digest()),
        )
    }

    /// What counts the blocks that are read of it.
    pub fn progress(&self) -> &Progress {
        self.pieces.progress()
    }

    pub fn file(&self) -> &File {
        self.pieces.file()
    }
}

/// What is wrong with a piece, as a result.
pub fn fault_of(piece: &RawResult) -> Option<ParseFault> {
    match &piece.text {
        Err(bad) => Some(bad.clone()),
        Ok(text) => Object::parse(text)
            .err()
            .map(|why| piece.place.bad(text, &why, piece.ended)),
    }
}
