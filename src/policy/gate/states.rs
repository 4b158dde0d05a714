//! What an answer does to the states that have something inside.

use crate::clock::Timestamp;
use crate::policy::verdict::{Refusal, Signal};

use super::{
    About, Closed, Faults, Flow, Fuse, GateRecord, GateSettings, Lead, Open, Phase, Refused, Role, Step, Ticket,
};

/// An exchange that ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended<'a> {
    pub(super) ticket: Ticket,
    pub(super) signal: Signal,
    pub(super) about: &'a About,
}

/// What an answer makes of an open gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It stays open.
    Open,
    /// The faults are an outage.
    Outage,
    /// The fuse blows.
    Blown,
}

impl Default for Open {
    fn default() -> Self {
        Self {
            lead: Lead::Over,
            delivered: false,
            refused_again: 0,
            flow: Flow::default(),
            faults: Faults::default(),
            fuse: Fuse::default(),
        }
    }
}

impl Open {
    /// An answer of this era that refuses nothing. `departed`: how many have left so far.
    pub(super) fn heard(
        &mut self,
        answer: &Ended<'_>,
        departed: u64,
        now: Timestamp,
        settings: &GateSettings,
    ) -> Heard {
        let Ended { ticket, signal, about } = *answer;
        let is_much = matches!(signal, Signal::Throttled | Signal::Overloaded);
        let is_news = is_much && self.flow.narrow(ticket.number, departed, settings);
        match about.asked(settings) {
            Some(wait) => self.flow.told_to_wait(about.activity, wait, now),
            None if is_news && signal == Signal::Throttled => self.flow.rest(about, now, settings),
            None => {}
        }
        match signal {
            Signal::Healthy => {
                self.delivered = true;
                self.refused_again = 0;
                self.fuse.ended();
                self.answered();
                self.flow.answered(ticket.number, settings);
                Heard::Open
            }
            Signal::Answered => {
                self.answered();
                self.flow.answered(ticket.number, settings);
                Heard::Open
            }
            Signal::Rejected => {
                self.answered();
                self.flow.answered(ticket.number, settings);
                if self.fuse.met(about, settings) {
                    Heard::Blown
                } else {
                    Heard::Open
                }
            }
            Signal::Throttled => {
                self.answered();
                Heard::Open
            }
            Signal::Faulty | Signal::Overloaded => self.faulty(ticket.role, about, now, settings),
            // The caller has dealt with it.
            Signal::Unauthorized(_) => Heard::Open,
        }
    }

    /// It is no fault: the API is there.
    fn answered(&mut self) {
        self.lead = Lead::Over;
        self.faults.ended();
    }

    fn faulty(&mut self, role: Role, about: &About, now: Timestamp, settings: &GateSettings) -> Heard {
        if let (Lead::Out { gap }, Role::Lead) = (self.lead, role) {
            // It says nothing of the key, and another one goes first; they are probes already.
            self.lead = Lead::Due {
                from: now.plus(gap.max(about.asked(settings).unwrap_or_default())),
                gap: gap.saturating_mul(2).min(settings.gap_max),
            };
            return Heard::Open;
        }
        if self.faults.met(about.submission) {
            Heard::Outage
        } else {
            Heard::Open
        }
    }

    /// One that was refused before is refused once more. Whether that says something of it alone: others are delivered
    /// with this key, and not so many were refused since that it must be the key after all.
    pub(super) fn spares(&mut self, settings: &GateSettings) -> bool {
        let spares = self.delivered && self.refused_again < settings.max_in_flight;
        self.refused_again += u32::from(spares);
        spares
    }
}

impl Closed {
    /// Find out at once.
    pub(super) fn ask_now(&mut self, now: Timestamp) {
        self.phase = match self.phase {
            Phase::Waiting { .. } => Phase::Waiting { ask_at: now },
            Phase::Asking { .. } => Phase::Asking { again: true },
            Phase::Opening { lead, delivered } => Phase::Opening { lead, delivered },
        };
    }

    /// Another key: what was found out of the old one opens nothing.
    pub(super) fn key_changed(&mut self, now: Timestamp) {
        self.phase = match self.phase {
            Phase::Waiting { .. } | Phase::Opening { .. } => Phase::Waiting { ask_at: now },
            Phase::Asking { .. } => Phase::Asking { again: true },
        };
    }

    /// The trial's answer. `again`: somebody asked meanwhile, maybe because of another key; then one more goes first.
    pub(super) fn tried(&mut self, signal: Signal, again: bool, wait: Phase) -> Step {
        match signal {
            Signal::Healthy | Signal::Answered | Signal::Rejected => {
                self.phase = Phase::Opening {
                    lead: again,
                    delivered: !again && signal == Signal::Healthy,
                };
                Step::default()
            }
            Signal::Throttled | Signal::Faulty | Signal::Overloaded => {
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
                "the key may be revoked, expired or mistyped: put a good key in place, then `systemctl restart reten-outbox`; the gate opens by itself when it \
                 works",
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
        Signal::Healthy
        | Signal::Answered
        | Signal::Rejected
        | Signal::Throttled
        | Signal::Faulty
        | Signal::Overloaded => None,
    }
}
