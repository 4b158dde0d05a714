//! The process of `run`: from the first line of the log to the exit.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::clock;
use crate::config::{Config, Loaded};
use crate::model::StateName;
use crate::policy::hint;
use crate::store::Tally;
use crate::telemetry::systemd::Notifier;
use crate::telemetry::{self, Telemetry, events};

use super::held_key::renewed_by;
use super::key::KeyFile;
use super::reload::Source;
use super::services::{Services, Setup};
use super::signals::{SignalRequest, Signals};
use super::watchdog::{self, Watchdog};

/// How often the key's files are looked at: one `stat` each. A new key is in force that soon.
const KEY_LOOK: Duration = Duration::from_secs(2);

/// What is said then.
const OUTGROWN: &str = "it ends now, after what is in flight, and the other daemons go on; install the newer program on \
                        this host, and start it";

/// What `run` begins with.
pub struct Start {
    /// The configuration, already checked.
    pub loaded: Loaded,
    /// How to load it again.
    pub source: Source,
    /// Of the one generator of jitter; told in `started`.
    pub seed: u64,
}

/// Runs the daemon until a signal ends it. Errors keep their types in the chain, so that the caller finds the exit
/// code: a key ([`crate::config::KeyError`]), an outbox ([`crate::store::OpenError`]) or an inbox that cannot be used,
/// a service that ended ([`super::TaskEnded`]).
pub async fn run(start: Start) -> anyhow::Result<()> {
    // Dropped last, after the last line.
    let telemetry = telemetry::init(&start.loaded.config.log)?;
    let notifier = Arc::new(Notifier::from_env());
    let mut signals = Signals::listen()?;
    for warning in &start.loaded.warnings {
        events::warning(
            &warning.to_string(),
            "`reten-outbox check-config` shows what is in force",
        );
    }
    let opened = tokio::select! {
        opened = Daemon::open(start, Arc::clone(&notifier), &telemetry) => opened,
        // While a large database is being checked nothing was taken or sent yet: it can be left where it is.
        signal = signals.stop() => {
            events::stopping(signal);
            return Ok(());
        }
        () = watchdog::while_opening(&notifier) => return Ok(()),
    };
    let mut daemon = opened.inspect_err(|error| notifier.status(&format!("cannot start: {error:#}")))?;
    let failure = daemon.watch(&mut signals).await;
    let notifier = Arc::clone(&daemon.notifier);
    tokio::select! {
        () = daemon.stop() => {}
        () = watchdog::while_stopping(&notifier) => {}
        signal = signals.stop() => events::warning(
            &format!("{signal} while stopping: ended at once"),
            hint::RESUMED,
        ),
    }
    failure
}

struct Daemon<'a> {
    services: Services,
    source: Source,
    key_file: KeyFile,
    notifier: Arc<Notifier>,
    telemetry: &'a Telemetry,
}

impl<'a> Daemon<'a> {
    async fn open(start: Start, notifier: Arc<Notifier>, telemetry: &'a Telemetry) -> anyhow::Result<Self> {
        let Start { loaded, source, seed } = start;
        let (key_file, key) = KeyFile::load(&loaded.config.api.key_file, &source.environment)?;
        let setup = Setup {
            config: loaded.config,
            key,
            key_place: key_file.place().clone(),
            seed,
            notifier: Arc::clone(&notifier),
        };
        let services = Services::open(setup, clock::now()).await?;
        let from = loaded
            .path
            .map_or_else(|| "the built-in defaults".to_owned(), |path| path.display().to_string());
        log_started(&services, &from, seed);
        notifier.ready();
        Ok(Self {
            services,
            source,
            key_file,
            notifier,
            telemetry,
        })
    }

    /// Goes on until a signal asks for the end (`Ok`), a service ends by itself, or another host's newer program has moved
    /// the outbox's tables beyond this one (`Err`).
    async fn watch(&mut self, signals: &mut Signals) -> anyhow::Result<()> {
        let mut key_look = every(KEY_LOOK);
        let outbox = self.services.outbox();
        let mut outgrown = pin!(outbox.outgrown());
        let mut watchdog = Watchdog::new(Arc::clone(&self.notifier), self.services.watched());
        loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    SignalRequest::Stop(signal) => {
                        events::stopping(signal);
                        return Ok(());
                    }
                    SignalRequest::Reload => self.reload(),
                },
                ended = self.services.ended() => {
                    events::internal_error(ended.service, &ended.to_string());
                    return Err(ended.into());
                }
                why = &mut outgrown => {
                    events::storage_error("schema", &why.to_string(), OUTGROWN);
                    return Err(why.into());
                }
                _ = key_look.tick() => self.check_key(),
                () = watchdog.turn() => {}
            }
        }
    }

    /// SIGHUP: all of it, or the old one stays.
    fn reload(&mut self) {
        self.notifier.reloading();
        match self.source.reload(&self.services.config()) {
            Ok((loaded, key, key_file)) => {
                self.telemetry.apply(&loaded.config.log);
                self.key_file = key_file;
                let key = if self.services.set_key(key, self.key_file.place()) {
                    "a new API key"
                } else {
                    "the same API key"
                };
                self.services.set_config(loaded.config);
                events::reloaded(&format!("configuration, and {key} from {}", self.key_file.place()));
            }
            Err(error) => events::reload_failed(&error.to_string(), error.hint()),
        }
        self.notifier.ready();
    }

    /// A changed key file is read at once. One that is wrong or gone changes nothing: the old key stays.
    fn check_key(&mut self) {
        if !self.key_file.changed() {
            return;
        }
        match KeyFile::load(&self.services.config().api.key_file, &self.source.environment) {
            Ok((key_file, key)) => {
                self.key_file = key_file;
                if self.services.set_key(key, self.key_file.place()) {
                    events::reloaded(&format!("a new API key from {}", self.key_file.place()));
                } else if let Some(command) = renewed_by(self.key_file.place()) {
                    self.log_unheeded(&command);
                }
            }
            Err(error) => events::reload_failed(
                &error.to_string(),
                "the old key stays in force; every change of the key file is looked at",
            ),
        }
    }

    /// `api.key_file` changed, and the key came from elsewhere: who changed it believes that it is in force.
    fn log_unheeded(&self, command: &str) {
        let config = self.services.config();
        events::warning(
            &format!(
                "{} changed, but the key in force is the one of this start, from {}",
                config.api.key_file.display(),
                self.key_file.place()
            ),
            &format!("a new key comes into force with `{command}`"),
        );
    }

    /// Ends everything in order, and says what is left.
    async fn stop(self) {
        self.notifier.stopping();
        let tally = self.services.stop().await;
        let left = |state| tally.as_ref().map(|tally: &Tally| tally.count(state));
        events::stopped(left(StateName::Pending), left(StateName::Dead), left(StateName::Parked));
    }
}

fn log_started(services: &Services, from: &str, seed: u64) {
    let config: Arc<Config> = services.config();
    events::started(
        env!("CARGO_PKG_VERSION"),
        from,
        config.api.submit_url.as_str(),
        &config.outbox.database.to_string(),
        &config.inbox.dir,
        &config.inbox.database,
        services.recovered(),
        seed,
    );
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
