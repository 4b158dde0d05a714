//! The loop: what may be sent is claimed, what is claimed is sent, what has landed is settled.
//!
//! One task owns the gate, the slots and the pace, so nothing here is shared. A slot is counted free before a submission is claimed for it:
//! whatever is claimed has a sender. Claiming, landing and settling overlap, so that claims and outcomes gather in the same commits.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use crate::api::Client;
use crate::clock::{self, Timestamp};
use crate::model::Exchange;
use crate::policy::gate::{Allowance, Input, KeyVerdict, Role, Ticket};
use crate::store::{ClaimOrder, ClaimRequest, Claimed, StoreError};
use crate::telemetry::events;

use super::attempt::{self, Equipment, Landed};
use super::gatekeeper::Gatekeeper;
use super::pacer::Pacer;
use super::settle::{Outbound, UNSETTLED_MAX};
use super::{Context, StartError, probe};

/// How often it is asked whether another process wrote to the outbox, and whether a reload came.
const POLL: Duration = Duration::from_millis(200);
/// The shortest wait for a due time: it may have passed while we looked, and would be looked for without a pause.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// How long outcomes may still wait for the outbox once no request is in flight at shutdown. Then they stay `sending`.
const STORE_GRACE: Duration = Duration::from_secs(10);

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It sent so many.
    Sent(usize),
    /// There is nothing to do, before this time at the earliest (or before something happens).
    Idle {
        /// When to look again.
        until: Option<Timestamp>,
    },
    /// The daemon ends, or the outbox is closed: nothing is sent any more.
    Closed,
}

/// The owner of everything that is in flight.
#[derive(Debug)]
pub struct Dispatcher {
    context: Context,
    equipment: Equipment,
    keeper: Gatekeeper,
    pacer: Pacer,
    rng: fastrand::Rng,
    /// Requests; at most `delivery.max_in_flight`.
    flights: JoinSet<Landed>,
    aboard: HashMap<Id, Aboard>,
    /// Outcomes on their way to the outbox; at most [`UNSETTLED_MAX`], and those that land meanwhile.
    settling: JoinSet<bool>,
    /// The key question; at most one.
    question: JoinSet<KeyVerdict>,
    /// Something may be due that was not when we last looked.
    look: bool,
    /// When the next one is due, as far as we know.
    due_at: Option<Timestamp>,
    poll_at: Instant,
}

/// What is known of a request in flight.
#[derive(Debug)]
struct Aboard {
    claimed: Arc<Claimed>,
    ticket: Ticket,
}

impl Dispatcher {
    /// A dispatcher that has looked at nothing yet but the gate's memory.
    pub async fn new(mut context: Context) -> Result<Self, StartError> {
        let config = context.config.borrow_and_update().clone();
        let key = context.key.borrow_and_update().clone();
        let client = Arc::new(Client::new(&config.api, &key)?);
        let keeper = Gatekeeper::recall(context.outbox.clone(), Arc::clone(&context.meters), &config, clock::now()).await?;
        Ok(Self {
            keeper,
            pacer: Pacer::new(config.delivery.max_per_second),
            rng: fastrand::Rng::with_seed(context.seed),
            flights: JoinSet::new(),
            aboard: HashMap::new(),
            settling: JoinSet::new(),
            question: JoinSet::new(),
            look: true,
            due_at: None,
            poll_at: Instant::now(),
            equipment: Equipment {
                outbox: context.outbox.clone(),
                config,
                client,
            },
            context,
        })
    }

    /// Something was taken in.
    pub fn look_again(&mut self) {
        self.look = true;
    }

    /// Does what can be done now, without waiting for anything but the outbox.
    pub async fn step(&mut self) -> Step {
        self.context.progress.fetch_add(1, Ordering::Relaxed);
        if *self.context.shutdown.borrow() {
            return Step::Closed;
        }
        let now = clock::now();
        self.take_notice(now).await;
        self.collect();
        if let Some(rest) = self.keeper.rests(Instant::now()) {
            return Step::Idle {
                until: Some(now.plus(rest)),
            };
        }
        match self.keeper.allowance(now) {
            Allowance::Nothing { until } => Step::Idle { until },
            Allowance::Question => {
                self.keeper.note(Input::Asked, now);
                self.question.spawn(probe::ask(Arc::clone(&self.equipment.client)));
                Step::Idle { until: None }
            }
            Allowance::Opening => self.open(now).await,
            Allowance::One(role) => self.send_one(role, now).await,
            Allowance::All => self.send_due(now).await,
        }
    }

