//! The loop: what may be sent is claimed, what is claimed is sent, what has ended is settled.
//!
//! One task owns the gate, the slots and the pace, so nothing here is shared. Claims run ahead of the slots
//! ([`ahead`]), outcomes after them: claiming, sending and settling overlap, and claims and outcomes gather in the
//! same commits.

mod ahead;
mod claims;
mod clock_watch;
mod incoming;
mod sending;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use crate::api::{Client, ClientError};
use crate::clock::{self, Timestamp};
use crate::config::{Api, ApiKey, Config};
use crate::model::{Digest, hexadecimal};
use crate::policy::gate::{Allowance, Dispatch, Input, KeyVerdict};
use crate::store::{Claimed, StoreError, Touch};
use crate::telemetry::events;

use ahead::Ahead;

use super::attempt::{EndedAttempt, Equipment};
use super::gatekeeper::Gatekeeper;
use super::links::Links;
use super::pacer::Pacer;
use super::settle::Outbound;
use super::{probe, pulse};

use clock_watch::{ClockWatch, Due};

/// How often it is asked whether another process wrote to the outbox, and whether a reload came.
const POLL: Duration = Duration::from_millis(200);
/// So long after the last request, other processes' commits are listened for, and it is not asked any more but once a
/// turn.
const AT_REST_AFTER: Duration = Duration::from_secs(1);
/// The same before something is sent: after `pause` has returned, hardly anything may still leave. Not before each
/// claim, because under load there are thousands a second.
const POLL_BEFORE_SENDING: Duration = Duration::from_millis(2);
/// How long outcomes may gather while requests are in flight, unless twice as many as there are slots have gathered
/// earlier: a commit costs about the same for one row as for fifty.
const GATHER: Duration = Duration::from_millis(5);
/// So many outcomes do not wait for the commit before theirs to end: what the store takes in one query.
const GATHERED_MAX: usize = 256;
/// The shortest wait for a due time: it may have passed while we looked, and would be looked for without a pause.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// The part of `delivery.shutdown_timeout` that is left for outcomes to be stored when requests use up the rest, and
/// the most of it.
const STORE_SHARE: u32 = 10;
const STORE_SHARE_MAX: Duration = Duration::from_secs(1);

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

/// Why delivery cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration makes no client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The gate's state cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The owner of everything that is in flight.
#[derive(Debug)]
pub struct Dispatcher {
    context: Links,
    equipment: Equipment,
    keeper: Gatekeeper,
    pacer: Pacer,
    rng: fastrand::Rng,
    /// Requests; at most `delivery.max_in_flight`.
    requests: JoinSet<EndedAttempt>,
    in_flight: HashMap<Id, (Arc<Claimed>, Dispatch)>,
    /// What is claimed and waits for a slot.
    ahead: Ahead,
    /// Outcomes that wait for others to be stored with them.
    gathered: Vec<Outbound>,
    /// When a claim or outcomes were last committed.
    committed_at: Instant,
    /// Outcomes on their way to the outbox; at most [`super::settle::UNSETTLED_MAX`], and those of requests that end
    /// meanwhile.
    settling: JoinSet<bool>,
    /// How many outcomes each of these carries.
    unsettled: HashMap<Id, usize>,
    /// The key question; at most one.
    question: JoinSet<KeyVerdict>,
    /// As which incarnation it sends; `None` while it may not: others may soon send, or send already, what it had claimed.
    incarnation: Option<i64>,
    /// How many claims in a row found nothing.
    empty_claims: u32,
    /// Something may be due that was not when we last looked.
    may_be_due: bool,
    /// When the next one is due, as far as we know.
    due: Option<Due>,
    clock: ClockWatch,
    polled: Instant,
    /// When it was last at work.
    worked_at: Instant,
    /// Hears of other processes' commits while it is at rest.
    touch: Touch,
}

