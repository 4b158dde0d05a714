//! Who may be the only one: `flock` on what is really shared, an opened file or directory, whatever path led to it. The
//! kernel lets go when the process ends, however it ends.
//!
//! The lock is the lock; the process number in a lock file, or in `/proc/locks`, is only for the operator who asks who
//! has it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

/// A signature is so long; what comes after it in the file belongs to others.
pub const SIGNATURE_BYTES: usize = 64;

/// Held as long as this lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Let go by name: closing alone does not do it while another thread starts a process, whose copy of the file stays
/// open until the new program runs. Who takes the lock again at once would be told that somebody has it.
impl Drop for Lock {
    fn drop(&mut self) {
        let_go(&self.file);
    }
}

/// Why a lock cannot be had.
#[derive(Debug)]
pub enum Refusal {
    /// Somebody has it. The file comes back, to ask again or to ask who.
    Held(File),
    /// It cannot be locked at all.
    Failed(io::Error),
}

/// Opens a file of ours that is only there to be locked, or makes it. Whoever may write in its directory may have put
/// something there: no link is followed, and no pipe waited for.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path)
}

/// Takes the lock of an opened file or directory, without waiting.
pub fn take(file: File) -> Result<Lock, Refusal> {
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock { file }),
        Err(Errno::WOULDBLOCK) => Err(Refusal::Held(file)),
        Err(error) => Err(Refusal::Failed(error.into())),
    }
}

/// The same for a file of ours, which then holds our process number: for people. In place, since on a full disk a block
/// that is given away does not come back; and where it cannot be written all the same, the lock is the lock.
pub fn take_and_sign(file: File) -> Result<Lock, Refusal> {
    let lock = take(file)?;
    let line = format!("{:<width$}\n", std::process::id(), width = SIGNATURE_BYTES - 1);
    let _for_people = lock.file.write_all_at(line.as_bytes(), 0);
    Ok(lock)
}

/// Whether somebody holds it just now. Ours for an instant where nobody does.
pub fn is_held(file: &File) -> bool {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            let_go(file);
            false
        }
        Err(error) => error == Errno::WOULDBLOCK,
    }
}

/// Lets go of what was taken with this file, and with every copy of it.
pub fn let_go(file: &File) {
    // Nothing is lost where it fails: then closing does it.
    let _by_name = flock(file, FlockOperation::NonBlockingUnlock);
}

/// The process that holds it, where that can be told: as it signed the file, else as the kernel says.
pub fn holder(file: &File) -> Option<u32> {
    signed(file).or_else(|| by_kernel(file))
}

/// ` (process 4711)`, or nothing: to follow "another daemon".
pub fn shown(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// ` by process 4711`, or nothing: to follow "locked".
pub fn by_whom(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" by process {pid}"))
}

fn signed(mut file: &File) -> Option<u32> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Of `/proc/locks`, which a confined service may not see. File systems with device numbers of their own (btrfs,
/// overlayfs) are not found.
fn by_kernel(file: &File) -> Option<u32> {
    let found = file.metadata().ok()?;
    let (device, inode) = (found.dev(), found.ino());
    let place = format!(
        "{:02x}:{:02x}:{inode}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| holder_in(line, &place))
}

/// `1: FLOCK  ADVISORY  WRITE 4711 fd:01:131 0 EOF`
fn holder_in(line: &str, place: &str) -> Option<u32> {
    let mut words = line.split_whitespace();
    let is_it = words.nth(1) == Some("FLOCK") && words.nth(2)?.parse::<u32>().is_ok() && words.next() == Some(place);
    is_it.then(|| line.split_whitespace().nth(4)?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> File {
        super::open(path).unwrap()
    }

    #[test]
    fn one_has_it_whatever_name_led_there_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("lock"), dir.path().join("link"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let lock = take_and_sign(open(&path)).unwrap();
        assert!(is_held(&File::open(&link).unwrap()));
        let Err(Refusal::Held(file)) = take(File::open(&link).unwrap()) else {
            panic!("two have it");
        };
        assert_eq!(holder(&file), Some(std::process::id()));
        drop(lock);
        assert!(!is_held(&file) && take(file).is_ok());
    }

    #[test]
    fn it_is_free_at_once_though_a_process_that_just_begins_still_has_a_copy_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = take(open(&path)).unwrap();
        let copy = lock.file.try_clone().unwrap();
        drop(lock);
        assert!(!is_held(&copy) && take(open(&path)).is_ok());
        let asked = open(&path);
        let copy = asked.try_clone().unwrap();
        assert!(!is_held(&asked));
        drop(asked);
        assert!(take(open(&path)).is_ok(), "who only asked keeps nobody out");
        drop(copy);
    }

    #[test]
    fn of_a_directory_the_kernel_tells_who() {
        let dir = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let _lock = take(File::open(dir.path()).unwrap()).unwrap();
        let Err(Refusal::Held(file)) = take(File::open(dir.path()).unwrap()) else {
            panic!("two have it");
        };
        assert_eq!(signed(&file), None);
        let line = "12: FLOCK  ADVISORY  WRITE 4711 fd:01:131 0 EOF";
        assert_eq!(
            (holder_in(line, "fd:01:131"), holder_in(line, "fd:01:13")),
            (Some(4711), None)
        );
        assert_eq!(
            holder_in("1: POSIX  ADVISORY  READ 4711 fd:01:131 0 EOF", "fd:01:131"),
            None
        );
    }
}
