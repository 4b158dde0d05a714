//! What the outbox remembers of the gate, and under which names. Each value is JSON; the names and texts are in users'
//! databases, so both stay as they are.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use crate::clock::Timestamp;

/// The name under which the daemon remembers the gate ([`GateRecord`]).
pub const GATE: &str = "gate";
/// The name under which an operator's pause is remembered ([`PauseRecord`]); nothing there means not paused.
pub const PAUSE: &str = "pause";
/// The name under which the daemon remembers the pause that it goes by (the text under [`PAUSE`], or nothing): so that
/// `pause`, `resume` and `status` say what is in force, and not only what was asked for.
pub const PAUSE_IN_FORCE: &str = "pause_in_force";
/// The name under which `resume` asks for a verdict at once ([`PauseRecord`]: who asked and when). The daemon removes
/// it.
pub const ASK: &str = "ask";

/// The public names of the gate's states, as status, log and database have them.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Display, EnumString, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum GateName {
    /// As many as configured may be in flight.
    #[default]
    Open,
    /// Fewer, or none for a while.
    Throttled,
    /// Closed by an outage.
    Probing,
    /// Closed by a refused key.
    Unauthorized,
    /// Closed by the fuse.
    Rejecting,
    /// Closed by an operator; lies over the others and is never stored as the gate's.
    Paused,
}

impl GateName {
    /// Whether results go out by themselves.
    pub const fn is_open(self) -> bool {
        match self {
            Self::Open | Self::Throttled => true,
            Self::Probing | Self::Unauthorized | Self::Rejecting | Self::Paused => false,
        }
    }

    /// Whether it is a fact about the key, the producers or an operator's word, and so everybody's who sends by that key;
    /// what an outage closed may be one host's own network.
    pub const fn is_shared(self) -> bool {
        match self {
            Self::Open | Self::Unauthorized | Self::Rejecting | Self::Paused => true,
            Self::Throttled | Self::Probing => false,
        }
    }
}

/// The gate came into a state: kept by the minute, for who asks later how it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateChange {
    pub at: Timestamp,
    pub to: GateName,
    /// Why, in words that may come from the API.
    pub why: String,
}

/// The gate beneath a pause, and why. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRecord {
    /// What is beneath a pause; never `paused`.
    pub state: GateName,
    pub since: i64,
    /// Why, in words for an operator.
    pub why: String,
    /// What mends it, where something has to be mended.
    #[serde(default)]
    pub hint: Option<String>,
    /// The status that closed it (401 or 403 for `unauthorized`).
    #[serde(default)]
    pub status: Option<u16>,
}

impl GateRecord {
    /// A state that nothing has to be mended in.
    pub(super) fn new(state: GateName, why: impl Into<String>, now: Timestamp) -> Self {
        Self {
            state,
            since: now.millis(),
            why: why.into(),
            hint: None,
            status: None,
        }
    }
}

/// Who paused (or asked), and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseRecord {
    pub by: String,
    /// Milliseconds since 1970.
    pub at: i64,
    /// Why, in the operator's words (`pause --why`).
    #[serde(default)]
    pub why: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_in_users_databases_is_read_and_written_as_ever() {
        for (state, status) in [
            (GateName::Open, None),
            (GateName::Throttled, None),
            (GateName::Probing, None),
            (GateName::Unauthorized, Some(401)),
            (GateName::Rejecting, Some(400)),
        ] {
            let hint = status.map_or("null".to_owned(), |_| r#""mend it""#.to_owned());
            let number = status.map_or("null".to_owned(), |status: u16| status.to_string());
            let text = format!(r#"{{"state":"{state}","since":5,"why":"so","hint":{hint},"status":{number}}}"#);
            let record: GateRecord = serde_json::from_str(&text).unwrap();
            assert_eq!((record.state, record.since, record.status), (state, 5, status));
            assert_eq!(serde_json::to_string(&record).unwrap(), text);
        }
        let short: GateRecord = serde_json::from_str(r#"{"state":"probing","since":7,"why":""}"#).unwrap();
        assert_eq!(short, GateRecord::new(GateName::Probing, "", Timestamp::from_millis(7)));
        let pause: PauseRecord = serde_json::from_str(r#"{"by":"ana","at":9}"#).unwrap();
        assert_eq!((pause.by.as_str(), pause.at, pause.why), ("ana", 9, None));
    }
}
