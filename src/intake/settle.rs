//! When a file may be taken (interface.md, "Files"). Pure: it is told what was seen and when, and says what may be taken and when to look again.
//!
//! A file seen being opened is taken when it is closed, one that was renamed into place at once; one only found (a scan, a link, after lost
//! events) when two looks `inbox.settle` apart saw the same. What seemed unfinished is looked at once more, that long later.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use tokio::time::Instant;

use super::folder::Look;
use super::listing::in_order;

/// The most files that are known at one time; what is beyond waits in the directory and is found when these are gone.
pub const KNOWN_MAX: usize = 50_000;

/// A file that was seen being opened and not closed is taken nevertheless when it stood still this long: two equal events in a row are
/// merged by the kernel, so an open may have been counted whose close never will be.
const OPEN_PATIENCE: Duration = Duration::from_mins(1);

/// What the watch says about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It appeared: created or linked.
    Created,
    /// Somebody opened it.
    Opened,
    /// Somebody closed it.
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
    /// Its name.
    pub name: OsString,
    /// How it looked.
    pub look: Look,
    /// It stood still since it seemed unfinished: now it is judged as it is.
    pub is_last_look: bool,
}

#[derive(Debug)]
struct Seen {
    /// How many have it open, as far as we saw.
    opens: u32,
    /// Closed after writing, or renamed into place, since it was last opened.
    is_whole: bool,
    /// When it is to be looked at for the first time.
    since: Instant,
    /// The last look, and when it was first the same.
    look: Option<(Look, Instant)>,
    /// It seemed unfinished then.
    unfinished: Option<Look>,
    /// It may be taken.
    is_settled: bool,
    /// Though not before this (a file that may not be read).
    not_before: Option<Instant>,
}

/// The files of the inbox that are known and not taken yet.
#[derive(Debug)]
pub struct Files {
    settle: Duration,
    known: HashMap<OsString, Seen>,
}

impl Files {
    /// With `inbox.settle`.
    pub fn new(settle: Duration) -> Self {
        Self {
            settle,
            known: HashMap::new(),
        }
    }

    /// Another `inbox.settle`, after a reload.
    pub fn set_settle(&mut self, settle: Duration) {
        self.settle = settle;
    }

    /// What the watch saw. Names beyond the limit are left to a later scan.
    pub fn saw(&mut self, name: &OsStr, sight: Sight, now: Instant) {
        if !self.known.contains_key(name) {
            if self.known.len() >= KNOWN_MAX || matches!(sight, Sight::Closed { written: false }) {
                return;
            }
            self.known.insert(name.to_owned(), Seen::new(now));
        }
        let Some(seen) = self.known.get_mut(name) else { return };
        match sight {
            Sight::Created => {}
            Sight::Opened => {
                seen.opens += 1;
                seen.is_whole = false;
                seen.is_settled = false;
            }
            Sight::Closed { written } => {
                let was_open = seen.opens > 0;
                seen.opens = seen.opens.saturating_sub(1);
                if written && was_open && seen.opens == 0 {
                    seen.is_whole = true;
                    seen.look_again(now);
                }
            }
            Sight::Arrived => {
                *seen = Seen::new(now);
                seen.is_whole = true;
            }
        }
    }

    /// Events were lost: nothing is known of who has what open.
    pub fn lost_sight(&mut self) {
        for seen in self.known.values_mut() {
            seen.opens = 0;
            seen.is_whole = false;
        }
    }

    /// What a scan found. Names that it did not find are forgotten, unless it did not see `all` of them.
    pub fn found(&mut self, files: &[(OsString, Look)], all: bool, now: Instant) {
        if all {
            let there: HashSet<&OsStr> = files.iter().map(|(name, _)| name.as_os_str()).collect();
            self.known.retain(|name, seen| there.contains(name.as_os_str()) || seen.rests(now));
        }
        for (name, look) in files {
            if self.known.len() < KNOWN_MAX || self.known.contains_key(name) {
                self.known.entry(name.clone()).or_insert_with(|| Seen::new(now));
                self.looked(name, Some(*look), now);
            }
        }
    }

