//! A directory held open, and what intake does in it by name. Everything goes through its descriptor: a path that is swapped for another
//! while we work cannot lead us elsewhere, and no symbolic link is ever followed.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::identity::InboxId;
use super::pieces::Pulse;

/// What a look at a file tells: enough to know it again, and to see that it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The inode's number.
    pub inode: u64,
    /// In bytes.
    pub size: u64,
    /// Modification time, in nanoseconds since 1970.
    pub modified_ns: i128,
    /// Change time (also of a rename into place), in nanoseconds since 1970: intake order.
    pub changed_ns: i128,
    /// Whether it is a regular file; nothing else is ever opened.
    pub is_file: bool,
}

impl Look {
    fn of(stat: &Stat) -> Self {
        let nanoseconds = |seconds: i64, rest: u64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            changed_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
            is_file: FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
        }
    }

    /// The file behind an open descriptor.
    pub fn at(file: &File) -> io::Result<Self> {
        Ok(Self::of(&rustix::fs::fstat(file)?))
    }

    /// Whether nothing was written between two looks. The change time does not count: a rename moves it, and ours do.
    pub fn is_same_content(&self, other: &Self) -> bool {
        self.inode == other.inode && self.size == other.size && self.modified_ns == other.modified_ns
    }
}

/// The directory in the inbox that is ours alone.
pub const OURS: &str = ".reten-outbox";
/// Nobody else may enter it.
pub const OURS_MODE: u32 = 0o700;

/// A directory held open.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    pulse: Pulse,
    id: Option<InboxId>,
}

impl Folder {
    /// Opens a directory that is there.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self {
            fd,
            path: path.to_owned(),
            pulse: Pulse::default(),
            id: None,
        })
    }

    /// The same, where the blocks that are read of its files count as signs of life.
    #[must_use]
    pub fn with_pulse(self, pulse: Pulse) -> Self {
        Self { pulse, ..self }
    }

    /// The same, once it is known which inbox this is.
    #[must_use]
    pub fn with_id(self, id: InboxId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Which inbox this is, where it was asked.
    pub fn id(&self) -> Option<InboxId> {
        self.id
    }

    /// What counts the blocks that are read of its files.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Opens a directory in this one, creating it with `mode` where it is missing. A symbolic link of that name is refused.
    pub fn sub(&self, name: &str, mode: u32) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            // Its entry must not vanish in a power cut with what was moved into it.
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self {
            fd: rustix::fs::openat(&self.fd, name, flags, Mode::empty())?,
            path: self.path.join(name),
            pulse: self.pulse.clone(),
            id: None,
        })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A look at a name, without following or opening anything; `None` when there is no such name.
    pub fn look(&self, name: &OsStr) -> io::Result<Option<Look>> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Look::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a regular file for reading; `None` when there is none of that name (any more).
    pub fn open_file(&self, name: &OsStr) -> io::Result<Option<(File, Look)>> {
        // Looked at first: even a non-blocking open of a FIFO would wake its writer.
        if !self.look(name)?.is_some_and(|look| look.is_file) {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let look = Look::at(&file)?;
        Ok(look.is_file.then_some((file, look)))
    }

    /// Creates a file that must not be there yet, readable for owner and group.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o640))?))
    }

    /// Moves a file to `to` under `new`; `false` when that name is taken, and nothing was moved.
    pub fn rename(&self, name: &OsStr, to: &Self, new: &OsStr) -> io::Result<bool> {
        match rustix::fs::renameat_with(&self.fd, name, &to.fd, new, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            // A file system without RENAME_NOREPLACE (some network ones): the look before leaves a gap, but nothing else would do.
            Err(Errno::INVAL | Errno::NOSYS) => {
                if to.look(new)?.is_some() {
                    return Ok(false);
                }
                rustix::fs::renameat(&self.fd, name, &to.fd, new)?;
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a file; one that is gone already counts as removed.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes what was created, renamed and removed here durable.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// Makes every file of this file system durable: for many small files one call is cheaper than one each.
    pub fn sync_all_files(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.fd)?)
    }

    /// Every name, in no order.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        self.each(|name| names.push(name.to_owned()))?;
        Ok(names)
    }

    /// The `limit` oldest regular files whose names `wanted` likes, with a look at each, by change time and name; and whether there were more.
    pub fn oldest(&self, limit: usize, wanted: impl Fn(&OsStr) -> bool) -> io::Result<(Vec<(OsString, Look)>, bool)> {
        let mut found: Vec<(OsString, Look)> = Vec::new();
        let mut more = false;
        let mut fault = None;
        self.each(|name| {
            if !wanted(name) {
                return;
            }
            // A network's file system may need a minute and more for so many looks.
            self.pulse.beat();
            match self.look(name) {
                Ok(Some(look)) if look.is_file => found.push((name.to_owned(), look)),
                Ok(_) => {}
                Err(error) => fault = Some(error),
            }
            // Twice the limit at most is held, however many there are.
            if found.len() >= limit.saturating_mul(2) {
                in_order(&mut found);
                found.truncate(limit);
                more = true;
            }
        })?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        in_order(&mut found);
        more |= found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }

    fn each(&self, mut visit: impl FnMut(&OsStr)) -> io::Result<()> {
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                visit(name);
            }
        }
        Ok(())
    }
}

