//! A file as a stream of results: reads blocks, feeds the [`Splitter`], and keeps the digest of what was consumed, so
//! that a receipt can say at any result "up to here, and these bytes". Holds one block and one result at a time.
//! Blocking: for a thread that may wait.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use crate::model::Digest;

use super::parse::{Format, ParseFault, RawResult, Splitter};

/// How much is read at once, in bytes: large enough that reading costs nothing beside parsing, small enough to hold a
/// few.
const BLOCK_BYTES: usize = 64 * 1024;

/// Counts the blocks that are read. A file may take longer than the watchdog waits for a loop's turn; each block is as
/// good a sign of life.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Counts in the turns of a loop.
    pub fn of(turns: &Arc<AtomicU64>) -> Self {
        Self(Arc::clone(turns))
    }

    /// One more; called where something was done, never where it is waited for.
    pub fn tick(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Why a file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What is in it is no `.json`, or nothing at all.
    #[error("{0}")]
    Bad(ParseFault),
}

/// A place between two results, to which [`ResultReader::return_to`] comes back.
#[derive(Debug, Clone)]
pub struct Bookmark {
    splitter: Splitter,
    hasher: Sha256,
    taken: u64,
}

impl Bookmark {
    /// How many bytes lie before it.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// How many results lie before it.
    pub fn found(&self) -> u64 {
        self.splitter.found()
    }

    /// The digest of the bytes before it.
    pub fn digest(&self) -> Digest {
        Digest(self.hasher.clone().finalize().into())
    }
}

/// The results of one file.
#[derive(Debug)]
pub struct ResultReader {
    file: File,
    splitter: Splitter,
    hasher: Sha256,
    /// How many bytes were consumed.
    taken: u64,
    block: Vec<u8>,
    /// What of the block is not consumed yet.
    rest: std::ops::Range<usize>,
    progress: Progress,
}

impl ResultReader {
    /// From the file's beginning; `size` is what it has by now. Its cursor is neither used nor moved.
    pub fn new(file: File, size: u64, format: Format, bytes_max: usize) -> Self {
        // A hundred small files are held at once, so their blocks are small as well; one byte more, to see the end in
        // one read.
        let block_bytes = usize::try_from(size)
            .unwrap_or(BLOCK_BYTES)
            .saturating_add(1)
            .min(BLOCK_BYTES);
        Self {
            file,
            splitter: Splitter::new(format, bytes_max),
            hasher: Sha256::new(),
            taken: 0,
            block: vec![0; block_bytes],
            rest: 0..0,
            progress: Progress::default(),
        }
    }