    /// A look at one name.
    pub fn looked(&mut self, name: &OsStr, look: Option<Look>, now: Instant) {
        let Some(look) = look.filter(|look| look.is_file) else {
            self.known.remove(name);
            return;
        };
        let settle = self.settle;
        let Some(seen) = self.known.get_mut(name) else { return };
        if !seen.look.is_some_and(|(last, _)| last.is_same_content(&look)) {
            seen.look = Some((look, now));
            seen.unfinished = seen.unfinished.filter(|unfinished| unfinished.is_same_content(&look));
        }
        seen.is_settled = seen.settles_at(settle).is_some_and(|at| at <= now);
    }

    /// The last look at it.
    pub fn look_of(&self, name: &OsStr) -> Option<Look> {
        self.known.get(name)?.look.map(|(look, _)| look)
    }

    /// Taken, or gone.
    pub fn forget(&mut self, name: &OsStr) {
        self.known.remove(name);
    }

    /// It stays although it was ready, and was this look: it is to stand still once more. `unfinished`: because it seemed so.
    pub fn unsettle(&mut self, name: &OsStr, look: Look, unfinished: bool, now: Instant) {
        let seen = self.known.entry(name.to_owned()).or_insert_with(|| Seen::new(now));
        seen.is_whole = false;
        seen.is_settled = false;
        seen.look = Some((look, now));
        seen.unfinished = unfinished.then_some(look);
    }

    /// It stays for now, whatever it looks like. Only of one that somebody has open more is to be known than a scan tells.
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
        let is_due = |seen: &Seen| !seen.is_settled && seen.when(self.settle).is_some_and(|at| at <= now);
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

    /// The files that may be taken now, at most `limit`, in intake order. To be asked after the due names were looked at.
    pub fn ready(&self, now: Instant, limit: usize) -> Vec<Ready> {
        let is_ready = |seen: &Seen| seen.is_settled && seen.not_before.is_none_or(|at| at <= now);
        let mut ready: Vec<(OsString, Look)> = self
            .known
            .iter()
            .filter(|(_, seen)| is_ready(seen))
            .filter_map(|(name, seen)| seen.look.map(|(look, _)| (name.clone(), look)))
            .collect();
        in_order(&mut ready);
        ready.truncate(limit);
        ready
            .into_iter()
            .map(|(name, look)| Ready {
                is_last_look: self.known.get(&name).is_some_and(|seen| seen.unfinished.is_some()),
                name,
                look,
            })
            .collect()
    }
}

impl Seen {
    fn new(now: Instant) -> Self {
        Self {
            opens: 0,
            is_whole: false,
            since: now,
            look: None,
            unfinished: None,
            is_settled: false,
            not_before: None,
        }
    }

    fn rests(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|not_before| not_before > now)
    }

    fn look_again(&mut self, now: Instant) {
        self.look = None;
        self.is_settled = false;
        self.since = now;
    }

    /// When it is to be looked at; `None`: when something more is seen of it, or a scan finds it.
    fn when(&self, settle: Duration) -> Option<Instant> {
        let at = match self.look {
            None if self.opens > 0 => return None,
            None => self.since,
            Some(_) => self.settles_at(settle)?,
        };
        Some(self.not_before.map_or(at, |not_before| at.max(not_before)))
    }

    /// When it may be taken, if it still looks the same then.
    fn settles_at(&self, settle: Duration) -> Option<Instant> {
        let (_, since) = self.look?;
        Some(if self.opens > 0 {
            since + OPEN_PATIENCE.max(settle)
        } else if self.is_whole && self.unfinished.is_none() {
            since
        } else {
            since + settle
        })
    }
}

#[cfg(test)]
mod tests;
