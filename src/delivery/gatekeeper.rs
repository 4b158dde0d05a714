//! The gate with its memory: what is stored of it, what an operator does to it from another process, and what the log
//! hears.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::config::Config;
use crate::model::Ending;
use crate::policy::gate::{
    ASK, Allowance, Dispatch, GATE, Gate, GateName, GateRecord, GateSettings, Input, PAUSE, PAUSE_IN_FORCE,
    PauseRecord, Purpose, Reaction, Why,
};
use crate::policy::verdict::Signal;
use crate::store::{Claimed, Outbox, StoreError};
use crate::telemetry::events;

use super::attempt::EndedAttempt;
use super::fairness::Fairness;
use super::meters::Meters;
use super::probe::Trials;
use super::store_retry::StoreRetry;

/// The longest gap while a first one is looked for: an API that is back is noticed within a minute.
const GAP_MAX: Duration = Duration::from_mins(1);

/// Owner of the gate.
#[derive(Debug)]
pub(super) struct Gatekeeper {
    outbox: Outbox,
    meters: Arc<Meters>,
    gate: Gate,
    settings: GateSettings,
    /// What is remembered of a gate that a refused key has closed: stored with what it refused.
    closed: Option<GateRecord>,
    /// What is to be remembered and is not stored yet.
    unsaved: Option<GateRecord>,
    /// When the gate came into the state that this daemon last stored or took over (milliseconds since 1970).
    since: i64,
    /// Another process has written since its acts were last looked at. True until a look succeeds: the notice of it
    /// comes only once.
    unread_acts: bool,
    /// The pause that is in force, as it is remembered, and what is stored of that.
    pause: Option<String>,
    stored_pause: Option<String>,
    /// What `resume` asked for and is in force here; forgotten once the state that it led to is stored.
    heeded: Option<String>,
    pub(super) fairness: Fairness,
    pub(super) trials: Trials,
    retry: StoreRetry,
    /// After a failure of the outbox: not before this.
    rest_until: Option<Instant>,
}

impl Gatekeeper {
    /// The gate as it was left.
    pub(super) async fn recall(
        outbox: Outbox,
        meters: Arc<Meters>,
        config: &Config,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let record: Option<GateRecord> = read(GATE, outbox.recall(GATE).await?.as_deref());
        let pause = outbox.recall(PAUSE).await?;
        let stored_pause = outbox.recall(PAUSE_IN_FORCE).await?;
        let asked = outbox.recall(ASK).await?;
        let gate = Gate::restore(record.as_ref(), read(PAUSE, pause.as_deref()), now);
        let restored = record
            .as_ref()
            .is_some_and(|record| record.state == gate.name_beneath());
        let why = record.as_ref().map_or("", |record| record.why.as_str());
        meters.set_gate(gate.name(), why, now);
        let retry = StoreRetry::new(meters.hindrances());
        let unsaved = record.is_some() && !restored;
        let since = record.as_ref().map_or(0, |record| record.since);
        let mut keeper = Self {
            outbox,
            meters,
            settings: settings(config),
            closed: record.filter(|record| record.state == GateName::Unauthorized),
            // A throttled one begins anew.
            unsaved: unsaved.then(|| Gate::started_record(now)),
            since,
            unread_acts: false,
            pause,
            stored_pause,
            heeded: None,
            gate,
            fairness: Fairness::default(),
            trials: Trials::default(),
            retry,
            rest_until: None,
        };
        // What an operator asked for while no daemon ran: a start asks by itself, but only an operator's word opens a
        // blown fuse.
        keeper.heed(asked, now);
        Ok(keeper)
    }

    /// What may be sent now; nothing while the outbox is left alone after a failure.
    pub(super) fn allowance(&self, now: Timestamp) -> Allowance {
        self.gate.allowance(now, &self.settings)
    }

    /// A submission leaves for this purpose.
    pub(super) fn sent(&mut self, purpose: Purpose, now: Timestamp) -> Dispatch {
        self.note(Input::Sent(purpose), now);
        self.gate.dispatch(purpose)
    }

