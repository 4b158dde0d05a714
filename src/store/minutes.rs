//! How it went, minute by minute: what a daemon has counted in a stretch of time, and how the queue and its gate stood
//! at the end of it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::Figures;
use crate::policy::gate::{GateChange, GateName};

use super::Tally;

/// For so long a row is kept.
pub const MINUTES_KEPT: Duration = Duration::from_hours(30 * 24);
/// The most rows that leave with each that comes: more than come, so that few are left over.
pub(super) const EXPIRED_MAX: u32 = 64;

/// The node of what a command has counted.
const COMMAND: &str = "command";

/// A stretch of time, in the rule a minute, of one daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minute {
    pub since: Timestamp,
    pub until: Timestamp,
    /// Whose it is: the identity of a node of a shared outbox, empty where there is only one daemon. The store fills it
    /// in.
    pub node: String,
    /// The label of that node.
    pub name: String,
    pub figures: Figures,
    /// How things stood at its end; none where a command counted.
    pub standing: Option<Standing>,
}

/// How things stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Of the whole outbox, however many nodes share it.
    pub tally: Tally,
    /// Requests of this node.
    pub in_flight: u64,
    pub gate: GateName,
    /// What the gate went through since the row before, oldest first.
    pub gate_changes: Vec<GateChange>,
}

impl Minute {
    /// What a command has counted. Those of one minute of the clock are one row, however often the command runs.
    pub fn of_command(figures: Figures, now: Timestamp) -> Self {
        let begin = now.millis() - now.millis().rem_euclid(MINUTE_MS);
        Self {
            since: Timestamp::from_millis(begin),
            until: Timestamp::from_millis(begin + MINUTE_MS),
            node: COMMAND.to_owned(),
            name: String::new(),
            figures,
            standing: None,
        }
    }

    /// Whether it is added to what is there already. A daemon's is written once: a second time is the repetition of a
    /// commit whose answer was lost.
    pub(super) fn adds_up(&self) -> bool {
        self.node == COMMAND
    }

    /// Its figures as they are stored.
    pub(super) fn counts(&self) -> String {
        counts_text(&self.figures)
    }
}

const MINUTE_MS: i64 = 60_000;

pub(super) fn counts_text(figures: &Figures) -> String {
    figures.by_name().into_iter().collect::<serde_json::Value>().to_string()
}

/// Out of what is stored; what cannot be read (other hands) counts as nothing.
pub(super) fn figures(counts: &str) -> Figures {
    let counts: BTreeMap<String, u64> = serde_json::from_str(counts).unwrap_or_default();
    Figures::of_names(counts.iter().map(|(name, count)| (name.as_str(), *count)))
}

/// The gate's changes as they are stored.
pub(super) fn changes_text(changes: &[GateChange]) -> String {
    let changes = changes
        .iter()
        .map(|change| serde_json::json!([change.at.millis(), change.to.into_str(), change.why]));
    changes.collect::<serde_json::Value>().to_string()
}

pub(super) fn changes(text: &str) -> Vec<GateChange> {
    let changes: Vec<(i64, String, String)> = serde_json::from_str(text).unwrap_or_default();
    let changes = changes.into_iter().filter_map(|(at, to, why)| {
        Some(GateChange {
            at: Timestamp::from_millis(at),
            to: to.parse().ok()?,
            why,
        })
    });
    changes.collect()
}

/// A place among the stored minutes, which are in the order of their ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinuteCursor {
    until: Timestamp,
    node: String,
}

impl MinuteCursor {
    /// Before all that end at this time or later.
    pub fn from(time: Timestamp) -> Self {
        Self {
            until: time.minus(Duration::from_millis(1)),
            // Behind every node's.
            node: char::MAX.to_string(),
        }
    }

    /// Behind this one.
    pub fn behind(minute: &Minute) -> Self {
        Self {
            until: minute.until,
            node: minute.node.clone(),
        }
    }

    pub(super) fn parts(&self) -> (i64, &str) {
        (self.until.millis(), &self.node)
    }
}
