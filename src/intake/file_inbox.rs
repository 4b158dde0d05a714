//! The inbox directory at work: what is known of its files, and how each of them leaves it, or stays.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use crate::clock;
use crate::model::FileReceipt;
use crate::telemetry::events;

use super::context::IntakeContext;
use super::finish::{Finished, RemovalOutcome, let_go_all, set_aside_all};
use super::folder::{FileStat, Folder, shown};
use super::inbox_lock::InboxLock;
use super::observer::Observer;
use super::open_file::OpenFile;
use super::parse::ParseFault;
use super::pending_removals::PendingRemovals;
use super::receipts::Receipts;
use super::reject::{self, REPORT_ENDING, RejectReport};
use super::skipped::SkippedFiles;
use super::stability::KnownFiles;

/// How long to wait after a fault of our own.
const STUMBLED_PAUSE: Duration = Duration::from_secs(1);
/// So many open files are named at one time.
const LOGGED_MAX: usize = 1000;

/// The inbox directory at work.
#[derive(Debug)]
pub struct FileInbox {
    pub folder: Arc<Folder>,
    /// The receipts of what was taken and is not durably gone.
    pub receipts: Receipts,
    /// The files that are known.
    pub known: KnownFiles,
    /// The files that are taken and not let go yet.
    pub removals: PendingRemovals,
    /// The files that stay although they were ready, and of which it was said.
    pub left: SkippedFiles,
    /// What is seen of it.
    pub observer: Observer,
    /// The files of which it was said that they are open.
    pub logged_open: HashSet<OsString>,
    /// Those of the batch before are being closed; at most one at a time, so that there are never more files open than
    /// those of two.
    pub closing: Option<JoinHandle<()>>,
    pub inbox_lock: Option<InboxLock>,
    pub next_scan: Instant,
    /// Whether what a crash left half done in `rejected/` is finished.
    pub is_recovered: bool,
}

/// A name whose file is being let go is asked for nothing meanwhile. News of it come earlier.
const PARTING_REST: Duration = Duration::from_mins(1);

impl FileInbox {
    /// The directory as it is when it is opened: nothing in it is known, and a scan is due.
    pub fn new(folder: Folder, receipts: Receipts, settle: Duration, inbox_lock: Option<InboxLock>) -> Self {
        Self {
            folder: Arc::new(folder),
            receipts,
            known: KnownFiles::new(settle),
            removals: PendingRemovals::default(),
            left: SkippedFiles::default(),
            observer: Observer::default(),
            logged_open: HashSet::new(),
            closing: None,
            inbox_lock,
            next_scan: Instant::now(),
            is_recovered: false,
        }
    }

    /// The results of these are all in: they go at the next quiet moment, or now, if there are many.
    pub async fn part_from(&mut self, context: &IntakeContext, open_files: Vec<OpenFile>) {
        let now = Instant::now();
        for open_file in &open_files {
            self.known.ask_again(&open_file.name, now + PARTING_REST);
        }
        self.removals.add(open_files, now);
        if self.removals.is_full() {
            self.part(context).await;
        }
    }

    /// Lets those go that wait for it. Crash before this: they are still there, and their receipts make the next take a
    /// no-op.
    pub async fn part(&mut self, context: &IntakeContext) {
        let open_files = self.removals.take();
        let now = Instant::now();
        for open_file in &open_files {
            self.known.ask_again(&open_file.name, now);
        }
        self.finish(context, open_files).await;
    }