    /// An input that asks for nothing but a line in the log.
    pub(super) fn note(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::KeyChanged | Input::AskNow | Input::Insisted | Input::Resumed | Input::Opened => {
                self.trials.begin_anew();
            }
            Input::Sent(_)
            | Input::Asked
            | Input::Ended(_)
            | Input::Answered(_)
            | Input::Paused(_)
            | Input::Adopted(_) => {}
        }
        let reaction = self.gate.step(input, now, &self.settings);
        self.carry_out(reaction, now);
    }

    /// An exchange ended: the gate hears of it, and decides what becomes of a refused submission.
    pub(super) fn ended(
        &mut self,
        claimed: &Claimed,
        dispatch: Dispatch,
        ended: &mut EndedAttempt,
        roll: f64,
        now: Timestamp,
    ) {
        if ended.verdict.signal == Signal::Rejected {
            // Should the fuse blow, others have their turn first.
            self.fairness.tried(claimed.source.clone().unwrap_or_default());
        }
        let refused_before = claimed.was_unauthorized || self.trials.was_refused(claimed.id);
        let input = Input::Ended(ended.for_gate(claimed, dispatch, refused_before, roll));
        let reaction = self.gate.step(input, now, &self.settings);
        let refused = reaction.refused;
        self.carry_out(reaction, now);
        let is_trial = matches!(dispatch.purpose, Purpose::Ask(Why::Key(_)));
        if refused == Some(Ending::Released) && is_trial && self.trials.refused(claimed.id) {
            ended.ending = Ending::unauthorized(true);
        } else if let Some(ending) = refused {
            ended.ending = ending;
        }
    }

    /// What is remembered of a gate that a refused key has closed: goes with the outcomes (see
    /// [`super::settle::keep`]).
    pub(super) fn closed_by_key(&self) -> Option<String> {
        serde_json::to_string(self.closed.as_ref()?).ok()
    }

    /// A reload: other intervals, and the question at once.
    pub(super) fn reloaded(&mut self, config: &Config, now: Timestamp) {
        self.settings = settings(config);
        self.note(Input::AskNow, now);
    }

    /// Opens it: what it dead-lettered goes back in the very transaction that records the opening, so that nothing of
    /// its activity overtakes it. A crash before leaves it closed, one after leaves it open; both find the submissions
    /// where they belong.
    pub(super) async fn open(&mut self, requeue: bool, now: Timestamp) {
        let record = Gate::opening_record(now);
        let Ok(text) = serde_json::to_string(&record) else {
            return;
        };
        match self.outbox.open_gate(GATE, text, requeue, now).await {
            Ok(count) => {
                self.works();
                self.closed = None;
                self.unsaved = None;
                self.since = record.since;
                self.note(Input::Opened, now);
                if count > 0 {
                    events::requeued(count, "the gate opened");
                }
            }
            Err(error) => self.rest("open_gate", &error),
        }
    }

    /// Another process has written: its acts are to be looked at.
    pub(super) const fn others_wrote(&mut self) {
        self.unread_acts = true;
    }

    /// What an operator did from another process: `pause`, `resume`. A look that fails is repeated after the rest that
    /// it costs; nothing is sent before.
    pub(super) async fn read_acts(&mut self, now: Timestamp) {
        if !self.unread_acts {
            return;
        }
        let looked = async {
            let gate = if self.outbox.is_shared() {
                self.outbox.recall(GATE).await?
            } else {
                None
            };
            Ok((gate, self.outbox.recall(PAUSE).await?, self.outbox.recall(ASK).await?))
        };
        match looked.await {
            Ok((gate, pause, asked)) => {
                self.unread_acts = false;
                self.adopt(gate.as_deref(), now);
                self.go_by_pause(pause, now);
                self.heed(asked, now);
            }
            Err(error) => self.rest("recall", &error),
        }
    }

    /// Goes by what another daemon with our key has stored since. What we have not stored yet goes before it.
    fn adopt(&mut self, stored: Option<&str>, now: Timestamp) {
        let Some(record) = read::<GateRecord>(GATE, stored).filter(|record| record.since > self.since) else {
            return;
        };
        if self.unsaved.is_some() {
            return;
        }
        self.since = record.since;
        self.closed = Some(record.clone()).filter(|record| record.state == GateName::Unauthorized);
        self.note(Input::Adopted(record), now);
    }

    fn go_by_pause(&mut self, pause: Option<String>, now: Timestamp) {
        if pause == self.pause {
            return;
        }
        let paused: Option<PauseRecord> = read(PAUSE, pause.as_deref());
        match (self.gate.pause(), paused) {
            (_, Some(pause)) => self.note(Input::Paused(pause), now),
            (Some(_), None) => self.note(Input::Resumed, now),
            (None, None) => {}
        }
        self.pause = pause;
    }

    /// Does what `resume` asked for, once.
    fn heed(&mut self, asked: Option<String>, now: Timestamp) {
        if asked.is_some() && asked != self.heeded {
            self.note(Input::Insisted, now);
            self.heeded = asked;
        }
    }

    /// Stores what has changed of the gate, and then forgets the word that led to it. A crash before the first restarts
    /// with the state before, which finds out the same again; one between them heeds the word once more.
    pub(super) async fn save(&mut self, now: Timestamp) {
        if self.unsaved.is_none() && self.heeded.is_none() && self.pause == self.stored_pause {
            return;
        }
        match self.store(now).await {
            Ok(()) => {
                self.unsaved = None;
                self.heeded = None;
                self.stored_pause.clone_from(&self.pause);
                self.works();
            }
            Err(error) => self.rest("remember", &error),
        }
    }

    async fn store(&self, now: Timestamp) -> Result<(), StoreError> {
        if let Some(text) = self
            .unsaved
            .as_ref()
            .and_then(|record| serde_json::to_string(record).ok())
        {
            self.outbox.remember(GATE, Some(text), now).await?;
        }
        if self.pause != self.stored_pause {
            self.outbox.remember(PAUSE_IN_FORCE, self.pause.clone(), now).await?;
        }
        // Another word may have come meanwhile, which is still to be heeded.
        if self.heeded.is_some() && self.outbox.recall(ASK).await? == self.heeded {
            self.outbox.remember(ASK, None, now).await?;
        }
        Ok(())
    }

    /// The longest gap between two probes.
    pub(super) const fn gap_max(&self) -> Duration {
        self.settings.gap_max
    }

    /// When the outbox may be bothered again; `None`: at once.
    pub(super) fn rests(&self, now: Instant) -> Option<Duration> {
        self.rest_until
            .map(|until| until.saturating_duration_since(now))
            .filter(|rest| !rest.is_zero())
    }

    /// The outbox failed: it is left alone for a while.
    pub(super) fn rest(&mut self, operation: &'static str, error: &StoreError) {
        let now = Instant::now();
        self.rest_until = Some(now + self.retry.failed(operation, error, now));
    }

    pub(super) fn works(&mut self) {
        self.retry.worked();
        self.rest_until = None;
    }

    /// The outbox can be read.
    pub(super) fn has_read(&mut self) {
        self.retry.has_read();
    }

    fn carry_out(&mut self, reaction: Reaction, now: Timestamp) {
        if let Some(record) = reaction.remember {
            // A refused key's goes with the outcomes that it is due to.
            let is_by_key = record.state == GateName::Unauthorized;
            self.since = record.since;
            (self.closed, self.unsaved) = if is_by_key {
                (Some(record), None)
            } else {
                (None, Some(record))
            };
        }
        if let Some(change) = reaction.announce {
            events::gate(change.from, change.to, &change.why, change.hint.as_deref());
            self.meters.set_gate(change.to, &change.why, now);
        }
    }
}

fn settings(config: &Config) -> GateSettings {
    GateSettings {
        probe_interval: config.auth.probe_interval,
        gap_min: config.retry.initial_interval,
        gap_max: config.retry.max_interval.min(GAP_MAX),
        max_in_flight: config.delivery.max_in_flight,
        reject_fuse: config.delivery.reject_fuse,
        hold_max: config.retry.max_interval,
    }
}

/// A remembered value. One that cannot be read (another version wrote it) counts as absent, with a warning.
fn read<T: DeserializeOwned>(name: &str, text: Option<&str>) -> Option<T> {
    match serde_json::from_str(text?) {
        Ok(value) => Some(value),
        Err(error) => {
            events::warning(
                &format!("what is remembered as `{name}` cannot be read: {error}"),
                "it counts as absent",
            );
            None
        }
    }
}