    /// The same, its blocks counted.
    #[must_use]
    pub fn with_progress(self, progress: &Progress) -> Self {
        Self {
            progress: progress.clone(),
            ..self
        }
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// The next result; `None` at the end of the file. Asked again after that it looks whether the file grew.
    pub fn read_next(&mut self) -> Result<Option<RawResult>, ReadError> {
        match self.read_until(u64::MAX)? {
            Some(piece) => Ok(Some(piece)),
            None => self.splitter.finish().map_err(ReadError::Bad),
        }
    }

    /// The next result that ends within the first `limit` bytes; `None` when those are consumed (or the file is
    /// shorter), whatever they end in.
    pub fn read_until(&mut self, limit: u64) -> Result<Option<RawResult>, ReadError> {
        loop {
            let mut input = &self.block[self.rest.clone()];
            let before = input.len();
            let piece = self.splitter.next(&mut input);
            let consumed = before - input.len();
            self.hasher
                .update(&self.block[self.rest.start..self.rest.start + consumed]);
            self.rest.start += consumed;
            self.taken += consumed as u64;
            if let Some(piece) = piece.map_err(ReadError::Bad)? {
                return Ok(Some(piece));
            }
            let room = usize::try_from(limit - self.taken)
                .unwrap_or(BLOCK_BYTES)
                .min(self.block.len());
            let length = read(&self.file, &mut self.block[..room], self.taken)?;
            self.rest = 0..length;
            self.progress.tick();
            if length == 0 {
                return Ok(None);
            }
        }
    }

    /// What follows the last line break of what was read; more that comes is the rest of that line.
    pub fn last_line(&mut self) -> Option<RawResult> {
        // An error says only that nothing was found at all.
        self.splitter.finish().ok().flatten()
    }

    /// The place after what was consumed. To be asked between results, or at the end.
    pub fn bookmark(&self) -> Bookmark {
        Bookmark {
            splitter: self.splitter.clone(),
            hasher: self.hasher.clone(),
            taken: self.taken,
        }
    }

    /// Goes back (or on) to a place.
    pub fn return_to(&mut self, place: &Bookmark) {
        self.splitter = place.splitter.clone();
        self.hasher = place.hasher.clone();
        self.taken = place.taken;
        self.rest = 0..0;
    }
}

/// The digest of a file's first bytes; `None` when it has fewer.
pub fn digest_of_beginning(file: &File, length: u64, progress: &Progress) -> io::Result<Option<Digest>> {
    let mut hasher = Sha256::new();
    let end = read_blocks(file, 0..length, progress, |block| {
        hasher.update(block);
        Ok(())
    })?;
    Ok((end == length).then(|| Digest(hasher.finalize().into())))
}

/// Reads a part of a file block by block; returns where it ended: before the part's end where the file is shorter.
pub fn read_blocks(
    file: &File,
    part: std::ops::Range<u64>,
    progress: &Progress,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut at = part.start;
    while at < part.end {
        let room = usize::try_from(part.end - at).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
        let length = read(file, &mut block[..room], at)?;
        if length == 0 {
            break;
        }
        each(&block[..length])?;
        at += length as u64;
        progress.tick();
    }
    Ok(at)
}

/// Reads what is there at this place, at most the buffer's length; a signal does not end it.
fn read(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn a_bookmark_says_how_far_and_which_bytes_and_is_found_again() {
        let content = b"{\"a\":1}\n\n{\"b\":2}\n{\"c\":3}";
        let mut pieces = ResultReader::new(file(content), 0, Format::Lines, 100);
        pieces.read_next().unwrap();
        pieces.read_next().unwrap();
        let place = pieces.bookmark();
        assert_eq!((place.taken(), place.found()), (17, 2));
        assert_eq!(place.digest(), Digest::of(&content[..17]));
        let third = pieces.read_next().unwrap();
        assert_eq!(pieces.read_next().unwrap(), None);
        assert_eq!(pieces.bookmark().digest(), Digest::of(content));
        pieces.return_to(&place);
        assert_eq!(pieces.read_next().unwrap(), third);
        assert_eq!(
            digest_of_beginning(pieces.file(), 17, &Progress::default()).unwrap(),
            Some(place.digest())
        );
        assert_eq!(
            digest_of_beginning(pieces.file(), 1000, &Progress::default()).unwrap(),
            None
        );
    }

    #[test]
    fn what_grew_is_read_on() {
        let mut pieces = ResultReader::new(file(b"{\"a\":1}\n"), 8, Format::Lines, 100);
        assert!(pieces.read_next().unwrap().is_some());
        assert_eq!(pieces.read_next().unwrap(), None);
        pieces.file().write_all_at(b"{\"b\":2}\n", 8).unwrap();
        assert_eq!(pieces.read_next().unwrap().unwrap().place.line, 2);
    }

    #[test]
    fn reading_up_to_a_limit_leaves_what_lies_behind_it() {
        let mut pieces = ResultReader::new(file(b"[{\"a\":1},{\"b\":2}]"), 17, Format::Json, 100);
        assert!(pieces.read_until(8).unwrap().is_some());
        assert!(pieces.read_until(8).unwrap().is_none());
        assert_eq!(pieces.bookmark().taken(), 8);
        assert_eq!(pieces.read_next().unwrap().unwrap().place.item, Some(2));
    }

    #[test]
    fn a_long_file_is_read_block_by_block() {
        let line = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1000));
        let content = line.repeat(300);
        let turns = Arc::new(AtomicU64::new(0));
        let mut pieces = ResultReader::new(file(content.as_bytes()), 300_000, Format::Lines, 2000)
            .with_progress(&Progress::of(&turns));
        let mut count = 0;
        while pieces.read_next().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(
            (count, pieces.bookmark().digest()),
            (300, Digest::of(content.as_bytes()))
        );
        // Signs of life on the way, once a block: a watchdog that sees no turn of the loop meanwhile must not bite.
        let blocks = content.len().div_ceil(BLOCK_BYTES) as u64;
        assert!(turns.load(Ordering::Relaxed) >= blocks);
        turns.store(0, Ordering::Relaxed);
        digest_of_beginning(pieces.file(), content.len() as u64, pieces.progress()).unwrap();
        assert!(turns.load(Ordering::Relaxed) >= blocks);
    }
}
