//! Which directory the inbox is, whatever path leads to it: a random number that lies in it. Ledger are kept by it,
//! so that at a start before a disk is mounted the empty directory beneath is not mistaken for the inbox that they
//! speak of.
//!
//! Not chosen: the device's and the inode's numbers, for a device may have another one after the next boot; the file
//! system's own id, which some make of the device's number; the time of birth, which network file systems do not keep.
//! A copy of the whole directory brings the number along and does no harm: a receipt also names the inode and the
//! bytes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};

use crate::model::InboxId;

use super::folder::Folder;

/// The file that holds it, in the directory of ours; 32 hexadecimal digits.
const NAME: &str = "id";
/// The same while it is written.
const DRAFT: &str = "id.new";

/// Reads the number, or makes one. `ours`: the directory in the inbox that only the daemon may write, so that nobody
/// else can forge it.
pub fn identify(ours: &Folder) -> io::Result<InboxId> {
    if let Some(id) = read(ours)? {
        return Ok(id);
    }
    let id = fastrand::u128(..).to_be_bytes();
    // What a crash left right here.
    ours.remove(OsStr::new(DRAFT))?;
    let mut file = ours.create(OsStr::new(DRAFT))?;
    writeln!(file, "{:032x}", u128::from_be_bytes(id))?;
    file.sync_all()?;
    if !ours.rename(OsStr::new(DRAFT), ours, OsStr::new(NAME))? {
        // Another process was faster; its number is the one.
        ours.remove(OsStr::new(DRAFT))?;
        return read(ours)?.ok_or_else(|| io::Error::other("the inbox's id is made and removed at the same time"));
    }
    // Power cut before this: another number is made at the next start, and no receipt has this one yet.
    ours.sync()?;
    Ok(id)
}

fn read(ours: &Folder) -> io::Result<Option<InboxId>> {
    let Some((file, _)) = ours.open_file(OsStr::new(NAME))? else {
        return Ok(None);
    };
    let text = beginning(&file)?;
    let text = text.trim_end();
    let id = (text.len() == 32)
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten();
    // Never another number for it: with that, what a crash left would be taken twice.
    let id = id.ok_or_else(|| {
        io::Error::other(format!(
            "{}/{NAME} holds no id; if nobody knows what it was, remove it",
            ours.path().display()
        ))
    })?;
    Ok(Some(id.to_be_bytes()))
}

fn beginning(file: &File) -> io::Result<String> {
    let mut text = String::new();
    file.take(64).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_directory_keeps_its_number_and_another_has_another() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = |dir: &tempfile::TempDir| identify(&Folder::open(dir.path()).unwrap()).unwrap();
        let first = id(&one);
        assert_eq!(id(&one), first);
        assert_ne!(id(&two), first);
        // A crash while it was made.
        fs::remove_file(two.path().join(NAME)).unwrap();
        fs::write(two.path().join(DRAFT), "12").unwrap();
        assert_eq!(id(&two), id(&two));
        assert!(!two.path().join(DRAFT).exists());
    }

    #[test]
    fn what_is_no_number_is_named_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "12", &"z".repeat(32)] {
            fs::write(dir.path().join(NAME), text).unwrap();
            let error = identify(&Folder::open(dir.path()).unwrap()).unwrap_err().to_string();
            assert!(
                error.contains("/id holds no id") && error.contains("remove it"),
                "{error}"
            );
            assert_eq!(fs::read_to_string(dir.path().join(NAME)).unwrap(), text);
        }
    }
}
