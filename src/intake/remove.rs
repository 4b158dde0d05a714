//! Takes a file out of the inbox once all its results are committed, and never another one.
//!
//! Between a look at a name and its unlinking a producer may rename a new file over it, which would then be lost. So the file is first renamed
//! aside to a hidden name of its own, looked at there, and only then unlinked; a stranger goes back to its name. What a crash leaves aside
//! goes back to its name as well ([`bring_back`]), where its receipt tells that it is taken.

use std::ffi::OsStr;
use std::io;

use crate::model::FileReceipt;

use super::folder::{Folder, Look, hidden, inode_of};

/// The word in the hidden names of files that are being removed.
const ASIDE: &str = "taken";

/// What became of a file that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is gone. Durably only after the directory is synced.
    Gone,
    /// Its name belongs to another file now, which stays.
    Replaced,
    /// It was written since the look at it, and stays.
    Written,
}

/// Removes the file of this look.
pub fn remove(inbox: &Folder, name: &OsStr, look: &Look) -> io::Result<Removal> {
    match inbox.look(name)? {
        None => return Ok(Removal::Gone),
        Some(now) if now.inode != look.inode => return Ok(Removal::Replaced),
        Some(now) if !now.is_same_content(look) => return Ok(Removal::Written),
        Some(_) => {}
    }
    let aside = hidden(ASIDE, look.inode);
    if !inbox.rename(name, inbox, &aside)? {
        return Err(io::Error::other(format!("{} is in the way", aside.display())));
    }
    // Crash here: the file lies aside. `bring_back` gives it its name again, and its receipt makes the next take a no-op.
    match inbox.look(&aside)? {
        Some(now) if now.inode == look.inode && now.is_same_content(look) => {
            inbox.remove(&aside)?;
            // Power cut here: the name may come back, for the directory is not synced yet. Its receipt is still there.
            Ok(Removal::Gone)
        }
        Some(now) => {
            if !inbox.rename(&aside, inbox, name)? && now.inode != look.inode {
                // A third file has the name: its producer replaced the second one himself, as if we had not been between them.
                inbox.remove(&aside)?;
            }
            Ok(if now.inode == look.inode {
                Removal::Written
            } else {
                Removal::Replaced
            })
        }
        None => Ok(Removal::Gone),
    }
}

/// Gives files that a crash left aside their names again. One whose name is in use meanwhile waits for the next time.
pub fn bring_back(inbox: &Folder, names: &[std::ffi::OsString], receipts: &[&FileReceipt]) -> io::Result<()> {
    for name in names {
        let Some(inode) = inode_of(ASIDE, name) else { continue };
        // Without a receipt it is not ours: receipts are forgotten only after the directory was synced without it.
        if let Some(receipt) = receipts.iter().find(|receipt| receipt.inode == inode) {
            inbox.rename(name, inbox, &receipt.name)?;
        }
    }
    Ok(())
}

/// Whether this is the hidden name of the file that a receipt speaks of.
pub fn is_aside(name: &OsStr, receipt: &FileReceipt) -> bool {
    inode_of(ASIDE, name) == Some(receipt.inode)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::Digest;

    fn inbox() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        (dir, folder)
    }

    fn names(dir: &tempfile::TempDir) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_file_that_was_looked_at_goes_and_no_other() {
        let (dir, inbox) = inbox();
        let name = OsStr::new("a.json");
        fs::write(dir.path().join(name), "{}").unwrap();
        let look = inbox.look(name).unwrap().unwrap();
        fs::write(dir.path().join("new"), "[]").unwrap();
        fs::rename(dir.path().join("new"), dir.path().join(name)).unwrap();
        assert_eq!(remove(&inbox, name, &look).unwrap(), Removal::Replaced);
        let look = inbox.look(name).unwrap().unwrap();
        fs::write(dir.path().join(name), "[{}]").unwrap();
        assert_eq!(remove(&inbox, name, &look).unwrap(), Removal::Written);
        assert_eq!(names(&dir), ["a.json"]);
        let look = inbox.look(name).unwrap().unwrap();
        assert_eq!(remove(&inbox, name, &look).unwrap(), Removal::Gone);
        assert_eq!(names(&dir), [""; 0]);
        assert_eq!(remove(&inbox, name, &look).unwrap(), Removal::Gone);
    }

    #[test]
    fn what_a_crash_left_aside_gets_its_name_again_unless_another_has_it() {
        let (dir, inbox) = inbox();
        let name = OsStr::new("a.json");
        fs::write(dir.path().join(name), "{}").unwrap();
        let look = inbox.look(name).unwrap().unwrap();
        let aside = hidden(ASIDE, look.inode);
        inbox.rename(name, &inbox, &aside).unwrap();
        let receipt = FileReceipt {
            inbox: None,
            name: name.to_owned(),
            inode: look.inode,
            modified_ns: look.modified_ns,
            taken: 2,
            lines: 1,
            digest: Digest::of(b"{}"),
            result_bytes_max: None,
        };
        bring_back(&inbox, &inbox.names().unwrap(), &[]).unwrap();
        assert_eq!(names(&dir), [aside.to_str().unwrap()]);
        fs::write(dir.path().join(name), "new").unwrap();
        bring_back(&inbox, &inbox.names().unwrap(), &[&receipt]).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "new");
        fs::remove_file(dir.path().join(name)).unwrap();
        bring_back(&inbox, &inbox.names().unwrap(), &[&receipt]).unwrap();
        assert_eq!(names(&dir), ["a.json"]);
    }
}
