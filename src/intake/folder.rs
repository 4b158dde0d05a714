//! A directory held open, and what intake does in it by name. Everything goes through its descriptor: a path that is
//! swapped for another while we work cannot lead us elsewhere, and no symbolic link is ever followed.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use crate::model::InboxId;

use super::result_reader::Progress;
use super::trust::{self, DirOwner};

/// What a look at a file tells: enough to know it again, and to see that it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    pub device: u64,
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

impl FileStat {
    pub(super) fn of(stat: &Stat) -> Self {
        let nanoseconds = |seconds: i64, rest: u64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            changed_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
            is_file: FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
        }
    }

    /// What lies at a path, without following or opening anything; `None` when there is nothing.
    pub fn of_path(path: &Path) -> io::Result<Option<Self>> {
        match rustix::fs::lstat(path) {
            Ok(stat) => Ok(Some(Self::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
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

#[derive(Debug)]
pub struct Folder {
    pub(super) fd: OwnedFd,
    path: PathBuf,
    pub(super) progress: Progress,
    id: Option<InboxId>,
    /// Opened when it is needed first; see [`private_dir`](super::private_dir).
    pub(super) private_dir: OnceLock<Box<Self>>,
}

impl Folder {
    /// Opens a directory that is there.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::openat(
            CWD,
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self::new(fd, path.to_owned(), Progress::default()))
    }

    fn new(fd: OwnedFd, path: PathBuf, progress: Progress) -> Self {
        Self {
            fd,
            path,
            progress,
            id: None,
            private_dir: OnceLock::new(),
        }
    }

    /// The same, where the blocks that are read of its files count as signs of life.
    #[must_use]
    pub fn with_progress(self, progress: Progress) -> Self {
        Self { progress, ..self }
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
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Opens a directory in this one, creating it with `mode` where it is missing. One that others may change or we may
    /// not is refused, and so is whatever else has that name: [`trust::cure`] tells it from other errors.
    pub fn sub(&self, name: &str, mode: u32, owner: DirOwner) -> io::Result<Self> {
        let is_new = match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            // Its entry must not vanish in a power cut with what was moved into it.
            Ok(()) => self.sync().map(|()| true)?,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => {
                let checked = trust::check(&rustix::fs::fstat(&fd)?, owner, &path, is_new);
                if checked.is_err() && is_new {
                    // Of no use to anybody, and each try would leave one more.
                    rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?;
                }
                checked?;
                let sub = Self::new(fd, path, self.progress.clone());
                match sub.check_access() {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(trust::forbidden(&sub.path)),
                    checked => checked.map(|()| sub),
                }
            }
            Err(error) => {
                // It may be no directory, or somebody's who lets nobody in.
                let found = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
                trust::check(&found, owner, &path, is_new)?;
                Err(if error == Errno::ACCESS {
                    trust::forbidden(&path)
                } else {
                    error.into()
                })
            }
        }
    }

    /// Whether a name is a directory that nobody but us may change.
    pub fn has_own(&self, name: &OsStr) -> bool {
        let found = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| trust::check(&found, DirOwner::Us, &self.path, false).is_ok())
    }

    /// Which directory it is, whatever its path: its device and inode.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        let found = rustix::fs::fstat(&self.fd)?;
        Ok((found.st_dev, found.st_ino))
    }

    /// The directory as a file that can be locked, apart from every other descriptor of it.
    pub fn to_lock(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.fd, ".", flags, Mode::empty())?))
    }

    /// A file to be locked, created where it is missing, for us alone.
    pub fn lock_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(
            &self.fd,
            name,
            flags,
            Mode::from_raw_mode(0o600),
        )?))
    }

    /// Whether files can be listed here, taken out and put in.
    pub fn check_access(&self) -> io::Result<()> {
        let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
        Ok(rustix::fs::accessat(&self.fd, ".", all, AtFlags::EACCESS)?)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A look at a name, without following or opening anything; `None` when there is no such name.
    pub fn stat(&self, name: &OsStr) -> io::Result<Option<FileStat>> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileStat::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a regular file for reading; `None` when there is none of that name (any more).
    pub fn open_file(&self, name: &OsStr) -> io::Result<Option<(File, FileStat)>> {
        // Looked at first: even a non-blocking open of a FIFO would wake its writer.
        if !self.stat(name)?.is_some_and(|stat| stat.is_file) {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = FileStat::at(&file)?;
        Ok(stat.is_file.then_some((file, stat)))
    }

    /// Creates a file that must not be there yet, readable for owner and group.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(
            &self.fd,
            name,
            flags,
            Mode::from_raw_mode(0o640),
        )?))
    }

    /// Moves a file to `to` under `new`; `false` when that name is taken, and nothing was moved.
    pub fn rename(&self, name: &OsStr, to: &Self, new: &OsStr) -> io::Result<bool> {
        match rustix::fs::renameat_with(&self.fd, name, &to.fd, new, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            // A file system without RENAME_NOREPLACE (some network ones): the look before leaves a gap, but nothing
            // else would do.
            Err(Errno::INVAL | Errno::NOSYS) => {
                if to.stat(new)?.is_some() {
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

/// A hidden name of ours for the file with this inode: free of clashes as long as the file is there, and read back by
/// [`inode_of`].
pub fn hidden(what: &str, inode: u64) -> OsString {
    OsString::from_vec(format!(".reten-outbox.{what}.{inode}").into_bytes())
}

/// The same where that name is in use: what lies there belongs to a file that had this inode before.
pub fn hidden_again(what: &str, inode: u64, number: u32) -> OsString {
    let mut name = hidden(what, inode);
    name.push(format!(".{number}"));
    name
}

/// The inode in a name of [`hidden`] or [`hidden_again`].
pub fn inode_of(what: &str, name: &OsStr) -> Option<u64> {
    let rest = name.to_str()?.strip_prefix(".reten-outbox.")?;
    rest.strip_prefix(what)?
        .strip_prefix('.')?
        .split('.')
        .next()?
        .parse()
        .ok()
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
    }

    #[test]
    fn a_move_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let rejected = folder.sub("rejected", 0o750, DirOwner::UsOrRoot).unwrap();
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
        assert_eq!(inode_of("taken", &hidden_again("taken", 42, 7)), Some(42));
        assert_eq!(inode_of("report", &hidden("taken", 42)), None);
    }
}