impl Dispatcher {
    /// A dispatcher that has looked at nothing yet but the gate's memory.
    pub async fn new(mut context: Links) -> Result<Self, StartError> {
        let config = context.config.borrow_and_update().clone();
        let key = context.key.borrow_and_update().clone();
        let client = Arc::new(Client::new(&config.api, &key)?);
        context.meters.set_api(&config.api);
        context
            .outbox
            .sends_by(&key_scope(&config.api, &key), config.auth.requeue);
        pulse::recall(&context.outbox, &context.meters).await;
        let keeper = Gatekeeper::recall(
            context.outbox.clone(),
            Arc::clone(&context.meters),
            &config,
            clock::now(),
        )
        .await?;
        Ok(Self {
            keeper,
            pacer: Pacer::new(config.delivery.max_per_second),
            rng: fastrand::Rng::with_seed(context.seed),
            requests: JoinSet::new(),
            in_flight: HashMap::new(),
            ahead: Ahead::default(),
            gathered: Vec::new(),
            committed_at: Instant::now(),
            settling: JoinSet::new(),
            unsettled: HashMap::new(),
            question: JoinSet::new(),
            incarnation: None,
            empty_claims: 0,
            may_be_due: true,
            due: None,
            clock: ClockWatch::new(clock::now(), Instant::now()),
            polled: Instant::now(),
            worked_at: Instant::now(),
            touch: context.outbox.touch(),
            equipment: Equipment {
                outbox: context.outbox.clone(),
                config,
                client,
                hindrances: Arc::clone(context.meters.hindrances()),
            },
            context,
        })
    }

    /// Something was taken in.
    pub fn query_again(&mut self) {
        self.may_be_due = true;
    }

    /// Does what can be done now, without waiting for anything but the outbox.
    pub async fn step(&mut self) -> Step {
        self.context.progress.fetch_add(1, Ordering::Relaxed);
        if *self.context.shutdown.borrow() {
            return Step::Closed;
        }
        let now = clock::now();
        self.watch_clock(now);
        if let Err(step) = self.take_notice(now).await {
            return step;
        }
        self.collect();
        if !self.holds_its_tenure() {
            self.store_all();
            return Step::Idle {
                until: Some(now.plus(POLL)),
            };
        }
        self.keeper.save(now).await;
        self.store_gathered(now);
        if let Some(rest) = self.keeper.rests(Instant::now()) {
            return Step::Idle {
                until: Some(now.plus(rest)),
            };
        }
        let allowance = self.keeper.allowance(now);
        self.give_back(&allowance);
        match allowance {
            Allowance::Nothing { until } => Step::Idle { until },
            Allowance::Question => {
                self.keeper.note(Input::Asked, now);
                self.question.spawn(probe::ask(Arc::clone(&self.equipment.client)));
                Step::Idle { until: None }
            }
            Allowance::Opening => self.open(now).await,
            Allowance::One(purpose) => self.send_one(purpose, now).await,
            Allowance::All => self.send_due(u32::MAX, now).await,
            Allowance::UpTo(limit) => self.send_due(limit, now).await,
        }
    }

    /// When the next one is due, by the clock as it was when that was learned.
    fn due_at(&self) -> Option<Timestamp> {
        self.due.map(|due| due.at)
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.due.is_some_and(|due| due.has_come(now, Instant::now()))
    }

    /// A clock that was set makes what is remembered of due times untrue: the outbox is asked again, which clamps what
    /// lies too far ahead.
    fn watch_clock(&mut self, now: Timestamp) {
        let Some(set) = self.clock.compare(now, Instant::now()) else {
            return;
        };
        self.may_be_due = true;
        self.context.outbox.leapt(self.clock.leap());
        events::warning(
            &set.to_string(),
            "nothing waits longer for it, and no result is given up earlier",
        );
    }

