//! A closed gate, whatever closed it: what is said of it, how it is found out that it may open, and which answers open
//! it.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::policy::verdict::{KeyRefusal, Signal};

use super::fuse::Fuse;
use super::inquiry::{Inquiry, Phase, longest_gap};
use super::{Allowance, Ended, GateName, GateRecord, GateSettings, Purpose, Why};

/// So many faults in a row are an outage. With one request in ten failing by chance, five in a row are one in 100,000.
pub(super) const FAULTS_TO_PROBE: usize = 5;
/// A sample a minute: each that is rejected is a dead letter.
const SAMPLE_EVERY: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) why: Why,
    pub(super) record: GateRecord,
    pub(super) inquiry: Inquiry,
}

impl Why {
    const fn ask(self) -> Allowance {
        match self {
            Self::Key(KeyRefusal::Unknown) => Allowance::Question,
            Self::Key(KeyRefusal::Forbidden) | Self::Outage | Self::Fuse => Allowance::One(Purpose::Ask(self)),
        }
    }

    /// The longest wait between two requests, where the API asks for none.
    fn longest_gap(self, settings: &GateSettings) -> Duration {
        match self {
            Self::Key(_) => settings.probe_interval,
            Self::Outage => longest_gap(settings),
            Self::Fuse => SAMPLE_EVERY,
        }
    }

    /// Whether this answer opens it. A refused key opens nothing.
    pub(super) const fn opens_on(self, signal: Signal) -> bool {
        match signal {
            Signal::Healthy => true,
            Signal::Answered | Signal::Rejected => !matches!(self, Self::Fuse),
            Signal::Throttled => matches!(self, Self::Outage),
            Signal::Faulty | Signal::Overloaded | Signal::Unauthorized(_) => false,
        }
    }
}

impl Closed {
    /// As a restart finds it: it asks at once. `None`: what was remembered closes nothing.
    pub(super) fn restored(record: &GateRecord, now: Timestamp) -> Option<Self> {
        let why = match record.state {
            GateName::Unauthorized if record.status == Some(KeyRefusal::Forbidden.status()) => {
                Why::Key(KeyRefusal::Forbidden)
            }
            GateName::Unauthorized => Why::Key(KeyRefusal::Unknown),
            GateName::Probing => Why::Outage,
            GateName::Rejecting => Why::Fuse,
            GateName::Open | GateName::Throttled | GateName::Paused => return None,
        };
        Some(Self {
            why,
            record: record.clone(),
            inquiry: Inquiry::at(now, None),
        })
    }

    /// By a refused key.
    pub(super) fn by_key(refusal: KeyRefusal, now: Timestamp, settings: &GateSettings) -> Self {
        Self {
            why: Why::Key(refusal),
            record: key_record(refusal, now.millis()),
            inquiry: Inquiry::at(now.plus(settings.probe_interval), None),
        }
    }

    /// By faults, of which this one was the last, with the hold that was in force.
    pub(super) fn by_outage(last: &Ended, held: Option<Timestamp>, now: Timestamp, settings: &GateSettings) -> Self {
        let mut inquiry = Inquiry::at(now, held);
        let gap = inquiry.grow(last.roll, settings);
        inquiry.repeat(gap, last.asked(settings), now);
        let message = last.message.as_deref().unwrap_or("no usable answer");
        let why = format!("{FAULTS_TO_PROBE} faults in a row, the last: {message}");
        let hint = "nothing to do: one submission at a time finds out when the API is back, \
             then everything follows by itself; nothing is lost, \
             each result is tried for retry.max_age";
        Self {
            why: Why::Outage,
            record: GateRecord {
                hint: Some(hint.to_owned()),
                ..GateRecord::new(GateName::Probing, why, now)
            },
            inquiry,
        }
    }

    pub(super) fn by_fuse(fuse: &Fuse, now: Timestamp) -> Self {
        Self {
            why: Why::Fuse,
            record: fuse.record(now),
            inquiry: Inquiry::at(now.plus(SAMPLE_EVERY), None),
        }
    }

    pub(super) fn allowance(&self, now: Timestamp, settings: &GateSettings) -> Allowance {
        self.inquiry
            .allowance(self.why.ask(), self.why.longest_gap(settings), now, settings)
    }

    /// An answer that opens nothing: another request follows.
    pub(super) fn ask_again(&mut self, ended: &Ended, now: Timestamp, settings: &GateSettings) {
        let gap = match self.why {
            Why::Key(_) | Why::Fuse => self.why.longest_gap(settings),
            Why::Outage => self.inquiry.grow(ended.roll, settings),
        };
        self.inquiry.repeat(gap, ended.asked(settings), now);
    }

    /// The key is refused on trial once more. What is to be remembered, where it is refused in another way.
    pub(super) fn refused_on_trial(&mut self, refusal: KeyRefusal) -> Option<GateRecord> {
        let is_news = self.why != Why::Key(refusal);
        self.why = Why::Key(refusal);
        self.record = key_record(refusal, self.record.since);
        is_news.then(|| self.record.clone())
    }

    /// Another key: what was found out of the old one opens nothing. A trial or question that is out is repeated at
    /// once; a probe or sample will be of an earlier era.
    pub(super) fn key_changed(&mut self, now: Timestamp) {
        match (self.why, self.inquiry.phase) {
            (Why::Key(_), Phase::Over { .. }) => self.inquiry = Inquiry::at(now, None),
            (Why::Key(_), Phase::Due(_) | Phase::Out { .. }) => self.inquiry.hasten(now),
            (Why::Outage | Why::Fuse, _) => self.inquiry.forget(now),
        }
    }
}

fn key_record(refusal: KeyRefusal, since: i64) -> GateRecord {
    let (why, hint) = match refusal {
        KeyRefusal::Unknown => (
            "401: the API does not know the key",
            "the key may be revoked, expired or mistyped: put a good key in place, \
             then `systemctl restart reten-outbox`; the gate opens by itself when it \
             works",
        ),
        KeyRefusal::Forbidden => (
            "403: the key lacks the permission SUBMIT_ACTIVITY_RESULT",
            "ask the tenant's administrator for the permission; the gate opens by itself when it is there",
        ),
    };
    GateRecord {
        hint: Some(hint.to_owned()),
        status: Some(refusal.status()),
        ..GateRecord::new(GateName::Unauthorized, why, Timestamp::from_millis(since))
    }
}
