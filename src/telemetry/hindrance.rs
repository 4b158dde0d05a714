//! What hinders intake or storage at present. Whoever meets it says so here: the log hears of it when it begins and
//! once when it is over, and those who watch find here what it is, since when, and what mends it.
//!
//! In memory alone, on purpose: what hinders is most often that nothing can be stored. A crash forgets it, and the next
//! start meets it again.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::clock::{self, Timestamp};

use super::events;

/// An outage of the outbox is one entry a minute, not one a try.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// The most characters of a reason that are kept: it may quote names from outside.
const WHY_CHARS_MAX: usize = 300;

/// What stands in the way. Each is there once at most, so there are never more of them than there are names here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Intake: the backlog is too large.
    Backlog,
    /// Intake: too little room on a disk.
    Disk,
    /// Intake: the outbox cannot take what was read.
    Outbox,
    /// Intake: the inbox directory cannot be used.
    Files,
    /// Intake: files that cannot be taken have nowhere to go.
    Rejected,
    /// Intake: the row inbox cannot be used.
    Rows,
    /// Deliveries: the outbox cannot be read or written.
    Storage,
    /// Both: another process has the outbox locked, and nobody has given up on it yet. Never logged by itself, since
    /// who waits for it will.
    Lock,
}

impl Cause {
    /// What is hindered, as it is shown.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Backlog | Self::Disk | Self::Outbox => "intake",
            Self::Files => "intake of files",
            Self::Rejected => "intake of bad files",
            Self::Rows => "intake of rows",
            Self::Storage => "storage",
            Self::Lock => "intake and storage",
        }
    }

    const fn is_of_both_inboxes(self) -> bool {
        match self {
            Self::Backlog | Self::Disk | Self::Outbox => true,
            Self::Files | Self::Rejected | Self::Rows | Self::Storage | Self::Lock => false,
        }
    }
}

/// A hindrance, for those who watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hindrance {
    pub cause: Cause,
    pub why: String,
    pub hint: String,
    /// Since when, in milliseconds since 1970.
    pub since: i64,
}

/// All that hinders at present. Shared by everyone in the daemon.
#[derive(Debug, Default)]
pub struct Hindrances {
    present: Mutex<Vec<Present>>,
    /// Since when rows wait that were seen and may not be taken, in milliseconds since 1970; 0 where there are none. A
    /// row does not say its age.
    rows_wait_since: AtomicI64,
    news: Notify,
}

#[derive(Debug)]
struct Present {
    hindrance: Hindrance,
    said_at: Timestamp,
    /// How many are held up by it, where they count themselves ([`Hindrances::hold`]).
    holders: u32,
}

impl Present {
    /// It still hinders; whether that is worth another word.
    fn goes_on(&mut self, why: &str, hint: &str, now: Timestamp) -> bool {
        let Hindrance { cause, .. } = self.hindrance;
        let is_other = self.hindrance.hint != hint
            || matches!(cause, Cause::Rows | Cause::Files | Cause::Rejected) && self.hindrance.why != why;
        // Of an outbox that stays away the log hears again and again; a full disk or a backlog is said once.
        let is_due = cause == Cause::Storage && now.since(self.said_at) >= LOG_EVERY;
        why.clone_into(&mut self.hindrance.why);
        hint.clone_into(&mut self.hindrance.hint);
        if is_other || is_due {
            self.said_at = now;
        }
        is_other || is_due
    }
}

impl Hindrances {
    /// This hinders, or still does. `operation` is what could not be done, for the log.
    pub fn met(&self, cause: Cause, operation: &str, why: &str, hint: &str) {
        self.note(cause, operation, why, hint, 0);
    }

    /// The same for one of several who are held up by it: it is over when the last of them gets on.
    pub fn hold(self: &Arc<Self>, cause: Cause, operation: &str, why: &str, hint: &str) -> HeldUp {
        self.note(cause, operation, why, hint, 1);
        HeldUp {
            of: Arc::clone(self),
            cause,
            gets_on: false,
        }
    }

    /// This hinders no more. Says so, where it was there.
    pub fn over(&self, cause: Cause) {
        let mut present = self.present();
        let Some(place) = present.iter().position(|one| one.hindrance.cause == cause) else {
            return;
        };
        present.remove(place);
        let intake_waits = present.iter().any(|one| one.hindrance.cause.is_of_both_inboxes());
        drop(present);
        self.wake_observer();
        match cause {
            // Another of its kind took its place: nothing is taken yet.
            Cause::Backlog | Cause::Disk | Cause::Outbox if intake_waits => {}
            Cause::Backlog | Cause::Disk | Cause::Outbox => events::intake_resumed("files and rows are taken again"),
            Cause::Files => events::intake_resumed("files are taken again"),
            Cause::Rejected => events::intake_resumed("files that cannot be taken go to rejected/ again"),
            Cause::Rows => events::intake_resumed("rows are taken again"),
            Cause::Storage => events::storage_resumed("the outbox can be used again"),
            Cause::Lock => {}
        }
    }

