//! Whether another process can have written since that was last asked, as far as it shows from outside: every commit
//! writes to the WAL. So the writer's thread is woken for the question only where something happened there, and now and
//! then.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::sqlite::opening::location::beside;

/// Several ticks of a file system's clock: a write within the tick of the one before it leaves the time as it is.
const TICKS: Duration = Duration::from_millis(50);
/// It is asked so often all the same, should a file system's times tell nothing.
const UNASKED_MAX: Duration = Duration::from_secs(5);

/// What is known of the WAL.
#[derive(Debug)]
pub(crate) struct Quiet {
    wal: PathBuf,
    known: Mutex<Option<LastAnswer>>,
}

/// The WAL as it lies there: device, inode, size, and the time of the last write in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight(u64, u64, u64, i128);

#[derive(Debug, Clone, Copy)]
struct LastAnswer {
    sight: Sight,
    since: Instant,
    /// When it was asked, once so long after it was first seen that nothing can be hidden behind the same time.
    asked: Option<Instant>,
}

impl Quiet {
    pub(crate) fn of(database: &Path) -> Self {
        Self {
            wal: beside(database, "-wal"),
            known: Mutex::default(),
        }
    }

    /// The WAL as it is now, to be taken before the question; `None`: there is none.
    pub(crate) fn sight(&self) -> Option<Sight> {
        let found = std::fs::metadata(&self.wal).ok()?;
        let written = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
        Some(Sight(found.dev(), found.ino(), found.size(), written))
    }

    /// Whether the answer that was given at this sight is still right.
    pub(crate) fn holds(&self, sight: Option<Sight>, now: Instant) -> bool {
        let known = *self.known();
        known.is_some_and(|known| {
            let is_young = known
                .asked
                .is_some_and(|asked| now.saturating_duration_since(asked) < UNASKED_MAX);
            sight == Some(known.sight) && is_young
        })
    }

    /// It was asked after this look, at this time; `None`: there was no answer.
    pub(crate) fn asked(&self, sight: Option<Sight>, now: Instant) {
        let mut known = self.known();
        *known = sight.map(|sight| match *known {
            Some(same) if same.sight == sight => LastAnswer {
                asked: (now.saturating_duration_since(same.since) >= TICKS).then_some(now),
                ..same
            },
            Some(_) | None => LastAnswer {
                sight,
                since: now,
                asked: None,
            },
        });
    }

    fn known(&self) -> MutexGuard<'_, Option<LastAnswer>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_the_same_needs_no_question_for_a_while_once_its_tick_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("outbox.db");
        let wal = beside(&database, "-wal");
        let quiet = Quiet::of(&database);
        let start = Instant::now();
        assert!(!quiet.holds(quiet.sight(), start), "there is none");
        std::fs::write(&wal, "a").unwrap();
        let sight = quiet.sight();
        quiet.asked(sight, start);
        assert!(!quiet.holds(sight, start), "more may come within the same tick");
        quiet.asked(sight, start + TICKS);
        assert!(quiet.holds(quiet.sight(), start + TICKS) && !quiet.holds(sight, start + TICKS + UNASKED_MAX));
        std::fs::write(&wal, "ab").unwrap();
        assert!(!quiet.holds(quiet.sight(), start + TICKS));
        quiet.asked(sight, start + TICKS);
        quiet.asked(None, start + TICKS);
        assert!(!quiet.holds(sight, start + TICKS), "an error says nothing");
    }
}
