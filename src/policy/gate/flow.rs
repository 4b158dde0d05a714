//! `throttled`: how many may be in flight. Grows by one a round trip while answers come, halves when the API says that it is too much; after an
//! outage it begins with one and doubles each round trip. And `Retry-After`, where it is meant for everyone.

use std::time::Duration;

use crate::clock::Timestamp;

use super::machine::is_due;
use super::{Allowance, GateSettings};

/// The flow of an open gate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Flow {
    /// `None`: as many as the configuration allows.
    limit: Option<u32>,
    /// Whether every answer counts for one more, and not only a whole round trip of them.
    slow_start: bool,
    /// Answers since the limit last grew.
    credit: u32,
    /// Requests up to this departure were under way when it was last narrowed: what comes of them says nothing new.
    judged: u64,
    /// Nothing is sent before this: the API asked everyone to wait.
    hold: Option<Timestamp>,
    /// The activity that was last told to wait, with no other answer since.
    told: Option<u64>,
}

impl Flow {
    /// After an outage: one, and then more with every answer.
    pub(super) fn slow_start(settings: &GateSettings, departed: u64) -> Self {
        Self {
            limit: (settings.max_in_flight > 1).then_some(1),
            slow_start: true,
            judged: departed,
            ..Self::default()
        }
    }

    pub(super) const fn is_throttled(&self) -> bool {
        self.limit.is_some() || self.hold.is_some()
    }

    pub(super) const fn is_held(&self) -> bool {
        self.hold.is_some()
    }

    /// Why it is throttled, in words for a person.
    pub(super) fn why(&self) -> String {
        match (self.hold, self.slow_start) {
            (Some(until), _) => format!("the API asked for a pause (Retry-After), which ends {until}"),
            (None, true) => "the API answers again; what may be in flight grows with each answer".to_owned(),
            (None, false) => {
                "the API was asked too much at once (429, 503 or a timeout); what may be in flight grows back with its answers".to_owned()
            }
        }
    }

    pub(super) fn allowance(&self, now: Timestamp, settings: &GateSettings) -> Allowance {
        match (self.hold, self.limit) {
            (Some(until), _) if !is_due(until, now, settings.hold_max) => Allowance::Nothing { until: Some(until) },
            (_, Some(limit)) => Allowance::UpTo(limit.min(settings.max_in_flight)),
            (_, None) => Allowance::All,
        }
    }

    /// Something was sent: no pause is left.
    pub(super) const fn departed(&mut self) {
        self.hold = None;
    }

    /// An answer that asks for no patience.
    pub(super) fn answered(&mut self, number: u64, settings: &GateSettings) {
        self.told = None;
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
    pub(super) fn narrow(&mut self, number: u64, departed: u64, settings: &GateSettings) {
        if number <= self.judged {
            return;
        }
        let limit = self.limit.unwrap_or(settings.max_in_flight).min(settings.max_in_flight);
        self.limit = Some((limit / 2).max(1));
        self.judged = departed;
        self.slow_start = false;
        self.credit = 0;
        self.fit(settings);
    }

    /// `Retry-After`. Said to one activity it is that one's own; said to two in a row it is meant for everyone.
    pub(super) fn told_to_wait(&mut self, activity: u64, wait: Duration, now: Timestamp, settings: &GateSettings) {
        let before = self.told.replace(activity);
        if before.is_some_and(|before| before != activity) && !wait.is_zero() {
            let until = now.plus(wait.min(settings.hold_max));
            self.hold = Some(self.hold.map_or(until, |hold| hold.max(until)));
        }
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