    /// Rows wait that were seen and may not be taken, or none do.
    pub fn set_rows_wait(&self, wait: bool) {
        let (from, to) = if wait {
            (0, clock::now().millis())
        } else {
            (self.rows_wait_since.load(Ordering::Relaxed), 0)
        };
        // Who waits already waits since then: nothing to do.
        let _known = self
            .rows_wait_since
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Since when they wait.
    pub fn rows_wait_since(&self) -> Option<i64> {
        Some(self.rows_wait_since.load(Ordering::Relaxed)).filter(|since| *since != 0)
    }

    /// Something happened that those who watch should hear of.
    pub fn wake_observer(&self) {
        self.news.notify_one();
    }

    /// Waits for it. One at a time may wait.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Whether it is there.
    pub fn has(&self, cause: Cause) -> bool {
        self.present().iter().any(|one| one.hindrance.cause == cause)
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<Hindrance> {
        self.present().iter().map(|one| one.hindrance.clone()).collect()
    }

    fn note(&self, cause: Cause, operation: &str, why: &str, hint: &str, holders: u32) {
        let now = clock::now();
        let why_kept: String = why.chars().take(WHY_CHARS_MAX).collect();
        let mut present = self.present();
        let known = present.iter_mut().find(|one| one.hindrance.cause == cause);
        let is_news = known.is_none_or(|known| {
            known.holders += holders;
            known.goes_on(&why_kept, hint, now)
        });
        if !present.iter().any(|one| one.hindrance.cause == cause) {
            let hindrance = Hindrance {
                cause,
                why: why_kept,
                hint: hint.to_owned(),
                since: now.millis(),
            };
            present.push(Present {
                hindrance,
                said_at: now,
                holders,
            });
        }
        drop(present);
        if is_news {
            self.wake_observer();
            match cause {
                Cause::Backlog | Cause::Disk | Cause::Outbox => events::intake_waiting(why, hint),
                Cause::Files | Cause::Rejected | Cause::Rows | Cause::Storage => {
                    events::storage_error(operation, why, hint);
                }
                Cause::Lock => {}
            }
        }
    }

    /// One that was held up by it is not any more. Whether it was the last.
    fn let_go(&self, cause: Cause) -> bool {
        let mut present = self.present();
        let Some(one) = present.iter_mut().find(|one| one.hindrance.cause == cause) else {
            return false;
        };
        one.holders = one.holders.saturating_sub(1);
        one.holders == 0
    }

    fn present(&self) -> MutexGuard<'_, Vec<Present>> {
        // A panic while it was held leaves a list that is whole: each change is one step.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who is held up.
#[derive(Debug)]
pub struct HeldUp {
    of: Arc<Hindrances>,
    cause: Cause,
    gets_on: bool,
}

impl HeldUp {
    pub fn over(mut self) {
        self.gets_on = true;
    }

    pub fn again(&self, operation: &str, why: &str, hint: &str) {
        self.of.met(self.cause, operation, why, hint);
    }
}

impl Drop for HeldUp {
    fn drop(&mut self) {
        if !self.of.let_go(self.cause) {
            return;
        }
        if self.gets_on {
            self.of.over(self.cause);
        } else {
            // Whoever was held up has gone, as at shutdown: that it works again is not known.
            self.of.present().retain(|one| one.hindrance.cause != self.cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causes(hindrances: &Hindrances) -> Vec<Cause> {
        hindrances.all().iter().map(|one| one.cause).collect()
    }

    #[test]
    fn a_hindrance_is_there_from_its_first_word_to_its_end_and_keeps_its_beginning() {
        let hindrances = Hindrances::default();
        hindrances.met(Cause::Disk, "", "2 bytes are free", "make room");
        hindrances.met(Cause::Rows, "take rows", "locked", "end it");
        let since = hindrances.all()[0].since;
        hindrances.met(Cause::Disk, "", "1 byte is free", "make room");
        let first = hindrances.all()[0].clone();
        assert_eq!((first.since, first.why.as_str()), (since, "1 byte is free"));
        hindrances.over(Cause::Disk);
        hindrances.over(Cause::Disk);
        assert_eq!(causes(&hindrances), [Cause::Rows]);
    }

    #[test]
    fn what_holds_several_up_is_over_with_the_last_of_them() {
        let hindrances = Arc::new(Hindrances::default());
        let first = hindrances.hold(Cause::Storage, "settle", "the disk is full", "make room");
        let second = hindrances.hold(Cause::Storage, "claim", "the disk is full", "make room");
        first.again("settle", "the disk is full", "make room");
        first.over();
        assert!(hindrances.has(Cause::Storage));
        drop(second);
        assert!(!hindrances.has(Cause::Storage));
    }

    #[test]
    fn a_reason_from_outside_is_bounded() {
        let hindrances = Hindrances::default();
        hindrances.met(Cause::Files, "read the inbox", &"é".repeat(10_000), "");
        assert_eq!(hindrances.all()[0].why.chars().count(), WHY_CHARS_MAX);
    }
}
