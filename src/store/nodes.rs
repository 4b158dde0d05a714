//! What is known of the daemons that share an outbox.

use crate::clock::Timestamp;

/// A daemon that shares the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its label (`outbox.node`).
    pub name: String,
    /// The program's version.
    pub version: String,
    /// When this incarnation began.
    pub since: Timestamp,
    /// Its last sign of life.
    pub last_seen: Timestamp,
    /// Requests in flight then.
    pub in_flight: u32,
    /// Its gate then, by its public name.
    pub gate: String,
    pub state: NodeState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum NodeState {
    Live,
    /// It was taken over and has not come back.
    Lost,
}

/// Whether a daemon may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenure {
    /// As this incarnation; 0 where there is only one.
    Held(i64),
    /// It could not show that it lives for so long that others may soon send what it had claimed: nothing may be sent,
    /// and what is in flight is to be given up.
    CutOff,
}

/// What happened among the nodes, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeEvent {
    /// This one could not show that it lives: why.
    BeatFailed(String),
    /// It shows it again.
    BeatsAgain,
    /// Others had taken it for dead, and it goes on as a new incarnation: late outcomes change nothing.
    Fenced,
    /// It took over what another one had claimed.
    TakenOver {
        /// The other one's name.
        name: String,
        /// How many submissions are pending again.
        count: u64,
    },
    /// Somebody keeps the server from clearing dead rows away: who, and what ends it.
    VacuumHeld(String),
    /// The server is set up so that what is committed can be lost: what, and what mends it.
    Unsafe { what: String, hint: &'static str },
}
