//! What an answer does to the states that have something inside.

use crate::clock::Timestamp;
use crate::policy::verdict::{Refusal, Signal};

use super::{Closed, GateRecord, GateSettings, Lead, Open, Phase, Refused, Role, Step};

impl Open {
    /// An answer of this era that refuses nothing.
    pub(super) fn heard(&mut self, role: Role, signal: Signal, now: Timestamp, settings: &GateSettings) {
        match signal {
            Signal::Healthy => {
                self.delivered = true;
                self.lead = Lead::Over;
            }
            // `rejecting` will count the 400s here, and `throttled` close a little on the 429s.
            Signal::Answered | Signal::Rejected | Signal::Throttled => self.lead = Lead::Over,
            // `throttled` and `probing` will begin here. Until then only the one that goes first matters: a fault says nothing of the key.
            Signal::Faulty => {
                if let (Lead::Out { gap }, Role::Lead) = (self.lead, role) {
                    self.lead = Lead::Due {
                        from: now.plus(gap),
                        gap: gap.saturating_mul(2).min(settings.gap_max),
                    };
                }
            }
            // The caller has dealt with it.
            Signal::Unauthorized(_) => {}
        }
    }
}

impl Closed {
    /// The trial's answer.
    pub(super) fn tried(&mut self, signal: Signal, wait: Phase) -> Step {
        match signal {
            Signal::Healthy | Signal::Answered | Signal::Rejected => {
                self.phase = Phase::Opening {
                    lead: false,
                    delivered: signal == Signal::Healthy,
                };
                Step::default()
            }
            Signal::Throttled | Signal::Faulty => {
                self.phase = wait;
                Step::default()
            }
            Signal::Unauthorized(refusal) => {
                self.phase = wait;
                let changed = self.refusal != refusal;
                self.refusal = refusal;
                Step {
                    remember: changed.then(|| self.record()),
                    ..refused(Refused::Release)
                }
            }
        }
    }

    /// What is remembered.
    pub(super) fn record(&self) -> GateRecord {
        let (why, hint) = match self.refusal {
            Refusal::Unknown => (
                "401: the API does not know the key",
                "check the API key: it may be revoked, expired or mistyped; the gate opens by itself when it works",
            ),
            Refusal::Forbidden => (
                "403: the key lacks the permission SUBMIT_ACTIVITY_RESULT",
                "ask the tenant's administrator for the permission; the gate opens by itself when it is there",
            ),
        };
        GateRecord {
            state: "unauthorized".to_owned(),
            since: self.since.millis(),
            why: why.to_owned(),
            hint: Some(hint.to_owned()),
            status: Some(self.refusal.status()),
        }
    }
}

pub(super) fn refused(fate: Refused) -> Step {
    Step {
        refused: Some(fate),
        ..Step::default()
    }
}

pub(super) const fn refusal_of(signal: Signal) -> Option<Refusal> {
    match signal {
        Signal::Unauthorized(refusal) => Some(refusal),
        Signal::Healthy | Signal::Answered | Signal::Rejected | Signal::Throttled | Signal::Faulty => None,
    }
}
