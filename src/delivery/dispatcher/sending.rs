//! What goes out: the gate's allowance turned into claims, and claims into requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clock::{self, Timestamp};
use crate::policy::gate::{Allowance, Purpose, Why};
use crate::store::{ClaimOrder, ClaimRequest, Claimed, StoreError, Tenure};

use super::super::attempt::{self, EndedAttempt, Equipment};
use super::super::fairness::Candidate;
use super::super::settle::{Outbound, UNSETTLED_MAX};
use super::clock_watch::Due;
use super::{Dispatcher, POLL, Step, WAIT_MIN};

/// The first wait for what is due and other daemons hold.
const EMPTY_WAIT: Duration = Duration::from_millis(20);

impl Dispatcher {
    pub(super) async fn open(&mut self, now: Timestamp) -> Step {
        if !self.settling.is_empty() || !self.gathered.is_empty() || !self.ahead.is_empty() {
            // What it dead-lettered is still on its way to the outbox, and has to be there to be requeued.
            return Step::Idle { until: None };
        }
        self.keeper.open(self.equipment.config.auth.requeue, now).await;
        self.may_be_due = true;
        Step::Idle { until: Some(now) }
    }

    /// One submission, to go first or to find something out.
    pub(super) async fn send_one(&mut self, purpose: Purpose, now: Timestamp) -> Step {
        let waits_for_due = match purpose {
            Purpose::First | Purpose::Ask(Why::Key(_)) | Purpose::Due => !self.is_due(now),
            // Anything that is pending will do, due or not.
            Purpose::Ask(Why::Outage | Why::Fuse) => self.due.is_none(),
        };
        if !self.may_be_due && waits_for_due {
            return Step::Idle { until: self.due_at() };
        }
        if self.room(u32::MAX) == 0 {
            return self.idle_for_pace(now);
        }
        match purpose {
            Purpose::Ask(Why::Key(_)) => self.send_trial(purpose, now).await,
            Purpose::Ask(Why::Fuse) => self.send_sample(now).await,
            Purpose::First => self.send_first(ClaimOrder::Lead, purpose, now).await,
            Purpose::Due | Purpose::Ask(Why::Outage) => self.send_first(ClaimOrder::LeastTried, purpose, now).await,
        }
    }

    async fn send_first(&mut self, order: ClaimOrder, purpose: Purpose, now: Timestamp) -> Step {
        match self.claim(1, order, now).await {
            Ok(mut claimed) => match claimed.pop() {
                Some(one) => self.send_alone(one, purpose, now),
                None => self
                    .learn_next_due(now)
                    .await
                    .err()
                    .unwrap_or(Step::Idle { until: self.due_at() }),
            },
            Err(step) => step,
        }
    }

    /// One submission that finds out whether results are taken again, of the producer whose turn is longest ago.
    pub(super) async fn send_sample(&mut self, now: Timestamp) -> Step {
        match self.keeper.fairness.search(&self.context.outbox).await {
            Ok(Candidate::Found(id, source)) => {
                let purpose = Purpose::Ask(Why::Fuse);
                let step = self.send_first(ClaimOrder::This(id), purpose, now).await;
                if matches!(step, Step::Sent(_)) {
                    self.keeper.fairness.tried(source);
                }
                step
            }
            // A step a stretch: between two of them a pause, the end and whatever has ended are noticed.
            Ok(Candidate::Further) => {
                self.may_be_due = true;
                Step::Idle { until: Some(now) }
            }
            Ok(Candidate::Nothing) => {
                self.may_be_due = false;
                self.learn_next_due(now)
                    .await
                    .err()
                    .unwrap_or(Step::Idle { until: self.due_at() })
            }
            Err(error) => self.troubled("find_sources", &error, now),
        }
    }

    fn send_alone(&mut self, one: Claimed, purpose: Purpose, now: Timestamp) -> Step {
        if self.keeper.allowance(now) != Allowance::One(purpose) {
            self.release(vec![one]);
            return Step::Idle { until: None };
        }
        self.launch(vec![one], purpose, now);
        Step::Sent(1)
    }

