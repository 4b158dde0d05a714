//! The gate's moves.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::policy::verdict::{Refusal, Signal};

use super::states::{refusal_of, refused};
use super::{
    Allowance, Change, Closed, Gate, GateRecord, GateSettings, GateState, Input, KeyVerdict, Lead, Open, PauseRecord, Phase, Refused, Role,
    Step, Ticket,
};

/// What has mended the key when the gate opens.
const KEY_WORKS: &str = "the API takes the key again";

impl Gate {
    /// The gate as a start finds it: what was remembered, if anything. One that was closed begins with the question.
    pub fn restore(record: Option<&GateRecord>, pause: Option<PauseRecord>, now: Timestamp) -> Self {
        let closed = record.filter(|record| record.state == "unauthorized").map(|record| Closed {
            refusal: match record.status {
                Some(403) => Refusal::Forbidden,
                Some(_) | None => Refusal::Unknown,
            },
            since: Timestamp::from_millis(record.since),
            phase: Phase::Waiting { ask_at: now },
        });
        let open = Open {
            lead: Lead::Over,
            delivered: false,
        };
        Self {
            pause,
            state: closed.map_or(GateState::Open(open), GateState::Unauthorized),
            era: 0,
        }
    }

    /// The public name of what is in force.
    pub fn name(&self) -> &'static str {
        if self.pause.is_some() { "paused" } else { self.beneath() }
    }

    /// The public name of the state beneath a pause.
    fn beneath(&self) -> &'static str {
        match &self.state {
            GateState::Open(_) => "open",
            GateState::Unauthorized(_) => "unauthorized",
        }
    }

    /// Who paused, if somebody did.
    pub fn pause(&self) -> Option<&PauseRecord> {
        self.pause.as_ref()
    }

    /// Whether the key's verdict is found by trying submissions (after a 403) and is still awaited.
    pub fn awaits_trial(&self) -> bool {
        matches!(&self.state, GateState::Unauthorized(closed) if closed.refusal == Refusal::Forbidden)
    }

    /// What a submission carries that is sent now.
    pub fn ticket(&self, role: Role) -> Ticket {
        Ticket { era: self.era, role }
    }

    /// What may be sent now.
    pub fn allowance(&self, now: Timestamp, settings: &GateSettings) -> Allowance {
        if self.pause.is_some() {
            return Allowance::Nothing { until: None };
        }
        match &self.state {
            GateState::Open(open) => match open.lead {
                Lead::Over => Allowance::All,
                Lead::Due { from, .. } if is_due(from, now, settings.gap_max) => Allowance::One(Role::Lead),
                Lead::Due { from, .. } => Allowance::Nothing { until: Some(from) },
                Lead::Out { .. } => Allowance::Nothing { until: None },
            },
            GateState::Unauthorized(closed) => match (closed.phase, closed.refusal) {
                (Phase::Waiting { ask_at }, _) if !is_due(ask_at, now, settings.probe_interval) => {
                    Allowance::Nothing { until: Some(ask_at) }
                }
                (Phase::Waiting { .. }, Refusal::Unknown) => Allowance::Question,
                (Phase::Waiting { .. }, Refusal::Forbidden) => Allowance::One(Role::Trial),
                (Phase::Asking { .. }, Refusal::Unknown | Refusal::Forbidden) => Allowance::Nothing { until: None },
                (Phase::Opening { .. }, Refusal::Unknown | Refusal::Forbidden) => Allowance::Opening,
            },
        }
    }

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

    /// Takes an input in; the answer says what has to be done now.
    pub fn step(&mut self, input: Input, now: Timestamp, settings: &GateSettings) -> Step {
        match input {
            Input::Departed(role) => self.departed(role),
            Input::Asked => self.set_phase(Phase::Asking { again: false }),
            Input::Ended {
                ticket,
                signal,
                refused_before,
            } => return self.ended(ticket, signal, refused_before, now, settings),
            Input::Answered(verdict) => self.answered(verdict, now, settings),
            Input::Opened => return self.opened(now, settings),
            Input::KeyChanged => self.key_changed(now),
            Input::AskNow => self.ask_now(now),
            Input::Paused(pause) => return self.paused(pause),
            Input::Resumed => return self.resumed(now),
        }
        Step::default()
    }

    fn departed(&mut self, role: Role) {
        match (&mut self.state, role) {
            (GateState::Open(open), Role::Lead) => {
                if let Lead::Due { gap, .. } = open.lead {
                    open.lead = Lead::Out { gap };
                }
            }
            (GateState::Unauthorized(closed), Role::Trial) => closed.phase = Phase::Asking { again: false },
            (GateState::Open(_), Role::Ordinary | Role::Trial) | (GateState::Unauthorized(_), Role::Ordinary | Role::Lead) => {}
        }
    }

    fn set_phase(&mut self, phase: Phase) {
        match &mut self.state {
            GateState::Unauthorized(closed) => closed.phase = phase,
            GateState::Open(_) => {}
        }
    }

    fn ended(&mut self, ticket: Ticket, signal: Signal, refused_before: bool, now: Timestamp, settings: &GateSettings) -> Step {
        let stale = ticket.era != self.era;
        match &mut self.state {
            GateState::Open(_) if stale => Step {
                // Refused for a key that is no longer in force: nothing can be said of the one that is.
                refused: refusal_of(signal).map(|_| Refused::Release),
                ..Step::default()
            },
            GateState::Open(open) => match refusal_of(signal) {
                Some(_) if refused_before && open.delivered => refused(Refused::Die { requeue_on_opening: false }),
                Some(refusal) => self.close(refusal, now, settings),
                None => {
                    open.heard(ticket.role, signal, now, settings);
                    Step::default()
                }
            },
            GateState::Unauthorized(closed) => match (closed.phase, ticket.role) {
                (Phase::Asking { again }, Role::Trial) if !stale => closed.tried(signal, next_asking(again, now, settings)),
                (_, Role::Trial) => refusal_of(signal).map_or_else(Step::default, |_| refused(Refused::Release)),
                (_, Role::Ordinary | Role::Lead) => match refusal_of(signal) {
                    Some(_) => refused(Refused::Die { requeue_on_opening: true }),
                    None => Step::default(),
                },
            },
        }
    }

    /// The key was refused: nothing is sent any more.
    fn close(&mut self, refusal: Refusal, now: Timestamp, settings: &GateSettings) -> Step {
        let from = self.name();
        let closed = Closed {
            refusal,
            since: now,
            phase: Phase::Waiting {
                ask_at: now.plus(settings.probe_interval),
            },
        };
        let record = closed.record();
        self.state = GateState::Unauthorized(closed);
        self.era += 1;
        Step {
            refused: Some(Refused::Die { requeue_on_opening: true }),
            change: self.change(from, &record.why, record.hint.clone()),
            remember: Some(record),
        }
    }

    fn answered(&mut self, verdict: KeyVerdict, now: Timestamp, settings: &GateSettings) {
        let GateState::Unauthorized(closed) = &mut self.state else { return };
        let Phase::Asking { again } = closed.phase else { return };
        closed.phase = match verdict {
            KeyVerdict::Works => Phase::Opening {
                lead: true,
                delivered: false,
            },
            KeyVerdict::Refused | KeyVerdict::Silent => next_asking(again, now, settings),
        };
    }

    fn opened(&mut self, now: Timestamp, settings: &GateSettings) -> Step {
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
        self.state = GateState::Open(Open { lead, delivered });
        self.era += 1;
        Step {
            change: self.change(from, KEY_WORKS, None),
            ..Step::default()
        }
    }

    fn key_changed(&mut self, now: Timestamp) {
        match &mut self.state {
            GateState::Open(open) => {
                open.delivered = false;
                // The one that went first carried the old key: its answer will be stale, so another one goes first.
                if let Lead::Out { gap } = open.lead {
                    open.lead = Lead::Due { from: now, gap };
                }
                self.era += 1;
            }
            GateState::Unauthorized(_) => self.ask_now(now),
        }
    }

    fn ask_now(&mut self, now: Timestamp) {
        let GateState::Unauthorized(closed) = &mut self.state else { return };
        closed.phase = match closed.phase {
            Phase::Waiting { .. } => Phase::Waiting { ask_at: now },
            Phase::Asking { .. } => Phase::Asking { again: true },
            Phase::Opening { lead, delivered } => Phase::Opening { lead, delivered },
        };
    }

    fn paused(&mut self, pause: PauseRecord) -> Step {
        let from = self.name();
        let why = match &pause.why {
            Some(why) => format!("paused by {}: {why}", pause.by),
            None => format!("paused by {}", pause.by),
        };
        self.pause = Some(pause);
        Step {
            change: self.change(from, &why, Some("`reten-outbox resume` opens it".to_owned())),
            ..Step::default()
        }
    }

    fn resumed(&mut self, now: Timestamp) -> Step {
        let from = self.name();
        self.pause = None;
        self.ask_now(now);
        let hint = match &self.state {
            GateState::Open(_) => None,
            GateState::Unauthorized(closed) => closed.record().hint,
        };
        Step {
            change: self.change(from, "resumed by a person", hint),
            ..Step::default()
        }
    }

    /// The change from that name to the present one. Beneath a pause nothing changes for those who watch; it is remembered all the same.
    fn change(&self, from: &'static str, why: &str, hint: Option<String>) -> Option<Change> {
        let to = self.name();
        (from != to).then(|| Change {
            from,
            to,
            why: why.to_owned(),
            hint,
        })
    }
}

/// When it is found out the next time.
fn next_asking(again: bool, now: Timestamp, settings: &GateSettings) -> Phase {
    let wait = if again { Duration::ZERO } else { settings.probe_interval };
    Phase::Waiting { ask_at: now.plus(wait) }
}

/// Whether `at` has come. Nothing here waits longer than `longest`: a time further ahead was set by a clock that has since been set back.
fn is_due(at: Timestamp, now: Timestamp, longest: Duration) -> bool {
    at <= now || at > now.plus(longest)
}
