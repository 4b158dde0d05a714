//! The files' loop: sees what is dropped (a hint of the watch, or a scan), waits until it is settled, has it taken. It
//! never ends for an error: what fails is said once and tried again.

use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use crate::telemetry::events;

use super::admit::pause;
use super::desk::Desk;
use super::eyes::Eyes;
use super::hold::Hold;
use super::ledger::Ledger;
use super::left::Left;
use super::parting::Parting;
use super::pieces::Pulse;
use super::scan::{self, Task};
use super::settle::{Files, KNOWN_MAX};
use super::waiting::Waiting;
use super::{Context, PRESSURE_PAUSE, workshop};

/// The most files that are taken between two looks at the hints and at the clock.
const READY_MAX: usize = 4096;

/// Takes files until shutdown. `hold`: of the inbox, where the start has it already.
pub async fn run(context: &Context, waiting: &Waiting, hold: Option<Hold>) {
    let Some((desk, hold)) = begin(context, waiting, hold).await else {
        return;
    };
    let mut room = Room {
        desk,
        hold,
        next_scan: Instant::now(),
        is_recovered: false,
    };
    while !context.is_ending() {
        context.turn();
        if Instant::now() >= room.next_scan || room.desk.eyes.have_lost_sight() {
            room.scan(context, waiting).await;
        }
        room.desk.eyes.catch_up(&mut room.desk.known);
        room.look(context).await;
        let now = Instant::now();
        let ready = room.desk.known.ready(now, READY_MAX);
        // What came under the name of one that is being let go is another file, or more of it.
        if room.desk.parting.is_due(now) || ready.iter().any(|one| room.desk.parting.has(&one.name)) {
            context.lively(Box::pin(room.desk.part(context))).await;
            continue;
        }
        let may_take = if ready.is_empty() {
            waiting.look_again(context).await;
            true
        } else {
            waiting.may_take(context).await
        };
        if may_take && !ready.is_empty() {
            context.lively(Box::pin(room.desk.take(context, waiting, ready))).await;
        } else {
            room.rest(context, may_take).await;
        }
    }
    room.desk.part(context).await;
}

/// Opens the directory and reads the receipts, however long that needs.
async fn begin(context: &Context, waiting: &Waiting, mut hold: Option<Hold>) -> Option<(Desk, Option<Hold>)> {
    let mut tries = 0;
    loop {
        context.turn();
        let inbox = context.config.borrow().inbox.clone();
        let (settle, pulse) = (inbox.settle, Pulse::of(&context.progress));
        let opening = context.in_inbox(move || {
            let opened = scan::open(&inbox.dir, pulse, &mut hold).map(|(folder, id)| {
                let stranger = workshop::stranger(&folder);
                (folder, id, stranger)
            });
            (opened, hold)
        });
        let opened;
        (opened, hold) = opening.await.unwrap_or_else(|error| (Err(error), None));
        let opened = match opened {
            Ok((folder, id, stranger)) => Ok((folder, stranger, Ledger::load(&context.outbox, id).await)),
            Err(error) => Err(error),
        };
        match opened {
            Ok((folder, stranger, Ok(ledger))) => {
                waiting.store_works();
                waiting.files_work();
                tell_begun(hold.as_ref(), stranger);
                tell_elsewhere(&ledger, folder.path());
                let desk = Desk {
                    folder: Arc::new(folder),
                    ledger,
                    known: Files::new(settle),
                    parting: Parting::default(),
                    left: Left::default(),
                    eyes: Eyes::default(),
                    told_open: std::collections::HashSet::new(),
                    closing: None,
                };
                return Some((desk, hold));
            }
            Ok((_, _, Err(error))) => waiting.store_fails(&error),
            Err(_) if context.is_ending() => {}
            Err(error) => waiting.files_fail("open the inbox", &error),
        }
        tries += 1;
        if !context.sleep(pause(tries)).await {
            return None;
        }
    }
}

fn tell_begun(hold: Option<&Hold>, stranger: Option<(String, String)>) {
    if let Some((why, cure)) = stranger {
        events::warning(&format!("{why}; a directory of another name is used instead"), &cure);
    }
    if !hold.is_some_and(Hold::is_sure) {
        events::warning(
            "the file system of the inbox knows no locks: a second daemon would not be noticed",
            "let one daemon alone take from this inbox; two would submit each file twice",
        );
    }
}

