//! Which files are open for writing, as far as `/proc` shows it: of processes of the daemon's own user, or of all where
//! it is root. What was opened before the watch began can be known by this alone. It only ever tells *that* one is
//! open: another user's process, another container, another host of a network file system are not seen.
//!
//! Not chosen: a lease on the file, which the kernel refuses while somebody writes: it takes the file's owner, who is
//! rarely the daemon.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

/// A look reads a few lines for each open file of every process: some milliseconds, and not more often than this.
const GAP: Duration = Duration::from_secs(1);

/// What the last look told.
#[derive(Debug, Default)]
pub struct Openers {
    at: Option<Instant>,
    asked: HashSet<u64>,
    open: HashSet<u64>,
}

impl Openers {
    /// Whether the last look told of this file, and nothing was seen of it since.
    pub fn knows(&self, inode: u64, touched: Instant) -> bool {
        self.at.is_some_and(|at| at >= touched) && self.asked.contains(&inode)
    }

    /// When the next look may be taken.
    pub fn next(&self) -> Option<Instant> {
        self.at.map(|at| at + GAP)
    }

    /// Whether it was open for writing.
    pub fn has(&self, inode: u64) -> bool {
        self.open.contains(&inode)
    }

    /// Looks for the files with these inodes in the file system of `dir`. Blocking. `now`: before it began.
    pub fn snapshot(dir: &Path, asked: HashSet<u64>, now: Instant) -> Self {
        let open = if asked.is_empty() {
            HashSet::new()
        } else {
            // Without a /proc nothing is known.
            written(dir, &asked).unwrap_or_default()
        };
        Self {
            at: Some(now),
            asked,
            open,
        }
    }
}

fn written(dir: &Path, asked: &HashSet<u64>) -> io::Result<HashSet<u64>> {
    let device = fs::metadata(dir)?.dev();
    let own = std::process::id().to_string();
    let mut open = HashSet::new();
    for process in fs::read_dir("/proc")?.flatten() {
        let name = process.file_name();
        let is_process = name.as_encoded_bytes().first().is_some_and(u8::is_ascii_digit);
        if is_process && name != OsStr::new(&own) {
            // One that ended meanwhile, or may not be looked into, tells nothing.
            let _ = of_process(&process.path(), device, asked, &mut open);
        }
    }
    Ok(open)
}

fn of_process(process: &Path, device: u64, asked: &HashSet<u64>, open: &mut HashSet<u64>) -> io::Result<()> {
    for entry in fs::read_dir(process.join("fdinfo"))?.flatten() {
        let Ok(text) = fs::read_to_string(entry.path()) else {
            continue;
        };
        let Some(inode) = inode_written(&text).filter(|inode| asked.contains(inode)) else {
            continue;
        };
        // Other file systems have files of the same number. Asked only of those: a look at just any file may hang with
        // its server.
        let descriptor: PathBuf = process.join("fd").join(entry.file_name());
        if fs::metadata(descriptor).is_ok_and(|found| found.dev() == device && found.ino() == inode) {
            open.insert(inode);
        }
    }
    Ok(())
}

/// The inode that `/proc/PID/fdinfo/N` tells of, where it is open for writing. Kernels before 5.15 tell none.
fn inode_written(text: &str) -> Option<u64> {
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let flags = u32::from_str_radix(value("flags:")?, 8).ok()?;
    // The two lowest bits: 0 reads, 1 writes, 2 does both.
    (flags & 3 != 0).then_some(())?;
    value("ino:")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_description_tells_who_writes_what() {
        assert_eq!(
            inode_written("pos:\t0\nflags:\t0102001\nmnt_id:\t29\nino:\t4711\n"),
            Some(4711)
        );
        assert_eq!(
            inode_written("pos:\t0\nflags:\t02\nmnt_id:\t29\nino:\t4711\n"),
            Some(4711)
        );
        for other in [
            "flags:\t0100000\nino:\t4711\n",
            "flags:\t01\n",
            "ino:\t4711\n",
            "flags:\tx\nino:\t1\n",
            "",
        ] {
            assert_eq!(inode_written(other), None, "{other:?}");
        }
    }

    #[test]
    fn what_another_process_writes_is_seen_and_what_it_reads_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let inode = |name: &str| {
            fs::write(dir.path().join(name), "").unwrap();
            fs::metadata(dir.path().join(name)).unwrap().ino()
        };
        let (written, read, other) = (inode("written"), inode("read"), inode("other"));
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(fs::File::open(dir.path().join("read")).unwrap())
            .stdout(
                fs::File::options()
                    .append(true)
                    .open(dir.path().join("written"))
                    .unwrap(),
            )
            .spawn()
            .unwrap();
        let snapshot = |asked: &[u64]| Openers::snapshot(dir.path(), asked.iter().copied().collect(), Instant::now());
        let openers = snapshot(&[written, read, other]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(
            [written, read, other].map(|inode| openers.has(inode)),
            [true, false, false]
        );
        assert!(openers.knows(read, openers.at.unwrap()) && !openers.knows(read + 1_000_000, openers.at.unwrap()));
        assert!(!snapshot(&[written]).has(written), "it ended");
    }
}
