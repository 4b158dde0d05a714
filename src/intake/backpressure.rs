//! When intake waits: too large a backlog, too little free disk, an outbox that cannot be written, an inbox that cannot
//! be read. What waits stays in the inbox. It is said once when it begins and once when it is over, and is shown to
//! those who watch meanwhile.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::config::Config;
use crate::model::StateName;
use crate::store::{StoreError, Way, holder};
use crate::telemetry::hindrance::{Cause, Hindrances};

use super::context::{IntakeContext, PRESSURE_PAUSE};
use super::rows::error::RowsError;
use super::space::FreeSpace;
use super::trust;

/// With less than this even an outcome of a few pages may find no room.
const NEXT_TO_NOTHING: u64 = 1 << 20;

/// A reason to wait, with the words for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitReason {
    pub cause: Cause,
    pub why: String,
    pub hint: &'static str,
}

/// What keeps intake from taking; shared by files and rows, so that it is said once.
#[derive(Debug, Default)]
pub struct Backpressure {
    hindrances: Arc<Hindrances>,
    space: FreeSpace,
}

impl Backpressure {
    /// Nothing is in the way yet.
    pub fn new(hindrances: &Arc<Hindrances>) -> Self {
        Self {
            hindrances: Arc::clone(hindrances),
            space: FreeSpace::default(),
        }
    }

    /// Whether something may be taken now; if not, that is said.
    pub async fn may_take(&self, context: &IntakeContext) -> bool {
        let config = context.config.borrow().clone();
        let reason = match in_space(&self.space, &config).await {
            None => self.of_backlog(context, &config).await,
            full => full,
        };
        // The new one first: what takes the other's place must not pass for its end.
        if let Some(WaitReason { cause, why, hint }) = &reason {
            self.hindrances.met(*cause, "", why, hint);
        }
        for cause in [Cause::Backlog, Cause::Disk] {
            if reason.as_ref().is_none_or(|reason| reason.cause != cause) {
                self.hindrances.over(cause);
            }
        }
        reason.is_none()
    }

    /// Nothing is there to be taken: whatever kept it may be over all the same, and nobody else would see that.
    pub async fn recheck(&self, context: &IntakeContext) {
        if self.hindrances.has(Cause::Backlog) || self.hindrances.has(Cause::Disk) {
            self.may_take(context).await;
        }
    }

    /// Waits until something may be taken; false when the shutdown came first.
    pub async fn until_room(&self, context: &IntakeContext) -> bool {
        loop {
            context.turn();
            if context.is_ending() {
                return false;
            }
            if self.may_take(context).await {
                return true;
            }
            context.sleep(PRESSURE_PAUSE).await;
        }
    }

    pub fn store_works(&self) {
        self.hindrances.over(Cause::Outbox);
    }

    /// The outbox could not take something, which is tried again.
    pub fn store_fails(&self, error: &StoreError) {
        self.hindrances.met(Cause::Outbox, "", &error.to_string(), hint(error));
    }

    /// The inbox directory could be read.
    pub fn files_work(&self) {
        self.hindrances.over(Cause::Files);
    }

    /// It could not; it is tried again.
    pub fn files_fail(&self, operation: &str, error: &io::Error) {
        let hint = "inbox.dir must be a directory that the daemon may read and write; what lies there stays, \
             and it is tried again";
        self.hindrances.met(Cause::Files, operation, &error.to_string(), hint);
    }

    /// Whether `rejected/` can be used; true when it can again, and what waited for it may be tried.
    pub fn rejected(&self, usable: &io::Result<()>) -> bool {
        if let Err(error) = usable {
            let hint = trust::cure(error).unwrap_or("look at the directory and its disk; it is tried again");
            let why = format!("{error}; files that cannot be taken stay in the inbox, the others are taken");
            self.hindrances.met(Cause::Rejected, "use rejected/", &why, hint);
            return false;
        }
        let was_in_the_way = self.hindrances.has(Cause::Rejected);
        self.hindrances.over(Cause::Rejected);
        was_in_the_way
    }

