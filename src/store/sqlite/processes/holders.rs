//! Who holds SQLite's locks on a database, by `/proc/locks`: so that an operator is told whom to end, and not only that
//! somebody is in the way.
//!
//! What the kernel does not tell (another namespace, a file system that shows other numbers, a service that must not
//! see it) is not guessed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// SQLite's locks on a database file begin here: PENDING, RESERVED, and the range of SHARED.
const FILE_LOCKS: u64 = 0x4000_0000;

/// SQLite's lock for writing, of a database in WAL mode, is this byte of its `-shm`.
const WAL_WRITE_LOCK: u64 = 120;

/// A process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    /// The name of its program, where it may be seen. From outside: not escaped.
    pub name: Option<String>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}", self.pid)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

/// What of a lock is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Those that write: all that matters where readers disturb nobody (WAL).
    Writing,
    /// Those that read as well: with a rollback journal a writer waits for them.
    Any,
}

/// The first process other than this one and `except` that holds such a lock on the database.
pub fn holder(database: &Path, way: Way, except: Option<u32>) -> Option<Holder> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let mut shm = database.as_os_str().to_owned();
    shm.push("-shm");
    let of_file = inode(database).and_then(|inode| find(&locks, &inode, way, except, |start, _| start >= FILE_LOCKS));
    let of_shm = || {
        let inode = inode(&PathBuf::from(shm))?;
        find(&locks, &inode, Way::Writing, except, |start, end| {
            (start..=end).contains(&WAL_WRITE_LOCK)
        })
    };
    let pid = of_file.or_else(of_shm)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    let name = name
        .map(|name| name.trim_end().to_owned())
        .filter(|name| !name.is_empty());
    Some(Holder { pid, name })
}

/// As the kernel writes it there: `08:01:1234`, the device in hexadecimal digits.
fn inode(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    let (major, minor) = (rustix::fs::major(found.dev()), rustix::fs::minor(found.dev()));
    Some(format!("{major:02x}:{minor:02x}:{}", found.ino()))
}

/// Lines are `1: POSIX  ADVISORY  WRITE 4711 08:01:1234 120 120`; the number of one who only waits is followed by `->`.
fn find(
    locks: &str,
    inode: &str,
    way: Way,
    except: Option<u32>,
    is_in_the_way: impl Fn(u64, u64) -> bool,
) -> Option<u32> {
    let ours = std::process::id();
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "POSIX" | "OFDLCK", _, mode, pid, on, start, end] = words.as_slice() else {
            return None;
        };
        let pid: u32 = pid.parse().ok()?;
        let start: u64 = start.parse().ok()?;
        let end = if *end == "EOF" { u64::MAX } else { end.parse().ok()? };
        let matters = *on == inode && (*mode == "WRITE" || way == Way::Any) && is_in_the_way(start, end);
        (matters && pid != 0 && pid != ours && Some(pid) != except).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_the_process_whose_lock_is_in_the_way() {
        let locks = "1: POSIX  ADVISORY  READ 11 08:01:99 1073741826 1073742335\n\
                     2: FLOCK  ADVISORY  WRITE 12 08:01:99 0 EOF\n\
                     3: -> POSIX  ADVISORY  WRITE 13 08:01:99 1073741825 1073741825\n\
                     4: POSIX  ADVISORY  WRITE 14 08:01:98 1073741825 1073741825\n\
                     5: POSIX  ADVISORY  WRITE 15 08:01:99 120 120\n\
                     6: POSIX  ADVISORY  WRITE 16 08:01:99 1073741825 1073741825\n\
                     nonsense\n";
        let on_file = |way, except| find(locks, "08:01:99", way, except, |start, _| start >= FILE_LOCKS);
        assert_eq!(on_file(Way::Writing, None), Some(16));
        assert_eq!(on_file(Way::Any, None), Some(11));
        assert_eq!(on_file(Way::Writing, Some(16)), None);
        let in_wal = |start: u64, end: u64| (start..=end).contains(&WAL_WRITE_LOCK);
        assert_eq!(find(locks, "08:01:99", Way::Writing, None, in_wal), Some(15));
        assert_eq!(find(locks, "08:01:97", Way::Any, None, |_, _| true), None);
    }
}