    /// Waits until a step may have something to do: `until`, an arrival, a landing, a settlement, an answer, the next poll, the end.
    pub async fn wait(&mut self, arrived: Pin<&mut Notified<'_>>, until: Option<Timestamp>) {
        let longest = self.poll_at.saturating_duration_since(Instant::now());
        let pause = until.map_or(longest, |until| until.since(clock::now()).min(longest));
        tokio::select! {
            () = arrived => self.look = true,
            Some(landed) = self.flights.join_next_with_id() => self.landed(landed),
            Some(stored) = self.settling.join_next() => self.settled(stored),
            Some(answer) = self.question.join_next() => self.answered(answer),
            () = asked_to_end(&mut self.context.shutdown) => {}
            () = sleep(pause) => {}
        }
    }

    /// The end: lets what is in flight finish within `delivery.shutdown_timeout`, then stores what is in.
    pub async fn finish(&mut self) {
        let deadline = Instant::now() + self.equipment.config.delivery.shutdown_timeout;
        while !self.flights.is_empty() {
            tokio::select! {
                Some(landed) = self.flights.join_next_with_id() => self.landed(landed),
                Some(stored) = self.settling.join_next() => self.settled(stored),
                () = sleep_until(deadline) => break,
            }
        }
        // What is still on the wire stays `sending`: whether it arrived is not known.
        self.flights.shutdown().await;
        self.aboard.clear();
        self.context.meters.set_in_flight(0);
        let deadline = Instant::now() + STORE_GRACE;
        while !self.settling.is_empty() {
            tokio::select! {
                Some(stored) = self.settling.join_next() => self.settled(stored),
                () = sleep_until(deadline) => {
                    let left = format!("{} outcomes could not be stored before the end; they will be sent again", self.settling.len());
                    events::internal_error("settle", &left);
                    break;
                }
            }
        }
    }

    // ---- what happened ----

    /// A reload, a changed key, another process's acts.
    async fn take_notice(&mut self, now: Timestamp) {
        self.notice_reload(now);
        let due = Instant::now() >= self.poll_at && self.keeper.rests(Instant::now()).is_none();
        if due {
            self.poll_at = Instant::now() + POLL;
            match self.context.outbox.changed().await {
                Ok(true) => {
                    self.keeper.look_at_acts(now).await;
                    self.look = true;
                }
                Ok(false) => {}
                Err(error) => self.keeper.rest(&error),
            }
        }
    }

    fn notice_reload(&mut self, now: Timestamp) {
        let reloaded = self.context.config.has_changed().unwrap_or(false);
        let key_changed = self.context.key.has_changed().unwrap_or(false);
        if !reloaded && !key_changed {
            return;
        }
        let config = self.context.config.borrow_and_update().clone();
        let key = self.context.key.borrow_and_update().clone();
        match Client::new(&config.api, &key) {
            Ok(client) => self.equipment.client = Arc::new(client),
            Err(error) => events::reload_failed(&error.to_string(), "requests go on with the settings and the key from before"),
        }
        self.pacer.set_limit(config.delivery.max_per_second);
        if key_changed {
            self.keeper.note(Input::KeyChanged, now);
        }
        if reloaded {
            self.keeper.reloaded(&config, now);
        }
        self.equipment.config = config;
        self.look = true;
    }

    /// Everything that has come in meanwhile.
    fn collect(&mut self) {
        while let Some(landed) = self.flights.try_join_next_with_id() {
            self.landed(landed);
        }
        while let Some(stored) = self.settling.try_join_next() {
            self.settled(stored);
        }
        while let Some(answer) = self.question.try_join_next() {
            self.answered(answer);
        }
    }

