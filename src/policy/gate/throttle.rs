//! `throttled`: how many may be in flight. Grows by one a round trip while answers come, halves when the API says that
//! it is too much; after an outage it begins with one and doubles each round trip. And its rests: `Retry-After`, where
//! it is meant for everyone, and what a 429 costs that names no time.

use std::time::Duration;

use crate::clock::Timestamp;

use super::inquiry::{is_due, jittered, longest_gap};
use super::{Allowance, Ended, GateSettings};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Throttle {
    /// `None`: as many as the configuration allows.
    limit: Option<u32>,
    /// Whether every answer counts for one more, and not only a whole round trip of them.
    slow_start: bool,
    /// Answers since the limit last grew.
    credit: u32,
    /// Requests up to this number were under way when it was last narrowed: what comes of them says nothing new.
    judged: u64,
    /// Nothing is sent before this: the API asked everyone to wait.
    hold: Option<Timestamp>,
    /// After a 429 that named no time, until an answer comes that is none: nothing is sent before this, and then one at
    /// a time. Without it everything that is pending would be sent again and again, each request charged and stored.
    rest_until: Option<Timestamp>,
    /// How long that is, without jitter.
    rest_gap: Duration,
    /// The activity that was last asked to wait, with no other answer since.
    last_asked: Option<u64>,
}

impl Throttle {
    /// After an outage: one, and then more with every answer.
    pub(super) fn slow_start(settings: &GateSettings, sent: u64) -> Self {
        Self {
            limit: (settings.max_in_flight > 1).then_some(1),
            slow_start: true,
            judged: sent,
            ..Self::default()
        }
    }

    pub(super) const fn is_throttled(&self) -> bool {
        self.limit.is_some() || self.hold.is_some() || self.rest_until.is_some()
    }

    pub(super) const fn is_held(&self) -> bool {
        self.hold.is_some()
    }

    /// Until when the API asked everyone to wait.
    pub(super) const fn hold(&self) -> Option<Timestamp> {
        self.hold
    }

    /// Why it is throttled, in words for an operator.
    pub(super) fn why(&self) -> String {
        match (self.hold, self.slow_start) {
            (Some(until), _) => format!("the API asked for a pause (Retry-After), which ends {until}"),
            (None, _) if self.rest_until.is_some() => {
                "the API was asked too much at once (429): nothing is sent for a while, longer each time, \
                 and then one goes first"
                    .to_owned()
            }
            (None, true) => "the API answers again; what may be in flight grows with each answer".to_owned(),
            (None, false) => {
                "the API was asked too much at once (429, 503 or a timeout); what may be in flight grows back with its \
                 answers"
                    .to_owned()
            }
        }
    }

    pub(super) fn allowance(&self, now: Timestamp, settings: &GateSettings) -> Allowance {
        let held = self.hold.filter(|until| !is_due(*until, now, settings.hold_max));
        let rests = self
            .rest_until
            .filter(|until| !is_due(*until, now, longest_gap(settings)));
        match (held.max(rests), self.limit) {
            (Some(until), _) => Allowance::Nothing { until: Some(until) },
            (None, Some(_)) if self.rest_until.is_some() => Allowance::UpTo(1),
            (None, Some(limit)) => Allowance::UpTo(limit.min(settings.max_in_flight)),
            (None, None) => Allowance::All,
        }
    }

    /// Something was sent: no pause is left.
    pub(super) const fn sent(&mut self) {
        self.hold = None;
    }

    /// An answer that asks for no patience.
    pub(super) fn answered(&mut self, number: u64, settings: &GateSettings) {
        self.last_asked = None;
        if number > self.judged {
            self.rest_until = None;
        }
        let Some(limit) = self.limit.filter(|_| number > self.judged) else {
            return;
        };
        self.credit += 1;
        if self.slow_start || self.credit >= limit {
            self.credit = 0;
            self.limit = Some(limit.saturating_add(1));
        }
        self.fit(settings);
    }

    /// It was too much. Halves at most once a round trip: sixteen answers to one burst are one word, not sixteen.
    /// Whether it was a new word.
    pub(super) fn narrow(&mut self, number: u64, sent: u64, settings: &GateSettings) -> bool {
        if number <= self.judged {
            return false;
        }
        let limit = self.limit.unwrap_or(settings.max_in_flight).min(settings.max_in_flight);
        self.limit = Some((limit / 2).max(1));
        self.judged = sent;
        self.slow_start = false;
        self.credit = 0;
        self.fit(settings);
        true
    }

    /// `Retry-After`. Said to one activity it is that one's own; said to two in a row it is meant for everyone.
    pub(super) fn asked_to_wait(&mut self, activity: u64, wait: Duration, now: Timestamp) {
        if self.asked_another(activity) {
            self.hold = self.hold.max(Some(now.plus(wait)));
        }
    }

    /// A 429 that names no time: as long as a probe's gap, and longer as long as they go on. Not longer where it is one
    /// activity all the time, whose own waits grow: the others need not wait for that.
    pub(super) fn rest(&mut self, ended: &Ended, now: Timestamp, settings: &GateSettings) {
        let grows = self.asked_another(ended.activity);
        let gap = match self.rest_until {
            Some(_) if grows => self.rest_gap.saturating_mul(2),
            Some(_) => self.rest_gap,
            None => settings.gap_min,
        };
        self.rest_gap = gap.min(settings.gap_max);
        self.rest_until = Some(now.plus(jittered(self.rest_gap, ended.roll)));
    }

    /// What ended an outage asks for patience: a probe went out alone, so this is meant for everyone.
    pub(super) fn begin_at_rest(&mut self, ended: &Ended, now: Timestamp, settings: &GateSettings) {
        match ended.asked(settings) {
            Some(wait) => self.hold = Some(now.plus(wait)),
            None => self.rest(ended, now, settings),
        }
    }

    /// This activity is asked to wait; whether another one was before it.
    fn asked_another(&mut self, activity: u64) -> bool {
        self.last_asked
            .replace(activity)
            .is_some_and(|before| before != activity)
    }

    /// What reaches the configured number is no longer throttled; also after a reload that lowered it.
    pub(super) fn fit(&mut self, settings: &GateSettings) {
        if self.limit.is_some_and(|limit| limit >= settings.max_in_flight) {
            self.limit = None;
            self.slow_start = false;
            self.credit = 0;
        }
    }
}
