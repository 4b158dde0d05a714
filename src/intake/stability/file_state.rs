//! What is known of one file, and what follows from that.

use std::time::Duration;

use tokio::time::Instant;

use crate::intake::folder::FileStat;

/// What stands still this long although it is open is taken as far as it is whole: whoever writes a line a day holds
/// nobody's results up.
pub(super) const OPEN_PATIENCE: Duration = Duration::from_mins(1);

/// Whether somebody may still be writing to a file that may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Openness {
    /// It was seen being closed, or renamed into place.
    Closed,
    /// It was only found, and stood still.
    Unseen,
    /// Events were lost while it may have been opened.
    Doubtful,
    /// It was seen being opened, and not closed.
    Open,
}

/// What is known of a file.
#[derive(Debug)]
pub(super) struct FileState {
    /// How many others have it open, as far as we saw.
    pub(super) opens: u32,
    /// How often we opened it without having seen that yet.
    pub(super) own_opens: u32,
    /// The same of our closing it, where it did not go away by then.
    pub(super) own_closes: u32,
    /// Closed after writing, or renamed into place, since it was last opened.
    pub(super) is_whole: bool,
    /// Until then it may be open although nothing was seen of that.
    pub(super) doubt: Option<Instant>,
    /// When something was last seen of it, or it was found.
    pub(super) touched: Instant,
    /// When it is to be looked at for the first time.
    pub(super) since: Instant,
    /// The last look, and when it was first the same.
    pub(super) stat: Option<(FileStat, Instant)>,
    pub(super) unfinished: Option<FileStat>,
    /// Its results were in then.
    pub(super) kept: Option<FileStat>,
    pub(super) is_settled: bool,
    /// Though not before this (a file that may not be read, one that is kept).
    pub(super) not_before: Option<Instant>,
}

impl FileState {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            opens: 0,
            own_opens: 0,
            own_closes: 0,
            is_whole: false,
            doubt: None,
            touched: now,
            since: now,
            stat: None,
            unfinished: None,
            kept: None,
            is_settled: false,
            not_before: None,
        }
    }

    pub(super) fn rests(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|not_before| not_before > now)
    }

    pub(super) fn opened(&mut self, now: Instant) {
        self.opens += 1;
        self.is_whole = false;
        self.is_settled = false;
        self.touched = now;
    }

    pub(super) fn closed(&mut self, written: bool, now: Instant) {
        let was_open = self.opens > 0;
        self.opens = self.opens.saturating_sub(1);
        self.touched = now;
        // A close whose open was not seen tells nothing of others that may have it open; but something happened to a
        // file that is kept.
        let is_news = (written && was_open) || self.kept.is_some();
        if is_news && self.opens == 0 {
            // After lost events, another one may have been opened that was not seen.
            self.is_whole = written && was_open && self.doubt.is_none_or(|until| until <= now);
            self.not_before = None;
            self.unsettle(now);
        }
    }

    pub(super) fn openness(&self, now: Instant) -> Openness {
        if self.opens > 0 {
            Openness::Open
        } else if self.is_whole {
            Openness::Closed
        } else if self.doubt.is_some_and(|until| until > now) {
            Openness::Doubtful
        } else {
            Openness::Unseen
        }
    }

    pub(super) fn unsettle(&mut self, now: Instant) {
        self.stat = None;
        self.is_settled = false;
        self.since = now;
    }

    /// When it is to be looked at; `None`: when something more is seen of it, or a scan finds it.
    pub(super) fn when(&self, settle: Duration) -> Option<Instant> {
        let at = match self.stat {
            None if self.opens > 0 => return None,
            None => self.since,
            Some(_) => self.settles_at(settle)?,
        };
        Some(self.not_before.map_or(at, |not_before| at.max(not_before)))
    }

    /// When it may be taken, if it still looks the same then.
    pub(super) fn settles_at(&self, settle: Duration) -> Option<Instant> {
        let (_, since) = self.stat?;
        Some(if self.opens > 0 {
            since + OPEN_PATIENCE.max(settle)
        } else if self.is_whole && self.unfinished.is_none() {
            since
        } else {
            since + settle
        })
    }
}
