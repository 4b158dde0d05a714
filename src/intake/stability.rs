//! When a file may be taken, and whether somebody may still be writing to it. Pure: it is told what was seen and when,
//! and says what may be taken and when to look again.
//!
//! A file seen being opened is taken when it is closed, one that was renamed into place at once; one only found (a
//! scan, a link, after lost events) when two looks `inbox.settle` apart saw the same. What seemed unfinished is looked
//! at once more, that long later. One that stays open is taken after a while as far as it is whole, and *kept*: it is
//! not removed before it is closed, however long that takes.
//!
//! Opens are counted. Those of the daemon itself are known beforehand and left out of the count. Two equal events in a
//! row are merged by the kernel, so that a count can be wrong where two programs have one file open at once: too high a
//! one leaves a file in the inbox whose results are in, and is said in the log.

mod file_state;

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use tokio::time::Instant;

use super::folder::FileStat;
use super::listing::in_order;
pub use file_state::Openness;
use file_state::{FileState, OPEN_PATIENCE};

/// The most files that are known at one time; what is beyond waits in the directory and is found when these are gone.
pub const KNOWN_MAX: usize = 50_000;

/// After lost events a file may be open without our knowing. So long it has to stand still before it is removed, where
/// it can be taken before.
const DOUBT: Duration = Duration::from_secs(10);

/// What the watch says about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileEvent {
    /// It appeared: created or linked.
    Created,
    Opened,
    Closed {
        /// Whether it had been opened for writing.
        written: bool,
    },
    /// It was renamed into place.
    Arrived,
}

/// A file that may be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    pub name: OsString,
    pub stat: FileStat,
    /// It stood still since it seemed unfinished: now it is judged as it is.
    pub is_last_look: bool,
    /// Whether somebody may still be writing to it.
    pub openness: Openness,
    /// Its results are in already, and it looks as it did then.
    pub is_kept: bool,
    /// When something was last seen of it.
    pub touched: Instant,
}

impl Ready {
    /// Whether it is not to be removed, rejected, or judged by its last line, for now.
    pub fn stays(&self) -> bool {
        match self.openness {
            Openness::Closed | Openness::Unseen => false,
            Openness::Doubtful | Openness::Open => true,
        }
    }
}

/// The files of the inbox that are known and not taken yet.
#[derive(Debug)]
pub struct KnownFiles {
    settle: Duration,
    known: HashMap<OsString, FileState>,
    /// Files that a scan finds just now may have been opened while events were lost.
    in_doubt: bool,
    /// Names to which we rename files just now: what the watch will say of that is no news.
    own_arrivals: HashMap<OsString, u32>,
}

impl KnownFiles {
    pub fn new(settle: Duration) -> Self {
        Self {
            settle,
            known: HashMap::new(),
            in_doubt: false,
            own_arrivals: HashMap::new(),
        }
    }

    /// Another `inbox.settle`, after a reload.
    pub fn set_settle(&mut self, settle: Duration) {
        self.settle = settle;
    }

    /// What the watch saw. Names beyond the limit are left to a later scan.
    pub fn saw(&mut self, name: &OsStr, sight: FileEvent, now: Instant) {
        if sight == FileEvent::Arrived && self.is_own_arrival(name) {
            return;
        }
        if !self.known.contains_key(name) {
            if self.known.len() >= KNOWN_MAX || matches!(sight, FileEvent::Closed { written: false }) {
                return;
            }
            self.known.insert(name.to_owned(), FileState::new(now));
        }
        let Some(seen) = self.known.get_mut(name) else { return };
        match sight {
            FileEvent::Created => {}
            FileEvent::Opened if seen.own_opens > 0 => seen.own_opens -= 1,
            FileEvent::Opened => seen.opened(now),
            FileEvent::Closed { written: false } if seen.own_closes > 0 => seen.own_closes -= 1,
            FileEvent::Closed { written } => seen.closed(written, now),
            FileEvent::Arrived => {
                *seen = FileState {
                    is_whole: true,
                    // Of the file that had this name until now; that it is closed may still be said under it.
                    own_opens: seen.own_opens,
                    own_closes: seen.own_closes,
                    ..FileState::new(now)
                };
            }
        }
    }

