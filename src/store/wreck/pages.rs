//! The pages of a database file, as its last commit left them: those in the file, and over them the ones in the WAL.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The page size of every outbox. For a file whose first page is gone.
const PAGE_BYTES: usize = 4096;
/// Before the first page's own content.
pub(super) const HEADER: usize = 100;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// The page that SQLite locks and never writes begins at this byte.
const LOCKED_BYTE: u64 = 1 << 30;

const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The lowest bit says in which order the bytes of its sums are.
const WAL_MAGIC: u32 = 0x377f_0682;

/// What the file itself says a page is for. Every outbox has such a map, since it gives free pages back
/// (`auto_vacuum`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A page of a table or index.
    Tree,
    /// A part of a row that is too long for its page.
    Overflow,
    /// Nothing; what is in it was deleted.
    Free,
    /// The map, or the page that is never written.
    Own,
    /// The map's page is damaged, or there is none.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Pages {
    file: File,
    size: usize,
    /// Bytes of a page that hold content.
    pub(super) usable: usize,
    /// How many there are; the first is 1.
    pub(super) count: u32,
    has_map: bool,
    wal: Option<Wal>,
}

/// Where in the WAL the newest committed version of a page begins.
#[derive(Debug)]
struct Wal {
    file: File,
    places: HashMap<u32, u64>,
}

impl Pages {
    /// Looks at the two files; neither is written to. Whatever the header says is taken only where it can be true.
    pub(super) fn of(file: File, wal: Option<File>) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        let mut header = [0; HEADER];
        let has_header = file.read_exact_at(&mut header, 0).is_ok() && header.starts_with(MAGIC);
        let wal = wal.and_then(Wal::read);
        let said = has_header
            .then(|| usize::from(u16::from_be_bytes([header[16], header[17]])))
            .map(|size| if size == 1 { 65536 } else { size })
            .filter(|size| size.is_power_of_two() && *size >= 512);
        let in_wal = wal.as_ref().map(|(_, size)| *size);
        let size = said.or(in_wal).unwrap_or(PAGE_BYTES);
        let reserved = if has_header { usize::from(header[20]) } else { 0 };
        let wal = wal.filter(|(_, its)| *its == size).map(|(wal, _)| wal);
        let in_file = bytes.div_ceil(size as u64);
        let in_wal = wal
            .iter()
            .flat_map(|wal| wal.places.keys().copied())
            .max()
            .unwrap_or_default();
        Ok(Self {
            file,
            size,
            usable: size - reserved.min(size / 8),
            count: u32::try_from(in_file).unwrap_or(u32::MAX - 1).max(in_wal),
            has_map: !has_header || header[52..56] != [0; 4],
            wal,
        })
    }

    /// One page; what lies beyond a file's end reads as zeros.
    pub(super) fn read(&self, number: u32) -> io::Result<Vec<u8>> {
        let mut page = vec![0; self.size];
        let (file, mut at) = match self
            .wal
            .as_ref()
            .and_then(|wal| Some((&wal.file, *wal.places.get(&number)?)))
        {
            Some(found) => found,
            None => (&self.file, u64::from(number.saturating_sub(1)) * self.size as u64),
        };
        let mut read = 0;
        while read < page.len() {
            match file.read_at(&mut page[read..], at) {
                Ok(0) => break,
                Ok(more) => {
                    read += more;
                    at += more as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(page)
    }

    /// What a page is for.
    pub(super) fn use_of(&self, number: u32) -> Use {
        if number == 1 {
            return Use::Tree;
        }
        let locked = u32::try_from(LOCKED_BYTE / self.size as u64 + 1).unwrap_or(u32::MAX);
        let covered = u32::try_from(self.usable / 5).unwrap_or(u32::MAX) + 1;
        let mut map = (number - 2) / covered * covered + 2;
        if map == locked {
            map += 1;
        }
        if !self.has_map {
            return Use::Unknown;
        }
        if number == map || number == locked {
            return Use::Own;
        }
        let place = 5 * (number.wrapping_sub(map).wrapping_sub(1)) as usize;
        let page = self.read(map).unwrap_or_default();
        match page.get(place) {
            Some(1 | 5) => Use::Tree,
            Some(2) => Use::Free,
            Some(3 | 4) => Use::Overflow,
            Some(_) | None => Use::Unknown,
        }
    }
}

impl Wal {
    /// Reads it through, to the end of its last commit; its page size. None where it is none, or empty.
    fn read(file: File) -> Option<(Self, usize)> {
        let mut header = [0; WAL_HEADER];
        file.read_exact_at(&mut header, 0).ok()?;
        let word = |bytes: &[u8], place: usize| {
            bytes[place..place + 4]
                .iter()
                .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
        };
        let is_big = word(&header, 0) & 1 == 1;
        let size = word(&header, 8) as usize;
        let mut sum = summed((0, 0), &header[..24], is_big);
        if word(&header, 0) & !1 != WAL_MAGIC
            || !(512..=65536).contains(&size)
            || sum != (word(&header, 24), word(&header, 28))
        {
            return None;
        }
        let mut frame = vec![0; FRAME_HEADER + size];
        let (mut places, mut uncommitted) = (HashMap::new(), HashMap::new());
        let mut at = WAL_HEADER as u64;
        while file.read_exact_at(&mut frame, at).is_ok() {
            sum = summed(summed(sum, &frame[..8], is_big), &frame[FRAME_HEADER..], is_big);
            // An older frame, or a torn one: what comes after it was never committed.
            if frame[8..16] != header[16..24] || sum != (word(&frame, 16), word(&frame, 20)) {
                break;
            }
            uncommitted.insert(word(&frame, 0), at + FRAME_HEADER as u64);
            if word(&frame, 4) != 0 {
                places.extend(uncommitted.drain());
            }
            at += frame.len() as u64;
        }
        Some((Self { file, places }, size))
    }
}

/// SQLite's running sum over words of four bytes, two at a time.
fn summed((mut first, mut second): (u32, u32), bytes: &[u8], is_big: bool) -> (u32, u32) {
    let word = |bytes: &[u8]| -> u32 {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if is_big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    };
    for pair in bytes.chunks_exact(8) {
        first = first.wrapping_add(word(&pair[..4])).wrapping_add(second);
        second = second.wrapping_add(word(&pair[4..])).wrapping_add(first);
    }
    (first, second)
}
