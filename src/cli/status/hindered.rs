//! What keeps the queue from getting on: as the daemon says, and as a look from outside finds it, which needs neither
//! the daemon nor the database.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::config::Config;
use crate::delivery::pulse::Vitals;
use crate::intake::{self, WaitReason};
use crate::policy::hint;
use crate::store::{self, Holder, Way, free_bytes};
use crate::telemetry::hindrance::{Cause, Hindrance};

/// A lock is in the way when it is met so often in a row, so far apart: for less than a second anyone may hold it.
const LOOKS: u32 = 11;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Our own commands hold the lock again and again, each time for a moment: who meets them often has not met one that
/// stays.
const OURS: &str = "reten-outbox";

/// One of them, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hindered {
    pub what: String,
    pub why: String,
    pub hint: Option<String>,
    /// Since when, where that is known.
    pub since: Option<Timestamp>,
}

impl Hindered {
    /// In one line, not escaped.
    pub fn line(&self) -> String {
        let hint = self.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("{} is hindered: {}{hint}", self.what, self.why)
    }
}

/// All of them. `daemon` is its process, `pending` how many wait in the outbox, `failed` is why the outbox could not be
/// read.
pub async fn all(
    daemon: Option<u32>,
    pending: u64,
    vitals: Option<&Vitals>,
    config: &Config,
    failed: Option<&anyhow::Error>,
) -> Vec<Hindered> {
    let mut said: Vec<Hindrance> = vitals.map(|vitals| vitals.hindrances.clone()).unwrap_or_default();
    let database = config.outbox.database.anchor();
    let mut found = Vec::new();
    let is_locked = said.iter().any(is_of_lock);
    if let Some(holder) = who_locks(database, daemon, is_locked).await {
        let since = said.iter().filter(|one| is_of_lock(one)).map(|one| one.since).min();
        said.retain(|one| !is_of_lock(one));
        found.push(Hindered {
            what: Cause::Lock.what().to_owned(),
            why: format!("{} is locked by {holder}", database.display()),
            hint: Some(hint::LOCKED.to_owned()),
            since: since.map(Timestamp::from_millis),
        });
    } else if let Some(failed) = failed {
        found.push(Hindered {
            what: Cause::Storage.what().to_owned(),
            why: format!("{failed:#}"),
            hint: None,
            since: None,
        });
    }
    found.extend(of_disks(&said, config).await);
    let backlog = config
        .inbox
        .max_pending
        .and_then(|max| intake::of_backlog(pending, max));
    found.extend(backlog.filter(|_| !has(&said, Cause::Backlog)).map(of_reason));
    said.into_iter()
        .map(|one| of_daemon(one, config))
        .chain(found)
        .collect()
}

fn has(said: &[Hindrance], cause: Cause) -> bool {
    said.iter().any(|one| one.cause == cause)
}

/// The daemon met the lock of the outbox, and may not know whose it is.
fn is_of_lock(one: &Hindrance) -> bool {
    match one.cause {
        Cause::Lock => true,
        Cause::Storage | Cause::Outbox => one.why.contains("locked"),
        Cause::Backlog | Cause::Disk | Cause::Files | Cause::Rejected | Cause::Rows => false,
    }
}

fn of_daemon(one: Hindrance, config: &Config) -> Hindered {
    let mut why = one.why;
    if one.cause == Cause::Rows && why.contains("locked") && !why.contains(" holds it") {
        // A confined service may not see who it is.
        let holder = store::holder(&config.inbox.database, Way::Any, None);
        why.extend(holder.map(|holder| format!("; {holder} holds it")));
    }
    Hindered {
        what: one.cause.what().to_owned(),
        why,
        hint: Some(one.hint).filter(|hint| !hint.is_empty()),
        since: Some(Timestamp::from_millis(one.since)),
    }
}

fn of_reason(reason: WaitReason) -> Hindered {
    Hindered {
        what: reason.cause.what().to_owned(),
        why: reason.why,
        hint: Some(reason.hint.to_owned()),
        since: None,
    }
}

/// A disk without the room that intake wants, or without any at all.
async fn of_disks(said: &[Hindrance], config: &Config) -> Option<Hindered> {
    if has(said, Cause::Disk) {
        return None;
    }
    if let Some(reason) = intake::of_disk(config).await {
        return Some(of_reason(reason));
    }
    if config.outbox.database.server().is_some() {
        return None;
    }
    let directory = config.disk();
    let is_full = free_bytes(directory) == Some(0) && !said.iter().any(|one| one.why.contains("full"));
    is_full.then(|| Hindered {
        what: Cause::Lock.what().to_owned(),
        why: format!("{} has 0 bytes free", directory.display()),
        hint: Some(
            "free some disk space; what waits stays where it is, deliveries wait until their outcomes can be stored"
                .to_owned(),
        ),
        since: None,
    })
}

/// Who holds the lock for writing, where it stays. `is_known`: the daemon waits for it, so one look is enough.
async fn who_locks(database: &Path, daemon: Option<u32>, is_known: bool) -> Option<Holder> {
    let first = store::holder(database, Way::Writing, daemon)?;
    if is_known {
        return Some(first);
    }
    if first.name.as_deref() == Some(OURS) {
        return None;
    }
    for _ in 1..LOOKS {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        if store::holder(database, Way::Writing, daemon).as_ref() != Some(&first) {
            return None;
        }
    }
    Some(first)
}
