//! Hears when somebody writes to the outbox, for who is at rest and would only ask: every commit writes to the WAL. Our
//! own ones are heard as well, so it is not for who is at work.

use std::io;
use std::path::{Path, PathBuf};

use inotify::{EventMask, Inotify, WatchMask};
use tokio::io::unix::AsyncFd;

use crate::store::sqlite::opening::location::beside;

/// The bytes that are read of the kernel's queue at once. A watch on one file tells no names, and equal events in a row
/// are one.
const BUFFER_BYTES: usize = 512;

/// An ear on one outbox.
#[derive(Debug)]
pub struct Touch {
    wal: PathBuf,
    /// Kept while nobody listens: to make another one takes milliseconds, and what nobody reads is one event, however
    /// much is written.
    ear: Option<AsyncFd<Inotify>>,
    is_listening: bool,
}

impl Touch {
    pub(crate) fn of(database: &Path) -> Self {
        Self {
            wal: beside(database, "-wal"),
            ear: None,
            is_listening: false,
        }
    }

    pub const fn is_listening(&self) -> bool {
        self.is_listening
    }

    /// Listens from now on; what was written before is not heard. False where there is nothing to be heard: no WAL yet,
    /// no watch to be had.
    pub fn listen(&mut self) -> bool {
        if !self.is_listening {
            if self.ear.as_mut().is_none_or(|ear| !is_good(&read(ear.get_mut()))) {
                self.ear = ear(&self.wal).ok();
            }
            self.is_listening = self.ear.is_some();
        }
        self.is_listening
    }

    pub fn rest(&mut self) {
        self.is_listening = false;
    }

    /// Waits until something is written, and listens no more; for ever where it does not listen. Cancel safe.
    pub async fn heard(&mut self) {
        let Some(ear) = self.ear.as_mut().filter(|_| self.is_listening) else {
            return std::future::pending().await;
        };
        while let Ok(mut ready) = ear.readable_mut().await {
            match read(ready.get_inner_mut()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                heard => {
                    if !is_good(&heard) {
                        self.ear = None;
                    }
                    break;
                }
            }
        }
        self.is_listening = false;
    }
}

/// Whether what was read tells of a file that is still the one.
fn is_good(heard: &io::Result<EventMask>) -> bool {
    match heard {
        Ok(mask) => *mask == EventMask::MODIFY,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// Reads what has happened.
fn read(ear: &mut Inotify) -> io::Result<EventMask> {
    let mut buffer = [0; BUFFER_BYTES];
    let events = ear.read_events(&mut buffer)?;
    Ok(events.fold(EventMask::empty(), |all, event| all | event.mask))
}

#[expect(
    deprecated,
    reason = "what took its place is `unsafe`, for types that may close or replace their descriptor; \
         `Inotify` does neither"
)]
fn ear(wal: &Path) -> io::Result<AsyncFd<Inotify>> {
    let ear = Inotify::init()?;
    let seen = WatchMask::MODIFY | WatchMask::MOVE_SELF | WatchMask::DELETE_SELF;
    ear.watches().add(wal, seen | WatchMask::DONT_FOLLOW)?;
    AsyncFd::new(ear)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn is_heard(touch: &mut Touch) -> bool {
        timeout(Duration::from_millis(50), touch.heard()).await.is_ok()
    }

    #[tokio::test]
    async fn a_write_is_heard_and_neither_silence_nor_what_was_before_it_listened() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("outbox.db");
        let wal = beside(&database, "-wal");
        let mut touch = Touch::of(&database);
        assert!(!touch.listen(), "there is none yet");
        fs::write(&wal, "a").unwrap();
        assert!(touch.listen() && !is_heard(&mut touch).await);
        assert!(touch.is_listening(), "who stopped waiting waits again");
        fs::write(&wal, "b").unwrap();
        assert!(is_heard(&mut touch).await && !touch.is_listening());
        fs::write(&wal, "c").unwrap();
        assert!(touch.listen() && !is_heard(&mut touch).await);
        // Another file in its place: the old one is no more listened to.
        fs::remove_file(&wal).unwrap();
        fs::write(&wal, "d").unwrap();
        assert!(is_heard(&mut touch).await && touch.listen() && !is_heard(&mut touch).await);
        fs::write(&wal, "e").unwrap();
        assert!(is_heard(&mut touch).await);
    }
}