    /// One submission that finds out whether the key has its permission back.
    async fn send_trial(&mut self, purpose: Purpose, now: Timestamp) -> Step {
        if let Some(wait) = self.keeper.trials.quiet(Instant::now()) {
            return Step::Idle {
                until: Some(now.plus(wait)),
            };
        }
        // Without a requeue the dead ones wait for an operator, and nothing is overtaken.
        let order = self.keeper.trials.order(self.equipment.config.auth.requeue);
        match self.claim(1, order, now).await {
            Ok(mut claimed) => match claimed.pop() {
                Some(one) => self.send_alone(one, purpose, now),
                None => self.revive(now).await,
            },
            Err(step) => step,
        }
    }

    /// Nothing is pending that could go on trial: the oldest of the dead letters is put back. Without it a permission
    /// that was granted would stay unnoticed until something new is dropped in.
    async fn revive(&mut self, now: Timestamp) -> Step {
        if let Err(step) = self.learn_next_due(now).await {
            return step;
        }
        if self.due_at().is_some_and(|due| due <= now.plus(WAIT_MIN)) {
            // What is due would overtake a dead letter. To look again before something has changed would find the same.
            let interval = self.equipment.config.auth.probe_interval;
            self.keeper.trials.found_none(Instant::now(), interval);
        }
        if !self.equipment.config.auth.requeue {
            return Step::Idle { until: self.due_at() };
        }
        if let Some(wait) = self.keeper.trials.revive_wait(Instant::now()) {
            let then = now.plus(wait);
            self.due = Some(Due::learned(
                self.due_at().map_or(then, |due| due.min(then)),
                now,
                Instant::now(),
            ));
            return Step::Idle { until: self.due_at() };
        }
        match self.context.outbox.revive(self.keeper.trials.all_refused(), now).await {
            Ok(Some(id)) => {
                let interval = self.equipment.config.auth.probe_interval;
                self.keeper.trials.revived(id, Instant::now(), interval);
                self.may_be_due = true;
                Step::Idle { until: Some(now) }
            }
            Ok(None) => Step::Idle { until: self.due_at() },
            Err(error) => self.troubled("revive", &error, now),
        }
    }

    /// How many may be claimed now, while fewer than `limit` may be in flight.
    pub(super) fn room(&self, limit: u32) -> u32 {
        let slots =
            (self.equipment.config.delivery.max_in_flight.min(limit) as usize).saturating_sub(self.requests.len());
        let unsettled = UNSETTLED_MAX.saturating_sub(self.unsettled() + self.gathered.len());
        let room = u32::try_from(slots.min(unsettled)).unwrap_or(u32::MAX);
        room.min(self.pacer.ready(Instant::now()))
    }

    /// Outcomes on their way to the outbox.
    pub(super) fn unsettled(&self) -> usize {
        self.unsettled.values().sum()
    }

    pub(super) fn idle_for_pace(&self, now: Timestamp) -> Step {
        let wait = self.pacer.wait(Instant::now());
        Step::Idle {
            until: wait.map(|wait| now.plus(wait + WAIT_MIN)),
        }
    }