    /// Lets files go whose results are all in, unless somebody has them open.
    pub async fn finish(&mut self, context: &IntakeContext, open_files: Vec<OpenFile>) {
        self.observer.catch_up(&mut self.known);
        let (open, open_files): (Vec<OpenFile>, Vec<OpenFile>) = open_files
            .into_iter()
            .partition(|open_file| self.known.is_open(&open_file.name));
        for open_file in open {
            self.keep(&open_file.name, open_file.stat, open_file.bad_lines, true);
        }
        if open_files.is_empty() {
            return;
        }
        let now = clock::now();
        let folder = Arc::clone(&self.folder);
        // A file that is given back its name does not arrive.
        for open_file in &open_files {
            self.known.arriving(&open_file.name);
        }
        let setting_aside = context.in_inbox(move || set_aside_all(&folder, open_files, now));
        let leaving = match self.observer.during(&mut self.known, setting_aside).await {
            Ok(leaving) => leaving,
            Err(error) => return stumbled(context, &error).await,
        };
        // Who opened one by its name did that before it lay aside.
        self.observer.catch_up(&mut self.known);
        let leaving = leaving.into_iter().map(|one| {
            let is_open = self.known.is_open(one.name());
            (one, is_open)
        });
        let (leaving, folder) = (leaving.collect(), Arc::clone(&self.folder));
        let letting_go = context.in_inbox(move || let_go_all(&folder, leaving));
        let (finished, closing, synced) = match self.observer.during(&mut self.known, letting_go).await {
            Ok(finished) => finished,
            Err(error) => return stumbled(context, &error).await,
        };
        self.close(context, closing).await;
        let gone = finished
            .into_iter()
            .filter_map(|one| self.finished(context, one))
            .collect();
        match synced {
            Ok(()) => self.forget(context, gone, false).await,
            // The receipts stay until a scan finds that the files are durably gone.
            Err(error) => events::storage_error(
                "remove taken files",
                &error.to_string(),
                "look at the disk of the inbox",
            ),
        }
    }

    /// Closes these beside everything else, when those before are closed.
    async fn close(&mut self, context: &IntakeContext, files: Vec<OpenFile>) {
        if let Some(before) = self.closing.take() {
            let closed = async {
                tokio::select! {
                    _closed_or_panicked = before => {}
                    () = context.ending() => {}
                }
            };
            self.observer.during(&mut self.known, closed).await;
        }
        self.closing = Some(spawn_blocking(move || drop(files)));
    }

    /// Says and notes what became of one; returns the receipt that may be forgotten.
    fn finished(&mut self, context: &IntakeContext, finished: Finished) -> Option<FileReceipt> {
        let Finished { name, inode, .. } = finished;
        let now = Instant::now();
        if !finished.was_renamed {
            self.known.not_arrived(&name, now);
        }
        if let Some((moved, report)) = finished.rejected {
            log_rejected(&name, &moved, &report);
        }
        let may_be_forgotten = match finished.fate {
            RemovalOutcome::Gone => {
                self.known.forget(&name);
                self.left.forget(&name);
                true
            }
            RemovalOutcome::Replaced => true,
            RemovalOutcome::Returned(back) => {
                self.known.forget(&name);
                events::warning(
                    &format!(
                        "{} was written to while it was removed; what came is {} now",
                        shown(&name),
                        shown(&back)
                    ),
                    "a program that goes on writing to a file in the inbox is to keep it open, \
                     or to write under another name and rename it",
                );
                true
            }
            RemovalOutcome::Grown(stat) => {
                self.known.unsettle(&name, stat, false, now);
                false
            }
            RemovalOutcome::Opened(stat) => {
                if finished.was_renamed {
                    self.keep(&name, stat, 0, true);
                }
                false
            }
            RemovalOutcome::Rewritten(stat) => {
                self.known.unsettle(&name, stat, false, now);
                true
            }
            RemovalOutcome::Failed(error) => {
                self.leave(context, &name, &error);
                false
            }
        };
        may_be_forgotten
            .then(|| self.receipts.get(&name, inode).cloned())
            .flatten()
    }

