//! The files that stay in the inbox although they were ready: they may not be read, their file system fails,
//! `rejected/` cannot be used. Each is named once, as far as that helps anybody; beyond that they are counted. They
//! rest, so that they are no burden to the others, and are tried again when they change and now and then.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::events;

use super::folder::{FileStat, shown};
use super::listing::{FileVersion, Listing, Search};
use super::trust;

/// So many are named at one time.
const NAMED_MAX: usize = 100;
/// So many are remembered, some megabytes. What may not be read needs no place here: a scan sees it by itself.
const RESTING_MAX: usize = 100_000;
/// They are tried again that often at least; at first at every scan.
const REST_MAX: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub struct SkippedFiles {
    said: HashSet<OsString>,
    /// How many more there were when that was last said.
    more: u64,
    /// Until when each rests, and how long that pause is.
    resting: HashMap<FileVersion, (Instant, Duration)>,
}

impl SkippedFiles {
    /// What a scan is to look for.
    pub fn search(&self, limit: usize, now: Instant) -> Search {
        let resting = self.resting.iter().filter(|(_, (until, _))| *until > now);
        Search {
            limit,
            resting: resting.map(|(stamp, _)| *stamp).collect(),
            said: self.said.clone(),
            named_max: NAMED_MAX.saturating_sub(self.said.len()),
        }
    }

    /// What a scan found. Names and files that are gone are forgotten.
    pub fn found(&mut self, listing: &mut Listing, now: Instant) {
        self.said = std::mem::take(&mut listing.still);
        for (name, error) in listing.refused.drain(..) {
            self.say(&name, &error);
        }
        let more = listing.refused_count.saturating_sub(self.said.len() as u64);
        // Once for each doubling: a number that creeps up is no news.
        if more > self.more.saturating_mul(2) {
            events::file_left(
                &format!("{more} more files"),
                "they cannot be taken either",
                "they are not named one by one; what was said of the others mends them as well",
            );
            self.more = more;
        } else if more == 0 {
            self.more = 0;
        }
        self.resting
            .retain(|stamp, (until, _)| listing.resting.contains(stamp) || (*until <= now && now < *until + REST_MAX));
    }

    /// One stays; until when it rests.
    pub fn leave(
        &mut self,
        name: &OsStr,
        stat: Option<&FileStat>,
        error: &io::Error,
        now: Instant,
        rescan: Duration,
    ) -> Instant {
        self.say(name, error);
        let mut pause = rescan;
        if let Some(stat) = stat {
            let is_full = self.resting.len() >= RESTING_MAX;
            if let Some(rest) = self.resting.get_mut(&stat.stamp()) {
                pause = (rest.1 * 2).min(REST_MAX).max(rescan);
                *rest = (now + pause, pause);
            } else if !is_full {
                self.resting.insert(stat.stamp(), (now + pause, pause));
            }
        }
        now + pause
    }

    /// One does not stay any more.
    pub fn forget(&mut self, name: &OsStr) {
        self.said.remove(name);
    }

    /// What hindered many is over: all are tried again at once.
    pub fn try_again(&mut self) {
        self.resting.clear();
    }

    fn say(&mut self, name: &OsStr, error: &io::Error) {
        if self.said.len() < NAMED_MAX && self.said.insert(name.to_owned()) {
            events::file_left(&shown(name), &error.to_string(), hint(error));
        }
    }
}

fn hint(error: &io::Error) -> &str {
    match trust::cure(error) {
        Some(cure) => cure,
        None if error.kind() == io::ErrorKind::PermissionDenied => {
            "`chmod g+rw` it: that helps at once for a file that was made here with mode 0600, \
             now as well as before its rename. One that was moved \
             here (`mv`) has its old rights: `chmod a+r` it, or bring it by `cp`. It is taken as soon as it may be read"
        }
        None => "look at the file and its disk; it is tried again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESCAN: Duration = Duration::from_secs(5);

    fn stat(inode: u64, changed_ns: i128) -> FileStat {
        FileStat {
            device: 1,
            inode,
            size: 1,
            modified_ns: 0,
            changed_ns,
            is_file: true,
        }
    }

    fn denied() -> io::Error {
        io::ErrorKind::PermissionDenied.into()
    }

    #[test]
    fn a_file_rests_longer_each_time_and_not_at_all_once_it_changed() {
        let mut left = SkippedFiles::default();
        let mut now = Instant::now();
        let mut rests = Vec::new();
        for _ in 0..6 {
            let until = left.leave(OsStr::new("a"), Some(&stat(1, 1)), &denied(), now, RESCAN);
            assert!(left.search(10, now).resting.contains(&(1, 1)));
            assert!(!left.search(10, now).resting.contains(&(1, 2)));
            rests.push(until.duration_since(now).as_secs());
            now = until;
            assert!(left.search(10, now).resting.is_empty());
            left.found(&mut Listing::default(), now);
        }
        assert_eq!(rests, [5, 10, 20, 40, 60, 60]);
        left.leave(OsStr::new("a"), Some(&stat(1, 1)), &denied(), now, RESCAN);
        left.try_again();
        assert!(left.search(10, now).resting.is_empty());
    }

    #[test]
    fn what_is_named_and_remembered_is_bounded_and_gone_with_its_files() {
        let mut left = SkippedFiles::default();
        let now = Instant::now();
        for inode in 0..150 {
            left.leave(
                OsStr::new(&format!("{inode}")),
                Some(&stat(inode, 1)),
                &denied(),
                now,
                RESCAN,
            );
        }
        let search = left.search(10, now);
        assert_eq!(
            (search.said.len(), search.named_max, search.resting.len()),
            (NAMED_MAX, 0, 150)
        );
        let mut listing = Listing {
            still: ["7".into()].into(),
            resting: [(7, 1), (149, 1)].into(),
            refused_count: 2,
            ..Listing::default()
        };
        left.found(&mut listing, now);
        let search = left.search(10, now);
        assert_eq!((search.said.len(), search.named_max, search.resting.len()), (1, 99, 2));
        assert_eq!(left.more, 1);
    }
}
