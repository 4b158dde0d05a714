//! The files' loop: sees what is dropped (a hint of the watch, or a scan), waits until it is settled, has it taken. It
//! never ends for an error: what fails is said once and tried again.

use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use crate::telemetry::events;

use super::admit::pause;
use super::backpressure::Backpressure;
use super::context::{IntakeContext, PRESSURE_PAUSE};
use super::file_inbox::FileInbox;
use super::inbox_lock::InboxLock;
use super::private_dir;
use super::receipts::Receipts;
use super::result_reader::Progress;
use super::scan::{self, ScanTask};
use super::stability::KNOWN_MAX;

/// The most files that are taken between two looks at the hints and at the clock.
const READY_MAX: usize = 4096;

/// Takes files until shutdown. `inbox_lock`: of the inbox, where the start has it already.
pub async fn run(context: &IntakeContext, backpressure: &Backpressure, inbox_lock: Option<InboxLock>) {
    let Some(mut inbox) = begin(context, backpressure, inbox_lock).await else {
        return;
    };
    while !context.is_ending() {
        context.turn();
        if Instant::now() >= inbox.next_scan || inbox.observer.have_lost_sight() {
            inbox.scan(context, backpressure).await;
        }
        inbox.observer.catch_up(&mut inbox.known);
        inbox.stat_due(context).await;
        let now = Instant::now();
        let ready = inbox.known.ready(now, READY_MAX);
        // What came under the name of one that is being let go is another file, or more of it.
        if inbox.removals.is_due(now) || ready.iter().any(|one| inbox.removals.has(&one.name)) {
            context.lively(Box::pin(inbox.part(context))).await;
            continue;
        }
        let may_take = if ready.is_empty() {
            backpressure.recheck(context).await;
            true
        } else {
            backpressure.may_take(context).await
        };
        if may_take && !ready.is_empty() {
            context.lively(Box::pin(inbox.take(context, backpressure, ready))).await;
        } else {
            inbox.rest(context, may_take).await;
        }
    }
    inbox.part(context).await;
}

/// Opens the directory and reads the receipts, however long that needs.
async fn begin(
    context: &IntakeContext,
    backpressure: &Backpressure,
    mut inbox_lock: Option<InboxLock>,
) -> Option<FileInbox> {
    let mut tries = 0;
    loop {
        context.turn();
        let inbox = context.config.borrow().inbox.clone();
        let (settle, progress) = (inbox.settle, Progress::of(&context.progress));
        let opening = context.in_inbox(move || {
            let opened = scan::open(&inbox.dir, progress, &mut inbox_lock).map(|(folder, id)| {
                let stranger = private_dir::stranger(&folder);
                (folder, id, stranger)
            });
            (opened, inbox_lock)
        });
        let opened;
        (opened, inbox_lock) = opening.await.unwrap_or_else(|error| (Err(error), None));
        let opened = match opened {
            Ok((folder, id, stranger)) => Ok((folder, stranger, Receipts::load(&context.outbox, id).await)),
            Err(error) => Err(error),
        };
        match opened {
            Ok((folder, stranger, Ok(receipts))) => {
                backpressure.store_works();
                backpressure.files_work();
                log_begun(inbox_lock.as_ref(), stranger);
                log_elsewhere(&receipts, folder.path());
                return Some(FileInbox::new(folder, receipts, settle, inbox_lock));
            }
            Ok((_, _, Err(error))) => backpressure.store_fails(&error),
            Err(_) if context.is_ending() => {}
            Err(error) => backpressure.files_fail("open the inbox", &error),
        }
        tries += 1;
        if !context.sleep(pause(tries)).await {
            return None;
        }
    }
}

fn log_begun(inbox_lock: Option<&InboxLock>, stranger: Option<(String, String)>) {
    if let Some((why, cure)) = stranger {
        events::warning(&format!("{why}; a directory of another name is used instead"), &cure);
    }
    if !inbox_lock.is_some_and(InboxLock::is_sure) {
        events::warning(
            "the file system of the inbox knows no locks: a second daemon would not be noticed",
            "let one daemon alone take from this inbox; two would submit each file twice",
        );
    }
}