    /// Claims, and lets what is in flight end meanwhile. An error of the outbox becomes the step that waits for it.
    pub(super) async fn claim(&mut self, limit: u32, order: ClaimOrder, now: Timestamp) -> Result<Vec<Claimed>, Step> {
        // Before, not after: what is settled while we wait may make something due that this claim did not see.
        self.may_be_due = false;
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
                Some(ended) = self.requests.join_next_with_id() => self.ended(ended),
                Some(stored) = self.settling.join_next_with_id() => self.settled(stored),
                // The outbox may be locked by an operator's backup for a while: we wait, and are alive.
                () = sleep(POLL) => {
                    self.context.progress.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        claimed
            .inspect(|_| self.keeper.works())
            .map_err(|error| self.troubled("claim", &error, now))
    }

    /// Everything that was due is out: when the next one will be.
    pub(super) async fn learn_next_due(&mut self, now: Timestamp) -> Result<(), Step> {
        match self
            .context
            .outbox
            .next_due(self.equipment.config.retry.max_interval)
            .await
        {
            Ok(due) => {
                let earliest = now.plus(self.idle_after_nothing());
                self.due = due.map(|due| Due::learned(due.max(earliest), now, Instant::now()));
                Ok(())
            }
            Err(error) => Err(self.troubled("next_due", &error, now)),
        }
    }

    /// What is due although claims find nothing is other daemons': each further look waits longer for them.
    fn idle_after_nothing(&self) -> Duration {
        let doublings = self.empty_claims.saturating_sub(2).min(4);
        if self.empty_claims < 2 {
            WAIT_MIN
        } else {
            EMPTY_WAIT * 2_u32.pow(doublings)
        }
        .min(POLL)
    }

    /// Whether it may send, as the incarnation that it knows. Where it may not, or is another one now, what is in flight
    /// is given up, and what lies ready goes back: others may send both.
    pub(super) fn holds_its_tenure(&mut self) -> bool {
        let incarnation = match self.context.outbox.tenure() {
            Tenure::Held(incarnation) => Some(incarnation),
            Tenure::CutOff => None,
        };
        if incarnation != self.incarnation {
            if self.incarnation.is_some() {
                self.requests.abort_all();
                self.give_all_back();
                self.may_be_due = true;
            }
            self.incarnation = incarnation;
        }
        if incarnation.is_none() && !self.ahead.ready.is_empty() {
            self.give_all_back();
        }
        self.pacer.divide_among(self.context.outbox.sharers());
        let gate = self.context.meters.gate().unwrap_or_default();
        let in_flight = u32::try_from(self.requests.len()).unwrap_or(u32::MAX);
        self.context.outbox.tell(in_flight, gate.into());
        incarnation.is_some()
    }

    /// The outbox failed: the step that leaves it alone for a while.
    pub(super) fn troubled(&mut self, operation: &'static str, error: &StoreError, now: Timestamp) -> Step {
        self.may_be_due = true;
        match error {
            StoreError::Closed => Step::Closed,
            StoreError::Busy(_) | StoreError::Away(_) | StoreError::Full(_) | StoreError::Broken(_) => {
                self.keeper.rest(operation, error);
                let rest = self.keeper.rests(Instant::now()).unwrap_or_default();
                Step::Idle {
                    until: Some(now.plus(rest)),
                }
            }
        }
    }

    pub(super) fn launch(&mut self, claimed: Vec<Claimed>, purpose: Purpose, now: Timestamp) {
        self.pacer
            .departed(u32::try_from(claimed.len()).unwrap_or(u32::MAX), Instant::now());
        for one in claimed {
            if self.incarnation != Some(one.incarnation) {
                // An earlier one's of this daemon: it was taken over.
                continue;
            }
            let claimed = Arc::new(one);
            let dispatch = self.keeper.sent(purpose, now);
            let request = attempt::send(self.equipment.clone(), Arc::clone(&claimed), self.rng.f64());
            let id = if self.context.outbox.is_shared() {
                let equipment = self.equipment.clone();
                let held = while_held(equipment, Arc::clone(&claimed), request, self.rng.f64());
                self.requests.spawn(held).id()
            } else {
                self.requests.spawn(request).id()
            };
            self.in_flight.insert(id, (claimed, dispatch));
        }
        self.context.meters.set_in_flight(self.requests.len());
    }

    /// Gives back what was claimed and must not be sent now.
    pub(super) fn release(&mut self, claimed: Vec<Claimed>) {
        let now = clock::now();
        let unsent: Vec<Outbound> = claimed
            .into_iter()
            .map(|one| Outbound::unsent(Arc::new(one), now))
            .collect();
        if !unsent.is_empty() {
            self.settle(unsent);
        }
    }
}

/// The request, given up when this daemon is cut off from the outbox: whatever else waits for the outbox then, others are
/// about to send what it has in flight.
async fn while_held(
    equipment: Equipment,
    claimed: Arc<Claimed>,
    request: impl Future<Output = EndedAttempt>,
    roll: f64,
) -> EndedAttempt {
    tokio::select! {
        ended = request => ended,
        () = equipment.outbox.cut_off(claimed.incarnation) => {
            attempt::given_up(&equipment.config, &claimed, clock::now(), roll)
        }
    }
}