/// Intake order: by change time, then by name.
pub fn in_order(files: &mut [(OsString, Look)]) {
    files.sort_unstable_by(|(name, look), (other_name, other)| look.changed_ns.cmp(&other.changed_ns).then_with(|| name.cmp(other_name)));
}

/// A file's name as text: as it is where it is UTF-8, else with the bytes that are not as `\xNN`.
pub fn shown(name: &OsStr) -> String {
    let mut text = String::with_capacity(name.len());
    for part in name.as_bytes().utf8_chunks() {
        text.push_str(part.valid());
        for byte in part.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02X}");
        }
    }
    text
}

/// A hidden name of ours for the file with this inode: free of clashes as long as the file is there, and read back by [`inode_of`].
pub fn hidden(what: &str, inode: u64) -> OsString {
    OsString::from_vec(format!(".reten-outbox.{what}.{inode}").into_bytes())
}

/// The inode in a name of [`hidden`].
pub fn inode_of(what: &str, name: &OsStr) -> Option<u64> {
    let rest = name.to_str()?.strip_prefix(".reten-outbox.")?;
    rest.strip_prefix(what)?.strip_prefix('.')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        fs::write(dir.path().join("a.json"), "{}").unwrap();
        symlink("a.json", dir.path().join("link.json")).unwrap();
        fs::create_dir(dir.path().join("dir.json")).unwrap();
        rustix::fs::mkfifoat(CWD, dir.path().join("fifo.json"), Mode::from_raw_mode(0o600)).unwrap();
        assert!(folder.open_file(OsStr::new("a.json")).unwrap().is_some());
        for name in ["link.json", "dir.json", "fifo.json", "missing.json"] {
            assert!(folder.open_file(OsStr::new(name)).unwrap().is_none(), "{name}");
        }
        let (found, more) = folder.oldest(10, |_| true).unwrap();
        assert_eq!((found.len(), more), (1, false));
    }

    #[test]
    fn the_oldest_come_first_however_many_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        for n in 0..25 {
            fs::write(dir.path().join(format!("{n:02}")), "").unwrap();
        }
        let (found, more) = folder.oldest(4, |name| name != "01").unwrap();
        let names: Vec<_> = found.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        // Files of one tick of the clock have one change time; their names decide then, and here they agree.
        assert_eq!((names.as_slice(), more), (&["00", "02", "03", "04"][..], true));
    }

    #[test]
    fn a_move_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let rejected = folder.sub("rejected", 0o750).unwrap();
        fs::write(dir.path().join("a"), "new").unwrap();
        fs::write(rejected.path().join("a"), "old").unwrap();
        assert!(!folder.rename(OsStr::new("a"), &rejected, OsStr::new("a")).unwrap());
        assert_eq!(fs::read_to_string(rejected.path().join("a")).unwrap(), "old");
        assert!(folder.rename(OsStr::new("a"), &rejected, OsStr::new("b")).unwrap());
        assert_eq!(fs::read_to_string(rejected.path().join("b")).unwrap(), "new");
    }

    #[test]
    fn names_are_shown_with_what_is_no_text_escaped() {
        assert_eq!(shown(OsStr::from_bytes(b"a\xff b\n\xc3\xa9.json")), "a\\xFF b\né.json");
        assert_eq!(inode_of("taken", &hidden("taken", 42)), Some(42));
        assert_eq!(inode_of("report", &hidden("taken", 42)), None);
    }
}
