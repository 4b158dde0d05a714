//! A submission's identity and state.

use std::fmt;
use std::str::FromStr;

use crate::clock::Timestamp;

/// The number of a submission: given at intake in ascending order, never used twice, and so also its place in the order
/// of its activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubmissionId(pub i64);

impl fmt::Display for SubmissionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for SubmissionId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().parse::<i64>() {
            Ok(id) if id > 0 => Ok(Self(id)),
            _ => Err(format!(
                "`{text}` is not a submission's number; `reten-outbox list` shows them in its first column"
            )),
        }
    }
}

/// Where a submission stands, with what that state knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Will be attempted at `due` or as soon after it as its activity, its `not_before` and the gate allow.
    Pending {
        /// When the next attempt is due.
        due: Timestamp,
    },
    /// Claimed; a request may be on the wire.
    Sending,
    /// The API has it.
    Delivered,
    /// A dead letter.
    Dead(DeadReason),
    /// A 409 that waits for a person.
    Parked(ParkReason),
    /// Closed by a person (or replaced by a mended twin) without being delivered.
    Dismissed,
}

/// The states without what they carry: for filters, counts and the table of allowed moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StateName {
    /// [`State::Pending`]
    Pending,
    /// [`State::Sending`]
    Sending,
    /// [`State::Delivered`]
    Delivered,
    /// [`State::Dead`]
    Dead,
    /// [`State::Parked`]
    Parked,
    /// [`State::Dismissed`]
    Dismissed,
}

/// Why a submission is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// A 4xx that says the request itself is at fault.
    Rejected,
    /// It broke the API's contract before it was ever sent.
    Invalid,
    /// A 409 under the policy `dead_letter`.
    Conflict,
    /// `retry.max_age` or `retry.max_attempts` was reached.
    RetriesExhausted,
    /// 401 or 403: the key, not the data.
    Unauthorized,
}

/// Why a submission is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParkReason {
    /// The activity already has a result.
    Conflict,
    /// The same, but an earlier attempt of this very submission may have reached the API: the registered result may be
    /// ours.
    ConflictAfterLostResponse,
}

/// What to do about a 409 (`conflict.policy`, a rule's `policy`, `$outbox.on_conflict`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictPolicy {
    /// Resend at once with `"hard_override": true`.
    Override,
    /// Wait for a person.
    #[default]
    Park,
    /// Make it a dead letter.
    DeadLetter,
}

impl StateName {
    /// Every state, in the contract's order.
    pub const ALL: &'static [Self] = &[
        Self::Pending,
        Self::Sending,
        Self::Delivered,
        Self::Dead,
        Self::Parked,
        Self::Dismissed,
    ];

    /// The name that commands, JSON and logs use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sending => "sending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Parked => "parked",
            Self::Dismissed => "dismissed",
        }
    }
}

impl DeadReason {
    /// Every reason, in the contract's order.
    pub const ALL: &'static [Self] = &[
        Self::Rejected,
        Self::Invalid,
        Self::Conflict,
        Self::RetriesExhausted,
        Self::Unauthorized,
    ];

    /// The name that commands, JSON and logs use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::RetriesExhausted => "retries_exhausted",
            Self::Unauthorized => "unauthorized",
        }
    }
}

impl ParkReason {
    /// Every reason, in the contract's order.
    pub const ALL: &'static [Self] = &[Self::Conflict, Self::ConflictAfterLostResponse];

    /// The name that commands, JSON and logs use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::ConflictAfterLostResponse => "conflict_after_lost_response",
        }
    }
}

impl ConflictPolicy {
    /// Every policy, in the contract's order.
    pub const ALL: &'static [Self] = &[Self::Override, Self::Park, Self::DeadLetter];

    /// The name that configuration, directives and logs use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::Park => "park",
            Self::DeadLetter => "dead_letter",
        }
    }
}

/// Finds the value with this name; the error lists the names there are.
fn by_name<T: Copy>(all: &[T], name: fn(T) -> &'static str, text: &str, what: &str) -> Result<T, String> {
    all.iter().copied().find(|value| name(*value) == text).ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|value| name(*value)).collect();
        format!("`{text}` is no {what}; known: {}", known.join(", "))
    })
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for StateName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        by_name(Self::ALL, Self::name, text, "state")
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DeadReason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        by_name(Self::ALL, Self::name, text, "reason of a dead letter")
    }
}

impl fmt::Display for ParkReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ParkReason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        by_name(Self::ALL, Self::name, text, "reason of a parked submission")
    }
}

impl fmt::Display for ConflictPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ConflictPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        by_name(Self::ALL, Self::name, text, "conflict policy")
    }
}

impl State {
    /// The state without what it carries.
    pub const fn name(&self) -> StateName {
        match self {
            Self::Pending { .. } => StateName::Pending,
            Self::Sending => StateName::Sending,
            Self::Delivered => StateName::Delivered,
            Self::Dead(_) => StateName::Dead,
            Self::Parked(_) => StateName::Parked,
            Self::Dismissed => StateName::Dismissed,
        }
    }

    /// The reason of a dead or parked one, by its public name.
    pub const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Dead(reason) => Some(reason.name()),
            Self::Parked(reason) => Some(reason.name()),
            Self::Pending { .. } | Self::Sending | Self::Delivered | Self::Dismissed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_as_they_are_written() {
        for state in StateName::ALL {
            assert_eq!(state.name().parse(), Ok(*state));
        }
        assert!(
            "Dead"
                .parse::<StateName>()
                .unwrap_err()
                .contains("known: pending, sending, delivered, dead, parked, dismissed")
        );
    }

    #[test]
    fn a_submission_number_is_positive() {
        assert_eq!(" 12\n".parse(), Ok(SubmissionId(12)));
        for wrong in ["0", "-1", "x", "", "1.5"] {
            assert!(wrong.parse::<SubmissionId>().is_err(), "{wrong}");
        }
    }
}
