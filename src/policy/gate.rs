//! The gate before the API: one pure state machine, and what of it is remembered in the outbox.
//!
//! The caller asks [`Gate::allowance`] what may be sent, tells [`Gate::step`] what was sent and what came back, and
//! carries out what the [`Reaction`] says. It is open, or closed for one of three reasons ([`Why`]). Laws, held by
//! properties: nothing is sent while it is closed, at most one request finds out whether it may open, answers to
//! requests of an earlier era never open it, and no state is a dead end.
//!
//! Reading order: this file (what goes in and comes out), `record` (what is remembered), `machine` and `answers` (the
//! moves), `closed` (how it asks and what opens it), `open` (what closes it), `inquiry` (one at a time), `throttle`,
//! `fuse`, `key`.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::{Ending, SubmissionId};

use super::verdict::{KeyRefusal, Signal};

mod answers;
mod closed;
mod fuse;
mod inquiry;
mod key;
mod machine;
mod open;
#[cfg(test)]
mod properties;
mod record;
#[cfg(test)]
mod tests;
mod throttle;

pub use key::KeyVerdict;
pub use machine::Gate;
pub use record::{ASK, GATE, GateChange, GateName, GateRecord, PAUSE, PAUSE_IN_FORCE, PauseRecord};

/// What of the configuration the gate goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateSettings {
    /// `auth.probe_interval`: how often a closed gate finds out whether the key works again.
    pub probe_interval: Duration,
    /// `retry.initial_interval`: the first gap after a request that goes alone met a fault; doubled with each further
    /// one.
    pub gap_min: Duration,
    /// The smaller of `retry.max_interval` and a minute: the longest such gap.
    pub gap_max: Duration,
    /// `delivery.max_in_flight`: where `throttled` ends.
    pub max_in_flight: u32,
    /// `delivery.reject_fuse`: so many 400s blow it; `None`: it never blows.
    pub reject_fuse: Option<u32>,
    /// `retry.max_interval`: no `Retry-After` holds anything for longer.
    pub hold_max: Duration,
}

/// What may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// As much as the configuration allows.
    All,
    /// What is due, as long as fewer than this are in flight.
    UpTo(u32),
    /// One submission, for this purpose.
    One(Purpose),
    /// The key question: `GET` of the result types. No submission.
    Question,
    /// Nothing: the gate wants to open. Store that, requeue what it dead-lettered, then say [`Input::Opened`].
    Opening,
    /// Nothing, before this time at the earliest; `None`: until something else happens.
    Nothing {
        /// When to ask again.
        until: Option<Timestamp>,
    },
}

/// Why a submission is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    Due,
    /// To be the first after a refused key works again.
    First,
    /// To find out whether a gate may open that is closed for this reason.
    Ask(Why),
}

/// Why the gate is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// The key is refused (`unauthorized`): a question is asked, or one submission goes on trial.
    Key(KeyRefusal),
    /// Faults (`probing`): one submission is the probe.
    Outage,
    /// Everything is rejected (`rejecting`): one submission is the sample.
    Fuse,
}

/// What a submission carries from its sending to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dispatch {
    /// Counts closings, openings and changes of the key: what was sent in an earlier era says nothing of the present
    /// one.
    era: u64,
    /// Its place among all that were sent: tells what was under way already when the gate was last narrowed.
    number: u64,
    /// Why it was sent.
    pub purpose: Purpose,
}

/// A submission's exchange that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// What it had from its sending.
    pub dispatch: Dispatch,
    /// What its exchange said. A request that came to nothing at all is [`Signal::Faulty`].
    pub signal: Signal,
    /// Whether the key was refused on this very submission before.
    pub refused_before: bool,
    pub submission: SubmissionId,
    /// A hash of its activity; of its own number where it names none.
    pub activity: u64,
    /// When it ended, by the clock that its outcome is stored with.
    pub at: Timestamp,
    /// The wait that `Retry-After` asked for.
    pub retry_after: Option<Duration>,
    /// Of one that was no success: what it said.
    pub message: Option<String>,
    /// A random number from 0 to 1, which places the next probe.
    pub roll: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A submission left ([`Gate::dispatch`] goes with it).
    Sent(Purpose),
    /// The key question left.
    Asked,
    /// A submission's exchange ended.
    Ended(Ended),
    /// The key question ended.
    Answered(KeyVerdict),
    /// What [`Allowance::Opening`] asks for is durable.
    Opened,
    /// Another key is in force.
    KeyChanged,
    /// A reload: find out at once.
    AskNow,
    /// An operator's `resume` found it closed: find out at once, and whatever an operator can decide is decided.
    Insisted,
    Paused(PauseRecord),
    Resumed,
    /// Another daemon that shares the outbox has closed or opened the gate of our key, or blown the fuse: this is on
    /// record.
    Adopted(GateRecord),
}

/// A change of state, for the log and for who watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    pub from: GateName,
    pub to: GateName,
    /// Why, in words for an operator.
    pub why: String,
    pub hint: Option<String>,
}

/// What has to be done after an input.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reaction {
    /// Of [`Input::Ended`] with [`Signal::Unauthorized`]: what becomes of the submission. It is a dead letter, or goes
    /// back to pending, uncharged: it was a trial, or it was refused for a key that is no longer in force.
    pub refused: Option<Ending>,
    pub announce: Option<Announcement>,
    /// To be remembered under [`GATE`]; not later than any submission that was refused is settled: after a crash the
    /// gate must know what it closed on.
    pub remember: Option<GateRecord>,
}
