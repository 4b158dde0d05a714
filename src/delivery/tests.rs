//! Delivery against the sandbox and a real outbox.

mod gate;
mod life;
mod outcomes;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use url::Url;

use super::{Links, Meters, StartError, run};
use crate::clock;
use crate::config::{self, ApiKey, Config, ConflictSettings, RetrySettings, ValidationMode, ValidationSettings};
use crate::model::{Admission, Admitted, Directives, Entry, Object, Origin, StateName, SubmissionId};
use crate::policy::gate::GateName;
use crate::policy::validate::ResultType;
use crate::sandbox::{self, Sandbox};
use crate::store::{Filter, Listed, Outbox, Role, Story};

/// How long anything may take before a test gives up on it. Generous: a loaded machine must not fail a test.
const PATIENCE: Duration = Duration::from_secs(30);

/// A sandbox, an outbox, and delivery between them once it is started.
pub(super) struct Rig {
    directory: TempDir,
    pub(super) outbox: Outbox,
    pub(super) sandbox: Sandbox,
    pub(super) config: watch::Sender<Arc<Config>>,
    pub(super) key: watch::Sender<Arc<ApiKey>>,
    shutdown: watch::Sender<bool>,
    pub(super) types: watch::Receiver<Option<Arc<[ResultType]>>>,
    pub(super) context: Links,
    running: Option<JoinHandle<Result<(), StartError>>>,
}

pub(super) fn key(text: &str) -> Arc<ApiKey> {
    Arc::new(ApiKey::parse(text.as_bytes()).unwrap())
}

/// A configuration with short waits.
fn config(base: &str) -> Config {
    let url = |path: &str| Url::parse(&format!("{base}{path}")).unwrap();
    Config {
        api: config::Api {
            submit_url: url(sandbox::SUBMIT_PATH),
            result_types_url: url(sandbox::RESULT_TYPES_PATH),
            key_file: "/nowhere".into(),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            ca_file: None,
            proxy: None,
            require_json: true,
            max_error_body: 4096,
        },
        inbox: config::Inbox {
            dir: "/nowhere".into(),
            database: "/nowhere".into(),
            settle: Duration::from_secs(1),
            rescan: Duration::from_secs(5),
            max_result_size: 1 << 20,
            max_pending: None,
            min_free_disk: 0,
        },
        outbox: config::OutboxSettings {
            database: Path::new("/nowhere").into(),
            password_file: "".into(),
            password_error: None,
            keep_delivered: config::Keep::Forever,
            keep_dismissed: config::Keep::Forever,
        },
        delivery: config::Delivery {
            max_in_flight: 4,
            max_per_second: None,
            reject_fuse: None,
            shutdown_timeout: Duration::from_secs(5),
        },
        retry: RetrySettings {
            initial_interval: Duration::from_millis(20),
            multiplier: 2.0,
            randomization_factor: 0.5,
            max_interval: Duration::from_millis(100),
            max_age: None,
            max_attempts: None,
        },
        conflict: ConflictSettings::default(),
        auth: config::Auth {
            probe_interval: Duration::from_millis(100),
            requeue: true,
        },
        validation: ValidationSettings {
            mode: ValidationMode::Strict,
            result_types: false,
            refresh: Duration::from_hours(1),
            statuses: Vec::new(),
        },
        log: config::Log {
            level: config::Level::Info,
            format: config::LogFormat::Auto,
            summary_interval: Duration::from_mins(1),
        },
    }
}

impl Rig {
    pub(super) async fn new() -> Self {
        let options = sandbox::Options {
            now: || clock::now().millis(),
            ..sandbox::Options::default()
        };
        let sandbox = Sandbox::start(options).await.unwrap();
        let directory = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let path = directory.path().join("outbox.db");
        let outbox = Outbox::open(&path, Role::Daemon, clock::now()).await.unwrap();
        let (config, config_seen) = watch::channel(Arc::new(config(&sandbox.base_url())));
        let (key, key_seen) = watch::channel(key(sandbox::DEFAULT_API_KEY));
        let (shutdown, shutdown_seen) = watch::channel(false);
        let (types_told, types) = watch::channel(None);
        let context = Links {
            outbox: outbox.clone(),
            config: config_seen,
            key: key_seen,
            arrivals: Arc::new(Notify::new()),
            shutdown: shutdown_seen,
            meters: Arc::new(Meters::default()),
            seed: 7,
            result_types: types_told,
            unknown_code: Arc::new(Notify::new()),
            progress: Arc::new(AtomicU64::new(0)),
            turn_max: Duration::from_secs(5),
        };
        Self {
            directory,
            outbox,
            sandbox,
            config,
            key,
            shutdown,
            types,
            context,
            running: None,
        }
    }

    /// Changes the configuration, before the start or as a reload.
    pub(super) fn set(&self, change: impl FnOnce(&mut Config)) {
        self.config.send_modify(|config| change(Arc::make_mut(config)));
    }

    pub(super) fn start(&mut self) {
        self.shutdown.send_replace(false);
        self.running = Some(tokio::spawn(run(self.context.clone())));
    }

