//! How an attempt ends: every way out of `sending`.

use std::time::Duration;

use strum::{EnumDiscriminants, EnumString, IntoStaticStr, VariantArray};

use super::submission::{DeadReason, ParkReason, StateName};

/// What was made of an attempt. [`EndingName`] is the same without what it carries: the word that the database keeps
/// and `show` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumDiscriminants)]
#[strum_discriminants(
    name(EndingName),
    derive(Hash, PartialOrd, Ord, EnumString, IntoStaticStr, VariantArray),
    strum(serialize_all = "snake_case", const_into_str)
)]
pub enum Ending {
    /// 2xx: the API has it.
    Delivered,
    /// A 409 after a lost response, taken for our own earlier success (`conflict.after_lost_response = "accept"`).
    Accepted,
    /// Another attempt follows after `wait`. What of it is served adds to the submission's age (`retry.max_age`) when
    /// it is claimed next.
    Retry { wait: Duration },
    /// A 409, answered by resending at once with `"hard_override": true`.
    Override,
    /// A dead letter. `requeue_on_opening`: it belongs to what the opening of the gate requeues (`unauthorized` only).
    Dead {
        reason: DeadReason,
        requeue_on_opening: bool,
    },
    /// An operator decides.
    Parked(ParkReason),
    /// Given back as it was: the attempt is not charged (a closed gate).
    Released,
    /// The attempt failed inside the daemon while it may have been on the wire; another one follows after `wait`.
    Interrupted { wait: Duration },
}

impl Ending {
    /// A dead letter that stays one until an operator acts.
    pub const fn dead(reason: DeadReason) -> Self {
        Self::Dead {
            reason,
            requeue_on_opening: false,
        }
    }

    /// A dead letter of a refused key.
    pub const fn unauthorized(requeue_on_opening: bool) -> Self {
        Self::Dead {
            reason: DeadReason::Unauthorized,
            requeue_on_opening,
        }
    }

    /// The state in which it leaves the submission.
    pub const fn state(&self) -> StateName {
        match self {
            Self::Delivered | Self::Accepted => StateName::Delivered,
            Self::Dead { .. } => StateName::Dead,
            Self::Parked(_) => StateName::Parked,
            Self::Retry { .. } | Self::Override | Self::Released | Self::Interrupted { .. } => StateName::Pending,
        }
    }
}
