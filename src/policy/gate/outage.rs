//! `probing`: when faults are an outage, and how its end is found out by one submission at a time.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::SubmissionId;
use crate::policy::verdict::Signal;

use super::machine::is_due;
use super::{About, Allowance, Flow, Gate, GateRecord, GateSettings, GateState, Open, Role, Step, Turn};

/// So many faults in a row are an outage. With one request in ten failing by chance, five in a row are one in 100,000.
const FAULTS_TO_PROBE: usize = 5;
/// So many of them may be one submission's: one that always gets a 500 must not close the gate on the others, however often it is tried.
const FAULTS_OF_ONE: usize = 3;
/// A probe's gap is up to this part of it shorter or longer, so that daemons that lost the API together do not come back together.
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
    pub(super) record: GateRecord,
}

impl Probing {
    /// One that begins now.
    pub(super) fn begin(about: &About, now: Timestamp, settings: &GateSettings) -> Self {
        let gap = settings.gap_min.min(settings.gap_max);
        let last = about.message.as_deref().unwrap_or("no usable answer");
        Self {
            turn: Turn::Due(now.plus(jittered(gap, about.roll))),
            gap,
            record: GateRecord {
                state: "probing".to_owned(),
                since: now.millis(),
                why: format!("{FAULTS_TO_PROBE} faults in a row, the last: {last}"),
                hint: Some("one submission at a time finds out when the API is back, then everything follows by itself".to_owned()),
                status: None,
            },
        }
    }

    /// One that a restart finds: it begins with a probe.
    pub(super) fn restored(record: &GateRecord, now: Timestamp) -> Self {
        Self {
            turn: Turn::Due(now),
            gap: Duration::ZERO,
            record: record.clone(),
        }
    }

    pub(super) fn allowance(&self, now: Timestamp, settings: &GateSettings) -> Allowance {
        match self.turn {
            Turn::Due(at) if is_due(at, now, settings.gap_max.mul_f64(1.0 + JITTER)) => Allowance::One(Role::Probe),
            Turn::Due(at) => Allowance::Nothing { until: Some(at) },
            Turn::Out { .. } => Allowance::Nothing { until: None },
        }
    }

    /// A probe met a fault: the next one follows after a longer gap.
    fn failed(&mut self, again: bool, roll: f64, now: Timestamp, settings: &GateSettings) {
        self.gap = self.gap.saturating_mul(2).max(settings.gap_min).min(settings.gap_max);
        let gap = if again { Duration::ZERO } else { jittered(self.gap, roll) };
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
                Step::default()
            }
            Signal::Unauthorized(refusal) => self.close(refusal, now, settings),
            Signal::Healthy | Signal::Answered | Signal::Rejected | Signal::Throttled => {
                let open = Open {
                    delivered: signal == Signal::Healthy,
                    flow: Flow::slow_start(settings, self.departed),
                    ..Open::default()
                };
                let why = format!("the API answers again: {}", about.message.as_deref().unwrap_or("a success"));
                self.reopen(open, &why, now)
            }
        }
    }
}

/// The gap with a tenth of it more or less, by the roll.
fn jittered(gap: Duration, roll: f64) -> Duration {
    gap.mul_f64(1.0 - JITTER + 2.0 * JITTER * roll.clamp(0.0, 1.0))
}
