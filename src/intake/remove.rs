//! Takes a file out of the inbox once all its results are committed, and never another one.
//!
//! Between a look at a name and its unlinking a producer may rename a new file over it, which would then be lost. So
//! the file is first renamed aside into the [`private_dir`], looked at there, and only then unlinked; a stranger goes
//! back to its name. What a crash leaves aside goes back to its name as well ([`bring_back`]), where its receipt tells
//! that it is taken.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;

use crate::model::FileReceipt;

use super::folder::{FileStat, Folder, hidden, hidden_again, inode_of};
use super::private_dir;

/// The word in the hidden names of files that are being removed.
const ASIDE: &str = "taken";
/// So many names are tried: what is in the way lies there because an outbox was put back that does not know of it.
const NAMES_MAX: u32 = 100;

/// What became of a file that was to be set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetAside {
    /// It lies aside under this name, as it was looked at. Nobody opens it by its old name any more.
    Aside(OsString),
    Gone,
    /// Its name belongs to another file now, which stays.
    Replaced,
    /// It was written since the look at it, and stays.
    Written,
}

/// Sets the file of this look aside.
pub fn set_aside(inbox: &Folder, name: &OsStr, stat: &FileStat) -> io::Result<SetAside> {
    match inbox.stat(name)? {
        None => return Ok(SetAside::Gone),
        Some(now) if now.inode != stat.inode => return Ok(SetAside::Replaced),
        Some(now) if !now.is_same_content(stat) => return Ok(SetAside::Written),
        Some(_) => {}
    }
    let private_dir = inbox.private_dir()?;
    let aside = put_aside(inbox, name, private_dir, stat.inode)?;
    // Crash here: the file lies aside. `bring_back` gives it its name again, and its receipt makes the next take a
    // no-op.
    match private_dir.stat(&aside)? {
        Some(now) if now.inode == stat.inode && now.is_same_content(stat) => Ok(SetAside::Aside(aside)),
        Some(now) if now.inode == stat.inode => {
            give_back(inbox, &aside, name)?;
            Ok(SetAside::Written)
        }
        Some(_) => {
            if !give_back(inbox, &aside, name)? {
                // A third file has the name: its producer replaced the second one himself, as if we had not been
                // between them.
                private_dir.remove(&aside)?;
            }
            Ok(SetAside::Replaced)
        }
        None => Ok(SetAside::Gone),
    }
}

/// Gives it its name again; false where that is in use by now. Then it lies aside until it is not, and [`bring_back`]
/// does it.
pub fn give_back(inbox: &Folder, aside: &OsStr, name: &OsStr) -> io::Result<bool> {
    inbox.private_dir()?.rename(aside, inbox, name)
}

/// Removes it. Power cut after this: it may come back, for neither directory is synced yet. Its receipt is still there.
pub fn let_go(inbox: &Folder, aside: &OsStr) -> io::Result<()> {
    inbox.private_dir()?.remove(aside)
}

fn put_aside(inbox: &Folder, name: &OsStr, private_dir: &Folder, inode: u64) -> io::Result<OsString> {
    let first = hidden(ASIDE, inode);
    let more = (2..=NAMES_MAX).map(|number| hidden_again(ASIDE, inode, number));
    for aside in std::iter::once(first).chain(more) {
        if inbox.rename(name, private_dir, &aside).map_err(stuck)? {
            return Ok(aside);
        }
    }
    Err(io::Error::other(format!(
        "{} is full of files that were taken by another outbox; move them away",
        private_dir.path().display()
    )))
}

fn stuck(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    io::Error::other(format!(
        "its results are in, but it cannot be taken out of the inbox: {error}; the directory must belong to the \
         daemon's user, or have no sticky bit"
    ))
}

/// Makes removals durable: only then may receipts be forgotten. First where the files were put, else a power cut could
/// leave one there of which no receipt tells any more.
pub fn sync(inbox: &Folder) -> io::Result<()> {
    if let Some(private_dir) = inbox.used_private_dir() {
        private_dir.sync()?;
    }
    inbox.sync()
}

/// Gives files that a crash left aside their names again; returns the inodes of those that still lie there, for their
/// names are in use.
pub fn bring_back(inbox: &Folder, receipts: &[FileReceipt]) -> io::Result<HashSet<u64>> {
    let receipts: HashMap<u64, &FileReceipt> = receipts.iter().map(|receipt| (receipt.inode, receipt)).collect();
    let mut aside = HashSet::new();
    for private_dir in private_dir::all(inbox)? {
        for name in private_dir.names()? {
            // Without a receipt it is not of this outbox: receipts are forgotten only after both directories were
            // synced without it.
            if let Some((inode, receipt)) = receipt_of(&name, &receipts)
                && !private_dir.rename(&name, inbox, &receipt.name)?
            {
                aside.insert(inode);
            }
        }
    }
    // Up to version 0.1 they lay in the inbox itself, where anybody may have made such a name: whatever comes of it,
    // the others go on.
    for name in inbox.names()? {
        if let Some((inode, receipt)) = receipt_of(&name, &receipts)
            && inbox
                .stat(&name)
                .is_ok_and(|stat| stat.is_some_and(|stat| stat.is_file))
            && !inbox.rename(&name, inbox, &receipt.name).unwrap_or(false)
        {
            aside.insert(inode);
        }
    }
    Ok(aside)
}

