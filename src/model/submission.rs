//! A submission's identity and state.

use std::fmt;
use std::str::FromStr;

use strum::{Display, EnumDiscriminants, EnumString, IntoStaticStr, VariantArray};

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

/// The state of a submission, with what that state knows. [`StateName`] is the same without it: for filters, counts and
/// the tables of what is allowed from where; its names are those of commands, JSON and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumDiscriminants)]
#[strum_discriminants(
    name(StateName),
    derive(Hash, PartialOrd, Ord, Display, EnumString, IntoStaticStr, VariantArray),
    strum(serialize_all = "snake_case", const_into_str)
)]
pub enum State {
    /// Will be attempted at `due` or as soon after it as its activity, its `not_before` and the gate allow.
    Pending {
        due: Timestamp,
    },
    /// Claimed; a request may be on the wire.
    Sending,
    /// The API has it.
    Delivered,
    Dead(DeadReason),
    /// A 409 that waits for an operator.
    Parked(ParkReason),
    /// Closed by an operator (or replaced by a mended twin) without being delivered.
    Dismissed,
}

/// Why a submission is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum ParkReason {
    /// The activity already has a result.
    Conflict,
    /// The same, but an earlier attempt of this very submission may have reached the API: the registered result may be
    /// ours.
    ConflictAfterLostResponse,
}

/// What to do about a 409 (`conflict.policy`, a rule's `policy`, `$outbox.on_conflict`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, EnumString, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum ConflictPolicy {
    /// Resend at once with `"hard_override": true`.
    Override,
    /// Wait for an operator.
    #[default]
    Park,
    /// Make it a dead letter.
    DeadLetter,
}

impl State {
    pub fn name(&self) -> StateName {
        self.into()
    }

    /// The reason of a dead or parked one, by its public name.
    pub const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Dead(reason) => Some(reason.into_str()),
            Self::Parked(reason) => Some(reason.into_str()),
            Self::Pending { .. } | Self::Sending | Self::Delivered | Self::Dismissed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_as_they_are_written() {
        let names = StateName::VARIANTS.iter().map(StateName::into_str).collect::<Vec<_>>();
        assert_eq!(
            names,
            ["pending", "sending", "delivered", "dead", "parked", "dismissed"]
        );
        for state in StateName::VARIANTS {
            assert_eq!(state.into_str().parse(), Ok(*state));
        }
        assert!("Dead".parse::<StateName>().is_err());
        assert_eq!(
            (
                DeadReason::RetriesExhausted.into_str(),
                ParkReason::ConflictAfterLostResponse.into_str()
            ),
            ("retries_exhausted", "conflict_after_lost_response")
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