    /// The row inbox could be read.
    pub fn rows_work(&self) {
        self.hindrances.set_rows_wait(false);
        self.hindrances.over(Cause::Rows);
    }

    /// Rows are there that may not be taken yet.
    pub fn rows_wait(&self) {
        self.hindrances.set_rows_wait(true);
    }

    /// It could not; it is tried again.
    pub fn rows_fail(&self, error: &RowsError, database: &Path) {
        let holder = match error {
            RowsError::Busy(_) => holder(database, Way::Any, None),
            RowsError::SuperJournal(_)
            | RowsError::Misplaced(_)
            | RowsError::InUse(_)
            | RowsError::Refused(_)
            | RowsError::Broken(_)
            | RowsError::Gone(_) => None,
        };
        let why = holder.map_or_else(|| error.to_string(), |holder| format!("{error}; {holder} holds it"));
        self.hindrances.met(Cause::Rows, "take rows", &why, error.hint());
    }

    async fn of_backlog(&self, context: &IntakeContext, config: &Config) -> Option<WaitReason> {
        let max = config.inbox.max_pending?;
        match context.outbox.tally().await {
            Ok(tally) => of_backlog(tally.count(StateName::Pending), max),
            Err(StoreError::Closed) => None,
            // Whoever has something to admit finds out whether it takes that.
            Err(error @ (StoreError::Busy(_) | StoreError::Away(_) | StoreError::Full(_) | StoreError::Broken(_))) => {
                self.store_fails(&error);
                None
            }
        }
    }
}

fn hint(error: &StoreError) -> &'static str {
    match error {
        StoreError::Busy(_) => {
            "end the process that holds the outbox, or wait until it is done; what waits in the inbox stays there"
        }
        StoreError::Away(_) => {
            "see that the database runs and can be reached from here; what waits in the inbox stays there"
        }
        StoreError::Full(_) => {
            "free some disk space; what waits in the inbox stays there, and deliveries wait until their outcomes can \
             be stored"
        }
        StoreError::Broken(_) => {
            "look at the disk and at the permissions of the outbox; what waits in the inbox stays there"
        }
        StoreError::Closed => "the daemon is ending",
    }
}

/// Too little room where the outbox or the inbox lies.
pub async fn of_disk(config: &Config) -> Option<WaitReason> {
    in_space(&FreeSpace::default(), config).await
}

async fn in_space(space: &FreeSpace, config: &Config) -> Option<WaitReason> {
    if config.inbox.min_free_disk == 0 {
        return None;
    }
    let [outbox_dir, inbox_dir] = places(config);
    // A directory that cannot be asked, or does not answer, tells for itself when it is used.
    let (of_outbox, of_inbox) = tokio::join!(space.free(outbox_dir), space.free(inbox_dir));
    let full = |dir, free: Option<u64>| free.and_then(|free| too_full(dir, free, config.inbox.min_free_disk));
    full(outbox_dir, of_outbox).or_else(|| full(inbox_dir, of_inbox))
}

fn places(config: &Config) -> [&Path; 2] {
    [config.disk(), &config.inbox.dir]
}

fn too_full(dir: &Path, free: u64, min: u64) -> Option<WaitReason> {
    (free < min).then(|| WaitReason {
        cause: Cause::Disk,
        why: format!(
            "{} has {free} bytes free, less than inbox.min_free_disk ({min})",
            dir.display()
        ),
        hint: if free < NEXT_TO_NOTHING {
            "free some disk space; until then deliveries wait as well, as soon as their outcomes cannot be stored any \
             more, and nothing is lost"
        } else {
            "free some disk space; what waits in the inbox stays there, and deliveries go on"
        },
    })
}

/// More is pending than intake may add to.
pub fn of_backlog(pending: u64, max: u64) -> Option<WaitReason> {
    (pending > max).then(|| WaitReason {
        cause: Cause::Backlog,
        why: format!("{pending} submissions are pending, more than inbox.max_pending ({max})"),
        hint: "`reten-outbox status` says why they wait; intake goes on by itself below the limit",
    })
}