    /// A request has ended: the gate hears of it, and its outcome goes to the outbox.
    fn landed(&mut self, landed: Result<(Id, Landed), JoinError>) {
        let now = clock::now();
        // A key that has changed is known before an answer to the old one is judged.
        self.notice_reload(now);
        let id = landed.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(Aboard { claimed, ticket }) = self.aboard.remove(&id) else {
            return;
        };
        self.context.meters.set_in_flight(self.flights.len());
        let landed = match landed {
            Ok((_, landed)) => landed,
            Err(error) => {
                let message = format!("the attempt failed inside the daemon: {error}");
                events::internal_error("attempt", &format!("submission {}: {message}", claimed.id));
                attempt::interrupted(&self.equipment.config, &claimed, message, now, self.rng.f64())
            }
        };
        match &landed.exchange {
            Exchange::Answered(_) => self.context.meters.answered(landed.elapsed),
            Exchange::Failed { .. } => {}
        }
        let (refused, gate_first) = self.keeper.ended(&claimed, ticket, landed.verdict.signal, now);
        let mut outbound = Outbound::of(claimed, landed, refused);
        outbound.gate_first = gate_first;
        self.settle(outbound);
    }

    fn settle(&mut self, outbound: Outbound) {
        let outbox = self.context.outbox.clone();
        self.settling.spawn(outbound.keep(outbox, Arc::clone(&self.context.meters)));
    }

    /// An outcome is durable: the next of its activity may be due.
    fn settled(&mut self, stored: Result<bool, JoinError>) {
        self.look = true;
        if let Err(error) = stored {
            // Its submission stays `sending` until the next start.
            events::internal_error("settle", &error.to_string());
        }
    }

    fn answered(&mut self, answer: Result<KeyVerdict, JoinError>) {
        self.keeper
            .note(Input::Answered(answer.unwrap_or(KeyVerdict::Silent)), clock::now());
    }

    // ---- what is done ----

    async fn open(&mut self, now: Timestamp) -> Step {
        if !self.settling.is_empty() {
            // What it dead-lettered is still on its way to the outbox, and has to be there to be requeued.
            return Step::Idle { until: None };
        }
        self.keeper.open(self.equipment.config.auth.requeue, now).await;
        self.look = true;
        Step::Idle { until: Some(now) }
    }

    async fn send_due(&mut self, now: Timestamp) -> Step {
        if !self.look && self.due_at.is_none_or(|due| due > now) {
            return Step::Idle { until: self.due_at };
        }
        let room = self.room();
        if room == 0 {
            return self.idle_for_pace(now);
        }
        let claimed = match self.claim(room, ClaimOrder::Due, now).await {
            Ok(claimed) => claimed,
            Err(step) => return step,
        };
        if claimed.len() < room as usize {
            if let Err(step) = self.learn_next_due(now).await {
                return step;
            }
        } else {
            self.look = true;
        }
        if self.keeper.allowance(now) != Allowance::All {
            self.release(claimed);
            return Step::Idle { until: None };
        }
        let count = claimed.len();
        self.launch(claimed, Role::Ordinary, now);
        match count {
            0 => Step::Idle { until: self.due_at },
            _ => Step::Sent(count),
        }
    }

    /// One submission, to go first or on trial.
    async fn send_one(&mut self, role: Role, now: Timestamp) -> Step {
        if !self.look && self.due_at.is_none_or(|due| due > now) {
            return Step::Idle { until: self.due_at };
        }
        if self.room() == 0 {
            return self.idle_for_pace(now);
        }
        // A trial is chosen from so many that one is among them that has not been refused yet. The others go back unsent.
        let refused = match role {
            Role::Trial => self.keeper.refused_trials().to_vec(),
            Role::Lead | Role::Ordinary => Vec::new(),
        };
        let limit = u32::try_from(refused.len() + 1).unwrap_or(u32::MAX);
        let claimed = match self.claim(limit, ClaimOrder::LeastTried, now).await {
            Ok(claimed) => claimed,
            Err(step) => return step,
        };
        let (chosen, others) = probe::on_trial(claimed, &refused);
        self.release(others);
        match chosen {
            Some(chosen) if self.keeper.allowance(now) == Allowance::One(role) => {
                self.launch(vec![chosen], role, now);
                Step::Sent(1)
            }
            Some(chosen) => {
                self.release(vec![chosen]);
                Step::Idle { until: None }
            }
            None => self.revive(role, now).await,
        }
    }

