//! What is done to submissions that are not being sent, and the one table of what is allowed from where.

use std::fmt;

use strum::{EnumDiscriminants, IntoStaticStr};

use super::entry::Entry;
use super::submission::StateName;

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
        }
    }

    /// The states it may start from (of the dead ones `Revalidate` takes the `invalid` alone). The store's SQL guards
    /// say the same, and a test drives every pair through both.
    pub const fn allowed_from(self) -> &'static [StateName] {
        match self {
            Self::Requeue | Self::Dismiss | Self::Edit => &[StateName::Pending, StateName::Dead, StateName::Parked],
            Self::Revalidate => &[StateName::Dead],
            Self::Override | Self::Accept => &[StateName::Parked],
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
