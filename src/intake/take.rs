//! Takes files: gathers what is ready, admits it with its receipts, and only then lets the files go. Beside each step stands what a crash there
//! leaves behind. The steps themselves are in [`gather`](super::gather), [`finish`](super::finish) and [`reject`](super::reject).

use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Admission, FileReceipt, Receipt};
use crate::telemetry::events;

use super::admit::{Counts, admit};
use super::finish::{Fate, Finished, finish_all};
use super::folder::{Folder, shown};
use super::gather::{Found, Gathered, gather, sync};
use super::ledger::Ledger;
use super::parse::Bad;
use super::pieces::ReadError;
use super::reject::{self, REPORT_ENDING, Reason};
use super::settle::{Files, Ready};
use super::taking::{Chunk, End, Taking};
use super::waiting::Waiting;
use super::{Context, blocking};

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
    pub left: HashSet<OsString>,
}

impl Desk {
    /// Takes these files, oldest first, as far as there is room for them. Ends early at a shutdown; what is not finished then has its receipt.
    pub async fn take(&mut self, context: &Context, waiting: &Waiting, ready: Vec<Ready>) {
        let with_receipt = |ready: Ready| {
            let receipt = self.ledger.get(&ready.name, ready.look.inode).cloned();
            (ready, receipt)
        };
        let mut queue: VecDeque<_> = ready.into_iter().map(with_receipt).collect();
        while !queue.is_empty() && !context.is_ending() && waiting.may_take(context).await {
            context.turn();
            let folder = Arc::clone(&self.folder);
            let standards = context.standards();
            match blocking(move || gather(&folder, queue, &standards)).await {
                Ok(mut gathered) => {
                    queue = std::mem::take(&mut gathered.rest);
                    self.handle(context, waiting, gathered).await;
                }
                Err(error) => return stumbled(context, &error).await,
            }
        }
    }

    async fn handle(&mut self, context: &Context, waiting: &Waiting, gathered: Gathered) {
        self.forget(context, gathered.stale, true).await;
        let folder = Arc::clone(&self.folder);
        let mut files = gathered.files;
        let mut files = match blocking(move || (sync(&folder, &mut files), files)).await {
            Ok((Ok(()), files)) => files,
            // Nothing of them is admitted yet: the next take begins anew.
            Ok((Err(error), files)) => return files.iter().for_each(|found| self.leave(context, found.name(), &error)),
            Err(error) => return stumbled(context, &error).await,
        };
        let Some(mut counts) = self.admit_batch(context, waiting, &mut files).await else {
            return;
        };
        let mut whole = Vec::new();
        let mut large = None;
        for (found, counts) in files.into_iter().zip(counts.drain(..)) {
            match found {
                Found::Results(taking, chunk) => match chunk.end {
                    End::More => large = Some((taking, counts)),
                    End::Whole => whole.push(*taking),
                    End::Unfinished(_) => self.known.is_unsettled(&taking.name, taking.look, true, Instant::now()),
                },
                Found::Bad(taking, bad) => self.reject(context, *taking, bad).await,
                Found::Unfinished(name, look) => self.known.is_unsettled(&name, look, true, Instant::now()),
                Found::Left(name, error) => self.leave(context, &name, &error),
                Found::Gone(name) => self.known.forget(&name),
            }
        }
        self.finish(context, whole).await;
        if let Some((taking, counts)) = large {
            self.go_on(context, waiting, *taking, counts).await;
        }
    }

    /// Admits the results of all of these at once; returns what came of each file's. `None` at a shutdown.
    async fn admit_batch(&mut self, context: &Context, waiting: &Waiting, files: &mut [Found]) -> Option<Vec<Counts>> {
        let mut admission = Admission::default();
        let mut receipts: Vec<FileReceipt> = Vec::new();
        let mut shares = Vec::with_capacity(files.len());
        for found in files.iter_mut() {
            let mut share = 0;
            if let Found::Results(taking, chunk) = found
                && !chunk.entries.is_empty()
            {
                warn(chunk);
                share = chunk.entries.len();
                admission.entries.append(&mut chunk.entries);
                receipts.push(taking.receipt());
            }
            shares.push(share);
        }
        if receipts.is_empty() {
            return Some(vec![Counts::default(); shares.len()]);
        }
        admission.receipts = receipts.iter().cloned().map(Receipt::File).collect();
        // Crash here: nothing is taken yet, the next start finds the files as they are.
        let mut outcomes = admit(context, waiting, admission).await?;
        // Crash here: everything is in, the files are still there. Their receipts make the next take a no-op.
        self.ledger.admitted(receipts);
        let mut batch = (Counts::default(), 0_u64, String::new());
        let mut counts = Vec::with_capacity(shares.len());
        for (found, share) in files.iter().zip(shares) {
            let rest = outcomes.split_off(share.min(outcomes.len()));
            let of_file = Counts::of(&outcomes);
            outcomes = rest;
            counts.push(of_file);
            // A file that goes on has an event of its own at its end.
            if let Found::Results(taking, chunk) = found
                && chunk.end != End::More
                && share > 0
            {
                batch.0.add(of_file);
                batch.1 += 1;
                batch.2.clone_from(&taking.shown);
            }
        }
        batch.0.tell(&if batch.1 == 1 { batch.2 } else { format!("{} files", batch.1) });
        Some(counts)
    }