    /// A file stays because somebody may still be writing to it: said once, where somebody is known to have it open.
    /// `is_taken`: what is in it.
    pub fn keep(&mut self, name: &OsStr, stat: FileStat, bad_lines: u64, is_taken: bool) {
        self.known.keep(name, stat, Instant::now());
        let is_open = self.known.is_open(name) || self.observer.openers.has(stat.inode);
        if is_open && self.logged_open.len() < LOGGED_MAX && self.logged_open.insert(name.to_owned()) {
            let mut what = if is_taken {
                "a program has it open: what is in it is taken, but it is not removed".to_owned()
            } else {
                "a program has it open: it is not taken".to_owned()
            };
            if bad_lines > 0 {
                let _ = write!(
                    what,
                    "; {bad_lines} of its lines cannot be taken and will go to {}/",
                    reject::REJECTED
                );
            }
            let hint = "nothing need be done: it goes on when the file is closed. \
                 `fuser -v FILE` says who has it open; if nobody has, move it out \
                 of the inbox and in again";
            events::file_open(&shown(name), &what, hint);
        }
    }

    /// A file that cannot be taken goes to `rejected/`.
    pub async fn reject(&mut self, context: &IntakeContext, open_file: OpenFile, bad: ParseFault) {
        let mut why = bad.to_string();
        if open_file.is_resumed || open_file.results > 0 {
            why.push_str("; what stands before it was taken, for the file was changed meanwhile");
        }
        let report = RejectReport::of_fault(&open_file.name, why, &bad, clock::now());
        let folder = Arc::clone(&self.folder);
        let (name, stat) = (open_file.name.clone(), open_file.stat);
        let work = move || {
            // Its batch may have waited meanwhile, for an outbox whose disk is full say, and its producer have gone on
            // writing.
            let now = FileStat::at(open_file.file())?;
            if !now.is_same_content(&open_file.stat) {
                return Ok(Err(now));
            }
            let moved = reject::whole(&folder, &open_file.name, &open_file.stat, &report);
            moved.map(|moved| Ok((moved, report)))
        };
        match context.in_inbox(work).await.and_then(|moved| moved) {
            // What was read of it is no verdict on what it is now.
            Ok(Err(now)) => self.known.unsettle(&name, now, false, Instant::now()),
            Ok(Ok((moved, report))) => {
                self.known.forget(&name);
                self.left.forget(&name);
                if let Some(moved) = moved {
                    log_rejected(&name, &moved, &report);
                }
                let receipt = self.receipts.get(&name, stat.inode).cloned();
                self.forget(context, receipt.into_iter().collect(), false).await;
            }
            Err(error) => self.leave(context, &name, &error),
        }
    }

    /// A file stays where it is: said once, and tried again.
    pub fn leave(&mut self, context: &IntakeContext, name: &OsStr, error: &io::Error) {
        let rescan = context.config.borrow().inbox.rescan;
        let stat = self.known.stat_of(name);
        let until = self.left.leave(name, stat.as_ref(), error, Instant::now(), rescan);
        self.known.rest(name, until);
    }

    /// Forgets receipts; `sync` first, where the directory is not synced yet. What fails is tried again at the next
    /// scan.
    pub async fn forget(&mut self, context: &IntakeContext, receipts: Vec<FileReceipt>, sync: bool) {
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
                .receipts
                .forget(&context.outbox, receipts)
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = outcome {
            events::storage_error(
                "forget receipts",
                &error,
                "nothing is lost or doubled by it; it is tried again",
            );
        }
    }
}

/// A panic on the thread that reads; nothing is lost by it, but it may come again at once.
pub async fn stumbled(context: &IntakeContext, error: &io::Error) {
    if context.is_ending() {
        return; // What was under way is left as it is.
    }
    events::internal_error("read the inbox", &error.to_string());
    context.sleep(STUMBLED_PAUSE).await;
}

fn log_rejected(name: &OsStr, moved: &OsStr, report: &RejectReport) {
    let moved = shown(moved);
    let hint = format!(
        "{}/{moved}{REPORT_ENDING} says what to mend; drop the mended one into the inbox again and delete the pair: \
         nothing removes it by itself",
        reject::REJECTED
    );
    events::file_rejected(
        &shown(name),
        &report.reason,
        &format!("{}/{moved}", reject::REJECTED),
        &hint,
    );
}
