//! When the queue has something to do.

use std::time::Duration;

use crate::clock::Timestamp;

/// When heads are due: the first and the last of those that may be clamped, and the first of those that are held.
pub(crate) struct Dues {
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
    pub(crate) held: Option<Timestamp>,
}

impl Dues {
    /// The earliest, as it is written down.
    pub(crate) fn earliest(&self) -> Option<Timestamp> {
        [self.first, self.held].into_iter().flatten().min()
    }

    /// When a claim could find something. The claim takes what is due by `t`, and what lies more than `wait_max` behind
    /// `t`: where these two meet, every `t` finds something, and the answer lies in the past.
    pub(crate) fn next(&self, wait_max: Duration) -> Option<Timestamp> {
        match (self.first, self.last) {
            (Some(first), Some(last)) if last.minus(wait_max) > first => Some(Timestamp::default()),
            _ => self.earliest(),
        }
    }
}
