//! What is claimed ahead of the slots, so that a slot that becomes free is filled at once and never waits for a commit.
//!
//! Each claim is durable before it is here. What is here has no request yet: when the gate narrows, at `pause` and at
//! the end it is given back uncharged. A crash leaves it `sending`, and nobody knows any more that it never left: it is
//! sent again as maybe sent.

use std::collections::VecDeque;

use tokio::task::{JoinError, JoinSet};

use crate::store::{Claimed, StoreError};

/// Claimed ones without a slot, and the claim that is on its way.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    pub(super) ready: VecDeque<Claimed>,
    pub(super) claiming: JoinSet<ClaimEnd>,
    /// The last claim found fewer than it asked for: everything due is out.
    pub(super) is_short: bool,
    /// How many have left since the last claim began.
    pub(super) left: usize,
    /// How many slots became free while the last one took its time: what has to lie ready when the next one begins.
    pub(super) demand: usize,
}

/// How many were asked for, and what was claimed.
pub(super) type ClaimEnd = (u32, Result<Vec<Claimed>, StoreError>);

impl Ahead {
    /// Whether there is nothing here, and nothing on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.claiming.is_empty()
    }

    /// How many have to lie ready when a claim begins, of at most so many: what is on the wire then lasts for a part of
    /// it.
    pub(super) fn needed(&self, most: usize) -> usize {
        (self.demand * 3 / 5).min(most / 4)
    }

    /// Of the payloads that lie ready.
    pub(super) fn bytes(&self) -> usize {
        self.ready.iter().map(|one| one.payload.bytes().len()).sum()
    }

    /// Whether a claim is on its way: what has ended meanwhile goes with the next one.
    pub(super) fn is_claiming(&self) -> bool {
        !self.claiming.is_empty()
    }

    /// The claim's answer, where it is in.
    pub(super) fn try_join(&mut self) -> Option<Result<ClaimEnd, JoinError>> {
        self.claiming.try_join_next()
    }

    /// The claim's answer; `None` where none is on its way.
    pub(super) async fn join(&mut self) -> Option<Result<ClaimEnd, JoinError>> {
        self.claiming.join_next().await
    }
}
