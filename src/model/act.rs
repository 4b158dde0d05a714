//! What is done to submissions that are not being sent, and the one table of what is allowed from where.

use std::fmt;

use strum::{EnumDiscriminants, IntoStaticStr};

use crate::clock::Timestamp;

use super::entry::Entry;
use super::submission::{ParkReason, StateName, SubmissionId};

/// What an operator (or the one rule that says so) does to submissions. [`ActName`] is the same without the corrected
/// payload: its names are those of the commands.
#[derive(Debug, Clone, PartialEq, Eq, EnumDiscriminants)]
#[strum_discriminants(
    name(ActName),
    derive(IntoStaticStr),
    strum(serialize_all = "snake_case", const_into_str)
)]
pub enum Act {
    /// Due now, attempts and age anew. What `not_before` holds goes on being held, unless it is forced.
    Requeue,
    /// The same for what was `invalid`, and only that, because another list of result types makes it valid: a rule of
    /// the contract, no operator's.
    Revalidate,
    /// Ours replaces the registered one: requeued with `hard_override`.
    Override,
    /// The registered one is ours.
    Accept,
    /// Close without delivering.
    Dismiss,
    /// A corrected payload, which clears the mark of a lost response (boxed: it is far larger than the others).
    /// `invalid` in it is a reason to refuse, before this is called.
    Edit(Box<Entry>),
    /// A decision about a parked one is taken back, unless something came of it meanwhile: parked again.
    Undo(Undo),
}

/// What is decided of a parked one as it is, and can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Override,
    Accept,
    Dismiss,
}

impl Decision {
    /// The act that carries it out.
    pub const fn act(self) -> ActName {
        match self {
            Self::Override => ActName::Override,
            Self::Accept => ActName::Accept,
            Self::Dismiss => ActName::Dismiss,
        }
    }

    /// Where it puts what was parked: found elsewhere, something came of it.
    pub const fn leads_to(self) -> StateName {
        match self {
            Self::Override => StateName::Pending,
            Self::Accept => StateName::Delivered,
            Self::Dismiss => StateName::Dismissed,
        }
    }
}

/// Which decision is taken back, and what was before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undo {
    pub decision: Decision,
    /// When it was carried out, as history has it: with the decision and who made it, the mark by which it is found to
    /// be still the last word.
    pub at: Timestamp,
    /// Why it was parked.
    pub reason: ParkReason,
    /// What of its activity was delivered last before it.
    pub delivered_before: Option<SubmissionId>,
}

impl ActName {
    /// The word in history.
    pub const fn recorded(self) -> &'static str {
        match self {
            Self::Requeue | Self::Revalidate => "requeued",
            Self::Override => "override",
            Self::Accept => "accepted",
            Self::Dismiss => "dismissed",
            Self::Edit => "edited",
            Self::Undo => "undone",
        }
    }

    /// The states it may start from (of the dead ones `Revalidate` takes the `invalid` alone; `Undo` the one state to which
    /// the decision led). The store's SQL guards
    /// say the same, and a test drives every pair through both.
    pub const fn allowed_from(self) -> &'static [StateName] {
        match self {
            Self::Requeue | Self::Dismiss | Self::Edit => &[StateName::Pending, StateName::Dead, StateName::Parked],
            Self::Revalidate => &[StateName::Dead],
            Self::Override | Self::Accept => &[StateName::Parked],
            Self::Undo => &[StateName::Pending, StateName::Delivered, StateName::Dismissed],
        }
    }
}

/// The states whose place a mended twin may take by its token. (One of the same key takes it from all of them but
/// `parked`.)
pub const REPLACEABLE: &[StateName] = &[StateName::Dead, StateName::Parked, StateName::Dismissed];
/// The word in the history of what was replaced.
pub const REPLACED: &str = "replaced";

/// Who made a change, as history shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The daemon, by a rule of the contract (the word says which: `gate`, `result types`, `policy`, `recovery`).
    Daemon(&'static str),
    /// An operator, by the name of the user that ran the command.
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
