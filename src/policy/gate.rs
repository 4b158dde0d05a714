//! The gate before the API: one pure state machine, and what of it is remembered in the outbox.
//!
//! The caller asks [`Gate::allowance`] what may be sent, tells [`Gate::step`] what was sent and what came back, and
//! carries out what the [`Step`] says. Laws, held by properties: nothing is sent while it is closed, at most one
//! request finds out whether it may open, answers to requests of an earlier era never open it, and no state is a dead
//! end.
//!
//! Reading order: this file (what goes in and comes out), `machine` (the moves), `states` (what an answer does), then
//! each state's own part: `flow` (`throttled`), `outage` (`probing`), `key` (`unauthorized`), `fuse` (`rejecting`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::model::SubmissionId;

use super::verdict::{Refusal, Signal};

mod flow;
mod fuse;
mod key;
mod machine;
mod outage;
#[cfg(test)]
mod properties;
mod states;
#[cfg(test)]
mod tests;

use flow::Flow;
use fuse::{Fuse, Rejecting};
use outage::{Faults, Probing};

/// The name under which the daemon remembers the gate ([`GateRecord`] as JSON).
pub const GATE: &str = "gate";
/// The name under which a person's pause is remembered ([`PauseRecord`] as JSON); nothing there means not paused.
pub const PAUSE: &str = "pause";
/// The name under which the daemon remembers the pause that it goes by (the text under [`PAUSE`], or nothing): so that
/// `pause`, `resume` and `status` say what is in force, and not only what was asked for.
pub const PAUSE_IN_FORCE: &str = "pause_in_force";
/// The name under which `resume` asks for a verdict at once ([`PauseRecord`] as JSON: who asked and when). The daemon
/// removes it.
pub const ASK: &str = "ask";

/// What the outbox remembers of the gate beneath a pause. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRecord {
    /// The public name of the state: `open`, `throttled`, `probing`, `unauthorized`, `rejecting`.
    pub state: String,
    /// Since when.
    pub since: i64,
    /// Why, in words for a person.
    pub why: String,
    /// What mends it, where something has to be mended.
    #[serde(default)]
    pub hint: Option<String>,
    /// The status that closed it (401 or 403 for `unauthorized`).
    #[serde(default)]
    pub status: Option<u16>,
}

/// Who paused (or asked), and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseRecord {
    /// The user's name.
    pub by: String,
    /// Milliseconds since 1970.
    pub at: i64,
    /// Why, in the person's words (`pause --why`).
    #[serde(default)]
    pub why: Option<String>,
}

/// What of the configuration the gate goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateSettings {
    /// `auth.probe_interval`: how often a closed gate finds out whether the key works again.
    pub probe_interval: Duration,
    /// `retry.initial_interval`: the first gap after the one that goes first met a fault; doubled with each further
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
    /// One submission, the least tried, in this role.
    One(Role),
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
pub enum Role {
    /// Because it is due.
    Ordinary,
    /// To be the first after an opening.
    Lead,
    /// To find out whether a key that was forbidden (403) is allowed again.
    Trial,
    /// To find out whether an outage is over.
    Probe,
    /// To find out whether results are taken again that were all rejected (400).
    Sample,
}

/// What a request carries from its sending to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Counts closings, openings and changes of the key: what was sent in an earlier era says nothing of the present
    /// one.
    era: u64,
    /// Its place among all departures: tells what was under way already when the flow was last narrowed.
    number: u64,
    /// Why it was sent.
    pub role: Role,
}

/// What else is known of an exchange that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// Whose it was.
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

/// What the key question brought (see [`KeyVerdict::of`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyVerdict {
    /// An answer that refuses something else, or nothing: the key is known.
    Works,
    /// 401.
    Refused,
    /// What says nothing of the key, or no answer at all.
    Silent,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A submission left in this role ([`Gate::ticket`] goes with it).
    Departed(Role),
    /// The key question left.
    Asked,
    /// A submission's exchange ended. A request that came to nothing at all is [`Signal::Faulty`].
    Ended {
        /// What it had from its sending.
        ticket: Ticket,
        /// What its exchange said.
        signal: Signal,
        /// Whether the key was refused on this very submission before.
        refused_before: bool,
        /// What else is known of it.
        about: About,
    },
    /// The key question ended.
    Answered(KeyVerdict),
    /// What [`Allowance::Opening`] asks for is durable.
    Opened,
    /// Another key is in force.
    KeyChanged,
    /// A reload: find out at once.
    AskNow,
    /// A person's `resume` found it closed: find out at once, and whatever a person can decide is decided.
    Insisted,
    /// A person paused.
    Paused(PauseRecord),
    /// A person resumed.
    Resumed,
}

/// What becomes of a submission whose key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A dead letter, `unauthorized`.
    Die {
        /// Whether the opening requeues it.
        requeue_on_opening: bool,
    },
    /// Back to pending, uncharged: it was a trial, or it was refused for a key that is no longer in force.
    Release,
}

/// A change that is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The public name before.
    pub from: &'static str,
    /// The public name now.
    pub to: &'static str,
    /// Why, in words for a person.
    pub why: String,
    /// What mends it.
    pub hint: Option<String>,
}

/// What has to be done after an input.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// Of [`Input::Ended`] with [`Signal::Unauthorized`]: what becomes of the submission.
    pub refused: Option<Refused>,
    /// To be logged.
    pub change: Option<Change>,
    /// To be remembered under [`GATE`], before any submission that was refused is settled: after a crash the gate must
    /// know what it closed on.
    pub remember: Option<GateRecord>,
}

/// The gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Lies over the state beneath, and uncovers it again.
    pause: Option<PauseRecord>,
    state: GateState,
    era: u64,
    /// Departures so far.
    departed: u64,
}

/// The state beneath a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
enum GateState {
    /// `open`, or `throttled` while its flow is narrowed.
    Open(Open),
    Probing(Probing),
    Unauthorized(Closed),
    Rejecting(Rejecting),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Open {
    /// The one that goes first after an opening.
    lead: Lead,
    /// Whether anything was delivered in this era: then a single refusal says something of that submission and nothing
    /// of the key.
    delivered: bool,
    /// How many were refused once more since the last delivery. A key that is revoked while only such are left must
    /// close the gate too.
    refused_again: u32,
    flow: Flow,
    faults: Faults,
    fuse: Fuse,
}

/// Where the one is that finds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It may go from this time on.
    Due(Timestamp),
    /// It is on its way; `again` when somebody asked meanwhile, so that another follows at once.
    Out { again: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lead {
    /// All may go.
    Over,
    /// One may go from this time on; should it meet a fault, the next one after this gap.
    Due { from: Timestamp, gap: Duration },
    /// It is on its way.
    Out { gap: Duration },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Closed {
    refusal: Refusal,
    since: Timestamp,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Until it is time to find out.
    Waiting { ask_at: Timestamp },
    /// The question or the trial is on its way; `again` when somebody asked meanwhile, so that it is repeated at once.
    Asking { again: bool },
    /// The key works; the opening is not durable yet.
    Opening {
        /// Whether one goes first: after a trial one has gone already.
        lead: bool,
        /// Whether that one was delivered.
        delivered: bool,
    },
}