    fn is_own_arrival(&mut self, name: &OsStr) -> bool {
        let Some(expected) = self.own_arrivals.get_mut(name) else {
            return false;
        };
        *expected -= 1;
        if *expected == 0 {
            self.own_arrivals.remove(name);
        }
        true
    }

    /// We are about to open it.
    pub fn opening(&mut self, name: &OsStr) {
        if let Some(seen) = self.known.get_mut(name) {
            seen.own_opens += 1;
            seen.own_closes += 1;
        }
    }

    /// We did not open it after all: what was taken for ours was somebody else's.
    pub fn not_opened(&mut self, name: &OsStr, now: Instant) {
        let Some(seen) = self.known.get_mut(name) else { return };
        if seen.own_opens > 0 {
            seen.own_opens -= 1;
        } else {
            seen.opened(now);
        }
        if seen.own_closes > 0 {
            seen.own_closes -= 1;
        } else {
            seen.closed(false, now);
        }
    }

    /// We give it this name again ourselves.
    pub fn arriving(&mut self, name: &OsStr) {
        *self.own_arrivals.entry(name.to_owned()).or_default() += 1;
    }

    /// We did not give it that name after all: what was taken for ours was somebody else's.
    pub fn not_arrived(&mut self, name: &OsStr, now: Instant) {
        if !self.is_own_arrival(name) {
            self.saw(name, FileEvent::Arrived, now);
        }
    }

    pub fn knows(&self, name: &OsStr) -> bool {
        self.known.contains_key(name)
    }

    /// Whether it was seen being opened and not closed.
    pub fn is_open(&self, name: &OsStr) -> bool {
        self.known.get(name).is_some_and(|seen| seen.opens > 0)
    }

    /// The inodes of the files of which it was not seen that they are closed.
    pub fn unsure(&self) -> HashSet<u64> {
        let unsure = self.known.values().filter(|seen| !seen.is_whole || seen.opens > 0);
        unsure
            .filter_map(|seen| seen.stat.map(|(stat, _)| stat.inode))
            .collect()
    }

    /// Events were lost: what was open counts as open still, and any other may have been opened.
    pub fn lost_sight(&mut self, now: Instant) {
        self.in_doubt = true;
        self.own_arrivals.clear();
        for seen in self.known.values_mut() {
            seen.is_whole = false;
            seen.doubt = Some(now + DOUBT);
            seen.touched = now;
        }
    }

    /// What a scan found. Names that it did not find are forgotten, unless it did not see `all` of them.
    pub fn found(&mut self, files: &[(OsString, FileStat)], all: bool, now: Instant) {
        if all {
            let there: HashSet<&OsStr> = files.iter().map(|(name, _)| name.as_os_str()).collect();
            self.known
                .retain(|name, seen| there.contains(name.as_os_str()) || seen.rests(now));
        }
        for (name, stat) in files {
            if self.known.len() < KNOWN_MAX || self.known.contains_key(name) {
                let doubt = self.in_doubt.then(|| now + DOUBT);
                let seen = || FileState {
                    doubt,
                    ..FileState::new(now)
                };
                self.known.entry(name.clone()).or_insert_with(seen);
                self.saw_stat(name, Some(*stat), now);
            }
        }
        self.in_doubt &= !all;
    }

    /// A look at one name.
    pub fn saw_stat(&mut self, name: &OsStr, stat: Option<FileStat>, now: Instant) {
        let Some(stat) = stat.filter(|stat| stat.is_file) else {
            self.known.remove(name);
            return;
        };
        let settle = self.settle;
        let Some(seen) = self.known.get_mut(name) else { return };
        if !seen.stat.is_some_and(|(last, _)| last.is_same_content(&stat)) {
            seen.stat = Some((stat, now));
            seen.unfinished = seen.unfinished.filter(|unfinished| unfinished.is_same_content(&stat));
            seen.kept = seen.kept.filter(|kept| kept.is_same_content(&stat));
            if seen.doubt.is_some_and(|until| until > now) {
                seen.doubt = Some(now + DOUBT);
            }
        }
        seen.is_settled = seen.settles_at(settle).is_some_and(|at| at <= now);
    }

