//! Hints from inotify, so that what is dropped is seen within a millisecond. Only hints: whatever it misses (a full queue, a directory that is
//! gone, a file system that tells nothing) the rescan finds. The only file that knows the `inotify` crate.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use futures_util::{FutureExt as _, StreamExt as _};
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchMask};

use super::settle::Sight;

/// The bytes that are read of the kernel's queue at once: about 500 events with names of common length. What is left is read next.
const BUFFER_BYTES: usize = 32 * 1024;
/// The most hints that are given out at once, so that a flood of them cannot hold up the taking.
const HINTS_MAX: usize = 4096;

/// What happened in the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// To a name.
    Name(OsString, Sight),
    /// Events were lost, or the watch itself: everything is to be looked at.
    Lost,
}

/// A watch on one directory.
#[derive(Debug)]
pub struct Watch {
    events: EventStream<Vec<u8>>,
}

impl Watch {
    /// On the directory of the files.
    pub fn files(dir: &Path) -> io::Result<Self> {
        let seen = WatchMask::CREATE | WatchMask::OPEN | WatchMask::CLOSE | WatchMask::MOVED_TO;
        Self::on(dir, seen | WatchMask::MOVE_SELF | WatchMask::DELETE_SELF)
    }

    /// On the directory of the row database. With a rollback journal, the journal's deletion is the commit; what else is seen serves other
    /// journal modes and a file that is replaced.
    pub fn rows(dir: &Path) -> io::Result<Self> {
        let seen = WatchMask::CREATE | WatchMask::MODIFY | WatchMask::DELETE | WatchMask::MOVED_TO;
        Self::on(dir, seen | WatchMask::MOVE_SELF | WatchMask::DELETE_SELF)
    }

    fn on(dir: &Path, mask: WatchMask) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        inotify.watches().add(dir, mask | WatchMask::ONLYDIR)?;
        Ok(Self {
            events: inotify.into_event_stream(vec![0; BUFFER_BYTES])?,
        })
    }

    /// Waits for events of files, and returns all that have come, at most [`HINTS_MAX`]. Cancel safe: what is not returned stays queued.
    pub async fn hints(&mut self) -> io::Result<Vec<Hint>> {
        let mut hints = Vec::new();
        let mut event = Some(self.next().await?);
        while let Some(seen) = event {
            hints.extend(hint(seen));
            event = if hints.len() < HINTS_MAX {
                self.next().now_or_never().transpose()?
            } else {
                None
            };
        }
        Ok(hints)
    }

    /// Waits for events of the database of this name and the files SQLite keeps beside it. False when the watch is lost. Cancel safe.
    pub async fn touched(&mut self, database: &OsStr) -> io::Result<bool> {
        loop {
            let event = self.next().await?;
            if is_lost(event.mask) {
                return Ok(false);
            }
            if event.name.is_some_and(|name| is_of(&name, database)) {
                return Ok(true);
            }
        }
    }

    async fn next(&mut self) -> io::Result<EventOwned> {
        self.events.next().await.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
    }
}

fn is_lost(mask: EventMask) -> bool {
    mask.intersects(EventMask::Q_OVERFLOW | EventMask::IGNORED | EventMask::UNMOUNT | EventMask::MOVE_SELF | EventMask::DELETE_SELF)
}

fn hint(event: EventOwned) -> Option<Hint> {
    if is_lost(event.mask) {
        return Some(Hint::Lost);
    }
    let name = event.name.filter(|_| !event.mask.contains(EventMask::ISDIR))?;
    let sight = if event.mask.contains(EventMask::CREATE) {
        Sight::Created
    } else if event.mask.contains(EventMask::OPEN) {
        Sight::Opened
    } else if event.mask.contains(EventMask::MOVED_TO) {
        Sight::Arrived
    } else {
        Sight::Closed {
            written: event.mask.contains(EventMask::CLOSE_WRITE),
        }
    };
    Some(Hint::Name(name, sight))
}

/// The database itself, its journal or its WAL.
fn is_of(name: &OsStr, database: &OsStr) -> bool {
    name.as_bytes()
        .strip_prefix(database.as_bytes())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    async fn seen(watch: &mut Watch) -> Vec<Hint> {
        tokio::time::timeout(Duration::from_secs(10), watch.hints()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_copy_a_rename_and_the_end_of_the_directory_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = dir.path().join("inbox");
        fs::create_dir(&inbox).unwrap();
        let mut watch = Watch::files(&inbox).unwrap();
        fs::write(inbox.join("a.json"), "{}").unwrap();
        fs::rename(inbox.join("a.json"), inbox.join("b.json")).unwrap();
        let name = |name: &str, sight| Hint::Name(name.into(), sight);
        assert_eq!(
            seen(&mut watch).await,
            [
                name("a.json", Sight::Created),
                name("a.json", Sight::Opened),
                name("a.json", Sight::Closed { written: true }),
                name("b.json", Sight::Arrived),
            ]
        );
        fs::rename(&inbox, dir.path().join("elsewhere")).unwrap();
        assert_eq!(seen(&mut watch).await, [Hint::Lost]);
    }

    #[tokio::test]
    async fn of_the_row_database_only_its_own_files_count() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::rows(dir.path()).unwrap();
        fs::write(dir.path().join("other"), "").unwrap();
        fs::write(dir.path().join("inbox.db-journal"), "").unwrap();
        let touched = tokio::time::timeout(Duration::from_secs(10), watch.touched(OsStr::new("inbox.db"))).await;
        assert!(touched.unwrap().unwrap());
        assert!(!is_of(OsStr::new("inbox.dbx"), OsStr::new("inbox.db")));
    }

    #[test]
    fn a_missing_directory_is_an_error_and_no_silence() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        assert_eq!(Watch::files(Path::new("/nonexistent")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
