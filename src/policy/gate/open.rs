//! An open gate: how wide it is, who goes first after an opening, and what closes it.

use crate::clock::Timestamp;
use crate::model::SubmissionId;
use crate::policy::verdict::Signal;

use super::closed::{Closed, FAULTS_TO_PROBE};
use super::fuse::Fuse;
use super::inquiry::Inquiry;
use super::throttle::Throttle;
use super::{Allowance, Ended, GateSettings, Purpose};

/// So many of them may be one submission's: one that always gets a 500 must not close the gate on the others, however
/// often it is tried.
const FAULTS_OF_ONE: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Open {
    /// The one that goes first after the key was refused; `None`: all may go.
    pub(super) first: Option<Inquiry>,
    /// Whether anything was delivered in this era: then a single refusal says something of that submission and nothing
    /// of the key.
    pub(super) delivered: bool,
    /// How many were refused once more since the last delivery. A key that is revoked while only such are left must
    /// close the gate too.
    refused_again: u32,
    pub(super) throttle: Throttle,
    /// Whose the faults were since the last answer that was none; at most [`FAULTS_TO_PROBE`].
    faults: Vec<SubmissionId>,
    fuse: Fuse,
}

impl Open {
    /// After an outage, which this answer ended.
    pub(super) fn after_outage(ended: &Ended, sent: u64, now: Timestamp, settings: &GateSettings) -> Self {
        let mut throttle = Throttle::slow_start(settings, sent);
        if ended.signal == Signal::Throttled {
            throttle.begin_at_rest(ended, now, settings);
        }
        Self {
            delivered: ended.signal == Signal::Healthy,
            throttle,
            ..Self::default()
        }
    }

    /// After a refused key or a blown fuse. `tried`: what the exchange said of the one that went out to find out; where
    /// none has, one goes first.
    pub(super) fn after_trial(tried: Option<Signal>, now: Timestamp) -> Self {
        Self {
            first: tried.is_none().then(|| Inquiry::at(now, None)),
            delivered: tried == Some(Signal::Healthy),
            ..Self::default()
        }
    }

    pub(super) fn allowance(&self, now: Timestamp, settings: &GateSettings) -> Allowance {
        match &self.first {
            Some(first) => {
                let longest = settings.gap_max.max(settings.hold_max);
                first.allowance(Allowance::One(Purpose::First), longest, now, settings)
            }
            None => self.throttle.allowance(now, settings),
        }
    }

    pub(super) fn sent(&mut self, purpose: Purpose) {
        match (&mut self.first, purpose) {
            (Some(first), Purpose::First) => first.sent(),
            (_, Purpose::Due) => self.throttle.sent(),
            (_, Purpose::First | Purpose::Ask(_)) => {}
        }
    }

    /// An answer of this era that refuses no key. `sent`: how many have left so far. What closes the gate, if it does.
    pub(super) fn heard(
        &mut self,
        ended: &Ended,
        sent: u64,
        now: Timestamp,
        settings: &GateSettings,
    ) -> Option<Closed> {
        let (number, signal) = (ended.dispatch.number, ended.signal);
        let is_too_much = matches!(signal, Signal::Throttled | Signal::Overloaded);
        let is_news = is_too_much && self.throttle.narrow(number, sent, settings);
        match ended.asked(settings) {
            Some(wait) => self.throttle.asked_to_wait(ended.activity, wait, now),
            None if is_news && signal == Signal::Throttled => self.throttle.rest(ended, now, settings),
            None => {}
        }
        if matches!(signal, Signal::Faulty | Signal::Overloaded) {
            return self.met_fault(ended, now, settings);
        }
        // The API is there.
        self.first = None;
        self.faults.clear();
        if signal != Signal::Throttled {
            self.throttle.answered(number, settings);
        }
        if signal == Signal::Healthy {
            self.delivered = true;
            self.refused_again = 0;
            self.fuse.reset();
        }
        let is_blown = signal == Signal::Rejected && self.fuse.met(ended, settings);
        is_blown.then(|| Closed::by_fuse(&self.fuse, now))
    }

    fn met_fault(&mut self, ended: &Ended, now: Timestamp, settings: &GateSettings) -> Option<Closed> {
        let is_first = ended.dispatch.purpose == Purpose::First;
        if let Some(first) = self.first.as_mut().filter(|first| is_first && first.is_out()) {
            // It says nothing of the key, and another one goes first; they are probes already.
            let gap = first.grow(ended.roll, settings);
            first.repeat(gap, ended.asked(settings), now);
            return None;
        }
        let whose = ended.submission;
        if self.faults.iter().filter(|id| **id == whose).count() < FAULTS_OF_ONE {
            self.faults.push(whose);
        }
        let is_outage = self.faults.len() >= FAULTS_TO_PROBE;
        is_outage.then(|| Closed::by_outage(ended, self.throttle.hold(), now, settings))
    }

    /// One that was refused before is refused once more. Whether that says something of it alone: others are delivered
    /// with this key, and not so many were refused since that it must be the key after all.
    pub(super) fn spares(&mut self, settings: &GateSettings) -> bool {
        let spares = self.delivered && self.refused_again < settings.max_in_flight;
        self.refused_again += u32::from(spares);
        spares
    }

    /// Nothing is known of another key. The one that went first carried the old one: its answer will be of an earlier
    /// era, so another one goes first.
    pub(super) fn key_changed(&mut self, now: Timestamp) {
        self.delivered = false;
        if let Some(first) = &mut self.first {
            first.forget(now);
        }
    }
}
