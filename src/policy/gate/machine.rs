//! The gate's moves.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::policy::verdict::Refusal;

use super::key::next_asking;
use super::states::{Ended, Heard, refusal_of, refused};
use super::{
    About, Allowance, Change, Closed, Gate, GateRecord, GateSettings, GateState, Input, Lead, Open, PauseRecord, Phase,
    Probing, Refused, Rejecting, Role, Step, Ticket, Turn,
};

/// Why a gate is open that was throttled.
const AT_FULL_WIDTH: &str = "as many as configured may be in flight again";

impl Gate {
    /// The gate as a start finds it: what was remembered, if anything. One that was closed begins with the question.
    pub fn restore(record: Option<&GateRecord>, pause: Option<PauseRecord>, now: Timestamp) -> Self {
        let closed = |record: &GateRecord| match record.state.as_str() {
            "unauthorized" => Some(GateState::Unauthorized(Closed {
                refusal: match record.status {
                    Some(403) => Refusal::Forbidden,
                    Some(_) | None => Refusal::Unknown,
                },
                since: Timestamp::from_millis(record.since),
                phase: Phase::Waiting { ask_at: now },
            })),
            "probing" => Some(GateState::Probing(Probing::restored(record, now))),
            "rejecting" => Some(GateState::Rejecting(Rejecting::restored(record, now))),
            // Whatever the flow was, it is found out anew.
            _ => None,
        };
        Self {
            pause,
            state: record
                .and_then(closed)
                .unwrap_or_else(|| GateState::Open(Open::default())),
            era: 0,
            departed: 0,
        }
    }

