//! What can be told of the row inbox from outside, without opening it and without waking the worker: whether a producer
//! is writing, and whether anything changed since the last look.

use std::io;
use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;

use crate::intake::folder::FileStat;

use super::file_checks::named;

/// The file and its journal as they lie there. Two that are equal tell that nothing was written between them, but for
/// what was written within one tick of the file system's clock, which inotify tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileSnapshot {
    file: Option<FileStat>,
    journal: Option<FileStat>,
}

impl FileSnapshot {
    /// Whether a producer is in a transaction: with a rollback journal, it is beside the file for as long. One that
    /// a crash left behind is rolled back by the looks of the slow poll, which do not ask.
    pub fn is_being_written(&self) -> bool {
        self.journal.is_some_and(|journal| journal.size > 0)
    }

    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: FileStat::of_path(path)?,
            journal: FileStat::of_path(&named(path, "-journal"))?,
        })
    }
}

/// Looks from a thread that may hang: a directory on a mount that does not answer holds nobody else up. One at a time,
/// also while it hangs, in `pending`. Cancel safe: one that is not waited for is the next one's.
pub async fn snapshot(
    pending: &mut Option<JoinHandle<io::Result<FileSnapshot>>>,
    path: &Path,
) -> io::Result<FileSnapshot> {
    let path: PathBuf = path.to_owned();
    let running = pending.get_or_insert_with(|| tokio::task::spawn_blocking(move || FileSnapshot::of(&path)));
    let taken = running.await;
    *pending = None;
    taken.map_err(io::Error::other)?
}
