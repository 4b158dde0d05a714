//! Hints from inotify, so that what is dropped is seen within a millisecond. Only hints: whatever it misses (a full queue, a directory that is
//! gone, a file system that tells nothing) the rescan finds. The only file that knows the `inotify` crate.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use inotify::{Event, EventMask, Inotify, WatchMask};
use tokio::io::unix::AsyncFd;

use super::settle::Sight;

/// The bytes that are read of the kernel's queue at once: about 500 events with names of common length. What is left is read next.
const BUFFER_BYTES: usize = 32 * 1024;

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
    inotify: AsyncFd<Inotify>,
    buffer: Vec<u8>,
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
            inotify: AsyncFd::register(inotify)?,
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// Waits for events of files, and returns all that have come. Cancel safe: what is not returned stays in the kernel's queue.
    pub async fn hints(&mut self) -> io::Result<Vec<Hint>> {
        let mut hints = Vec::new();
        self.read(|event| hints.extend(hint(event))).await?;
        Ok(hints)
    }

    /// Waits for events of the database of this name and the files SQLite keeps beside it. False when the watch is lost. Cancel safe.
    pub async fn touched(&mut self, database: &OsStr) -> io::Result<bool> {
        let (mut touched, mut lost) = (false, false);
        while !touched && !lost {
            self.read(|event| {
                lost |= is_lost(event.mask);
                touched |= event.name.is_some_and(|name| is_of(name, database));
            })
            .await?;
        }
        Ok(!lost)
    }

    async fn read(&mut self, mut visit: impl FnMut(&Event<&OsStr>)) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable_mut().await?;
            let buffer = &mut self.buffer;
            let outcome = ready.try_io(|inotify| {
                for event in inotify.get_mut().read_events(buffer)? {
                    visit(&event);
                }
                Ok(())
            });
            match outcome {
                Ok(done) => return done,
                Err(_would_block) => {}
            }
        }
    }
}

fn is_lost(mask: EventMask) -> bool {
    mask.intersects(EventMask::Q_OVERFLOW | EventMask::IGNORED | EventMask::UNMOUNT | EventMask::MOVE_SELF | EventMask::DELETE_SELF)
}

fn hint(event: &Event<&OsStr>) -> Option<Hint> {
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
    Some(Hint::Name(name.to_owned(), sight))
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
