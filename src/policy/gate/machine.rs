//! The gate's moves: what each input makes of it.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::policy::verdict::{Refusal, Signal};

use super::closed::Closed;
use super::inquiry::Stage;
use super::key::KeyVerdict;
use super::open::Open;
use super::{
    Allowance, Announcement, Dispatch, Ended, GateName, GateRecord, GateSettings, Input, PauseRecord, Purpose,
    Reaction, Refused, Why,
};

/// Why a gate is open that was throttled.
const AT_FULL_WIDTH: &str = "as many as configured may be in flight again";
/// What has mended the key when the gate opens.
const KEY_WORKS: &str = "the API takes the key again";
const RESUMED: &str = "resumed by a person";

/// The gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Lies over the state beneath, and uncovers it again.
    pause: Option<PauseRecord>,
    pub(super) beneath: Beneath,
    /// Counts closings, openings and changes of the key.
    pub(super) era: u64,
    /// Submissions sent so far.
    sent: u64,
}

/// The state beneath a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Beneath {
    /// `open`, or `throttled`.
    Open(Open),
    Closed(Closed),
}

impl Gate {
    /// The gate as a start finds it: what was remembered, if anything. One that was closed asks at once; how wide an
    /// open one is, is found out anew.
    pub fn restore(record: Option<&GateRecord>, pause: Option<PauseRecord>, now: Timestamp) -> Self {
        let closed = record.and_then(|record| Closed::restored(record, now));
        Self {
            pause,
            beneath: closed.map_or_else(|| Beneath::Open(Open::default()), Beneath::Closed),
            era: 0,
            sent: 0,
        }
    }

    /// What is in force.
    pub fn name(&self) -> GateName {
        if self.pause.is_some() {
            GateName::Paused
        } else {
            self.name_beneath()
        }
    }

    /// The state beneath a pause.
    pub fn name_beneath(&self) -> GateName {
        match &self.beneath {
            Beneath::Open(open) if open.throttle.is_throttled() => GateName::Throttled,
            Beneath::Open(_) => GateName::Open,
            Beneath::Closed(closed) => closed.record.state,
        }
    }

    /// Who paused, if somebody did.
    pub fn pause(&self) -> Option<&PauseRecord> {
        self.pause.as_ref()
    }

    /// What a submission carries that has just been sent.
    pub fn dispatch(&self, purpose: Purpose) -> Dispatch {
        Dispatch {
            era: self.era,
            number: self.sent,
            purpose,
        }
    }

    /// What may be sent now.
    pub fn allowance(&self, now: Timestamp, settings: &GateSettings) -> Allowance {
        match &self.beneath {
            _ if self.pause.is_some() => Allowance::Nothing { until: None },
            Beneath::Open(open) => open.allowance(now, settings),
            Beneath::Closed(closed) => closed.allowance(now, settings),
        }
    }

    /// What is stored when the gate opens for a key that works again.
    pub fn opening_record(now: Timestamp) -> GateRecord {
        GateRecord::new(GateName::Open, KEY_WORKS, now)
    }

    /// What is stored where a start finds nothing that closes it.
    pub fn started_record(now: Timestamp) -> GateRecord {
        GateRecord::new(GateName::Open, "the daemon was started anew", now)
    }

    /// Takes an input in; the answer says what has to be done now.
    pub fn step(&mut self, input: Input, now: Timestamp, settings: &GateSettings) -> Reaction {
        let (name, beneath, held) = (self.name(), self.name_beneath(), self.is_held());
        let mut reaction = match input {
            Input::Sent(purpose) => self.sent(purpose),
            Input::Asked => self.asked(),
            Input::Ended(ended) => self.ended(&ended, now, settings),
            Input::Answered(verdict) => self.answered(verdict, now, settings),
            Input::Opened => return self.opened(now),
            Input::KeyChanged => self.key_changed(now),
            Input::AskNow => self.ask_now(now, settings),
            Input::Insisted => self.insisted(now, settings),
            Input::Paused(pause) => self.paused(pause),
            Input::Resumed => self.resumed(now, settings),
        };
        let is_news = self.name_beneath() != beneath || (self.is_held() && !held);
        if let (Beneath::Open(open), None, true) = (&self.beneath, &reaction.remember, is_news) {
            // It was narrowed or held up, or is back at its full width.
            let is_throttled = open.throttle.is_throttled();
            let why = if is_throttled {
                open.throttle.why()
            } else {
                AT_FULL_WIDTH.to_owned()
            };
            let record = GateRecord::new(self.name_beneath(), why, now);
            if reaction.announce.is_none() && self.pause.is_none() {
                reaction.announce = Some(self.announcement(name, &record.why, None));
            }
            reaction.remember = Some(record);
        }
        reaction
    }