    /// Nothing is pending that could go out alone.
    async fn revive(&mut self, role: Role, now: Timestamp) -> Step {
        if let Err(step) = self.learn_next_due(now).await {
            return step;
        }
        let since = self
            .keeper
            .closed_since()
            .filter(|_| role == Role::Trial && self.equipment.config.auth.requeue);
        if let Some(since) = since {
            match probe::revive(&self.context.outbox, since, now).await {
                Ok(true) => {
                    self.look = true;
                    return Step::Idle { until: Some(now) };
                }
                Ok(false) => {}
                Err(error) => self.keeper.rest(&error),
            }
        }
        Step::Idle { until: self.due_at }
    }

    /// How many may be claimed now.
    fn room(&self) -> u32 {
        let slots = (self.equipment.config.delivery.max_in_flight as usize).saturating_sub(self.flights.len());
        let unsettled = UNSETTLED_MAX.saturating_sub(self.settling.len());
        let room = u32::try_from(slots.min(unsettled)).unwrap_or(u32::MAX);
        room.min(self.pacer.ready(Instant::now()))
    }

    fn idle_for_pace(&self, now: Timestamp) -> Step {
        let wait = self.pacer.wait(Instant::now());
        Step::Idle {
            until: wait.map(|wait| now.plus(wait + WAIT_MIN)),
        }
    }

    /// Claims, and lets what is in flight land meanwhile. An error of the outbox becomes the step that waits for it.
    async fn claim(&mut self, limit: u32, order: ClaimOrder, now: Timestamp) -> Result<Vec<Claimed>, Step> {
        // Before, not after: what is settled while we wait may make something due that this claim did not see.
        self.look = false;
        let outbox = self.context.outbox.clone();
        let claim = outbox.claim(ClaimRequest {
            limit,
            order,
            now,
            wait_max: self.equipment.config.retry.max_interval,
        });
        tokio::pin!(claim);
        let claimed = loop {
            tokio::select! {
                claimed = &mut claim => break claimed,
                Some(landed) = self.flights.join_next_with_id() => self.landed(landed),
                Some(stored) = self.settling.join_next() => self.settled(stored),
            }
        };
        claimed.inspect(|_| self.keeper.works()).map_err(|error| self.troubled(&error, now))
    }

    /// Everything that was due is out: when the next one will be.
    async fn learn_next_due(&mut self, now: Timestamp) -> Result<(), Step> {
        match self.context.outbox.next_due(self.equipment.config.retry.max_interval).await {
            Ok(due) => {
                self.due_at = due.map(|due| due.max(now.plus(WAIT_MIN)));
                Ok(())
            }
            Err(error) => Err(self.troubled(&error, now)),
        }
    }

    fn troubled(&mut self, error: &StoreError, now: Timestamp) -> Step {
        self.look = true;
        match error {
            StoreError::Closed => Step::Closed,
            StoreError::Busy(_) | StoreError::Full(_) | StoreError::Broken(_) => {
                self.keeper.rest(error);
                let rest = self.keeper.rests(Instant::now()).unwrap_or_default();
                Step::Idle {
                    until: Some(now.plus(rest)),
                }
            }
        }
    }

    fn launch(&mut self, claimed: Vec<Claimed>, role: Role, now: Timestamp) {
        self.pacer
            .departed(u32::try_from(claimed.len()).unwrap_or(u32::MAX), Instant::now());
        for one in claimed {
            let claimed = Arc::new(one);
            let ticket = self.keeper.depart(role, now);
            let flight = attempt::fly(self.equipment.clone(), Arc::clone(&claimed), self.rng.f64());
            let id = self.flights.spawn(flight).id();
            self.aboard.insert(id, Aboard { claimed, ticket });
        }
        self.context.meters.set_in_flight(self.flights.len());
    }

    /// Gives back what was claimed and must not be sent now.
    fn release(&mut self, claimed: Vec<Claimed>) {
        let now = clock::now();
        for one in claimed {
            self.settle(Outbound::unsent(Arc::new(one), now));
        }
    }
}

/// Waits for the end; for ever where nobody can call it any more.
async fn asked_to_end(shutdown: &mut watch::Receiver<bool>) {
    if shutdown.wait_for(|end| *end).await.is_err() {
        std::future::pending::<()>().await;
    }
}