/// Says at a start, and when the path names another directory, that some receipts speak of yet another one.
fn log_elsewhere(receipts: &Receipts, dir: &Path) {
    let count = receipts.elsewhere();
    if count > 0 {
        events::warning(
            &format!(
                "{count} files were taken out of another directory than the one that is {} now, and not removed yet",
                dir.display()
            ),
            "is its disk not mounted? nothing of it is taken twice when it is back; if it is gone for good, \
             this is harmless",
        );
    }
}

impl FileInbox {
    /// Looks at the whole directory, opened anew: it may have been replaced.
    async fn scan(&mut self, context: &IntakeContext, backpressure: &Backpressure) {
        // Out of the directory that they were taken from.
        self.part(context).await;
        let inbox = context.config.borrow().inbox.clone();
        self.next_scan = Instant::now() + inbox.rescan;
        self.known.set_settle(inbox.settle);
        let task = ScanTask {
            dir: inbox.dir,
            progress: Progress::of(&context.progress),
            receipts: self.receipts.all(),
            search: self.left.search(KNOWN_MAX, Instant::now()),
            recover: !self.is_recovered,
            watch: self.observer.are_closed(),
        };
        let mut inbox_lock = self.inbox_lock.take();
        let scanning = context.in_inbox(move || (scan::scan(task, &mut inbox_lock), inbox_lock));
        let scanned;
        (scanned, self.inbox_lock) = scanning.await.unwrap_or_else(|error| (Err(error), None));
        match scanned {
            Ok(mut scan) => {
                let now = Instant::now();
                backpressure.files_work();
                if scan.id != self.receipts.here() {
                    // A disk was mounted over it, or came off: the watch is still on the one beneath.
                    self.observer.close();
                    self.next_scan = now;
                    self.is_recovered = false;
                    self.receipts.turn_to(scan.id);
                    log_elsewhere(&self.receipts, scan.folder.path());
                    self.folder = Arc::new(scan.folder);
                    return;
                }
                self.observer.open(scan.watch);
                self.folder = Arc::new(scan.folder);
                self.is_recovered |= scan.rejected.is_ok();
                if backpressure.rejected(&scan.rejected) {
                    self.left.try_again();
                    self.next_scan = now;
                }
                self.known.found(&scan.listing.files, !scan.listing.more, now);
                self.logged_open.retain(|name| self.known.knows(name));
                self.left.found(&mut scan.listing, now);
                self.forget(context, scan.gone, false).await;
            }
            Err(_) if context.is_ending() => {}
            Err(error) => {
                self.observer.close();
                backpressure.files_fail("read the inbox", &error);
            }
        }
    }

    /// Looks at the names that are due.
    async fn stat_due(&mut self, context: &IntakeContext) {
        let due = self.known.due(Instant::now());
        if due.is_empty() {
            return;
        }
        let folder = Arc::clone(&self.folder);
        let stats = context
            .in_inbox(move || {
                due.into_iter()
                    .map(|name| (folder.stat(&name), name))
                    .collect::<Vec<_>>()
            })
            .await;
        let now = Instant::now();
        for (stat, name) in stats.unwrap_or_default() {
            match stat {
                Ok(stat) => self.known.saw_stat(&name, stat, now),
                Err(error) => self.leave(context, &name, &error),
            }
        }
    }

    /// Waits for a hint, for the next file that is due, for the next scan, for a shutdown.
    async fn rest(&mut self, context: &IntakeContext, may_take: bool) {
        let now = Instant::now();
        // A turn is due now and then even if nothing is: whoever watches us counts them.
        let mut until = self.next_scan.min(now + context.turn_max);
        if !may_take {
            until = until.min(now + PRESSURE_PAUSE);
        } else if let Some(due) = self.known.next_due() {
            until = until.min(due);
        }
        if let Some(due) = self.removals.due() {
            until = until.min(due);
        }
        let ending = context.ending();
        tokio::select! {
            () = self.observer.wait(&mut self.known) => {}
            () = tokio::time::sleep_until(until) => {}
            () = ending => {}
        }
    }
}
