//! The files' loop: sees what is dropped (a hint of the watch, or a scan), waits until it is settled, has it taken. It never ends for an error:
//! what fails is said once and tried again.

use std::io;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use crate::model::FileReceipt;
use crate::telemetry::events;

use super::admit::pause;
use super::desk::Desk;
use super::folder::{Folder, Look, OURS, OURS_MODE};
use super::identity::{InboxId, identify};
use super::ledger::Ledger;
use super::parse::Format;
use super::pieces::Pulse;
use super::remove::{bring_back, is_aside};
use super::settle::{Files, KNOWN_MAX};
use super::waiting::Waiting;
use super::watch::{Hint, Watch};
use super::{Context, PRESSURE_PAUSE, TURN_MAX, blocking, reject};

/// The most files that are taken between two looks at the hints and at the clock.
const READY_MAX: usize = 4096;

/// Takes files until shutdown.
pub async fn run(context: &Context, waiting: &Waiting) {
    let Some(desk) = begin(context, waiting).await else { return };
    let mut room = Room {
        desk,
        watch: None,
        next_scan: Instant::now(),
    };
    while !context.is_ending() {
        context.turn();
        if Instant::now() >= room.next_scan {
            room.scan(context, waiting).await;
        }
        room.hints_so_far();
        room.look(context).await;
        let ready = room.desk.known.ready(Instant::now(), READY_MAX);
        let may_take = if ready.is_empty() {
            waiting.look_again(context).await;
            true
        } else {
            waiting.may_take(context).await
        };
        if may_take && !ready.is_empty() {
            room.desk.take(context, waiting, ready).await;
        } else {
            room.rest(context, may_take).await;
        }
    }
}

/// Opens the directory and reads the receipts, however long that needs.
async fn begin(context: &Context, waiting: &Waiting) -> Option<Desk> {
    let mut tries = 0;
    loop {
        context.turn();
        let inbox = context.config.borrow().inbox.clone();
        let pulse = Pulse::of(&context.progress);
        let opened = blocking(move || {
            let (folder, id) = open(&inbox.dir, pulse)?;
            reject::recover(&folder)?;
            Ok::<_, io::Error>((folder, id, inbox.settle))
        });
        let opened = match opened.await.and_then(|done| done) {
            Ok((folder, id, settle)) => Ok((folder, settle, Ledger::load(&context.outbox, id).await)),
            Err(error) => Err(error),
        };
        match opened {
            Ok((folder, settle, Ok(ledger))) => {
                waiting.store_works();
                waiting.files_work();
                tell_elsewhere(&ledger, folder.path());
                return Some(Desk {
                    folder: Arc::new(folder),
                    ledger,
                    known: Files::new(settle),
                    left: std::collections::HashSet::new(),
                });
            }
            Ok((_, _, Err(error))) => waiting.store_fails(&error),
            Err(error) => waiting.files_fail("open the inbox", &error),
        }
        tries += 1;
        if !context.sleep(pause(tries)).await {
            return None;
        }
    }
}

/// Opens the directory that the path names just now, and asks it which one it is.
fn open(dir: &Path, pulse: Pulse) -> io::Result<(Folder, InboxId)> {
    let folder = Folder::open(dir)?.with_pulse(pulse);
    let id = identify(&folder.sub(OURS, OURS_MODE)?)?;
    Ok((folder.with_id(id), id))
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
    watch: Option<Watch>,
    next_scan: Instant,
}

/// What a scan found.
struct Scan {
    folder: Folder,
    id: InboxId,
    files: Vec<(std::ffi::OsString, Look)>,
    /// Whether these are all.
    all: bool,
    /// Receipts whose files are durably gone.
    gone: Vec<FileReceipt>,
}

