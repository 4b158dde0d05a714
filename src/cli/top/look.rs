//! One look at the outbox: what the head of the view shows, and the rows of the tab that is open. Plain values, of
//! bounded size.

use crate::cli::failures::Failure;
use crate::cli::status::Status;
use crate::clock::Timestamp;
use crate::model::{StateName, SubmissionId};
use crate::store::{Finished, Listed, Producer};

/// A part of the view below its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tab {
    /// What is sent, is due, or waits behind another one of its activity.
    Queue,
    /// Dead letters, by what went wrong.
    Failures,
    /// What waits for a decision.
    Parked,
    /// Whose the newest are.
    Producers,
    /// What ended lately.
    Log,
}

impl Tab {
    /// In the order of their keys.
    pub const ALL: [Self; 5] = [Self::Queue, Self::Failures, Self::Parked, Self::Producers, Self::Log];

    /// Its name, as the bar shows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Failures => "failures",
            Self::Parked => "parked",
            Self::Producers => "producers",
            Self::Log => "log",
        }
    }

    /// Its place in [`Tab::ALL`].
    pub const fn place(self) -> usize {
        match self {
            Self::Queue => 0,
            Self::Failures => 1,
            Self::Parked => 2,
            Self::Producers => 3,
            Self::Log => 4,
        }
    }
}

/// What the view wants to see next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    pub tab: Tab,
    /// The one whose story is open.
    pub shown: Option<SubmissionId>,
    /// The one whose hint is wanted: of a kind of failure the newest.
    pub hinted: Option<SubmissionId>,
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Look {
    pub status: Status,
    /// Why the outbox could not be read, in words.
    pub failed: Option<String>,
    pub pace: ShownPace,
    pub rows: Rows,
    /// Where a story is open.
    pub page: Option<Page>,
    /// What mends this one; not escaped.
    pub hint: Option<(SubmissionId, String)>,
}

impl Look {
    /// When it was taken.
    pub const fn at(&self) -> Timestamp {
        self.status.at
    }
}

/// How it goes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ShownPace {
    /// Since the look before; `None` at the first.
    pub delivered_per_second: Option<f64>,
    pub dead_per_second: Option<f64>,
    /// Retries within the last full minute; `None` where nobody has written it down.
    pub retried_per_minute: Option<u64>,
    /// Deliveries by minute, oldest first, the last full one at the end.
    pub minutes: Vec<u64>,
    pub last_in: Option<Timestamp>,
    pub last_out: Option<Timestamp>,
    pub answers: Option<AnswerTimes>,
    /// On the disk of the outbox, in bytes.
    pub free_bytes: Option<u64>,
}

/// How long the API took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerTimes {
    pub p50: u64,
    pub p95: u64,
    pub p99: u64,
    /// Of so many of the newest.
    pub of: usize,
}

impl AnswerTimes {
    /// Out of the newest; `None` of none.
    pub fn of(mut newest: Vec<u64>) -> Option<Self> {
        newest.sort_unstable();
        // The value that so many of a hundred do not exceed.
        let at = |percent: usize| newest.get((newest.len() * percent).div_ceil(100).max(1) - 1).copied();
        Some(Self {
            p50: at(50)?,
            p95: at(95)?,
            p99: at(99)?,
            of: newest.len(),
        })
    }
}

/// The rows of the open tab.
#[derive(Debug, Clone)]
pub enum Rows {
    Queue(Vec<Listed>),
    Failures {
        groups: Vec<Failure>,
        /// So many of the newest were looked at.
        looked_at: usize,
    },
    Parked(Vec<Listed>),
    Producers {
        producers: Vec<Producer>,
        /// So many of the newest were looked at.
        looked_at: u64,
    },
    Log(Vec<LogLine>),
}

impl Default for Rows {
    fn default() -> Self {
        Self::Queue(Vec::new())
    }
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum LogLine {
    Finished(Finished),
    /// It was tried, and is tried again.
    Retried(Box<Listed>),
}

impl LogLine {
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Finished(finished) => finished.at,
            Self::Retried(listed) => listed.last.as_ref().map_or(listed.updated_at, |last| {
                last.started_at.plus(std::time::Duration::from_millis(last.elapsed_ms))
            }),
        }
    }

    pub fn id(&self) -> SubmissionId {
        match self {
            Self::Finished(finished) => finished.id,
            Self::Retried(listed) => listed.id,
        }
    }
}

/// Everything about one submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub id: SubmissionId,
    /// `None` where there is none any more.
    pub state: Option<StateName>,
    /// As `show` tells it, escaped.
    pub lines: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        assert_eq!(AnswerTimes::of(Vec::new()), None);
        let one = AnswerTimes::of(vec![7]).unwrap();
        assert_eq!((one.p50, one.p95, one.p99, one.of), (7, 7, 7, 1));
        let hundred = AnswerTimes::of((1..=100).rev().collect()).unwrap();
        assert_eq!((hundred.p50, hundred.p95, hundred.p99), (50, 95, 99));
    }
}
