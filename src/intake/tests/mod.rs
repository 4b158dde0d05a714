//! Files and rows through the real loops into a real outbox: copies, renames, growth, crashes, bad lines, strange
//! names.

mod crashes;
mod files;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::{IntakeContext, run};
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::model::SubmissionId;
use crate::store::{Filter, Listed, Outbox, Role};

/// How long a test waits for what must come; far longer than it takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// An inbox, an outbox, and the daemon's intake between them.
pub(in crate::intake) struct House {
    pub(in crate::intake) dir: TempDir,
    pub(in crate::intake) config: Config,
    pub(in crate::intake) outbox: Outbox,
    running: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl House {
    pub(in crate::intake) async fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        fs::create_dir(dir.path().join("inbox")).unwrap();
        fs::create_dir(dir.path().join("rows")).unwrap();
        let mut config = Config::defaults().unwrap();
        config.inbox.dir = dir.path().join("inbox");
        config.inbox.database = dir.path().join("rows/inbox.db");
        config.inbox.settle = Duration::from_millis(40);
        config.inbox.rescan = Duration::from_millis(150);
        config.inbox.min_free_disk = 0;
        config.outbox.database = dir.path().join("outbox.db").into();
        let outbox = open(&config).await;
        Self {
            dir,
            config,
            outbox,
            running: None,
        }
    }

    pub(in crate::intake) fn context(&self, shutdown: watch::Receiver<bool>) -> IntakeContext {
        IntakeContext {
            outbox: self.outbox.clone(),
            config: watch::channel(Arc::new(self.config.clone())).1,
            result_types: watch::channel(None).1,
            unknown_code: Arc::new(Notify::new()),
            arrivals: Arc::new(Notify::new()),
            shutdown,
            progress: Arc::new(AtomicU64::new(0)),
            rows_progress: Arc::default(),
            turn_max: super::TURN_MAX,
            hindrances: Arc::default(),
            counters: Arc::default(),
        }
    }

    pub(in crate::intake) fn start(&mut self) {
        let (stop, shutdown) = watch::channel(false);
        self.running = Some((stop, tokio::spawn(run(self.context(shutdown), None))));
    }

    pub(in crate::intake) async fn stop(&mut self) {
        let (stop, task) = self.running.take().unwrap();
        stop.send(true).unwrap();
        tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap();
    }

    /// An end at whatever await it stands.
    pub(in crate::intake) async fn kill(&mut self) {
        let (_stop, task) = self.running.take().unwrap();
        task.abort();
        let _aborted = task.await;
        self.outbox.close().await;
        self.outbox = open(&self.config).await;
    }

    pub(in crate::intake) fn inbox(&self, name: &str) -> PathBuf {
        self.config.inbox.dir.join(name)
    }

    pub(in crate::intake) fn rename_in(&self, name: &str, content: impl AsRef<[u8]>) {
        let hidden = self.inbox(".hidden.tmp");
        fs::write(&hidden, content).unwrap();
        fs::rename(hidden, self.inbox(name)).unwrap();
    }

    /// What lies in the inbox, hidden ones too, but for the directories that are ours.
    pub(in crate::intake) fn left(&self) -> Vec<String> {
        let ours = |name: &String| name == "rejected" || name == super::private_dir::NAME;
        self.names("inbox").into_iter().filter(|name| !ours(name)).collect()
    }

    pub(in crate::intake) fn names(&self, dir: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir.path().join(dir))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    pub(in crate::intake) fn rejected(&self, name: &str) -> String {
        fs::read_to_string(self.inbox("rejected").join(name)).unwrap()
    }

    pub(in crate::intake) async fn all(&self) -> Vec<Listed> {
        let mut all = Vec::new();
        let mut before: Option<SubmissionId> = None;
        loop {
            let page = self.outbox.list(&Filter::default(), before, 1000).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            all.extend(page);
        }
        all.reverse();
        all
    }

    /// The activities in the order in which they were taken in.
    pub(in crate::intake) async fn activities(&self) -> Vec<String> {
        let all = self.all().await;
        all.into_iter()
            .map(|one| one.facts.provider_activity_id.unwrap_or_default())
            .collect()
    }

    pub(in crate::intake) async fn eventually(&self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !holds(self).await {
            let now = (self.left(), self.names("inbox/rejected"), self.all().await.len());
            assert!(tokio::time::Instant::now() < deadline, "{what}; now: {now:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Until nothing is left in the inbox and no receipt is kept.
    pub(in crate::intake) async fn taken(&self) {
        self.eventually("everything is taken", async |house| {
            house.left().is_empty() && house.outbox.file_receipts().await.unwrap().is_empty()
        })
        .await;
    }
}

async fn open(config: &Config) -> Outbox {
    Outbox::open(&config.outbox.database, Role::Daemon, clock::now())
        .await
        .unwrap()
}

/// A good result of this activity.
pub(in crate::intake) fn result(activity: &str) -> String {
    format!(
        r#"{{"provider_activity_id":"{activity}","commerce_external_id":"c","occurred_at":"2026-11-01T00:00:00Z","status":"EFFECTIVE","task_result":{{"result":"NO_CONTACT"}}}}"#
    )
}

fn lines(activities: impl IntoIterator<Item = String>) -> String {
    activities
        .into_iter()
        .map(|activity| result(&activity) + "\n")
        .collect()
}

pub(in crate::intake) fn numbered(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("a{n:05}")).collect()
}

pub(in crate::intake) const NOW: Timestamp = Timestamp::from_millis(1_795_428_000_000);
