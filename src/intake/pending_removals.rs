//! The files that are in the outbox and still in the inbox: when they are let go.
//!
//! Letting go syncs two directories and commits that the receipts are forgotten, for one file as for a hundred. Done at
//! once, the disk was busy with it when the file's own request was to leave, and the next file waited for it: so it
//! waits for a quiet moment, or until there are many.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use tokio::time::Instant;

use super::open_file::OpenFile;

/// Longer than a claim and its request take.
const QUIET: Duration = Duration::from_millis(5);
/// However many come one by one: a file that is taken does not lie there for long.
const DELAY_MAX: Duration = Duration::from_millis(250);
/// The most that wait. Each is held open, beside those of the next admission.
const FILES_MAX: usize = 64;

/// Files on their way out.
#[derive(Debug, Default)]
pub struct PendingRemovals {
    open_files: Vec<OpenFile>,
    names: HashSet<OsString>,
    /// When the first and the last of them came.
    since: Option<(Instant, Instant)>,
}

impl PendingRemovals {
    pub fn add(&mut self, open_files: Vec<OpenFile>, now: Instant) {
        if open_files.is_empty() {
            return;
        }
        self.names
            .extend(open_files.iter().map(|open_file| open_file.name.clone()));
        self.open_files.extend(open_files);
        self.since = Some((self.since.map_or(now, |(first, _)| first), now));
    }

    /// Whether a file of this name is among them.
    pub fn has(&self, name: &OsStr) -> bool {
        !self.names.is_empty() && self.names.contains(name)
    }

    /// Whether no more of them may wait.
    pub fn is_full(&self) -> bool {
        self.open_files.len() >= FILES_MAX
    }

    /// When they are to be let go; `None` where there are none.
    pub fn due(&self) -> Option<Instant> {
        self.since.map(|(first, last)| (last + QUIET).min(first + DELAY_MAX))
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// All of them, to be let go.
    pub fn take(&mut self) -> Vec<OpenFile> {
        std::mem::take(self).open_files
    }
}
