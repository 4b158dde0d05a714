//! The gate before the API (interface.md, "Gate"): one pure state machine, and what of it is remembered in the outbox.

use serde::{Deserialize, Serialize};

/// The name under which the daemon remembers the gate ([`GateRecord`] as JSON).
pub const GATE: &str = "gate";
/// The name under which a person's pause is remembered ([`PauseRecord`] as JSON); nothing there means not paused.
pub const PAUSE: &str = "pause";
/// The name under which `resume` asks for a verdict at once ([`PauseRecord`] as JSON: who asked and when). The daemon removes it.
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
