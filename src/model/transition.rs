//! Every way a submission changes state, and the one table of what is allowed from where.

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;

use super::submission::{DeadReason, ParkReason, StateName};

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// A sender takes it: the attempt is counted and durable before the request leaves.
    Claim,
    /// The API has it.
    Deliver,
    /// A 409 after a lost response, taken for ours (`conflict.after_lost_response = "accept"`).
    DeliverAccepted,
    /// Try again at `due`.
    Retry {
        /// When.
        due: Timestamp,
        /// The planned wait. What of it is served adds to the submission's age (`retry.max_age`) when it is claimed
        /// next.
        wait: Duration,
    },
    /// Resend at once with `"hard_override": true`.
    Override,
    /// Make it a dead letter.
    Die {
        /// Why.
        reason: DeadReason,
        /// Whether it belongs to what the opening of the gate requeues (`unauthorized` only).
        requeue_on_opening: bool,
    },
    /// Let a person decide.
    Park(ParkReason),
    /// Give it back as it was: the attempt is not charged (a closed gate).
    Release,
    /// After a crash: back to pending, its attempt recorded as interrupted and lost.
    Recover,
    /// A person (or the gate's opening, or a changed list of result types) puts it back: due now, attempts and age
    /// start anew.
    Requeue,
    /// A person says that ours replaces the registered one: requeued with `hard_override`.
    ForceOverride,
    /// A person says that the registered one is ours.
    Accept,
    /// A person closes it.
    Dismiss,
    /// A mended twin takes its place: one of the same key, or with its token. (A parked one yields to its token alone.)
    Replace,
    /// A person corrects the payload; it is requeued, and the mark of a lost response is cleared.
    Edit,
}

impl Transition {
    /// The word in history and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Claim => "claimed",
            Self::Deliver => "delivered",
            Self::DeliverAccepted => "accepted_as_ours",
            Self::Retry { .. } => "retry_scheduled",
            Self::Override => "conflict_overridden",
            Self::Die { .. } => "dead_lettered",
            Self::Park(_) => "parked",
            Self::Release => "released",
            Self::Recover => "recovered",
            Self::Requeue => "requeued",
            Self::ForceOverride => "override",
            Self::Accept => "accepted",
            Self::Dismiss => "dismissed",
            Self::Replace => "replaced",
            Self::Edit => "edited",
        }
    }

    /// The states it may start from. The store's SQL guards say the same,
    /// and a test drives every pair through both.
    pub const fn allowed_from(&self) -> &'static [StateName] {
        match self {
            Self::Claim => &[StateName::Pending],
            Self::Deliver
            | Self::DeliverAccepted
            | Self::Retry { .. }
            | Self::Override
            | Self::Die { .. }
            | Self::Park(_)
            | Self::Release
            | Self::Recover => &[StateName::Sending],
            Self::Requeue | Self::Dismiss | Self::Edit => &[StateName::Pending, StateName::Dead, StateName::Parked],
            Self::ForceOverride | Self::Accept => &[StateName::Parked],
            Self::Replace => &[StateName::Dead, StateName::Parked, StateName::Dismissed],
        }
    }
}

/// Who made a change, as history shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The daemon, by a rule of the contract (the word says which: `gate`, `result types`, `policy`, `recovery`).
    Daemon(&'static str),
    /// A person, by the name of the user that ran the command.
    User(String),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon(why) => write!(f, "daemon ({why})"),
            Self::User(name) => write!(f, "user {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_delivered_and_only_a_twin_replaces_a_dismissed_one() {
        let all = [
            Transition::Claim,
            Transition::Deliver,
            Transition::DeliverAccepted,
            Transition::Retry {
                due: Timestamp::default(),
                wait: Duration::ZERO,
            },
            Transition::Override,
            Transition::Die {
                reason: DeadReason::Rejected,
                requeue_on_opening: false,
            },
            Transition::Park(ParkReason::Conflict),
            Transition::Release,
            Transition::Recover,
            Transition::Requeue,
            Transition::ForceOverride,
            Transition::Accept,
            Transition::Dismiss,
            Transition::Replace,
            Transition::Edit,
        ];
        for transition in &all {
            assert!(
                !transition.allowed_from().contains(&StateName::Delivered),
                "{}",
                transition.name()
            );
            let from_dismissed = transition.allowed_from().contains(&StateName::Dismissed);
            assert_eq!(
                from_dismissed,
                *transition == Transition::Replace,
                "{}",
                transition.name()
            );
        }
    }
}
