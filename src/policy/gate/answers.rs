//! What answers make of the gate: of a submission's exchange, and to the key question.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::Ending;
use crate::policy::verdict::{KeyRefusal, Signal};

use super::closed::Closed;
use super::inquiry::Phase;
use super::key::KeyVerdict;
use super::machine::{Beneath, Gate};
use super::open::Open;
use super::{Ended, GateSettings, Reaction, Why};

impl Gate {
    pub(super) fn ended(&mut self, ended: &Ended, now: Timestamp, settings: &GateSettings) -> Reaction {
        let is_late = ended.dispatch.era != self.era;
        let refusal = refusal_of(ended.signal);
        match &mut self.beneath {
            Beneath::Closed(closed) if is_late => heard_late(closed, ended, now, settings),
            Beneath::Open(_) if is_late => Reaction {
                // Refused for a key that may no longer be in force: it is asked again in its turn.
                refused: refusal.map(|_| Ending::Released),
                ..Reaction::default()
            },
            Beneath::Open(open) => match refusal {
                Some(_) if ended.refused_before && open.spares(settings) => Reaction {
                    refused: Some(Ending::unauthorized(false)),
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
                        refused: Some(Ending::Released),
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
                    closed.inquiry.phase = Phase::Over { tried };
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
    fn close_for_key(&mut self, refusal: KeyRefusal, now: Timestamp, settings: &GateSettings) -> Reaction {
        Reaction {
            refused: Some(Ending::unauthorized(true)),
            ..self.close(Closed::by_key(refusal, now, settings))
        }
    }

    fn close(&mut self, closed: Closed) -> Reaction {
        let record = closed.record.clone();
        self.shift(Beneath::Closed(closed), record)
    }

    pub(super) fn answered(&mut self, verdict: KeyVerdict, now: Timestamp, settings: &GateSettings) -> Reaction {
        if let Beneath::Closed(closed) = &mut self.beneath
            && let (Why::Key(_), Phase::Out { .. }) = (closed.why, closed.inquiry.phase)
        {
            match verdict {
                KeyVerdict::Works => closed.inquiry.phase = Phase::Over { tried: None },
                KeyVerdict::Refused | KeyVerdict::Silent => closed.inquiry.repeat(settings.probe_interval, None, now),
            }
        }
        Reaction::default()
    }
}

/// An answer to a request of before the closing opens nothing. What it asks for in an outage holds; and it is refused
/// for the key that closed the gate, or for one that may no longer be in force.
fn heard_late(closed: &mut Closed, ended: &Ended, now: Timestamp, settings: &GateSettings) -> Reaction {
    let fate = match closed.why {
        Why::Key(_) => Ending::unauthorized(true),
        Why::Outage => {
            closed.inquiry.hold(ended.asked(settings), now);
            Ending::Released
        }
        Why::Fuse => Ending::Released,
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

const fn refusal_of(signal: Signal) -> Option<KeyRefusal> {
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
