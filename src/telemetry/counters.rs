//! What happens, counted in memory: for whoever writes it down now and then. A count costs its caller no more than a
//! short lock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::{Admitted, Door, EndingName, Entry, Figure, Figures, Origin, StatusClass};
use crate::policy::gate::{GateChange, GateName};

/// The most changes of the gate that wait here; of more only the last is kept. A gate that changes every second fills
/// a minute with 60.
const CHANGES_MAX: usize = 64;
/// The most characters of a change's reason: it may come from the API.
const WHY_CHARS_MAX: usize = 200;

#[derive(Debug, Default)]
pub struct Counters(Mutex<Counted>);

/// What was counted since it was last taken.
#[derive(Debug, Default)]
pub struct Counted {
    pub figures: Figures,
    /// Oldest first.
    pub gate_changes: Vec<GateChange>,
}

impl Counted {
    pub fn is_empty(&self) -> bool {
        self.figures.is_empty() && self.gate_changes.is_empty()
    }
}

impl Counters {
    /// Results of the inbox, and what became of each.
    pub fn admitted(&self, entries: &[Entry], outcomes: &[Admitted]) {
        self.counted().figures.add_all(&admitted(entries, outcomes));
    }

    /// An attempt ended; `status` is that of its answer.
    pub fn attempted(&self, ending: EndingName, status: Option<u16>) {
        let figure = Figure::Attempt(ending, StatusClass::of(status));
        self.counted().figures.add(figure, 1);
    }

    /// So many were in flight when the last daemon ended.
    pub fn interrupted(&self, count: u64) {
        let figure = Figure::Attempt(EndingName::Interrupted, StatusClass::NoAnswer);
        self.counted().figures.add(figure, count);
    }

    /// An answer came, after so long.
    pub fn answered(&self, elapsed: Duration) {
        let mut counted = self.counted();
        counted.figures.add(Figure::of_answer(elapsed), 1);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        counted.figures.add(Figure::AnswerMs, millis);
    }

    /// The gate came into a state.
    pub fn gate(&self, to: GateName, why: &str, at: Timestamp) {
        let changes = &mut self.counted().gate_changes;
        if changes.len() >= CHANGES_MAX {
            changes.pop();
        }
        let why = why.chars().take(WHY_CHARS_MAX).collect();
        changes.push(GateChange { at, to, why });
    }

    pub fn is_empty(&self) -> bool {
        self.counted().is_empty()
    }

    /// What was counted since the last time; counting begins anew.
    pub fn take(&self) -> Counted {
        std::mem::take(&mut *self.counted())
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        // A panic while it was held leaves numbers that may be off by one: still worth keeping.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of results, in numbers. What was taken before a crash was counted then.
pub fn admitted(entries: &[Entry], outcomes: &[Admitted]) -> Figures {
    let mut figures = Figures::default();
    for (entry, outcome) in entries.iter().zip(outcomes) {
        let taken = Figure::Taken(match entry.origin {
            Origin::File { .. } => Door::File,
            Origin::Row { .. } => Door::Row,
            Origin::User { .. } => Door::User,
        });
        match outcome {
            Admitted::Accepted(_) => figures.add(taken, 1),
            Admitted::Invalid { .. } => {
                figures.add(taken, 1);
                figures.add(Figure::Invalid, 1);
            }
            Admitted::Duplicate { .. } => figures.add(Figure::Duplicate, 1),
            Admitted::AlreadyTaken => {}
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_changes_of_a_flapping_gate_are_kept_and_the_last() {
        let counters = Counters::default();
        for second in 0..1000 {
            counters.gate(GateName::Throttled, &"w".repeat(1000), Timestamp::from_millis(second));
        }
        let changes = counters.take().gate_changes;
        assert_eq!(changes.len(), CHANGES_MAX);
        assert_eq!((changes[0].at.millis(), changes[CHANGES_MAX - 1].at.millis()), (0, 999));
        assert!(changes.iter().all(|change| change.why.chars().count() == WHY_CHARS_MAX));
        assert!(counters.is_empty());
    }

    #[test]
    fn an_answer_adds_its_time_and_its_bucket() {
        let counters = Counters::default();
        counters.answered(Duration::from_millis(95));
        counters.answered(Duration::from_millis(5));
        counters.attempted(EndingName::Dead, Some(400));
        counters.interrupted(0);
        let figures = counters.take().figures;
        let known: Vec<(String, u64)> = figures.by_name().into_iter().collect();
        let known: Vec<(&str, u64)> = known.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        let expected = [
            ("answer.100", 1),
            ("answer.5", 1),
            ("answer_ms", 100),
            ("attempt.dead.4xx", 1),
        ];
        assert_eq!(known, expected);
    }
}
