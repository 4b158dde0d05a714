//! When intake waits (interface.md, `[inbox]`): too large a backlog, too little free disk, an outbox that cannot be written. What waits stays in
//! the inbox; deliveries go on. Said once when it begins, once when it is over.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::config::Config;
use crate::model::StateName;
use crate::store::{StoreError, free_bytes};
use crate::telemetry::events;

use super::{Context, PRESSURE_PAUSE};

/// Why intake waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Backlog,
    Disk,
    Store,
}

/// A reason to wait, with the words for it.
#[derive(Debug, PartialEq, Eq)]
struct Hindrance {
    cause: Cause,
    reason: String,
    hint: &'static str,
}

/// What was said last; shared by files and rows, so that it is said once.
#[derive(Debug, Default)]
pub struct Waiting {
    said: Mutex<Option<Cause>>,
}

impl Waiting {
    /// Whether something may be taken now; if not, that is said.
    pub async fn may_take(&self, context: &Context) -> bool {
        let config = context.config.borrow().clone();
        let hindrance = match disk(&config) {
            None => backlog(context, &config).await,
            full => full,
        };
        if let Some(hindrance) = &hindrance {
            self.begin(hindrance);
        } else {
            self.end(&[Cause::Backlog, Cause::Disk]);
        }
        hindrance.is_none()
    }

    /// Waits until something may be taken; false when the shutdown came first.
    pub async fn until_room(&self, context: &Context) -> bool {
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

    /// The outbox took something.
    pub fn store_works(&self) {
        self.end(&[Cause::Store]);
    }

    /// The outbox could not take something, which is tried again.
    pub fn store_fails(&self, error: &StoreError) {
        self.begin(&of_store(error));
    }

    fn begin(&self, hindrance: &Hindrance) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.replace(hindrance.cause) != Some(hindrance.cause) {
            events::intake_waiting(&hindrance.reason, hindrance.hint);
        }
    }

    fn end(&self, causes: &[Cause]) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_some_and(|cause| causes.contains(&cause)) {
            *said = None;
            events::intake_resumed("files and rows are taken again");
        }
    }
}

fn of_store(error: &StoreError) -> Hindrance {
    Hindrance {
        cause: Cause::Store,
        reason: error.to_string(),
        hint: match error {
            StoreError::Busy(_) => "another process holds the outbox; end it, or wait until it is done",
            StoreError::Full(_) => "free some disk space; nothing is lost meanwhile",
            StoreError::Broken(_) => "look at the disk and at the permissions of the outbox; nothing is lost meanwhile",
            StoreError::Closed => "the daemon is ending",
        },
    }
}

fn disk(config: &Config) -> Option<Hindrance> {
    if config.inbox.min_free_disk == 0 {
        return None;
    }
    let outbox_dir = config.outbox.database.parent().unwrap_or_else(|| Path::new("."));
    [outbox_dir, &config.inbox.dir].into_iter().find_map(|dir| {
        // A directory that cannot be asked tells for itself when it is used.
        let free = free_bytes(dir)?;
        (free < config.inbox.min_free_disk).then(|| Hindrance {
            cause: Cause::Disk,
            reason: format!(
                "{} has {free} bytes free, less than inbox.min_free_disk ({})",
                dir.display(),
                config.inbox.min_free_disk
            ),
            hint: "free some disk space; deliveries go on",
        })
    })
}

async fn backlog(context: &Context, config: &Config) -> Option<Hindrance> {
    let max = config.inbox.max_pending?;
    let pending = match context.outbox.tally().await {
        Ok(tally) => tally
            .counts
            .iter()
            .find(|(state, _)| *state == StateName::Pending)
            .map_or(0, |(_, count)| *count),
        Err(error) => return Some(of_store(&error)),
    };
    (pending > max).then(|| Hindrance {
        cause: Cause::Backlog,
        reason: format!("{pending} submissions are pending, more than inbox.max_pending ({max})"),
        hint: "`reten-outbox status` says why they wait; intake goes on by itself below the limit",
    })
}
