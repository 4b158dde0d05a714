//! One request at a time that finds out whether all may go: when the next one may leave, and what lengthens that wait.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::policy::verdict::Signal;

use super::{Allowance, GateSettings};

/// A grown gap is up to this part of it shorter or longer, so that daemons that lost the API together do not come back
/// together.
const JITTER: f64 = 0.1;
/// How much older the caller's present may be than the one in which a time was set: a step reads the clock once, and
/// what ends while it waits for the outbox is judged by the clock of that moment. Without it a closing was taken for a
/// clock set back, and one went out at once.
const SLACK: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inquiry {
    pub(super) phase: Phase,
    /// Of those that grow: the last gap between two requests, without jitter.
    gap: Duration,
    /// What the API asked for (`Retry-After`): nothing before this.
    held: Option<Timestamp>,
}

/// How far the inquiry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The request may go from this time on.
    Due(Timestamp),
    /// It is out; `again` when somebody asked meanwhile, so that another follows at once.
    Out { again: bool },
    /// All may go, once that is durable. `tried`: what the submission's exchange said that went first; `None` where
    /// none has gone.
    Over { tried: Option<Signal> },
}

impl Inquiry {
    /// One that begins at this time, with the hold that is in force.
    pub(super) const fn at(due: Timestamp, held: Option<Timestamp>) -> Self {
        Self {
            phase: Phase::Due(due),
            gap: Duration::ZERO,
            held,
        }
    }

    /// The next gap: `gap_min` first, doubled each time up to `gap_max`.
    pub(super) fn grow(&mut self, roll: f64, settings: &GateSettings) -> Duration {
        self.gap = self.gap.saturating_mul(2).max(settings.gap_min).min(settings.gap_max);
        jittered(self.gap, roll)
    }

    /// `ask` when it may go. No gap of this inquiry is longer than `longest`.
    pub(super) fn allowance(
        &self,
        ask: Allowance,
        longest: Duration,
        now: Timestamp,
        settings: &GateSettings,
    ) -> Allowance {
        match self.phase {
            Phase::Due(at) => {
                let due = Some(at).filter(|at| !is_due(*at, now, longest));
                let held = self.held.filter(|until| !is_due(*until, now, settings.hold_max));
                match due.max(held) {
                    Some(until) => Allowance::Nothing { until: Some(until) },
                    None => ask,
                }
            }
            Phase::Out { .. } => Allowance::Nothing { until: None },
            Phase::Over { .. } => Allowance::Opening,
        }
    }

    /// A request left: what was asked for has been waited for.
    pub(super) const fn sent(&mut self) {
        self.phase = Phase::Out { again: false };
        self.held = None;
    }

    pub(super) const fn is_out(&self) -> bool {
        matches!(self.phase, Phase::Out { .. })
    }

    /// Whether somebody asked while the request was out.
    pub(super) const fn is_asked_again(&self) -> bool {
        matches!(self.phase, Phase::Out { again: true })
    }

    /// The answer opens nothing: another one follows after this gap, and not before the API asked for it. Who asked
    /// meanwhile waits for neither.
    pub(super) fn repeat(&mut self, gap: Duration, asked: Option<Duration>, now: Timestamp) {
        if self.is_asked_again() {
            self.phase = Phase::Due(now);
        } else {
            self.phase = Phase::Due(now.plus(gap));
            self.hold(asked, now);
        }
    }

    /// Nothing goes for so long.
    pub(super) fn hold(&mut self, asked: Option<Duration>, now: Timestamp) {
        self.held = self.held.max(asked.map(|wait| now.plus(wait)));
    }

    /// Somebody asks at once, whatever the API asked for.
    pub(super) const fn hasten(&mut self, now: Timestamp) {
        self.held = None;
        self.phase = match self.phase {
            Phase::Due(_) => Phase::Due(now),
            Phase::Out { .. } => Phase::Out { again: true },
            Phase::Over { tried } => Phase::Over { tried },
        };
    }

    /// The answer of the request that is out will not count: another one goes at once.
    pub(super) const fn forget(&mut self, now: Timestamp) {
        if let Phase::Out { .. } = self.phase {
            self.phase = Phase::Due(now);
        }
    }

    /// Until when the API asked to be left alone.
    #[cfg(test)]
    pub(super) const fn held(&self) -> Option<Timestamp> {
        self.held
    }
}

/// Whether `at` has come. Nothing here waits longer than `longest`: a time further ahead was set by a clock that has
/// since been set back.
pub(super) fn is_due(at: Timestamp, now: Timestamp, longest: Duration) -> bool {
    at <= now || at > now.plus(longest).plus(SLACK)
}

/// The longest that a gap can be that grows.
pub(super) fn longest_gap(settings: &GateSettings) -> Duration {
    settings.gap_max.mul_f64(1.0 + JITTER)
}

/// The gap with a tenth of it more or less, by the roll.
pub(super) fn jittered(gap: Duration, roll: f64) -> Duration {
    gap.mul_f64(1.0 - JITTER + 2.0 * JITTER * roll.clamp(0.0, 1.0))
}