impl Room {
    /// Looks at the whole directory, opened anew: it may have been replaced.
    async fn scan(&mut self, context: &Context, waiting: &Waiting) {
        let inbox = context.config.borrow().inbox.clone();
        self.next_scan = Instant::now() + inbox.rescan;
        self.desk.known.set_settle(inbox.settle);
        if self.watch.is_none() {
            // Before the directory is read: what comes in between is seen twice and never missed.
            self.watch = Watch::files(&inbox.dir).ok();
        }
        let receipts = self.desk.ledger.all();
        let pulse = Pulse::of(&context.progress);
        match blocking(move || scan(&inbox.dir, &receipts, pulse)).await.and_then(|done| done) {
            Ok(scan) => {
                waiting.files_work();
                if scan.id != self.desk.ledger.here() {
                    // A disk was mounted over it, or came off: the watch is still on the one beneath.
                    self.watch = None;
                    self.next_scan = Instant::now();
                    self.desk.ledger.turn_to(scan.id);
                    tell_elsewhere(&self.desk.ledger, scan.folder.path());
                    self.desk.folder = Arc::new(scan.folder);
                    return;
                }
                self.desk.folder = Arc::new(scan.folder);
                self.desk.known.found(&scan.files, scan.all, Instant::now());
                if scan.all {
                    self.desk.left.retain(|name| scan.files.iter().any(|(there, _)| there == name));
                }
                self.desk.forget(context, scan.gone, false).await;
            }
            Err(error) => {
                self.watch = None;
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
        let looks = blocking(move || due.into_iter().map(|name| (folder.look(&name), name)).collect::<Vec<_>>()).await;
        let now = Instant::now();
        for (look, name) in looks.unwrap_or_default() {
            match look {
                Ok(look) => self.desk.known.looked(&name, look, now),
                Err(error) => self.desk.leave(context, &name, &error),
            }
        }
    }

    fn hints_so_far(&mut self) {
        if let Some(hints) = self.watch.as_mut().and_then(|watch| watch.hints().now_or_never()) {
            self.heed(hints);
        }
    }

    fn heed(&mut self, hints: io::Result<Vec<Hint>>) {
        let now = Instant::now();
        for hint in hints.unwrap_or_else(|_| vec![Hint::Lost]) {
            match hint {
                Hint::Name(name, sight) if Format::of(&name).is_some() => self.desk.known.saw(&name, sight, now),
                Hint::Name(..) => {}
                Hint::Lost => {
                    self.desk.known.lost_sight();
                    self.watch = None;
                    self.next_scan = now;
                    return;
                }
            }
        }
    }

    /// Waits for a hint, for the next file that is due, for the next scan, for a shutdown.
    async fn rest(&mut self, context: &Context, may_take: bool) {
        let now = Instant::now();
        // A turn is due now and then even if nothing is: whoever watches us counts them.
        let mut until = self.next_scan.min(now + TURN_MAX);
        if !may_take {
            until = until.min(now + PRESSURE_PAUSE);
        } else if let Some(due) = self.desk.known.next_due() {
            until = until.min(due);
        }
        let ending = context.ending();
        let watch = self.watch.as_mut();
        let hints = async {
            match watch {
                Some(watch) => watch.hints().await,
                None => std::future::pending().await,
            }
        };
        let hints = tokio::select! {
            hints = hints => Some(hints),
            () = tokio::time::sleep_until(until) => None,
            () = ending => None,
        };
        if let Some(hints) = hints {
            self.heed(hints);
        }
    }
}

fn scan(dir: &Path, receipts: &[FileReceipt], pulse: Pulse) -> io::Result<Scan> {
    let (folder, id) = open(dir, pulse)?;
    // Those of another directory say nothing of this one.
    let receipts: Vec<&FileReceipt> = receipts.iter().filter(|receipt| receipt.inbox == Some(id)).collect();
    let mut gone = Vec::new();
    if !receipts.is_empty() {
        bring_back(&folder, &folder.names()?, &receipts)?;
        let names = folder.names()?;
        for receipt in &receipts {
            let is_there = folder.look(&receipt.name)?.is_some_and(|look| look.inode == receipt.inode);
            if !is_there && !names.iter().any(|name| is_aside(name, receipt)) {
                gone.push((*receipt).clone());
            }
        }
        // Before they are forgotten: a power cut must not bring such a file back.
        folder.sync()?;
    }
    let (files, more) = folder.oldest(KNOWN_MAX, |name| Format::of(name).is_some())?;
    Ok(Scan {
        folder,
        id,
        files,
        all: !more,
        gone,
    })
}