    /// The last look at it.
    pub fn stat_of(&self, name: &OsStr) -> Option<FileStat> {
        self.known.get(name)?.stat.map(|(stat, _)| stat)
    }

    pub fn forget(&mut self, name: &OsStr) {
        self.known.remove(name);
    }

    /// It stays although it was ready, and was this look: it is to stand still once more. `unfinished`: because it
    /// seemed so.
    pub fn unsettle(&mut self, name: &OsStr, stat: FileStat, unfinished: bool, now: Instant) {
        let seen = self.known.entry(name.to_owned()).or_insert_with(|| FileState::new(now));
        seen.is_whole = false;
        seen.is_settled = false;
        seen.stat = Some((stat, now));
        seen.unfinished = unfinished.then_some(stat);
    }

    /// Its results are in, and it stays, because it may still be open: until it is closed, and at least until it is
    /// asked again who has it open.
    pub fn keep(&mut self, name: &OsStr, stat: FileStat, now: Instant) {
        let seen = self.known.entry(name.to_owned()).or_insert_with(|| FileState::new(now));
        if !seen.stat.is_some_and(|(last, _)| last.is_same_content(&stat)) {
            seen.stat = Some((stat, now));
        }
        // One that is seen being closed right now is not kept any longer.
        if seen.opens > 0 || !seen.is_whole {
            seen.is_whole = false;
            seen.is_settled = false;
            seen.kept = Some(stat);
            seen.unfinished = None;
            let doubt = seen.doubt.filter(|until| *until > now && seen.opens == 0);
            seen.not_before = Some(doubt.unwrap_or(now + OPEN_PATIENCE));
        }
    }

    /// It is to be asked again then who has it open.
    pub fn ask_again(&mut self, name: &OsStr, at: Instant) {
        if let Some(seen) = self.known.get_mut(name) {
            seen.not_before = Some(at);
        }
    }

    /// It stays for now, whatever it looks like. Only of one that somebody has open more is to be known than a scan
    /// tells.
    pub fn rest(&mut self, name: &OsStr, until: Instant) {
        if let Some(seen) = self.known.get_mut(name) {
            if seen.opens == 0 {
                self.known.remove(name);
            } else {
                seen.not_before = Some(until);
            }
        }
    }

    /// Names that are to be looked at now.
    pub fn due(&self, now: Instant) -> Vec<OsString> {
        let is_due = |seen: &FileState| !seen.is_settled && seen.when(self.settle).is_some_and(|at| at <= now);
        self.known
            .iter()
            .filter(|(_, seen)| is_due(seen))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// When the next file is to be looked at or may be taken.
    pub fn next_due(&self) -> Option<Instant> {
        self.known.values().filter_map(|seen| seen.when(self.settle)).min()
    }

    /// The files that may be taken now, at most `limit`, in intake order. To be asked after the due names were looked
    /// at.
    pub fn ready(&self, now: Instant, limit: usize) -> Vec<Ready> {
        let is_ready = |seen: &FileState| seen.is_settled && seen.not_before.is_none_or(|at| at <= now);
        let mut ready: Vec<(OsString, FileStat)> = self
            .known
            .iter()
            .filter(|(_, seen)| is_ready(seen))
            .filter_map(|(name, seen)| seen.stat.map(|(stat, _)| (name.clone(), stat)))
            .collect();
        in_order(&mut ready);
        ready.truncate(limit);
        ready
            .into_iter()
            .filter_map(|(name, stat)| {
                let seen = self.known.get(&name)?;
                Some(Ready {
                    name,
                    stat,
                    is_last_look: seen.unfinished.is_some(),
                    openness: seen.openness(now),
                    is_kept: seen.kept.is_some(),
                    touched: seen.touched,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
