//! The gate and its moves: what each input makes of it. What answers do is in `answers`.

use crate::clock::Timestamp;

use super::closed::Closed;
use super::inquiry::Phase;
use super::open::Open;
use super::{
    Allowance, Announcement, Dispatch, GateName, GateRecord, GateSettings, Input, PauseRecord, Purpose, Reaction, Why,
};

/// Why a gate is open that was throttled.
const AT_FULL_WIDTH: &str = "as many as configured may be in flight again";
/// What has mended the key when the gate opens.
const KEY_WORKS: &str = "the API takes the key again";
const RESUMED: &str = "resumed by a person";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Lies over the state beneath, and uncovers it again.
    pause: Option<PauseRecord>,
    pub(super) beneath: Beneath,
    /// Counts closings, openings and changes of the key.
    pub(super) era: u64,
    /// Submissions sent so far.
    pub(super) sent: u64,
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
            Input::Adopted(record) => self.adopted(&record, now),
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

    /// Open again after an outage or a blown fuse.
    pub(super) fn reopen(&mut self, open: Open, why: impl Into<String>, now: Timestamp) -> Reaction {
        let is_throttled = open.throttle.is_throttled();
        let name = if is_throttled {
            GateName::Throttled
        } else {
            GateName::Open
        };
        self.shift(Beneath::Open(open), GateRecord::new(name, why, now))
    }

    /// Another state from now on: what was sent before says nothing of it.
    pub(super) fn shift(&mut self, to: Beneath, record: GateRecord) -> Reaction {
        let from = self.name();
        self.beneath = to;
        self.era += 1;
        Reaction {
            refused: None,
            announce: self.changed(from, &record.why, record.hint.clone()),
            remember: Some(record),
        }
    }

    fn opened(&mut self, now: Timestamp) -> Reaction {
        let from = self.name();
        if let Beneath::Closed(closed) = &self.beneath
            && let Phase::Over { tried } = closed.inquiry.phase
        {
            self.beneath = Beneath::Open(Open::after_trial(tried, now));
            self.era += 1;
        }
        Reaction {
            announce: self.changed(from, KEY_WORKS, None),
            ..Reaction::default()
        }
    }

    /// What is on record is stored already, and nothing is remembered of it. What an outage closed here stays closed:
    /// that another daemon gets through says nothing of this one's way.
    fn adopted(&mut self, record: &GateRecord, now: Timestamp) -> Reaction {
        let reaction = match (Closed::restored(record, now), &self.beneath) {
            (Some(theirs), Beneath::Closed(ours)) if ours.why == theirs.why => return Reaction::default(),
            (Some(theirs), Beneath::Open(_) | Beneath::Closed(_)) => {
                self.shift(Beneath::Closed(theirs), record.clone())
            }
            (None, Beneath::Closed(ours)) if ours.why != Why::Outage => {
                self.shift(Beneath::Open(Open::default()), record.clone())
            }
            (None, Beneath::Open(_) | Beneath::Closed(_)) => return Reaction::default(),
        };
        Reaction {
            remember: None,
            ..reaction
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
