//! Hints from inotify, so that what is dropped is seen within a millisecond. Only hints: whatever it misses (a full
//! queue, a directory that is gone, a file system that tells nothing) the rescan finds. With
//! `store::sqlite::processes::touch` the only file that knows the `inotify` crate.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use inotify::{Event, EventMask, Inotify, WatchMask};
use tokio::io::unix::AsyncFd;

use super::stability::FileEvent;

/// The bytes that are read of the kernel's queue at once: about 500 events with names of common length.
const BUFFER_BYTES: usize = 32 * 1024;
/// The most reads of one catching up: several times what the kernel queues by default (16,384 events), so that whoever
/// goes on making events cannot hold it up. What had happened before is read by then.
const READS_MAX: usize = 256;

/// What happened in the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchHint {
    Name(OsString, FileEvent),
    /// More happened than the kernel queues: everything is to be looked at.
    Overflow,
    /// The directory is no longer where it was: the same.
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

    /// On the directory of the row database. With a rollback journal, the journal's deletion is the commit; what else
    /// is seen serves other journal modes and a file that is replaced.
    pub fn rows(dir: &Path) -> io::Result<Self> {
        let seen = WatchMask::CREATE | WatchMask::MODIFY | WatchMask::DELETE | WatchMask::MOVED_TO;
        Self::on(dir, seen | WatchMask::MOVE_SELF | WatchMask::DELETE_SELF)
    }

    #[expect(
        deprecated,
        reason = "what took its place is `unsafe`, for types that may close or replace their descriptor; \
             `Inotify` does neither"
    )]
    fn on(dir: &Path, mask: WatchMask) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        inotify.watches().add(dir, mask | WatchMask::ONLYDIR)?;
        Ok(Self {
            inotify: AsyncFd::new(inotify)?,
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// Waits for events of files, and returns what has come by then. Cancel safe: what is not returned stays queued.
    pub async fn hints(&mut self) -> io::Result<Vec<WatchHint>> {
        self.wait(|event| hint(&event)).await
    }

    /// All that happened to files until now, without waiting: nothing that happened before this is asked is missed.
    pub fn hints_so_far(&mut self) -> io::Result<Vec<WatchHint>> {
        // Read of the descriptor itself: the runtime may not know yet that there is something.
        let mut hints = Vec::new();
        for _ in 0..READS_MAX {
            match self.inotify.get_mut().read_events(&mut self.buffer) {
                Ok(events) => hints.extend(events.filter_map(|event| hint(&event))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(hints)
    }

    /// Waits for events of the database of this name and the files SQLite keeps beside it. False when the watch is
    /// lost. Cancel safe.
    pub async fn touched(&mut self, database: &OsStr) -> io::Result<bool> {
        loop {
            let seen = self
                .wait(|event| match event.name {
                    _ if is_lost(event.mask) => Some(false),
                    Some(name) if is_of(name, database) => Some(true),
                    Some(_) | None => None,
                })
                .await?;
            if !seen.is_empty() {
                return Ok(!seen.contains(&false));
            }
        }
    }

    /// Waits for one reading of the queue, and returns what is wanted of it; it may be nothing.
    async fn wait<T>(&mut self, mut wanted: impl FnMut(Event<&OsStr>) -> Option<T>) -> io::Result<Vec<T>> {
        loop {
            let mut ready = self.inotify.readable_mut().await?;
            match ready.get_inner_mut().read_events(&mut self.buffer) {
                Ok(events) => return Ok(events.filter_map(&mut wanted).collect()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_lost(mask: EventMask) -> bool {
    mask.intersects(
        EventMask::Q_OVERFLOW | EventMask::IGNORED | EventMask::UNMOUNT | EventMask::MOVE_SELF | EventMask::DELETE_SELF,
    )
}

fn hint(event: &Event<&OsStr>) -> Option<WatchHint> {
    if event.mask.contains(EventMask::Q_OVERFLOW) {
        return Some(WatchHint::Overflow);
    }
    if is_lost(event.mask) {
        return Some(WatchHint::Lost);
    }
    let name = event.name.filter(|_| !event.mask.contains(EventMask::ISDIR))?;
    let sight = if event.mask.contains(EventMask::CREATE) {
        FileEvent::Created
    } else if event.mask.contains(EventMask::OPEN) {
        FileEvent::Opened
    } else if event.mask.contains(EventMask::MOVED_TO) {
        FileEvent::Arrived
    } else {
        FileEvent::Closed {
            written: event.mask.contains(EventMask::CLOSE_WRITE),
        }
    };
    Some(WatchHint::Name(name.to_owned(), sight))
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

    async fn seen(watch: &mut Watch) -> Vec<WatchHint> {
        tokio::time::timeout(Duration::from_secs(10), watch.hints())
            .await
            .unwrap()
            .unwrap()
    }

    #[tokio::test]
    async fn what_happened_before_it_was_asked_is_known_whether_the_runtime_turned_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::files(dir.path()).unwrap();
        assert!(watch.hints_so_far().unwrap().is_empty());
        // More than one reading holds.
        for n in 0..2000 {
            fs::write(dir.path().join(format!("{n:0100}.json")), "{}").unwrap();
        }
        assert_eq!(watch.hints_so_far().unwrap().len(), 6000);
        assert!(watch.hints_so_far().unwrap().is_empty());
        fs::write(dir.path().join("one more"), "{}").unwrap();
        assert_eq!(seen(&mut watch).await.len(), 3);
    }

    #[tokio::test]
    async fn a_copy_a_rename_and_the_end_of_the_directory_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = dir.path().join("inbox");
        fs::create_dir(&inbox).unwrap();
        let mut watch = Watch::files(&inbox).unwrap();
        fs::write(inbox.join("a.json"), "{}").unwrap();
        fs::rename(inbox.join("a.json"), inbox.join("b.json")).unwrap();
        let name = |name: &str, sight| WatchHint::Name(name.into(), sight);
        assert_eq!(
            seen(&mut watch).await,
            [
                name("a.json", FileEvent::Created),
                name("a.json", FileEvent::Opened),
                name("a.json", FileEvent::Closed { written: true }),
                name("b.json", FileEvent::Arrived),
            ]
        );
        fs::rename(&inbox, dir.path().join("elsewhere")).unwrap();
        assert_eq!(seen(&mut watch).await, [WatchHint::Lost]);
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
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _guard = runtime.enter();
        assert_eq!(
            Watch::files(Path::new("/nonexistent")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
