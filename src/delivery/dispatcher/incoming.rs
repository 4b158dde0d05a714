//! What comes in: reloads and other processes' acts, requests that have ended, outcomes that are stored, the answer to
//! the key question.

use std::sync::Arc;

use tokio::task::{Id, JoinError};
use tokio::time::Instant;

use crate::api::Client;
use crate::clock::{self, Timestamp};
use crate::model::Exchange;
use crate::policy::gate::{Allowance, Input, KeyVerdict, Purpose, Why};
use crate::telemetry::events;

use super::super::attempt::{self, EndedAttempt};
use super::super::settle::{self, Outbound};
use super::{Dispatcher, GATHER, GATHERED_MAX, POLL, POLL_BEFORE_SENDING, Step, key_scope};

impl Dispatcher {
    /// A reload, a changed key, another process's acts.
    pub(super) async fn take_notice(&mut self, now: Timestamp) -> Result<(), Step> {
        self.notice_reload(now);
        let may_send = self.may_be_due || self.is_due(now);
        let enough = if may_send { POLL_BEFORE_SENDING } else { POLL };
        if self.polled.elapsed() < enough || self.keeper.rests(Instant::now()).is_some() {
            return Ok(());
        }
        self.polled = Instant::now();
        // While a commit syncs, nobody waits for it only to ask.
        let (changed, was_asked) = match self.context.outbox.changed_before_this_commit() {
            Some(changed) => (Ok(changed), false),
            None => (self.context.outbox.changed().await, true),
        };
        match changed {
            Ok(true) => {
                self.keeper.others_wrote();
                self.may_be_due = true;
            }
            Ok(false) if was_asked => self.keeper.has_read(),
            Ok(false) => {}
            Err(error) => return Err(self.troubled("changed", &error, now)),
        }
        self.keeper.read_acts(now).await;
        Ok(())
    }

    pub(super) fn notice_reload(&mut self, now: Timestamp) {
        let reloaded = self.context.config.has_changed().unwrap_or(false);
        let key_changed = self.context.key.has_changed().unwrap_or(false);
        if !reloaded && !key_changed {
            return;
        }
        let config = self.context.config.borrow_and_update().clone();
        let key = self.context.key.borrow_and_update().clone();
        match Client::new(&config.api, &key) {
            Ok(client) => self.equipment.client = Arc::new(client),
            Err(error) => events::reload_failed(
                &error.to_string(),
                "requests go on with the settings and the key from before",
            ),
        }
        self.pacer.set_limit(config.delivery.max_per_second);
        self.context
            .outbox
            .sends_by(&key_scope(&config.api, &key), config.auth.requeue);
        if key_changed {
            self.keeper.note(Input::KeyChanged, now);
        }
        if reloaded {
            self.keeper.reloaded(&config, now);
        }
        self.context.meters.set_api(&config.api);
        self.equipment.config = config;
        self.may_be_due = true;
    }

    /// Everything that has come in meanwhile.
    pub(super) fn collect(&mut self) {
        while let Some(ended) = self.requests.try_join_next_with_id() {
            self.ended(ended);
        }
        while let Some(stored) = self.settling.try_join_next_with_id() {
            self.settled(stored);
        }
        while let Some(brought) = self.ahead.try_join() {
            self.brought(brought);
        }
        while let Some(answer) = self.question.try_join_next() {
            self.answered(answer);
        }
    }

    /// A request has ended: the gate hears of it, and its outcome goes to the outbox.
    pub(super) fn ended(&mut self, ended: Result<(Id, EndedAttempt), JoinError>) {
        let now = clock::now();
        // A key that has changed is known before an answer to the old one is judged.
        self.notice_reload(now);
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some((claimed, dispatch)) = self.in_flight.remove(&id) else {
            return;
        };
        self.context.meters.set_in_flight(self.requests.len());
        let mut ended = match ended {
            Ok((_, ended)) => ended,
            Err(error) if error.is_cancelled() => {
                attempt::given_up(&self.equipment.config, &claimed, now, self.rng.f64())
            }
            Err(error) => {
                let message = format!("the attempt failed inside the daemon: {error}");
                events::internal_error("attempt", &format!("submission {}: {message}", claimed.id));
                attempt::interrupted(&self.equipment.config, &claimed, message, now, self.rng.f64())
            }
        };
        match &ended.exchange {
            Exchange::Answered(_) => self.context.meters.answered(ended.elapsed),
            Exchange::Failed { .. } => {}
        }
        if dispatch.purpose == Purpose::Ask(Why::Outage) {
            ended.wait_at_most(self.keeper.gap_max());
        }
        // What was given up says nothing of the API. One that was to find something out has to come to an end all the same.
        if !ended.was_given_up() || dispatch.purpose != Purpose::Due {
            self.keeper.ended(&claimed, dispatch, &mut ended, self.rng.f64(), now);
        }
        self.gathered.push(Outbound::of(claimed, ended));
    }

    /// Stores what has gathered, when it is enough, or has waited long enough, or when nothing follows it soon.
    pub(super) fn store_gathered(&mut self, now: Timestamp) {
        // While one commit syncs, the next group gathers: the slower the disk, the larger the groups.
        let is_free = self.settling.is_empty() && !self.ahead.is_claiming();
        let is_many = is_free && self.gathered.len() >= 2 * self.equipment.config.delivery.max_in_flight as usize;
        let is_long = is_free && self.committed_at.elapsed() >= GATHER;
        let is_full = self.gathered.len() >= GATHERED_MAX;
        if is_many || is_long || is_full || self.requests.is_empty() || self.keeper.allowance(now) != Allowance::All {
            self.store_all();
        }
    }

    /// Stores what has gathered, as a rule in one commit.
    pub(super) fn store_all(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        for batch in settle::batches(std::mem::take(&mut self.gathered)) {
            self.settle(batch);
        }
    }

    pub(super) fn settle(&mut self, batch: Vec<Outbound>) {
        let count = batch.len();
        let kept = settle::keep(
            batch,
            self.keeper.closed_by_key(),
            self.context.outbox.clone(),
            Arc::clone(&self.context.meters),
        );
        self.unsettled.insert(self.settling.spawn(kept).id(), count);
    }

    /// Outcomes are durable: the next of their activities may be due.
    pub(super) fn settled(&mut self, stored: Result<(Id, bool), JoinError>) {
        self.may_be_due = true;
        self.committed_at = Instant::now();
        let id = stored.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        self.unsettled.remove(&id);
        if let Err(error) = stored {
            // Their submissions stay `sending` until the next start.
            events::internal_error("settle", &error.to_string());
        }
    }

    pub(super) fn answered(&mut self, answer: Result<KeyVerdict, JoinError>) {
        self.keeper
            .note(Input::Answered(answer.unwrap_or(KeyVerdict::Silent)), clock::now());
    }
}