    /// Asks delivery to end, and waits until it has.
    pub(super) async fn stop(&mut self) {
        self.shutdown.send_replace(true);
        let running = self.running.take().unwrap();
        tokio::time::timeout(PATIENCE, running)
            .await
            .expect("an end")
            .unwrap()
            .unwrap();
    }

    /// The same outbox as the next start finds it.
    pub(super) async fn reopen(&mut self) {
        self.outbox.close().await;
        let path = self.directory.path().join("outbox.db");
        self.outbox = Outbox::open(&path, Role::Daemon, clock::now()).await.unwrap();
        self.context.outbox = self.outbox.clone();
    }

    /// The outbox as a command has it.
    pub(super) async fn tool(&self) -> Outbox {
        Outbox::open(&self.directory.path().join("outbox.db"), Role::Tool, clock::now())
            .await
            .unwrap()
    }

    /// Puts so many plain results in, in one go.
    pub(super) async fn put_many(&self, count: usize) {
        let admission = Admission {
            entries: (0..count).map(|n| entry(&format!("act-{n}"), &json!({}))).collect(),
            receipts: Vec::new(),
        };
        assert_eq!(self.outbox.admit(admission, clock::now()).await.unwrap().len(), count);
    }

    /// Puts a result in, with members added to it, and tells delivery.
    pub(super) async fn put(&self, activity: &str, changes: Value) -> SubmissionId {
        let admission = Admission {
            entries: vec![entry(activity, &changes)],
            receipts: Vec::new(),
        };
        let admitted = self.outbox.admit(admission, clock::now()).await.unwrap().remove(0);
        self.context.arrivals.notify_one();
        match admitted {
            Admitted::Accepted(id) => id,
            other => panic!("{other:?}"),
        }
    }
    /// Puts a result in that the sandbox answers by this script.
    pub(super) async fn scripted(&self, activity: &str, script: &str) -> SubmissionId {
        self.put(activity, json!({"external_status": format!("sim:{script}")}))
            .await
    }

    pub(super) async fn story(&self, id: SubmissionId) -> Story {
        self.outbox.show(id).await.unwrap().unwrap()
    }

    pub(super) async fn all(&self, state: StateName) -> Vec<Listed> {
        let filter = Filter {
            states: vec![state],
            ..Filter::default()
        };
        self.outbox.list(&filter, None, 1000).await.unwrap()
    }

    /// Waits until so many are in this state; they, newest first.
    pub(super) async fn until(&self, state: StateName, count: usize) -> Vec<Listed> {
        eventually(&format!("{count} {state}"), async || {
            let found = self.all(state).await;
            if found.len() == count {
                Ok(found)
            } else {
                Err(format!("{found:?}"))
            }
        })
        .await
    }

    /// Waits until the gate shows this name.
    pub(super) async fn gate_is(&self, name: GateName) {
        eventually(&format!("the gate {name}"), async || match self.context.meters.gate() {
            Some(gate) if gate == name => Ok(()),
            gate => Err(format!("{gate:?}")),
        })
        .await;
    }

    /// The submissions that reached the sandbox, by activity, in their order.
    pub(super) fn posts(&self) -> Vec<sandbox::Record> {
        self.sandbox
            .requests()
            .into_iter()
            .filter(|request| request.method == "POST")
            .collect()
    }

    /// Waits until so many submissions have reached the sandbox.
    pub(super) async fn until_posts(&self, count: usize) {
        eventually(&format!("{count} posts"), async || {
            let posts = self.posts().len();
            if posts >= count { Ok(()) } else { Err(posts.to_string()) }
        })
        .await;
    }

    /// Waits for some more steps of the dispatcher, so that it had the chance to do what it must not.
    pub(super) async fn some_steps(&self) {
        let seen = || self.context.progress.load(std::sync::atomic::Ordering::Relaxed);
        let enough = seen() + 5;
        eventually("more steps", async || {
            if seen() >= enough {
                Ok(())
            } else {
                Err(seen().to_string())
            }
        })
        .await;
    }
}

/// A result with members added to it.
fn entry(activity: &str, changes: &Value) -> Entry {
    let mut result = json!({
        "provider_activity_id": activity,
        "commerce_external_id": "COM-1",
        "occurred_at": "2026-11-20T15:04:05Z",
        "status": "EFFECTIVE",
        "task_result": {"result": "SALE_COMPLETED"},
    });
    for (name, value) in changes.as_object().unwrap() {
        result[name] = value.clone();
    }
    let text = result.to_string();
    let object = Object::parse(&text).unwrap();
    Entry {
        payload: object.payload(),
        facts: object.facts(),
        directives: Directives::default(),
        origin: Origin::User {
            name: "test".to_owned(),
            line: None,
        },
        digest: None,
        invalid: None,
        by_result_types: false,
    }
}

/// Asks until there is an answer; the last refusal is the failure's text.
pub(super) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(seen) => assert!(
                tokio::time::Instant::now() < deadline,
                "never came: {what}; last seen: {seen}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
