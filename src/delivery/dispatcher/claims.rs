//! When more is claimed, and what of it is sent or given back.

use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::Instant;

use crate::clock::{self, Timestamp};
use crate::policy::gate::{Allowance, Purpose};
use crate::store::{ClaimOrder, ClaimRequest, Claimed};
use crate::telemetry::events;

use super::super::settle::UNSETTLED_MAX;
use super::ahead::ClaimEnd;
use super::{Dispatcher, Step};

/// The fewest that lie ready, where more are due: with few slots a commit for each of them would be most of the work.
const AHEAD_MIN: u32 = 64;
/// So many bytes of payloads lie ready at most, before the claim that goes beyond (itself bounded likewise): they are
/// held in memory.
const AHEAD_BYTES: usize = 16 << 20;
/// Where `delivery.max_per_second` limits the flow, what leaves within this time lies ready and no more.
const AHEAD_OF_PACE: Duration = Duration::from_secs(1);

impl Dispatcher {
    /// What is due, while fewer than `limit` are in flight, with as many claimed ahead as the contract allows.
    pub(super) async fn send_due(&mut self, limit: u32, now: Timestamp) -> Step {
        let sent = self.send_ready(limit, now);
        if self.ahead.is_short {
            self.ahead.is_short = false;
            if let Err(step) = self.learn_next_due(now).await {
                return step;
            }
        }
        self.claim_ahead(limit, now);
        match sent {
            0 if self.ahead.ready.is_empty() && self.ahead.claiming.is_empty() => Step::Idle { until: self.due_at() },
            0 if self.ahead.ready.is_empty() => Step::Idle { until: None },
            0 => self.idle_for_pace(now),
            _ => Step::Sent(sent),
        }
    }

    fn send_ready(&mut self, limit: u32, now: Timestamp) -> usize {
        let room = (self.room(limit) as usize).min(self.ahead.ready.len());
        let going: Vec<Claimed> = self.ahead.ready.drain(..room).collect();
        self.launch(going, Purpose::Due, now);
        self.ahead.left += room;
        room
    }

    /// Asks for more as late as it may without a slot that waits for it: the fewer commits, the less each result costs.
    fn claim_ahead(&mut self, limit: u32, now: Timestamp) {
        if !self.may_be_due && !self.is_due(now) || !self.ahead.claiming.is_empty() {
            return;
        }
        let most = self.ahead_max(limit).saturating_add(self.room(limit));
        let ready = self.ahead.ready.len();
        let wanted = most.saturating_sub(u32::try_from(ready).unwrap_or(u32::MAX));
        let unsettled = UNSETTLED_MAX.saturating_sub(self.unsettled() + self.gathered.len());
        let wanted = wanted.min(u32::try_from(unsettled).unwrap_or(u32::MAX));
        let is_early = ready > self.ahead.needed(most as usize) && self.requests.len() > 1;
        if wanted == 0 || is_early || self.ahead.bytes() >= AHEAD_BYTES {
            return;
        }
        self.may_be_due = false;
        self.ahead.left = 0;
        // With the claim, into one commit.
        self.store_all();
        let claim = self.context.outbox.claim(ClaimRequest {
            limit: wanted,
            order: ClaimOrder::Due,
            now,
            wait_max: self.equipment.config.retry.max_interval,
        });
        self.ahead.claiming.spawn(async move { (wanted, claim.await) });
    }

    /// How many may lie ready beyond the free slots.
    fn ahead_max(&self, limit: u32) -> u32 {
        if limit < self.equipment.config.delivery.max_in_flight {
            // Throttled: whatever lies here is held back for longer than it should be.
            return 0;
        }
        let most = self
            .equipment
            .config
            .delivery
            .max_in_flight
            .saturating_mul(2)
            .max(AHEAD_MIN);
        self.pacer.within(AHEAD_OF_PACE).map_or(most, |paced| most.min(paced))
    }

    /// A claim is durable: what it brought lies ready.
    pub(super) fn brought(&mut self, brought: Result<ClaimEnd, JoinError>) {
        self.committed_at = Instant::now();
        match brought {
            Ok((wanted, Ok(claimed))) => {
                self.keeper.works();
                self.ahead.is_short = claimed.len() < wanted as usize;
                self.empty_claims = if claimed.is_empty() { self.empty_claims + 1 } else { 0 };
                self.may_be_due |= !self.ahead.is_short;
                self.ahead.ready.extend(claimed);
                let free = self.equipment.config.delivery.max_in_flight as usize;
                self.ahead.demand = self.ahead.left + free.saturating_sub(self.requests.len());
            }
            Ok((_, Err(error))) => {
                // What it means for the loop is seen at the next step.
                let _seen_by_the_next_step = self.troubled("claim", &error, clock::now());
            }
            Err(error) => {
                // Had it claimed, the next start would recover that.
                events::internal_error("claim", &error.to_string());
                self.may_be_due = true;
            }
        }
    }

    /// Gives back what the gate does not let through any more.
    pub(super) fn give_back(&mut self, allowance: &Allowance) {
        let keep = match allowance {
            Allowance::All => return,
            Allowance::UpTo(limit) => self.room(*limit) as usize,
            Allowance::One(_) | Allowance::Question | Allowance::Opening | Allowance::Nothing { .. } => 0,
        };
        if self.ahead.ready.len() > keep {
            let excess: Vec<Claimed> = self.ahead.ready.drain(keep..).collect();
            self.may_be_due = true;
            self.release(excess);
        }
    }

    /// At the end: everything that has not left.
    pub(super) fn give_all_back(&mut self) {
        let left: Vec<Claimed> = self.ahead.ready.drain(..).collect();
        self.release(left);
    }
}
