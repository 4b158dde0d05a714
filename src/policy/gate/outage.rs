//! `probing`: when faults are an outage, and how its end is found out by one submission at a time.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::SubmissionId;
use crate::policy::verdict::Signal;

use super::machine::is_due;
use super::{About, Allowance, Flow, Gate, GateRecord, GateSettings, GateState, Open, Role, Step, Turn};

/// So many faults in a row are an outage. With one request in ten failing by chance, five in a row are one in 100,000.
const FAULTS_TO_PROBE: usize = 5;
/// So many of them may be one submission's: one that always gets a 500 must not close the gate on the others, however
/// often it is tried.
const FAULTS_OF_ONE: usize = 3;
/// A probe's gap is up to this part of it shorter or longer, so that daemons that lost the API together do not come
/// back together.
const JITTER: f64 = 0.1;

/// The faults since the last answer that was none; at most [`FAULTS_TO_PROBE`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Faults(Vec<SubmissionId>);

impl Faults {
    /// Another one. Whether it is an outage.
    pub(super) fn met(&mut self, submission: SubmissionId) -> bool {
        if self.0.iter().filter(|id| **id == submission).count() < FAULTS_OF_ONE {
            self.0.push(submission);
        }
        self.0.len() >= FAULTS_TO_PROBE
    }

    /// An answer came that is no fault.
    pub(super) fn ended(&mut self) {
        self.0.clear();
    }
}

/// An outage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probing {
    pub(super) turn: Turn,
    /// From the last probe's end to the next one, without jitter.
    gap: Duration,
    /// What the API asked for (`Retry-After`), on whose request ever: no probe before this.
    held: Option<Timestamp>,
    pub(super) record: GateRecord,
}

impl Probing {
    /// One that begins now, with the pause that was in force.
    pub(super) fn begin(about: &About, held: Option<Timestamp>, now: Timestamp, settings: &GateSettings) -> Self {
        let gap = settings.gap_min.min(settings.gap_max);
        let asked = about.asked(settings).map(|wait| now.plus(wait));
        let last = about.message.as_deref().unwrap_or("no usable answer");
        Self {
            turn: Turn::Due(now.plus(jittered(gap, about.roll))),
            gap,
            held: held.max(asked),
            record: GateRecord {
                state: "probing".to_owned(),
                since: now.millis(),
                why: format!("{FAULTS_TO_PROBE} faults in a row, the last: {last}"),
                hint: Some(
                    "nothing to do: one submission at a time finds out when the API is back, then everything follows by itself; nothing is lost, \
                     each result is tried for retry.max_age"
                        .to_owned(),
                ),
                status: None,
            },
        }
    }

    /// One that a restart finds: it begins with a probe.
    pub(super) fn restored(record: &GateRecord, now: Timestamp) -> Self {
        Self {
            turn: Turn::Due(now),
            gap: Duration::ZERO,
            held: None,
            record: record.clone(),
        }
    }

    pub(super) fn allowance(&self, now: Timestamp, settings: &GateSettings) -> Allowance {
        let Turn::Due(at) = self.turn else {
            return Allowance::Nothing { until: None };
        };
        let gap = Some(at).filter(|at| !is_due(*at, now, longest_gap(settings)));
        let held = self.held.filter(|until| !is_due(*until, now, settings.hold_max));
        match gap.max(held) {
            Some(until) => Allowance::Nothing { until: Some(until) },
            None => Allowance::One(Role::Probe),
        }
    }

    /// Until when the API asked to be left alone.
    #[cfg(test)]
    pub(super) const fn held(&self) -> Option<Timestamp> {
        self.held
    }

    /// A probe left: what was asked for has been waited for.
    pub(super) fn departed(&mut self) {
        self.turn = Turn::Out { again: false };
        self.held = None;
    }

    /// Somebody asks at once, whatever the API asked for.
    pub(super) fn ask_now(&mut self) {
        self.held = None;
    }

    /// An answer to a request of before the outage: it ends nothing, but what it asks for holds.
    pub(super) fn overheard(&mut self, about: &About, now: Timestamp, settings: &GateSettings) {
        self.held = self.held.max(about.asked(settings).map(|wait| now.plus(wait)));
    }

    /// A probe met a fault: the next one follows after a longer gap.
    fn failed(&mut self, again: bool, roll: f64, now: Timestamp, settings: &GateSettings) {
        self.gap = self.gap.saturating_mul(2).max(settings.gap_min).min(settings.gap_max);
        let gap = if again {
            Duration::ZERO
        } else {
            jittered(self.gap, roll)
        };
        self.turn = Turn::Due(now.plus(gap));
    }
}

impl Gate {
    /// A probe's answer; the caller has made sure that it is one of this outage.
    pub(super) fn probed(&mut self, signal: Signal, about: &About, now: Timestamp, settings: &GateSettings) -> Step {
        let GateState::Probing(probing) = &mut self.state else {
            return Step::default();
        };
        let again = matches!(probing.turn, Turn::Out { again: true });
        match signal {
            Signal::Faulty | Signal::Overloaded => {
                probing.failed(again, about.roll, now, settings);
                if !again {
                    probing.overheard(about, now, settings);
                }
                Step::default()
            }
            Signal::Unauthorized(refusal) => self.close(refusal, now, settings),
            Signal::Healthy | Signal::Answered | Signal::Rejected | Signal::Throttled => {
                let mut open = Open {
                    delivered: signal == Signal::Healthy,
                    flow: Flow::slow_start(settings, self.departed),
                    ..Open::default()
                };
                if signal == Signal::Throttled {
                    open.flow.begin_at_rest(about, now, settings);
                }
                let why = format!(
                    "the API answers again: {}",
                    about.message.as_deref().unwrap_or("a success")
                );
                self.reopen(open, &why, now)
            }
        }
    }
}

/// The longest that a gap can be.
pub(super) fn longest_gap(settings: &GateSettings) -> Duration {
    settings.gap_max.mul_f64(1.0 + JITTER)
}

/// The gap with a tenth of it more or less, by the roll.
pub(super) fn jittered(gap: Duration, roll: f64) -> Duration {
    gap.mul_f64(1.0 - JITTER + 2.0 * JITTER * roll.clamp(0.0, 1.0))
}
