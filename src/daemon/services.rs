//! Everything that runs, wired together: the outbox, intake, delivery, and those who look after them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::api::Client;
use crate::clock::Timestamp;
use crate::config::{ApiKey, Config, KeyPlace};
use crate::policy::hint;
use crate::store::{Outbox, Role, Tally};
use crate::telemetry::events;
use crate::telemetry::systemd::Notifier;
use crate::{delivery, intake};

use super::bookkeeping;
use super::held_key::{self, HeldKey};
use super::housekeeping;
use super::minutes::Minutes;
use super::nodes;
use super::reporter::Reporter;
use super::tasks::{TaskEnded, Tasks};
use super::watchdog::{LOOKS, Watched};

/// What the services may take beyond `delivery.shutdown_timeout`, which delivery keeps by itself: so much that none is
/// ended a moment too early.
const SERVICES_GRACE: Duration = Duration::from_secs(1);

/// How long the outbox may take to close, where the services have left less of `delivery.shutdown_timeout`. What was
/// not written then is recovered at the next start.
const CLOSE_MIN: Duration = Duration::from_secs(2);

/// How long the last look at the queue may take; it is for the log alone.
const TALLY_MAX: Duration = Duration::from_secs(1);

/// What the services are built from.
#[derive(Debug)]
pub struct Setup {
    /// In force from the start.
    pub config: Config,
    pub key: ApiKey,
    /// Where it was found.
    pub key_place: KeyPlace,
    /// Of the one generator of jitter, so that a run can be told again.
    pub seed: u64,
    /// Who is told the state of the queue.
    pub notifier: Arc<Notifier>,
}

/// The running services. Dropping it ends them where they are, as a crash would; [`Services::stop`] ends them in order.
#[derive(Debug)]
pub struct Services {
    outbox: Outbox,
    config: watch::Sender<Arc<Config>>,
    key: watch::Sender<Arc<ApiKey>>,
    held_key: watch::Sender<HeldKey>,
    shutdown: watch::Sender<bool>,
    tasks: Tasks,
    /// What the loops count up at each turn: of deliveries, of files and of rows.
    turns: [Arc<AtomicU64>; 3],
    /// From housekeeping when it ends: the last minute is written when everything else has ended.
    minutes: oneshot::Receiver<Minutes>,
}

impl Services {
    /// Opens the outbox (which recovers what a crash left) and the inbox, and starts everything. On an error nothing
    /// runs, and nothing was taken or sent.
    pub async fn open(setup: Setup, now: Timestamp) -> anyhow::Result<Self> {
        // First what needs no file of ours: a certificate that cannot be read must not leave a new database behind.
        Client::new(&setup.config.api, &setup.key)?;
        let outbox = Outbox::open(setup.config.outbox.address()?, Role::Daemon, now).await?;
        let hold = intake::prepare(&setup.config.inbox, setup.config.outbox.database.anchor()).await?;
        Ok(Self::start(outbox, hold, setup, now))
    }

    fn start(outbox: Outbox, hold: Option<intake::InboxLock>, setup: Setup, now: Timestamp) -> Self {
        let (config, config_seen) = watch::channel(Arc::new(setup.config));
        let (held_key, held_key_seen) = watch::channel(HeldKey::of(&setup.key, &setup.key_place, fastrand::u64(..)));
        let (key, key_seen) = watch::channel(Arc::new(setup.key));
        let (shutdown, shutdown_seen) = watch::channel(false);
        // The list of result types: delivery asks for it (it has the key), intake goes by it.
        let (result_types, result_types_seen) = watch::channel(None);
        let unknown_code = Arc::new(Notify::new());
        let arrivals = Arc::new(Notify::new());
        let meters = Arc::new(delivery::Meters::default());
        let turns: [Arc<AtomicU64>; 3] = Default::default();
        let [delivery_turns, file_turns, row_turns] = turns.clone();
        let turn_max = turn_max(&setup.notifier);
        let mut tasks = Tasks::default();
        tasks.spawn(
            "delivery",
            delivery::run(delivery::Links {
                outbox: outbox.clone(),
                config: config_seen.clone(),
                key: key_seen,
                arrivals: Arc::clone(&arrivals),
                shutdown: shutdown_seen.clone(),
                meters: Arc::clone(&meters),
                seed: setup.seed,
                result_types,
                unknown_code: Arc::clone(&unknown_code),
                progress: delivery_turns,
                turn_max,
            }),
        );
        let taking = intake::IntakeContext {
            outbox: outbox.clone(),
            config: config_seen.clone(),
            result_types: result_types_seen,
            unknown_code,
            arrivals: Arc::clone(&arrivals),
            shutdown: shutdown_seen.clone(),
            progress: file_turns,
            rows_progress: row_turns,
            turn_max,
            hindrances: Arc::clone(meters.hindrances()),
            counters: Arc::clone(meters.counters()),
        };
        tasks.spawn("intake", async {
            Box::pin(intake::run(taking, hold)).await;
            anyhow::Ok(())
        });
        tasks.spawn(
            "key",
            held_key::run(outbox.clone(), held_key_seen, shutdown_seen.clone()),
        );
        tasks.spawn(
            "bookkeeping",
            bookkeeping::run(outbox.clone(), arrivals, shutdown_seen.clone()),
        );
        tasks.spawn("nodes", nodes::run(outbox.clone(), shutdown_seen.clone()));
        let (end, minutes_end) = oneshot::channel();
        let minutes = Minutes::new(outbox.clone(), Arc::clone(&meters), now);
        tasks.spawn(
            "housekeeping",
            housekeeping::run(
                (minutes, end),
                outbox.clone(),
                config_seen.clone(),
                shutdown_seen.clone(),
            ),
        );
        let reporter = Reporter::new(outbox.clone(), config_seen, meters, setup.notifier);
        tasks.spawn("reporter", reporter.run(shutdown_seen));
        Self {
            outbox,
            config,
            key,
            held_key,
            shutdown,
            tasks,
            turns,
            minutes: minutes_end,
        }
    }

