//! `unauthorized`: closing on a refused key, and opening when it works again. What the trials bring is in `states`.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::Exchange;
use crate::policy::verdict::Refusal;

use super::{Closed, Gate, GateRecord, GateSettings, GateState, KeyVerdict, Lead, Open, Phase, Refused, Step};

/// What has mended the key when the gate opens.
const KEY_WORKS: &str = "the API takes the key again";

impl KeyVerdict {
    /// What the answer to the `GET` of the result types says of the key. Its status alone decides, and not what the
    /// list looks like: a tenant without labels, a proxy that answers 404 for that path or a body that breaks off would
    /// else keep the gate closed for ever, and to open it wrongly costs one submission.
    pub fn of(exchange: &Exchange) -> Self {
        let status = match exchange {
            Exchange::Answered(answer) => Some(answer.status),
            Exchange::Failed { fault, on_the_wire: _ } => fault.status,
        };
        match status {
            Some(401) => Self::Refused,
            // They say nothing of the key: come back later.
            Some(408 | 425 | 429) => Self::Silent,
            Some(200..=299 | 400..=499) => Self::Works,
            Some(0..=199 | 300..=399 | 500..=u16::MAX) | None => Self::Silent,
        }
    }
}

impl Gate {
    /// What is stored when the gate opens.
    pub fn opening_record(now: Timestamp) -> GateRecord {
        GateRecord {
            state: "open".to_owned(),
            since: now.millis(),
            why: KEY_WORKS.to_owned(),
            hint: None,
            status: None,
        }
    }

    /// The key was refused: nothing is sent any more.
    pub(super) fn close(&mut self, refusal: Refusal, now: Timestamp, settings: &GateSettings) -> Step {
        let closed = Closed {
            refusal,
            since: now,
            phase: Phase::Waiting {
                ask_at: now.plus(settings.probe_interval),
            },
        };
        let record = closed.record();
        Step {
            refused: Some(Refused::Die {
                requeue_on_opening: true,
            }),
            ..self.shift(GateState::Unauthorized(closed), record)
        }
    }

    pub(super) fn answered(&mut self, verdict: KeyVerdict, now: Timestamp, settings: &GateSettings) -> Step {
        let GateState::Unauthorized(closed) = &mut self.state else {
            return Step::default();
        };
        let Phase::Asking { again } = closed.phase else {
            return Step::default();
        };
        closed.phase = match verdict {
            KeyVerdict::Works => Phase::Opening {
                lead: true,
                delivered: false,
            },
            KeyVerdict::Refused | KeyVerdict::Silent => next_asking(again, Duration::ZERO, now, settings),
        };
        Step::default()
    }

    pub(super) fn opened(&mut self, now: Timestamp, settings: &GateSettings) -> Step {
        let from = self.name();
        let GateState::Unauthorized(closed) = &self.state else {
            return Step::default();
        };
        let Phase::Opening { lead, delivered } = closed.phase else {
            return Step::default();
        };
        let lead = if lead {
            Lead::Due {
                from: now,
                gap: settings.gap_min,
            }
        } else {
            Lead::Over
        };
        self.state = GateState::Open(Open {
            lead,
            delivered,
            ..Open::default()
        });
        self.era += 1;
        Step {
            change: self.change(from, KEY_WORKS, None),
            ..Step::default()
        }
    }
}

/// When it is found out the next time; not before the API asked for it (`asked`).
pub(super) fn next_asking(again: bool, asked: Duration, now: Timestamp, settings: &GateSettings) -> Phase {
    let wait = if again {
        Duration::ZERO
    } else {
        settings.probe_interval.max(asked)
    };
    Phase::Waiting { ask_at: now.plus(wait) }
}
