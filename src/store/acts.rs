//! Questions and answers of those who change what is kept: people's acts, and retention.

use crate::clock::Timestamp;
use crate::model::{Act, Actor, Payload, State, StateName, SubmissionId};

use super::Filter;

/// An act on some submissions, in one transaction: callers bring at most [`ACT_IDS_MAX`] ids at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActRequest {
    pub ids: Vec<SubmissionId>,
    /// What must still hold of each when the act comes to it.
    pub still: Still,
    pub act: Act,
    pub actor: Actor,
    /// Touch superseded ones too; a requeue or an override also lifts `not_before`.
    pub force: bool,
    /// Change nothing; say what would happen.
    pub dry_run: bool,
    pub now: Timestamp,
}

/// What an act is for. Looked at again in the transaction that acts: between a look and the act an operator may have
/// thought for an hour, and others may have mended meanwhile what was to be closed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Still {
    /// It matches this (boxed: most acts have none).
    pub matches: Option<Box<Filter>>,
    /// Its payload is this one: what a correction was made from.
    pub payload: Option<Payload>,
}

/// The most ids of one [`ActRequest`]: keeps the write lock short, so that the daemon beside us goes on.
pub const ACT_IDS_MAX: usize = 500;

/// What became of one id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acted {
    /// Done (or would be).
    Done,
    /// There is no such submission.
    NoSuch,
    /// It is no longer what the act was for ([`Still`]).
    Changed,
    /// Not from this state.
    WrongState(State),
    /// A later one of its activity has been delivered.
    Superseded(SubmissionId),
    /// Nothing was done: it is pending, and its `not_before` holds it until then. A forced requeue sends it now.
    HeldUntil(Timestamp),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep {
    /// In this state: `delivered` or `dismissed` by retention, others by `purge`.
    pub state: StateName,
    pub older_than: Timestamp,
    /// At most this many in one transaction, and fewer where they are large.
    pub limit: u32,
}