/// Says at a start, and when the path names another directory, that some receipts speak of yet another one.
fn tell_elsewhere(ledger: &Ledger, dir: &Path) {
    let count = ledger.elsewhere();
    if count > 0 {
        events::warning(
            &format!(
                "{count} files were taken out of another directory than the one that is {} now, and not removed yet",
                dir.display()
            ),
            "is its disk not mounted? nothing of it is taken twice when it is back; if it is gone for good, this is harmless",
        );
    }
}

struct Room {
    desk: Desk,
    hold: Option<Hold>,
    next_scan: Instant,
    /// Whether what a crash left half done in `rejected/` is finished.
    is_recovered: bool,
}

impl Room {
    /// Looks at the whole directory, opened anew: it may have been replaced.
    async fn scan(&mut self, context: &Context, waiting: &Waiting) {
        // Out of the directory that they were taken from.
        self.desk.part(context).await;
        let inbox = context.config.borrow().inbox.clone();
        self.next_scan = Instant::now() + inbox.rescan;
        self.desk.known.set_settle(inbox.settle);
        let task = Task {
            dir: inbox.dir,
            pulse: Pulse::of(&context.progress),
            receipts: self.desk.ledger.all(),
            search: self.desk.left.search(KNOWN_MAX, Instant::now()),
            recover: !self.is_recovered,
            watch: self.desk.eyes.are_closed(),
        };
        let mut hold = self.hold.take();
        let scanning = context.in_inbox(move || (scan::scan(task, &mut hold), hold));
        let scanned;
        (scanned, self.hold) = scanning.await.unwrap_or_else(|error| (Err(error), None));
        match scanned {
            Ok(mut scan) => {
                let now = Instant::now();
                waiting.files_work();
                if scan.id != self.desk.ledger.here() {
                    // A disk was mounted over it, or came off: the watch is still on the one beneath.
                    self.desk.eyes.close();
                    self.next_scan = now;
                    self.is_recovered = false;
                    self.desk.ledger.turn_to(scan.id);
                    tell_elsewhere(&self.desk.ledger, scan.folder.path());
                    self.desk.folder = Arc::new(scan.folder);
                    return;
                }
                self.desk.eyes.open(scan.watch);
                self.desk.folder = Arc::new(scan.folder);
                self.is_recovered |= scan.rejected.is_ok();
                if waiting.rejected(&scan.rejected) {
                    self.desk.left.try_again();
                    self.next_scan = now;
                }
                self.desk.known.found(&scan.listing.files, !scan.listing.more, now);
                self.desk.told_open.retain(|name| self.desk.known.knows(name));
                self.desk.left.found(&mut scan.listing, now);
                self.desk.forget(context, scan.gone, false).await;
            }
            Err(_) if context.is_ending() => {}
            Err(error) => {
                self.desk.eyes.close();
                waiting.files_fail("read the inbox", &error);
            }
        }
    }

    /// Looks at the names that are due.
    async fn look(&mut self, context: &Context) {
        let due = self.desk.known.due(Instant::now());
        if due.is_empty() {
            return;
        }
        let folder = Arc::clone(&self.desk.folder);
        let looks = context
            .in_inbox(move || {
                due.into_iter()
                    .map(|name| (folder.look(&name), name))
                    .collect::<Vec<_>>()
            })
            .await;
        let now = Instant::now();
        for (look, name) in looks.unwrap_or_default() {
            match look {
                Ok(look) => self.desk.known.looked(&name, look, now),
                Err(error) => self.desk.leave(context, &name, &error),
            }
        }
    }

    /// Waits for a hint, for the next file that is due, for the next scan, for a shutdown.
    async fn rest(&mut self, context: &Context, may_take: bool) {
        let now = Instant::now();
        // A turn is due now and then even if nothing is: whoever watches us counts them.
        let mut until = self.next_scan.min(now + context.turn_max);
        if !may_take {
            until = until.min(now + PRESSURE_PAUSE);
        } else if let Some(due) = self.desk.known.next_due() {
            until = until.min(due);
        }
        if let Some(due) = self.desk.parting.due() {
            until = until.min(due);
        }
        let ending = context.ending();
        tokio::select! {
            () = self.desk.eyes.wait(&mut self.desk.known) => {}
            () = tokio::time::sleep_until(until) => {}
            () = ending => {}
        }
    }
}
