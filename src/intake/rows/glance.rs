//! What can be told of the row inbox from outside, without opening it and without waking the clerk: whether a producer
//! is writing, and whether anything changed since the last look.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;

use super::outside::named;

/// The file and its journal as they lie there. Two that are equal tell that nothing was written between them, but for
/// what was written within one tick of the file system's clock, which inotify tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Glance {
    file: Option<Seen>,
    journal: Option<Seen>,
}

/// Device, inode, size, and the two times in nanoseconds.
type Seen = (u64, u64, u64, i128, i128);

impl Glance {
    /// Whether a producer is in a transaction: with a rollback journal, it stands beside the file for as long. One that
    /// a crash left behind is rolled back by the looks of the slow poll, which do not ask.
    pub fn is_being_written(&self) -> bool {
        self.journal.is_some_and(|(_, _, size, ..)| size > 0)
    }

    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: seen(path)?,
            journal: seen(&named(path, "-journal"))?,
        })
    }
}

fn seen(path: &Path) -> io::Result<Option<Seen>> {
    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    match std::fs::symlink_metadata(path) {
        Ok(found) => Ok(Some((
            found.dev(),
            found.ino(),
            found.size(),
            nanoseconds(found.mtime(), found.mtime_nsec()),
            nanoseconds(found.ctime(), found.ctime_nsec()),
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Glances from a thread that may hang: a directory on a mount that does not answer holds nobody else up.
#[derive(Debug, Default)]
pub struct Glances {
    /// One at a time, also while it hangs.
    pending: Option<JoinHandle<io::Result<Glance>>>,
}

impl Glances {
    /// One glance. Cancel safe: one that is not waited for is the next one's.
    pub async fn take(&mut self, path: &Path) -> io::Result<Glance> {
        let path: PathBuf = path.to_owned();
        let pending = self
            .pending
            .get_or_insert_with(|| tokio::task::spawn_blocking(move || Glance::of(&path)));
        let taken = pending.await;
        self.pending = None;
        taken.map_err(io::Error::other)?
    }
}