    /// Waits until a step may have something to do: `until`, an arrival, the end of a request, a settlement, an answer,
    /// the next poll, the end.
    pub async fn wait(&mut self, arrived: Pin<&mut Notified<'_>>, until: Option<Timestamp>) {
        let longest = self.longest_wait();
        let mut pause = until.map_or(longest, |until| until.since(clock::now()).min(longest));
        if !self.gathered.is_empty() {
            pause = pause.min(GATHER);
        }
        tokio::select! {
            () = arrived => self.may_be_due = true,
            Some(ended) = self.requests.join_next_with_id() => self.ended(ended),
            Some(stored) = self.settling.join_next_with_id() => self.settled(stored),
            Some(brought) = self.ahead.join() => self.brought(brought),
            Some(answer) = self.question.join_next() => self.answered(answer),
            () = asked_to_end(&mut self.context.shutdown) => {}
            () = reloaded(self.context.config.clone(), self.context.key.clone()) => {}
            () = self.touch.heard() => self.ask_next(),
            () = sleep(pause) => {}
        }
    }

    /// How long until it is asked again whether others wrote: at rest that is heard.
    fn longest_wait(&mut self) -> Duration {
        let is_at_work = !self.requests.is_empty()
            || !self.gathered.is_empty()
            || !self.ahead.is_empty()
            || !self.settling.is_empty();
        if is_at_work {
            self.worked_at = Instant::now();
            self.touch.rest();
        }
        let was_listening = self.touch.is_listening();
        if self.worked_at.elapsed() < AT_REST_AFTER || !self.touch.listen() {
            return POLL.saturating_sub(self.polled.elapsed()).min(self.context.turn_max);
        }
        if !was_listening {
            // What was written before it listened is asked for once.
            self.ask_next();
            return Duration::ZERO;
        }
        self.context.turn_max
    }

    /// The next step asks whether others wrote.
    fn ask_next(&mut self) {
        self.polled = self.polled.checked_sub(POLL).unwrap_or(self.polled);
    }

    /// The end: lets what is in flight finish, and stores what is in, all within `delivery.shutdown_timeout`, whoever
    /// holds the outbox.
    pub async fn finish(&mut self) {
        let allowed = self.equipment.config.delivery.shutdown_timeout;
        let end = Instant::now() + allowed;
        let deadline = end - (allowed / STORE_SHARE).min(STORE_SHARE_MAX);
        self.give_all_back();
        while !self.requests.is_empty() || !self.ahead.is_empty() {
            self.store_all();
            tokio::select! {
                Some(ended) = self.requests.join_next_with_id() => self.ended(ended),
                Some(brought) = self.ahead.join() => {
                    self.brought(brought);
                    self.give_all_back();
                }
                Some(stored) = self.settling.join_next_with_id() => self.settled(stored),
                () = sleep_until(deadline) => break,
            }
        }
        // What is still on the wire stays `sending`: whether it arrived is not known.
        self.requests.shutdown().await;
        self.in_flight.clear();
        self.store_all();
        self.context.meters.set_in_flight(0);
        self.keeper.save(clock::now()).await;
        while !self.settling.is_empty() {
            tokio::select! {
                Some(stored) = self.settling.join_next_with_id() => self.settled(stored),
                () = sleep_until(end) => {
                    let left = format!("{} outcomes could not be stored before the end; they will be sent again", self.unsettled());
                    events::internal_error("settle", &left);
                    break;
                }
            }
        }
    }
}

/// Which key's gate is remembered: 16 hexadecimal digits of a hash of it and of where it is shown. Daemons that share an
/// outbox may have keys of different age.
pub fn key_scope(api: &Api, key: &ApiKey) -> String {
    let digest = Digest::of(format!("{}\n{}", api.submit_url, key.reveal()).as_bytes());
    hexadecimal(&digest.0[..8])
}

/// Waits for another configuration or key; for ever where none can come any more.
async fn reloaded(mut config: watch::Receiver<Arc<Config>>, mut key: watch::Receiver<Arc<ApiKey>>) {
    // Of these two, which are clones, it is no news any more; of those that are asked next it is.
    tokio::select! {
        Ok(()) = config.changed() => {}
        Ok(()) = key.changed() => {}
        else => std::future::pending().await,
    }
}

/// Waits for the end; for ever where nobody can call it any more.
async fn asked_to_end(shutdown: &mut watch::Receiver<bool>) {
    if shutdown.wait_for(|end| *end).await.is_err() {
        std::future::pending::<()>().await;
    }
}