    /// The rest of a file that does not fit into one admission. `counts`: of what is in already.
    async fn go_on(&mut self, context: &Context, waiting: &Waiting, mut taking: Taking, mut counts: Counts) {
        let name = taking.shown.clone();
        // Held open while it waits: begun anew, it would be read from its beginning each time.
        while waiting.until_room(context).await {
            let standards = context.standards();
            let read = blocking(move || {
                let chunk = taking.chunk(&standards).and_then(|chunk| {
                    taking.sync()?;
                    Ok(chunk)
                });
                (taking, chunk)
            });
            let chunk;
            (taking, chunk) = match read.await {
                Ok(read) => read,
                Err(error) => return stumbled(context, &error).await,
            };
            let mut chunk = match chunk {
                Ok(chunk) => chunk,
                Err(ReadError::Bad(bad)) => {
                    counts.tell(&name);
                    return self.reject(context, taking, bad).await;
                }
                Err(ReadError::Io(error)) => {
                    self.leave(context, &taking.name, &error);
                    break;
                }
            };
            let end = chunk.end.clone();
            if !chunk.entries.is_empty() {
                warn(&mut chunk);
                let receipt = taking.receipt();
                let admission = Admission {
                    entries: chunk.entries,
                    receipts: vec![Receipt::File(receipt.clone())],
                };
                // Crash before or behind it: the receipt says where to go on.
                let Some(outcomes) = admit(context, waiting, admission).await else {
                    break;
                };
                self.ledger.admitted([receipt]);
                counts.add(Counts::of(&outcomes));
            }
            match end {
                End::More => {}
                End::Whole => {
                    counts.tell(&name);
                    return self.finish(context, vec![taking]).await;
                }
                End::Unfinished(_) => {
                    self.known.is_unsettled(&taking.name, taking.look, true, Instant::now());
                    break;
                }
            }
        }
        counts.tell(&name);
    }

    /// Lets files go whose results are all in.
    async fn finish(&mut self, context: &Context, takings: Vec<Taking>) {
        if takings.is_empty() {
            return;
        }
        let folder = Arc::clone(&self.folder);
        let standards = context.standards();
        let bytes_max = standards.config.inbox.max_result_size;
        let finished = blocking(move || finish_all(&folder, takings, bytes_max, standards.now)).await;
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
                    self.left.remove(&name);
                    gone.extend(self.ledger.get(&name, inode).cloned());
                }
                Fate::Grown(look) => self.known.is_unsettled(&name, look, false, Instant::now()),
                Fate::Rewritten(look) => {
                    self.known.is_unsettled(&name, look, false, Instant::now());
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

    async fn reject(&mut self, context: &Context, taking: Taking, bad: Bad) {
        let mut why = bad.to_string();
        if taking.is_resumed || taking.results > 0 {
            why.push_str("; what stands before it was taken, for the file was changed meanwhile");
        }
        let reason = Reason::whole(why, &bad, context.standards().now);
        let folder = Arc::clone(&self.folder);
        let (name, look) = (taking.name.clone(), taking.look);
        let work = move || {
            let moved = reject::whole(&folder, &taking.name, &taking.look, &reason);
            moved.map(|moved| (moved, reason))
        };
        match blocking(work).await.and_then(|moved| moved) {
            Ok((moved, reason)) => {
                self.known.forget(&name);
                if let Some(moved) = moved {
                    tell_rejected(&name, &moved, &reason);
                }
                let receipt = self.ledger.get(&name, look.inode).cloned();
                self.forget(context, receipt.into_iter().collect(), false).await;
            }
            Err(error) => self.leave(context, &name, &error),
        }
    }

    /// A file stays where it is: said once, tried again at every rescan.
    pub fn leave(&mut self, context: &Context, name: &OsStr, error: &io::Error) {
        self.known.postpone(name, Instant::now() + context.config.borrow().inbox.rescan);
        if self.left.insert(name.to_owned()) {
            let hint = if error.kind() == io::ErrorKind::PermissionDenied {
                "let the daemon's user read it (chmod, setfacl) and write its directory, or move it away; it is tried again"
            } else {
                "look at the file and its disk; it is tried again"
            };
            events::file_left(&shown(name), &error.to_string(), hint);
        }
    }

    /// Forgets receipts; `sync` first, where the directory is not synced yet. What fails is tried again at the next scan.
    pub async fn forget(&mut self, context: &Context, receipts: Vec<FileReceipt>, sync: bool) {
        if receipts.is_empty() {
            return;
        }
        let folder = Arc::clone(&self.folder);
        let synced = if sync {
            blocking(move || folder.sync()).await.and_then(|done| done)
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

/// A panic on the thread that reads; nothing is lost by it, but it may come again at once.
async fn stumbled(context: &Context, error: &io::Error) {
    events::internal_error("read the inbox", &error.to_string());
    context.sleep(STUMBLED_PAUSE).await;
}

fn warn(chunk: &mut Chunk) {
    for warning in chunk.warnings.drain(..) {
        events::warning(&warning, "it is sent all the same: validation.mode is \"warn\"");
    }
}

fn tell_rejected(name: &OsStr, moved: &OsStr, reason: &Reason) {
    let moved = shown(moved);
    let hint = format!(
        "{}/{moved}{REPORT_ENDING} says what to mend; drop the mended one into the inbox again",
        reject::REJECTED
    );
    events::file_rejected(&shown(name), &reason.reason, &format!("{}/{moved}", reject::REJECTED), &hint);
}