    /// Whether a `Retry-After` holds everything.
    fn is_held(&self) -> bool {
        matches!(&self.beneath, Beneath::Open(open) if open.throttle.is_held())
    }

    fn sent(&mut self, purpose: Purpose) -> Reaction {
        self.sent += 1;
        match (&mut self.beneath, purpose) {
            (Beneath::Open(open), _) => open.sent(purpose),
            (Beneath::Closed(closed), Purpose::Ask(_)) => closed.inquiry.sent(),
            (Beneath::Closed(_), Purpose::Due | Purpose::First) => {}
        }
        Reaction::default()
    }

    fn asked(&mut self) -> Reaction {
        if let Beneath::Closed(closed) = &mut self.beneath {
            closed.inquiry.sent();
        }
        Reaction::default()
    }

    fn ended(&mut self, ended: &Ended, now: Timestamp, settings: &GateSettings) -> Reaction {
        let is_late = ended.dispatch.era != self.era;
        let refusal = refusal_of(ended.signal);
        match &mut self.beneath {
            Beneath::Closed(closed) if is_late => heard_late(closed, ended, now, settings),
            Beneath::Open(_) if is_late => Reaction {
                // Refused for a key that may no longer be in force: it is asked again in its turn.
                refused: refusal.map(|_| Refused::Release),
                ..Reaction::default()
            },
            Beneath::Open(open) => match refusal {
                Some(_) if ended.refused_before && open.spares(settings) => Reaction {
                    refused: Some(Refused::Die {
                        requeue_on_opening: false,
                    }),
                    ..Reaction::default()
                },
                Some(refusal) => self.close_for_key(refusal, now, settings),
                None => match open.heard(ended, self.sent, now, settings) {
                    Some(closed) => self.close(closed),
                    None => Reaction::default(),
                },
            },
            Beneath::Closed(closed) => match (closed.why, refusal) {
                (Why::Key(_), Some(refusal)) => {
                    closed.ask_again(ended, now, settings);
                    Reaction {
                        refused: Some(Refused::Release),
                        remember: closed.refused_on_trial(refusal),
                        announce: None,
                    }
                }
                (Why::Outage | Why::Fuse, Some(refusal)) => self.close_for_key(refusal, now, settings),
                (why, None) if why.opens_on(ended.signal) => self.open_on(ended, now, settings),
                (_, None) => {
                    closed.ask_again(ended, now, settings);
                    Reaction::default()
                }
            },
        }
    }

    /// The answer of the one that went out to find out: it opens the gate.
    fn open_on(&mut self, ended: &Ended, now: Timestamp, settings: &GateSettings) -> Reaction {
        match &mut self.beneath {
            Beneath::Closed(closed) => match closed.why {
                Why::Key(_) => {
                    // Somebody asked meanwhile, maybe because of another key: then one more goes first.
                    let tried = Some(ended.signal).filter(|_| !closed.inquiry.is_asked_again());
                    closed.inquiry.stage = Stage::Over { tried };
                    Reaction::default()
                }
                Why::Outage => {
                    let open = Open::after_outage(ended, self.sent, now, settings);
                    let why = ended.message.as_deref().unwrap_or("a success");
                    self.reopen(open, format!("the API answers again: {why}"), now)
                }
                Why::Fuse => {
                    let open = Open::after_trial(Some(ended.signal), now);
                    self.reopen(open, "a result was taken again", now)
                }
            },
            Beneath::Open(_) => Reaction::default(),
        }
    }

    /// The key was refused: nothing is sent any more.
    fn close_for_key(&mut self, refusal: Refusal, now: Timestamp, settings: &GateSettings) -> Reaction {
        Reaction {
            refused: Some(Refused::Die {
                requeue_on_opening: true,
            }),
            ..self.close(Closed::by_key(refusal, now, settings))
        }
    }

    fn close(&mut self, closed: Closed) -> Reaction {
        let record = closed.record.clone();
        self.shift(Beneath::Closed(closed), record)
    }

    /// Open again after an outage or a blown fuse.
    fn reopen(&mut self, open: Open, why: impl Into<String>, now: Timestamp) -> Reaction {
        let is_throttled = open.throttle.is_throttled();
        let name = if is_throttled {
            GateName::Throttled
        } else {
            GateName::Open
        };
        self.shift(Beneath::Open(open), GateRecord::new(name, why, now))
    }

    /// Another state from now on: what was sent before says nothing of it.
    fn shift(&mut self, to: Beneath, record: GateRecord) -> Reaction {
        let from = self.name();
        self.beneath = to;
        self.era += 1;
        Reaction {
            refused: None,
            announce: self.changed(from, &record.why, record.hint.clone()),
            remember: Some(record),
        }
    }

