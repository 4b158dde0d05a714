//! The inbox directory at work: what is known of its files, and how each of them leaves it, or stays.

use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock;
use crate::model::FileReceipt;
use crate::telemetry::events;

use super::Context;
use super::finish::{Fate, Finished, finish_all};
use super::folder::{Folder, Look, shown};
use super::ledger::Ledger;
use super::left::Left;
use super::parse::Bad;
use super::reject::{self, REPORT_ENDING, Reason};
use super::settle::Files;
use super::taking::Taking;

/// How long to wait after a fault of our own.
const STUMBLED_PAUSE: Duration = Duration::from_secs(1);

/// The inbox directory at work.
#[derive(Debug)]
pub struct Desk {
    /// The directory.
    pub folder: Arc<Folder>,
    /// The receipts of what was taken and is not durably gone.
    pub ledger: Ledger,
    /// The files that are known.
    pub known: Files,
    /// The files that stay although they were ready, and of which it was said.
    pub left: Left,
}

impl Desk {
    /// Lets files go whose results are all in.
    pub async fn finish(&mut self, context: &Context, takings: Vec<Taking>) {
        if takings.is_empty() {
            return;
        }
        let folder = Arc::clone(&self.folder);
        let now = clock::now();
        let finished = context.in_inbox(move || finish_all(&folder, takings, now)).await;
        let (finished, synced) = match finished {
            Ok(finished) => finished,
            Err(error) => return stumbled(context, &error).await,
        };
        let mut gone = Vec::new();
        for Finished {
            name,
            inode,
            rejected,
            fate,
        } in finished
        {
            if let Some((moved, reason)) = rejected {
                tell_rejected(&name, &moved, &reason);
            }
            match fate {
                Fate::Gone => {
                    self.known.forget(&name);
                    self.left.forget(&name);
                    gone.extend(self.ledger.get(&name, inode).cloned());
                }
                Fate::Grown(look) => self.known.unsettle(&name, look, false, Instant::now()),
                Fate::Rewritten(look) => {
                    self.known.unsettle(&name, look, false, Instant::now());
                    gone.extend(self.ledger.get(&name, inode).cloned());
                }
                Fate::Failed(error) => self.leave(context, &name, &error),
            }
        }
        match synced {
            Ok(()) => self.forget(context, gone, false).await,
            // The receipts stay until a scan finds that the files are durably gone.
            Err(error) => events::storage_error("remove taken files", &error.to_string(), "look at the disk of the inbox"),
        }
    }

    /// A file that cannot be taken goes to `rejected/`.
    pub async fn reject(&mut self, context: &Context, taking: Taking, bad: Bad) {
        let mut why = bad.to_string();
        if taking.is_resumed || taking.results > 0 {
            why.push_str("; what stands before it was taken, for the file was changed meanwhile");
        }
        let reason = Reason::whole(why, &bad, context.standards().now);
        let folder = Arc::clone(&self.folder);
        let (name, look) = (taking.name.clone(), taking.look);
        let work = move || {
            // Its batch may have waited meanwhile, for an outbox whose disk is full say, and its producer have gone on writing.
            let now = Look::at(taking.file())?;
            if !now.is_same_content(&taking.look) {
                return Ok(Rejection::Changed(now));
            }
            let moved = reject::whole(&folder, &taking.name, &taking.look, &reason);
            moved.map(|moved| Rejection::Done(moved, reason))
        };
        match context.in_inbox(work).await.and_then(|moved| moved) {
            // What was read of it is no verdict on what it is now.
            Ok(Rejection::Changed(now)) => self.known.unsettle(&name, now, false, Instant::now()),
            Ok(Rejection::Done(moved, reason)) => {
                self.known.forget(&name);
                self.left.forget(&name);
                if let Some(moved) = moved {
                    tell_rejected(&name, &moved, &reason);
                }
                let receipt = self.ledger.get(&name, look.inode).cloned();
                self.forget(context, receipt.into_iter().collect(), false).await;
            }
            Err(error) => self.leave(context, &name, &error),
        }
    }

    /// A file stays where it is: said once, and tried again.
    pub fn leave(&mut self, context: &Context, name: &OsStr, error: &io::Error) {
        let rescan = context.config.borrow().inbox.rescan;
        let look = self.known.look_of(name);
        let until = self.left.leave(name, look.as_ref(), error, Instant::now(), rescan);
        self.known.rest(name, until);
    }

    /// Forgets receipts; `sync` first, where the directory is not synced yet. What fails is tried again at the next scan.
    pub async fn forget(&mut self, context: &Context, receipts: Vec<FileReceipt>, sync: bool) {
        if receipts.is_empty() {
            return;
        }
        let folder = Arc::clone(&self.folder);
        let synced = if sync {
            context.in_inbox(move || folder.sync()).await.and_then(|done| done)
        } else {
            Ok(())
        };
        let outcome = match synced {
            Ok(()) => self
                .ledger
                .forget(&context.outbox, receipts)
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = outcome {
            events::storage_error("forget receipts", &error, "nothing is lost or doubled by it; it is tried again");
        }
    }
}

/// What became of a file that was to be rejected.
enum Rejection {
    /// It is in `rejected/` under this name, or is another file by now.
    Done(Option<OsString>, Reason),
    /// It was written since it was read.
    Changed(Look),
}

/// A panic on the thread that reads; nothing is lost by it, but it may come again at once.
pub async fn stumbled(context: &Context, error: &io::Error) {
    if context.is_ending() {
        return; // What was under way is left where it stands.
    }
    events::internal_error("read the inbox", &error.to_string());
    context.sleep(STUMBLED_PAUSE).await;
}

fn tell_rejected(name: &OsStr, moved: &OsStr, reason: &Reason) {
    let moved = shown(moved);
    let hint = format!(
        "{}/{moved}{REPORT_ENDING} says what to mend; drop the mended one into the inbox again and delete the pair: nothing removes it by itself",
        reject::REJECTED
    );
    events::file_rejected(&shown(name), &reason.why, &format!("{}/{moved}", reject::REJECTED), &hint);
}
