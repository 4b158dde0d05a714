//! What the demo runs on: a temporary directory, the sandbox, and the very services that `run` starts, with a
//! configuration of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::clock;
use crate::config::{Config, Environment};
use crate::daemon::{KeyFile, Services, Setup, TaskEnded};
use crate::model::{Act, StateName};
use crate::sandbox::{self, Sandbox};
use crate::store::{ActRequest, Acted, Filter, Listed, Outbox, Role, Still};
use crate::telemetry::systemd::Notifier;

use super::samples;

/// How long anything may take before the demo says that it failed. All of it takes some seconds on a free machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether something has come about.
const LOOK: Duration = Duration::from_millis(15);

pub(super) struct DemoStage {
    dir: TempDir,
    sandbox: Sandbox,
    services: Services,
    /// Beside the daemon, as a command has it.
    outbox: Outbox,
}

impl DemoStage {
    /// Builds it all. On an error nothing is left behind.
    pub(super) async fn build() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("reten-outbox-demo-")
            .tempdir()
            .context("there is no place for a temporary directory")?;
        for name in ["inbox", "rows", "outbox"] {
            fs::create_dir(dir.path().join(name))?;
        }
        let sandbox = Sandbox::start(sandbox::Options {
            existing: vec![samples::TAKEN_ACTIVITY.to_owned()],
            unknown: vec![samples::UNKNOWN_COMMERCE.to_owned()],
            now: || clock::now().millis(),
            ..sandbox::Options::default()
        })
        .await
        .context("the simulated API cannot listen on 127.0.0.1")?;
        fs::write(dir.path().join("api-key"), sandbox::DEFAULT_API_KEY)?;
        fs::write(
            dir.path().join("config.toml"),
            settings(dir.path(), &sandbox.base_url()),
        )?;

        let config = Config::load(Some(&dir.path().join("config.toml")), &Environment::default())?.config;
        let (key_file, key) = KeyFile::load(&config.api.key_file, &Environment::default())?;
        let database = config.outbox.database.clone();
        let setup = Setup {
            config,
            key,
            key_place: key_file.place().clone(),
            seed: 1,
            notifier: Arc::new(Notifier::default()),
        };
        let services = Services::open(setup, clock::now()).await?;
        let outbox = Outbox::open(&database, Role::Tool, clock::now()).await?;
        Ok(Self {
            dir,
            sandbox,
            services,
            outbox,
        })
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub(super) fn config(&self) -> Arc<Config> {
        self.services.config()
    }

    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    pub(super) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Waits for a service that ends by itself.
    pub(super) async fn ended(&mut self) -> TaskEnded {
        self.services.ended().await
    }

    /// Drops a file as producers should: written under a name that the inbox leaves alone, then renamed.
    pub(super) fn drop_file(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let (part, whole) = (
            self.path(&format!("inbox/{name}.part")),
            self.path(&format!("inbox/{name}")),
        );
        fs::write(&part, text)?;
        fs::rename(part, whole)?;
        Ok(())
    }

    /// Waits until a file has left the inbox.
    pub(super) async fn taken(&self, name: &str) -> anyhow::Result<()> {
        let path = self.path(&format!("inbox/{name}"));
        self.until(&format!("{name} taken out of the inbox"), async || {
            Ok((!path.exists()).then_some(()))
        })
        .await
    }

    /// Waits until the activity's submission has come to rest, which has to be in this state with this reason.
    pub(super) async fn rests(&self, activity: &str, state: StateName, reason: Option<&str>) -> anyhow::Result<Listed> {
        let listed = self
            .until(&format!("the end of {activity}"), async || {
                let found = self.of_activity(activity).await?;
                Ok(found.filter(|listed| !matches!(listed.state.name(), StateName::Pending | StateName::Sending)))
            })
            .await?;
        anyhow::ensure!(
            listed.state.name() == state && listed.state.reason() == reason,
            "{activity} should be {state} ({}), and is {} ({})",
            reason.unwrap_or("no reason"),
            listed.state.name(),
            listed.state.reason().unwrap_or("no reason")
        );
        Ok(listed)
    }

    async fn of_activity(&self, activity: &str) -> anyhow::Result<Option<Listed>> {
        let filter = Filter {
            activity: Some(activity.to_owned()),
            ..Filter::default()
        };
        Ok(self.outbox.list(&filter, None, 1).await?.pop())
    }

    /// What an operator does with `override` and `accept`.
    pub(super) async fn act(&self, listed: &Listed, act: Act) -> anyhow::Result<()> {
        let request = ActRequest {
            ids: vec![listed.id],
            act,
            still: Still::default(),
            actor: crate::model::Actor::User("demo".to_owned()),
            force: false,
            dry_run: false,
            now: clock::now(),
        };
        let done = self.outbox.act(request).await?;
        anyhow::ensure!(done == [(listed.id, Acted::Done)], "the outbox refused: {done:?}");
        Ok(())
    }

    /// Asks until there is something, at most [`PATIENCE`].
    pub(super) async fn until<T>(
        &self,
        what: &str,
        ask: impl AsyncFn() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = ask().await? {
                return Ok(found);
            }
            anyhow::ensure!(Instant::now() < deadline, "this never came: {what}");
            sleep(LOOK).await;
        }
    }

    /// Ends the services in order, then the sandbox, then removes the directory.
    pub(super) async fn remove(self) -> anyhow::Result<()> {
        self.outbox.close().await;
        self.services.stop().await;
        self.sandbox.stop().await?;
        let path = self.dir.path().display().to_string();
        self.dir.close().with_context(|| format!("{path} could not be removed"))
    }
}

/// The demo's configuration: short waits, everything in one directory.
fn settings(dir: &Path, base_url: &str) -> String {
    // A JSON string is a TOML string.
    let quoted = |relative: &str| serde_json::Value::String(dir.join(relative).display().to_string());
    format!(
        "[api]\nbase_url = \"{base_url}\"\nkey_file = {key}\ntimeout = \"5s\"\n\n\
         [inbox]\ndir = {inbox}\ndatabase = {rows}\nsettle = \"200ms\"\nrescan = \"1s\"\nmin_free_disk = \"0\"\n\n\
         [outbox]\ndatabase = {outbox}\n\n\
         [delivery]\nshutdown_timeout = \"2s\"\n\n\
         [retry]\ninitial_interval = \"200ms\"\nmax_interval = \"1s\"\n\n\
         [log]\nformat = \"text\"\n",
        key = quoted("api-key"),
        inbox = quoted("inbox"),
        rows = quoted("rows/inbox.db"),
        outbox = quoted("outbox/outbox.db"),
    )
}