    fn answered(&mut self, verdict: KeyVerdict, now: Timestamp, settings: &GateSettings) -> Reaction {
        if let Beneath::Closed(closed) = &mut self.beneath
            && let (Why::Key(_), Stage::Out { .. }) = (closed.why, closed.inquiry.stage)
        {
            match verdict {
                KeyVerdict::Works => closed.inquiry.stage = Stage::Over { tried: None },
                KeyVerdict::Refused | KeyVerdict::Silent => closed.inquiry.repeat(settings.probe_interval, None, now),
            }
        }
        Reaction::default()
    }

    fn opened(&mut self, now: Timestamp) -> Reaction {
        let from = self.name();
        if let Beneath::Closed(closed) = &self.beneath
            && let Stage::Over { tried } = closed.inquiry.stage
        {
            self.beneath = Beneath::Open(Open::after_trial(tried, now));
            self.era += 1;
        }
        Reaction {
            announce: self.changed(from, KEY_WORKS, None),
            ..Reaction::default()
        }
    }

    fn key_changed(&mut self, now: Timestamp) -> Reaction {
        match &mut self.beneath {
            Beneath::Open(open) => open.key_changed(now),
            Beneath::Closed(closed) => closed.key_changed(now),
        }
        // The trial or question of a refused key counts in its era, also where the key changes meanwhile.
        let is_of_key = matches!(&self.beneath, Beneath::Closed(closed) if matches!(closed.why, Why::Key(_)));
        self.era += u64::from(!is_of_key);
        Reaction::default()
    }

    fn ask_now(&mut self, now: Timestamp, settings: &GateSettings) -> Reaction {
        match &mut self.beneath {
            // A reload may have changed the width.
            Beneath::Open(open) => open.throttle.fit(settings),
            Beneath::Closed(closed) => closed.inquiry.hasten(now),
        }
        Reaction::default()
    }

    /// An operator's word opens a blown fuse, and only that: the API's word counts for the other states.
    fn insisted(&mut self, now: Timestamp, settings: &GateSettings) -> Reaction {
        match &self.beneath {
            Beneath::Closed(closed) if closed.why == Why::Fuse => self.reopen(Open::default(), RESUMED, now),
            Beneath::Open(_) | Beneath::Closed(_) => self.ask_now(now, settings),
        }
    }

    fn paused(&mut self, pause: PauseRecord) -> Reaction {
        let from = self.name();
        let why = match &pause.why {
            Some(why) => format!("paused by {}: {why}", pause.by),
            None => format!("paused by {}", pause.by),
        };
        self.pause = Some(pause);
        Reaction {
            announce: self.changed(from, &why, Some("`reten-outbox resume` opens it".to_owned())),
            ..Reaction::default()
        }
    }

    fn resumed(&mut self, now: Timestamp, settings: &GateSettings) -> Reaction {
        let from = self.name();
        self.pause = None;
        let reaction = self.insisted(now, settings);
        let hint = match &self.beneath {
            Beneath::Open(_) => None,
            Beneath::Closed(closed) => closed.record.hint.clone(),
        };
        Reaction {
            announce: self.changed(from, RESUMED, hint),
            ..reaction
        }
    }

    /// What is announced of the change from that state to the present one. Beneath a pause nothing changes for those
    /// who watch; it is remembered all the same.
    fn changed(&self, from: GateName, why: &str, hint: Option<String>) -> Option<Announcement> {
        (from != self.name()).then(|| self.announcement(from, why, hint))
    }

    fn announcement(&self, from: GateName, why: &str, hint: Option<String>) -> Announcement {
        Announcement {
            from,
            to: self.name(),
            why: why.to_owned(),
            hint,
        }
    }
}

/// An answer to a request of before the closing opens nothing. What it asks for in an outage holds; and it is refused
/// for the key that closed the gate, or for one that may no longer be in force.
fn heard_late(closed: &mut Closed, ended: &Ended, now: Timestamp, settings: &GateSettings) -> Reaction {
    let fate = match closed.why {
        Why::Key(_) => Refused::Die {
            requeue_on_opening: true,
        },
        Why::Outage => {
            closed.inquiry.hold(ended.asked(settings), now);
            Refused::Release
        }
        Why::Fuse => Refused::Release,
    };
    Reaction {
        refused: refusal_of(ended.signal).map(|_| fate),
        ..Reaction::default()
    }
}

impl Ended {
    /// How long everyone waits that hears this `Retry-After`; `None` where it asks for nothing.
    pub(super) fn asked(&self, settings: &GateSettings) -> Option<Duration> {
        self.retry_after
            .map(|wait| wait.min(settings.hold_max))
            .filter(|wait| !wait.is_zero())
    }
}

const fn refusal_of(signal: Signal) -> Option<Refusal> {
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