    /// The public name of what is in force.
    pub fn name(&self) -> &'static str {
        if self.pause.is_some() {
            "paused"
        } else {
            self.name_beneath()
        }
    }

    /// The public name of the state beneath a pause.
    pub fn name_beneath(&self) -> &'static str {
        match &self.state {
            GateState::Open(open) if open.flow.is_throttled() => "throttled",
            GateState::Open(_) => "open",
            GateState::Probing(_) => "probing",
            GateState::Unauthorized(_) => "unauthorized",
            GateState::Rejecting(_) => "rejecting",
        }
    }

    /// Who paused, if somebody did.
    pub fn pause(&self) -> Option<&PauseRecord> {
        self.pause.as_ref()
    }

    /// Whether the key's verdict is found by trying submissions (after a 403) and is still awaited.
    #[cfg(test)]
    pub fn awaits_trial(&self) -> bool {
        matches!(&self.state, GateState::Unauthorized(closed) if closed.refusal == Refusal::Forbidden)
    }

    /// What a submission carries that has just departed.
    pub fn ticket(&self, role: Role) -> Ticket {
        Ticket {
            era: self.era,
            number: self.departed,
            role,
        }
    }

    /// What may be sent now.
    pub fn allowance(&self, now: Timestamp, settings: &GateSettings) -> Allowance {
        if self.pause.is_some() {
            return Allowance::Nothing { until: None };
        }
        match &self.state {
            GateState::Open(open) => match open.lead {
                Lead::Over => open.flow.allowance(now, settings),
                Lead::Due { from, .. } if is_due(from, now, settings.gap_max.max(settings.hold_max)) => {
                    Allowance::One(Role::Lead)
                }
                Lead::Due { from, .. } => Allowance::Nothing { until: Some(from) },
                Lead::Out { .. } => Allowance::Nothing { until: None },
            },
            GateState::Probing(probing) => probing.allowance(now, settings),
            GateState::Rejecting(rejecting) => rejecting.allowance(now, settings),
            GateState::Unauthorized(closed) => match (closed.phase, closed.refusal) {
                (Phase::Waiting { ask_at }, _)
                    if !is_due(ask_at, now, settings.probe_interval.max(settings.hold_max)) =>
                {
                    Allowance::Nothing { until: Some(ask_at) }
                }
                (Phase::Waiting { .. }, Refusal::Unknown) => Allowance::Question,
                (Phase::Waiting { .. }, Refusal::Forbidden) => Allowance::One(Role::Trial),
                (Phase::Asking { .. }, Refusal::Unknown | Refusal::Forbidden) => Allowance::Nothing { until: None },
                (Phase::Opening { .. }, Refusal::Unknown | Refusal::Forbidden) => Allowance::Opening,
            },
        }
    }

    /// What is stored where a start finds nothing that closes it.
    pub fn started_record(now: Timestamp) -> GateRecord {
        GateRecord {
            why: "the daemon was started anew".to_owned(),
            ..Self::opening_record(now)
        }
    }

    /// Takes an input in; the answer says what has to be done now.
    pub fn step(&mut self, input: Input, now: Timestamp, settings: &GateSettings) -> Step {
        let (name, beneath, held) = (self.name(), self.name_beneath(), self.is_held());
        let mut step = match input {
            Input::Departed(role) => self.departed(role),
            Input::Asked => self.set_phase(Phase::Asking { again: false }),
            Input::Ended {
                ticket,
                signal,
                refused_before,
                about,
            } => {
                let ended = Ended {
                    ticket,
                    signal,
                    about: &about,
                };
                self.ended(&ended, refused_before, now, settings)
            }
            Input::Answered(verdict) => self.answered(verdict, now, settings),
            Input::Opened => return self.opened(now, settings),
            Input::KeyChanged => self.key_changed(now),
            Input::AskNow => self.ask_now(now, settings),
            Input::Insisted => self.insisted(now, settings),
            Input::Paused(pause) => self.paused(pause),
            Input::Resumed => self.resumed(now, settings),
        };
        let is_news = self.name_beneath() != beneath || (self.is_held() && !held);
        if step.remember.is_none() && is_news {
            self.tell_of_flow(&mut step, name, now);
        }
        step
    }

    /// Whether a `Retry-After` holds everything.
    fn is_held(&self) -> bool {
        matches!(&self.state, GateState::Open(open) if open.flow.is_held())
    }

    /// The flow was narrowed or held up, or is back at its full width.
    fn tell_of_flow(&self, step: &mut Step, from: &'static str, now: Timestamp) {
        let GateState::Open(open) = &self.state else { return };
        let why = if open.flow.is_throttled() {
            open.flow.why()
        } else {
            AT_FULL_WIDTH.to_owned()
        };
        if step.change.is_none() && self.pause.is_none() {
            step.change = Some(Change {
                from,
                to: self.name(),
                why: why.clone(),
                hint: None,
            });
        }
        step.remember = Some(GateRecord {
            state: self.name_beneath().to_owned(),
            since: now.millis(),
            why,
            hint: None,
            status: None,
        });
    }

    fn departed(&mut self, role: Role) -> Step {
        self.departed += 1;
        match (&mut self.state, role) {
            (GateState::Open(open), Role::Lead) => {
                if let Lead::Due { gap, .. } = open.lead {
                    open.lead = Lead::Out { gap };
                }
            }
            (GateState::Open(open), Role::Ordinary) => open.flow.departed(),
            (GateState::Unauthorized(closed), Role::Trial) => closed.phase = Phase::Asking { again: false },
            (GateState::Probing(probing), Role::Probe) => probing.departed(),
            (GateState::Rejecting(rejecting), Role::Sample) => rejecting.turn = Turn::Out { again: false },
            (
                GateState::Open(_) | GateState::Unauthorized(_) | GateState::Probing(_) | GateState::Rejecting(_),
                Role::Ordinary | Role::Lead | Role::Trial | Role::Probe | Role::Sample,
            ) => {}
        }
        Step::default()
    }

    fn set_phase(&mut self, phase: Phase) -> Step {
        match &mut self.state {
            GateState::Unauthorized(closed) => closed.phase = phase,
            GateState::Open(_) | GateState::Probing(_) | GateState::Rejecting(_) => {}
        }
        Step::default()
    }

    fn ended(&mut self, ended: &Ended<'_>, refused_before: bool, now: Timestamp, settings: &GateSettings) -> Step {
        let Ended { ticket, signal, about } = *ended;
        let stale = ticket.era != self.era;
        match &mut self.state {
            GateState::Open(_) | GateState::Probing(_) | GateState::Rejecting(_) if stale => {
                if let GateState::Probing(probing) = &mut self.state {
                    probing.overheard(about, now, settings);
                }
                Step {
                    // Refused for a key that may no longer be in force, or before an outage: it is asked again in its
                    // turn.
                    refused: refusal_of(signal).map(|_| Refused::Release),
                    ..Step::default()
                }
            }
            GateState::Open(open) => match refusal_of(signal) {
                Some(_) if refused_before && open.spares(settings) => refused(Refused::Die {
                    requeue_on_opening: false,
                }),
                Some(refusal) => self.close(refusal, now, settings),
                None => match open.heard(ended, self.departed, now, settings) {
                    Heard::Open => Step::default(),
                    Heard::Outage => {
                        let probing = Probing::begin(about, open.flow.hold(), now, settings);
                        let record = probing.record.clone();
                        self.shift(GateState::Probing(probing), record)
                    }
                    Heard::Blown => {
                        let rejecting = Rejecting::begin(&open.fuse, now);
                        let record = rejecting.record.clone();
                        self.shift(GateState::Rejecting(rejecting), record)
                    }
                },
            },
            GateState::Probing(_) => self.probed(signal, about, now, settings),
            GateState::Rejecting(_) => self.sampled(signal, about, now, settings),
            GateState::Unauthorized(closed) => match (closed.phase, ticket.role) {
                (Phase::Asking { again }, Role::Trial) if !stale => {
                    let asked = about.asked(settings).unwrap_or_default();
                    closed.tried(signal, again, next_asking(again, asked, now, settings))
                }
                (_, Role::Trial) => refusal_of(signal).map_or_else(Step::default, |_| refused(Refused::Release)),
                (_, Role::Ordinary | Role::Lead | Role::Probe | Role::Sample) => match refusal_of(signal) {
                    Some(_) => refused(Refused::Die {
                        requeue_on_opening: true,
                    }),
                    None => Step::default(),
                },
            },
        }
    }

    /// Another state from now on: what was sent before says nothing of it.
    pub(super) fn shift(&mut self, to: GateState, record: GateRecord) -> Step {
        let from = self.name();
        self.state = to;
        self.era += 1;
        Step {
            change: self.change(from, &record.why, record.hint.clone()),
            remember: Some(record),
            ..Step::default()
        }
    }

    /// Open again after an outage or a blown fuse.
    pub(super) fn reopen(&mut self, open: Open, why: &str, now: Timestamp) -> Step {
        let record = GateRecord {
            state: if open.flow.is_throttled() { "throttled" } else { "open" }.to_owned(),
            since: now.millis(),
            why: why.to_owned(),
            hint: None,
            status: None,
        };
        self.shift(GateState::Open(open), record)
    }

    fn key_changed(&mut self, now: Timestamp) -> Step {
        match &mut self.state {
            GateState::Open(open) => {
                open.delivered = false;
                // The one that went first carried the old key: its answer will be stale, so another one goes first.
                if let Lead::Out { gap } = open.lead {
                    open.lead = Lead::Due { from: now, gap };
                }
                self.era += 1;
            }
            GateState::Probing(Probing { turn, .. }) | GateState::Rejecting(Rejecting { turn, .. }) => {
                // The answer to the old key will be stale as well.
                if let Turn::Out { .. } = turn {
                    *turn = Turn::Due(now);
                }
                self.era += 1;
            }
            GateState::Unauthorized(closed) => closed.key_changed(now),
        }
        Step::default()
    }

    fn ask_now(&mut self, now: Timestamp, settings: &GateSettings) -> Step {
        match &mut self.state {
            // A reload may have changed the width.
            GateState::Open(open) => open.flow.fit(settings),
            GateState::Probing(probing) => {
                probing.ask_now();
                probing.turn = probing.turn.sooner(now);
            }
            GateState::Rejecting(rejecting) => rejecting.turn = rejecting.turn.sooner(now),
            GateState::Unauthorized(closed) => closed.ask_now(now),
        }
        Step::default()
    }

    /// A person's word opens a blown fuse, and only that: the API's word counts for the other states.
    fn insisted(&mut self, now: Timestamp, settings: &GateSettings) -> Step {
        match &self.state {
            GateState::Rejecting(_) => self.reopen(Open::default(), "resumed by a person", now),
            GateState::Open(_) | GateState::Probing(_) | GateState::Unauthorized(_) => self.ask_now(now, settings),
        }
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

    fn resumed(&mut self, now: Timestamp, settings: &GateSettings) -> Step {
        let from = self.name();
        self.pause = None;
        let step = self.insisted(now, settings);
        let hint = match &self.state {
            GateState::Open(_) => None,
            GateState::Probing(Probing { record, .. }) | GateState::Rejecting(Rejecting { record, .. }) => {
                record.hint.clone()
            }
            GateState::Unauthorized(closed) => closed.record().hint,
        };
        Step {
            change: self.change(from, "resumed by a person", hint),
            ..step
        }
    }

    /// The change from that name to the present one. Beneath a pause nothing changes for those who watch; it is
    /// remembered all the same.
    pub(super) fn change(&self, from: &'static str, why: &str, hint: Option<String>) -> Option<Change> {
        let to = self.name();
        (from != to).then(|| Change {
            from,
            to,
            why: why.to_owned(),
            hint,
        })
    }
}

impl About {
    /// How long everyone waits that hears this `Retry-After`; `None` where it asks for nothing.
    pub(super) fn asked(&self, settings: &GateSettings) -> Option<Duration> {
        self.retry_after
            .map(|wait| wait.min(settings.hold_max))
            .filter(|wait| !wait.is_zero())
    }
}

impl Turn {
    /// At once, or once more as soon as the one comes back that is on its way.
    const fn sooner(self, now: Timestamp) -> Self {
        match self {
            Self::Due(_) => Self::Due(now),
            Self::Out { .. } => Self::Out { again: true },
        }
    }
}

/// How much older the caller's present may be than the one in which `at` was set: a step reads the clock once, and what
/// lands while it waits for the outbox is judged by the clock of that moment. Without it a closing was taken for a
/// clock set back, and one went out at once.
const SLACK: Duration = Duration::from_mins(1);

/// Whether `at` has come. Nothing here waits longer than `longest`: a time further ahead was set by a clock that has
/// since been set back.
pub(super) fn is_due(at: Timestamp, now: Timestamp, longest: Duration) -> bool {
    at <= now || at > now.plus(longest).plus(SLACK)
}
