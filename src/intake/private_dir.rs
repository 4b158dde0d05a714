//! The directory of our own in the inbox, on its file system and for nobody but us: drafts of reports and of bad lines,
//! files on their way out, the lock. In the inbox itself any name could be taken by a producer before we use it, and
//! keep a file there for ever.
//!
//! Where somebody was first with its name, it is a directory of another name, which nobody could know before. What an
//! earlier life left in either is found by looking at who owns it.

use std::ffi::{OsStr, OsString};
use std::io;

use super::folder::Folder;
use super::trust::{self, DirOwner};

/// Its name. That of one beside a stranger has a dot and 16 digits more.
pub const NAME: &str = ".reten-outbox";
const MODE: u32 = 0o700;
const DIGITS: usize = 16;

impl Folder {
    /// The directory of our own in this one.
    pub fn private_dir(&self) -> io::Result<&Self> {
        if let Some(private_dir) = self.private_dir.get() {
            return Ok(private_dir);
        }
        let opened = open(self)?;
        Ok(self.private_dir.get_or_init(|| Box::new(opened)))
    }

    /// The same, where something was done in it through this.
    pub fn used_private_dir(&self) -> Option<&Self> {
        self.private_dir.get().map(AsRef::as_ref)
    }
}

/// Opens it, creating it where it is missing.
fn open(inbox: &Folder) -> io::Result<Folder> {
    match inbox.sub(NAME, MODE, DirOwner::Us) {
        Err(error) if trust::cure(&error).is_some() => {}
        outcome => return outcome,
    }
    if let Some(earlier) = spare_ones(inbox)?.into_iter().next() {
        return Ok(earlier);
    }
    inbox.sub(&format!("{NAME}.{:016x}", fastrand::u64(..)), MODE, DirOwner::Us)
}

/// Why the one of its own name cannot be used, with what mends it; none where it can.
pub fn stranger(inbox: &Folder) -> Option<(String, String)> {
    let error = inbox.sub(NAME, MODE, DirOwner::Us).err()?;
    trust::cure(&error).map(|cure| (error.to_string(), cure.to_owned()))
}

/// All that are there; nothing is created.
pub fn all(inbox: &Folder) -> io::Result<Vec<Folder>> {
    let mut found = Vec::new();
    if inbox.has_own(OsStr::new(NAME)) {
        found.push(inbox.sub(NAME, MODE, DirOwner::Us)?);
    }
    found.extend(spare_ones(inbox)?);
    Ok(found)
}

fn spare_ones(inbox: &Folder) -> io::Result<Vec<Folder>> {
    let mut names: Vec<OsString> = inbox.names()?;
    // However many others made: only ours are opened.
    names.retain(|name| is_spare(name) && inbox.has_own(name));
    names.sort_unstable();
    names
        .iter()
        .filter_map(|name| name.to_str())
        .map(|name| inbox.sub(name, MODE, DirOwner::Us))
        .collect()
}

fn is_spare(name: &OsStr) -> bool {
    let digits = name
        .to_str()
        .and_then(|name| name.strip_prefix(NAME)?.strip_prefix('.'));
    digits.is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn it_is_made_for_us_alone_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Folder::open(dir.path()).unwrap();
        assert!(all(&inbox).unwrap().is_empty());
        let private_dir = open(&inbox).unwrap();
        assert_eq!(private_dir.path(), dir.path().join(NAME));
        assert_eq!(
            fs::metadata(private_dir.path()).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert_eq!((all(&inbox).unwrap().len(), stranger(&inbox)), (1, None));
    }

    #[test]
    fn a_name_that_somebody_else_took_leads_to_another_one_and_never_to_theirs() {
        for what in ["a file", "a link", "a link to nowhere", "one for all"] {
            let dir = tempfile::tempdir().unwrap();
            let inbox = Folder::open(dir.path()).unwrap();
            let path = dir.path().join(NAME);
            match what {
                "a file" => fs::write(path, "").unwrap(),
                "a link" => symlink("/tmp", path).unwrap(),
                "a link to nowhere" => symlink("nowhere", path).unwrap(),
                _ => {
                    fs::create_dir(&path).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
                }
            }
            let private_dir = open(&inbox).unwrap();
            assert!(is_spare(private_dir.path().file_name().unwrap()), "{what}");
            // The next start finds what lies in it.
            assert_eq!(open(&inbox).unwrap().path(), private_dir.path(), "{what}");
            assert_eq!(all(&inbox).unwrap().len(), 1, "{what}");
            let (why, cure) = stranger(&inbox).unwrap();
            assert!(why.contains(NAME) && cure.contains("move it away"), "{why}; {cure}");
        }
    }
}
