//! The four acts that need no payload: their names, and what they do in the store.

use crate::model::Transition;
use crate::store::Act;

/// Which act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Due now, attempts and age anew.
    Requeue,
    /// Ours replaces the registered one.
    Override,
    /// The registered one is ours.
    Accept,
    /// Close without delivering.
    Dismiss,
}

impl Verb {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requeue => "requeue",
            Self::Override => "override",
            Self::Accept => "accept",
            Self::Dismiss => "dismiss",
        }
    }

    /// What it was, afterwards.
    pub const fn done(self) -> &'static str {
        match self {
            Self::Requeue => "requeued",
            Self::Override => "requeued to override",
            Self::Accept => "accepted as delivered",
            Self::Dismiss => "dismissed",
        }
    }

    pub const fn act(self) -> Act {
        match self {
            Self::Requeue => Act::Requeue,
            Self::Override => Act::Override,
            Self::Accept => Act::Accept,
            Self::Dismiss => Act::Dismiss,
        }
    }

    pub const fn transition(self) -> Transition {
        match self {
            Self::Requeue => Transition::Requeue,
            Self::Override => Transition::ForceOverride,
            Self::Accept => Transition::Accept,
            Self::Dismiss => Transition::Dismiss,
        }
    }
}