    /// How many were in flight when the last daemon ended, and are pending again.
    pub fn recovered(&self) -> u64 {
        self.outbox.recovered()
    }

    /// What is in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
    }

    /// Brings a configuration into force. A closed gate asks at once, also when nothing in it changed.
    pub(super) fn set_config(&self, config: Config) {
        self.config.send_replace(Arc::new(config));
    }

    /// Brings a key into force, where it is another one: whether it was.
    pub(super) fn set_key(&self, key: ApiKey, place: &KeyPlace) -> bool {
        self.held_key.send_replace(HeldKey::of(&key, place, fastrand::u64(..)));
        self.key.send_if_modified(|known| {
            let changed = **known != key;
            if changed {
                *known = Arc::new(key);
            }
            changed
        })
    }

    /// Waits for a service that ends though nobody asked: the daemon cannot go on.
    pub async fn ended(&mut self) -> TaskEnded {
        self.tasks.next().await
    }

    /// The outbox that they share.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// The loops without which the daemon would be dead, for the watchdog.
    pub(super) fn watched(&self) -> Vec<Watched> {
        let [delivery, files, rows] = &self.turns;
        vec![
            Watched::new("delivery", delivery),
            Watched::new("intake of files", files),
            Watched::new("intake of rows", rows),
        ]
    }

    /// Ends everything in order: intake takes nothing in any more, requests in flight finish within
    /// `delivery.shutdown_timeout` and their outcomes are stored, then the outbox is closed. All of it takes that long
    /// at most, whoever holds a lock, and nearly no time where nothing is in flight. Returns the state of the queue;
    /// `None` where the outbox could not say.
    pub async fn stop(mut self) -> Option<Tally> {
        let allowed = self.config.borrow().delivery.shutdown_timeout;
        let end = Instant::now() + allowed;
        self.shutdown.send_replace(true);
        self.outbox.hurry();
        for service in self.tasks.finish(allowed + SERVICES_GRACE).await {
            events::warning(
                &format!("{service} did not end in time and was ended where it stood"),
                hint::RESUMED,
            );
        }
        let closing = async {
            // Gone where housekeeping did not end by itself.
            if let Ok(minutes) = self.minutes.await {
                minutes.close().await;
            }
            let tally = timeout(TALLY_MAX, self.outbox.tally()).await;
            self.outbox.close().await;
            tally
        };
        let trouble = match timeout_at(end.max(Instant::now() + CLOSE_MIN), closing).await {
            Ok(Ok(Ok(tally))) => return Some(tally),
            Ok(Err(_)) => return None,
            Ok(Ok(Err(error))) => error.to_string(),
            Err(_) => "the outbox did not close in time".to_owned(),
        };
        let hint = "nothing is lost: the next start recovers what was not written";
        events::storage_error("close", &trouble, hint);
        None
    }
}

/// How often the loops turn when there is nothing to do: as often as whoever watches looks at them, since one that has
/// not turned is dead to it.
fn turn_max(notifier: &Notifier) -> Duration {
    notifier
        .watchdog_interval()
        .map_or(intake::TURN_MAX, |expected| (expected / LOOKS).min(intake::TURN_MAX))
}