fn receipt_of<'a>(name: &OsStr, receipts: &HashMap<u64, &'a FileReceipt>) -> Option<(u64, &'a FileReceipt)> {
    let inode = inode_of(ASIDE, name)?;
    receipts.get(&inode).map(|receipt| (inode, *receipt))
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
            .filter(|name| name != private_dir::NAME)
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_file_that_was_looked_at_goes_and_no_other() {
        let (dir, inbox) = inbox();
        let name = OsStr::new("a.json");
        fs::write(dir.path().join(name), "{}").unwrap();
        let stat = inbox.stat(name).unwrap().unwrap();
        fs::write(dir.path().join("new"), "[]").unwrap();
        fs::rename(dir.path().join("new"), dir.path().join(name)).unwrap();
        assert_eq!(set_aside(&inbox, name, &stat).unwrap(), SetAside::Replaced);
        let stat = inbox.stat(name).unwrap().unwrap();
        fs::write(dir.path().join(name), "[{}]").unwrap();
        assert_eq!(set_aside(&inbox, name, &stat).unwrap(), SetAside::Written);
        assert_eq!(names(&dir), ["a.json"]);
        let stat = inbox.stat(name).unwrap().unwrap();
        let SetAside::Aside(aside) = set_aside(&inbox, name, &stat).unwrap() else {
            panic!("it is as it was")
        };
        // Somebody had it open.
        assert!(give_back(&inbox, &aside, name).unwrap());
        assert_eq!(set_aside(&inbox, name, &stat).unwrap(), SetAside::Aside(aside.clone()));
        fs::write(dir.path().join(name), "new").unwrap();
        assert!(!give_back(&inbox, &aside, name).unwrap());
        let_go(&inbox, &aside).unwrap();
        assert_eq!(names(&dir), ["a.json"]);
        fs::remove_file(dir.path().join(name)).unwrap();
        assert_eq!(set_aside(&inbox, name, &stat).unwrap(), SetAside::Gone);
    }

    fn receipt(name: &OsStr, stat: &FileStat) -> FileReceipt {
        FileReceipt {
            inbox: None,
            name: name.to_owned(),
            inode: stat.inode,
            modified_ns: stat.modified_ns,
            taken: 2,
            lines: 1,
            digest: Digest::of(b"{}"),
            result_bytes_max: None,
        }
    }

    #[test]
    fn what_a_crash_left_aside_gets_its_name_again_unless_another_has_it() {
        // As it is now, and as the first version left it.
        for in_workshop in [true, false] {
            let (dir, inbox) = inbox();
            let name = OsStr::new("a.json");
            fs::write(dir.path().join(name), "{}").unwrap();
            let stat = inbox.stat(name).unwrap().unwrap();
            let place = if in_workshop {
                inbox.private_dir().unwrap()
            } else {
                &inbox
            };
            let aside = hidden(ASIDE, stat.inode);
            inbox.rename(name, place, &aside).unwrap();
            let receipts = [receipt(name, &stat)];
            assert!(bring_back(&inbox, &[]).unwrap().is_empty());
            assert!(place.stat(&aside).unwrap().is_some());
            fs::write(dir.path().join(name), "new").unwrap();
            assert_eq!(bring_back(&inbox, &receipts).unwrap(), [stat.inode].into());
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "new");
            fs::remove_file(dir.path().join(name)).unwrap();
            assert!(bring_back(&inbox, &receipts).unwrap().is_empty());
            assert_eq!(names(&dir), ["a.json"]);
        }
    }

    #[test]
    fn names_of_ours_that_others_took_keep_no_file_in_the_inbox() {
        let (dir, inbox) = inbox();
        let name = OsStr::new("a.json");
        fs::write(dir.path().join(name), "{}").unwrap();
        let stat = inbox.stat(name).unwrap().unwrap();
        let squatted = hidden(ASIDE, stat.inode);
        fs::create_dir(dir.path().join(&squatted)).unwrap();
        fs::write(dir.path().join(&squatted).join("x"), "").unwrap();
        // What an outbox left that was replaced by an older one.
        fs::write(inbox.private_dir().unwrap().path().join(&squatted), "").unwrap();
        assert!(
            bring_back(&inbox, &[receipt(name, &stat)])
                .unwrap()
                .contains(&stat.inode)
        );
        let SetAside::Aside(aside) = set_aside(&inbox, name, &stat).unwrap() else {
            panic!("nothing keeps it there")
        };
        let_go(&inbox, &aside).unwrap();
        assert_eq!(names(&dir), [squatted.to_str().unwrap()]);
        sync(&inbox).unwrap();
    }
}
