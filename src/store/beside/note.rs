//! What a running daemon says of itself to those who look, also when the database can be neither written nor opened: a
//! few bytes after the number of its process in the lock file. They are allocated when the lock is taken and
//! overwritten in place, which needs no free block.
//!
//! No truth hangs on it. It is not synced, a crash may lose it, and whoever cannot read it goes by what the database
//! says.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use crate::lock::SIGNATURE_BYTES;

use super::lock;

/// Behind the number of the process.
const BEGINS_AT: u64 = SIGNATURE_BYTES as u64;

/// The most bytes of a note, with its heading.
const NOTE_BYTES: usize = 16 << 10;

/// The heading: how long the text is and its sum, so that one that is being overwritten is not taken for whole.
const HEAD_BYTES: usize = 8 + 1 + 16 + 1;

pub(crate) const TEXT_BYTES_MAX: usize = NOTE_BYTES - HEAD_BYTES - 1;

/// A read meets a write in a few microseconds of each; this often in a row it does not.
const TRIES: u32 = 5;

/// The daemon's own.
#[derive(Debug)]
pub(crate) struct Notepad {
    file: File,
}

impl Notepad {
    /// Makes room for it. On a full disk there is none, and then there is no note.
    pub(crate) fn prepare(database: &Path) -> io::Result<Self> {
        let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        // A descriptor of its own: the lock belongs to the other one, and closing this one does not let go of it.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(no_follow)
            .open(lock::path_of(database))?;
        // Blanks and not a hole: what has no block yet needs a free one when it is written.
        file.write_all_at(&[b' '; NOTE_BYTES], BEGINS_AT)?;
        Ok(Self { file })
    }

    /// Overwrites it. A text that is too long is refused.
    pub(crate) fn write(&self, text: &str) -> io::Result<()> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let whole = format!("{:08} {:016x}\n{text}\n", text.len(), sum(text.as_bytes()));
        self.file.write_all_at(whole.as_bytes(), BEGINS_AT)
    }
}

/// What the last daemon on this outbox said last; `None` where there is nothing, or nothing that we may read.
pub fn read_note(database: &Path) -> Option<String> {
    let file = File::open(lock::path_of(database)).ok()?;
    let mut bytes = vec![0; NOTE_BYTES];
    (0..TRIES).find_map(|_| {
        let length = file.read_at(&mut bytes, BEGINS_AT).ok()?;
        whole(&bytes[..length])
    })
}

/// The text, where it is whole.
fn whole(bytes: &[u8]) -> Option<String> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let head = std::str::from_utf8(head).ok()?;
    let (length, expected) = head.trim_end().split_once(' ')?;
    let text = rest.get(..length.parse().ok()?)?;
    let is_whole = u64::from_str_radix(expected, 16).is_ok_and(|expected| expected == sum(text));
    String::from_utf8(text.to_vec()).ok().filter(|_| is_whole)
}

/// FNV-1a: tells a torn text, and is the same in every version of the program.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_note_is_read_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("outbox.db");
        assert_eq!(read_note(&database), None);
        std::fs::write(lock::path_of(&database), "4711\n").unwrap();
        let note = Notepad::prepare(&database).unwrap();
        assert_eq!(read_note(&database), None, "nothing was said yet");
        let allocated = std::fs::metadata(lock::path_of(&database)).unwrap().len();
        for text in ["a long text that is overwritten", "short", ""] {
            note.write(text).unwrap();
            assert_eq!(read_note(&database).as_deref(), Some(text));
        }
        assert!(note.write(&"x".repeat(TEXT_BYTES_MAX + 1)).is_err());
        note.write(&"x".repeat(TEXT_BYTES_MAX)).unwrap();
        assert_eq!(
            std::fs::metadata(lock::path_of(&database)).unwrap().len(),
            allocated,
            "it never grows"
        );
        let at = BEGINS_AT + u64::try_from(HEAD_BYTES).unwrap() + 100;
        note.file.write_all_at(b"torn", at).unwrap();
        assert_eq!(read_note(&database), None);
    }
}
