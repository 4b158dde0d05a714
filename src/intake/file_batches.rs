//! Takes files: gathers what is ready, admits it with its receipts, and only then lets the files go. Beside each step
//! is said what a crash there leaves. What is done with a file afterwards is in [`file_inbox`](super::file_inbox).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::sync::Arc;

use tokio::time::Instant;

use crate::model::{Admission, FileReceipt, Receipt};
use crate::telemetry::events;

use super::admit::{AdmissionCounts, admit};
use super::backpressure::Backpressure;
use super::context::IntakeContext;
use super::file_inbox::{FileInbox, stumbled};
use super::gather::{FILES_MAX, Gathered, ReadOutcome, gather};
use super::observer::scan_openers;
use super::open_file::{Chunk, End, OpenFile};
use super::openers::Openers;
use super::parse::Format;
use super::result_reader::ReadError;
use super::stability::{Openness, Ready};

impl FileInbox {
    /// Takes these files, oldest first, as far as there is room for them. Ends early at a shutdown; what is not
    /// finished then has its receipt.
    pub async fn take(&mut self, context: &IntakeContext, backpressure: &Backpressure, ready: Vec<Ready>) {
        let ready = self.without_kept(context, ready).await;
        let with_receipt = |ready: Ready| {
            let receipt = self.receipts.get(&ready.name, ready.stat.inode).cloned();
            (ready, receipt)
        };
        let mut queue: VecDeque<_> = ready.into_iter().map(with_receipt).collect();
        while !queue.is_empty() && !context.is_ending() && backpressure.may_take(context).await {
            context.turn();
            self.observer.catch_up(&mut self.known);
            // Others were taken before them, and somebody may have opened them meanwhile.
            queue.retain(|(ready, _)| ready.stays() || !self.known.is_open(&ready.name));
            let names: Vec<OsString> = queue
                .iter()
                .take(FILES_MAX)
                .map(|(ready, _)| ready.name.clone())
                .collect();
            for name in &names {
                self.known.opening(name);
            }
            let folder = Arc::clone(&self.folder);
            let criteria = context.criteria();
            let bytes_max = context.config.borrow().inbox.max_result_size;
            let gathering = context.in_inbox(move || gather(&folder, queue, (bytes_max, &criteria)));
            let gathered = self.observer.during(&mut self.known, gathering).await;
            // Our own opening is read out of the queue, so that a producer's that comes next is not merged with it.
            self.observer.catch_up(&mut self.known);
            let mut gathered = match gathered {
                Ok(gathered) => gathered,
                Err(error) => {
                    // Which of them were opened is not known.
                    self.known.lost_sight(Instant::now());
                    return stumbled(context, &error).await;
                }
            };
            for name in names.iter().filter(|name| !gathered.opened.contains(*name)) {
                self.known.not_opened(name, Instant::now());
            }
            queue = std::mem::take(&mut gathered.rest);
            self.handle(context, backpressure, gathered).await;
        }
    }

    /// Asks who has those open of which it was not seen that they are closed. What is open and can give nothing more is
    /// kept.
    async fn without_kept(&mut self, context: &IntakeContext, mut ready: Vec<Ready>) -> Vec<Ready> {
        let is_unknown = |openers: &Openers, one: &Ready| {
            one.openness != Openness::Closed && !openers.knows(one.stat.inode, one.touched)
        };
        let now = Instant::now();
        if ready.iter().any(|one| is_unknown(&self.observer.openers, one))
            && self.observer.openers.next().is_none_or(|next| next <= now)
        {
            let scan = scan_openers(&self.known, self.folder.path(), context);
            if let Ok(openers) = scan.await {
                self.observer.openers = openers;
            }
        }
        ready.retain_mut(|one| {
            if one.openness == Openness::Closed {
                return true;
            }
            if is_unknown(&self.observer.openers, one) {
                self.known
                    .ask_again(&one.name, self.observer.openers.next().unwrap_or(now));
                return false;
            }
            let is_written = self.observer.openers.has(one.stat.inode);
            if is_written {
                one.openness = Openness::Open;
            }
            // An array may look whole and yet go on; of lines those that are whole can be taken.
            let may_go_on = is_written && Format::of(&one.name) == Some(Format::Json);
            let stays = one.stays() && (one.is_kept || may_go_on);
            if stays {
                self.keep(&one.name, one.stat, 0, !may_go_on);
            }
            !stays
        });
        ready
    }

    async fn handle(&mut self, context: &IntakeContext, backpressure: &Backpressure, gathered: Gathered) {
        self.forget(context, gathered.stale, true).await;
        let mut files = gathered.files;
        if let Some(error) = gathered.unsynced {
            // Nothing of them is admitted yet: the next take begins anew.
            return files.iter().for_each(|found| self.leave(context, found.name(), &error));
        }
        let Some(mut counts) = self.admit_batch(context, backpressure, &mut files).await else {
            return;
        };
        let mut whole = Vec::new();
        let mut large = None;
        for (found, counts) in files.into_iter().zip(counts.drain(..)) {
            match found {
                ReadOutcome::Results(open_file, chunk) => match chunk.end {
                    End::More => large = Some((open_file, counts)),
                    End::Whole | End::Unfinished(_) if open_file.stays => {
                        self.keep(&open_file.name, open_file.stat, open_file.bad_lines, true);
                    }
                    End::Whole => whole.push(*open_file),
                    End::Unfinished(_) => self
                        .known
                        .unsettle(&open_file.name, open_file.stat, true, Instant::now()),
                },
                ReadOutcome::Bad(open_file, bad) => self.reject(context, *open_file, bad).await,
                ReadOutcome::Unfinished(name, stat) => self.known.unsettle(&name, stat, true, Instant::now()),
                ReadOutcome::Open(name, stat) => self.keep(&name, stat, 0, false),
                ReadOutcome::Left(name, error) => self.leave(context, &name, &error),
                ReadOutcome::Gone(name) => self.known.forget(&name),
            }
        }
        self.part_from(context, whole).await;
        if let Some((open_file, counts)) = large {
            self.go_on(context, backpressure, *open_file, counts).await;
        }
    }

    /// Admits the results of all of these at once; returns what came of each file's. `None` at a shutdown.
    async fn admit_batch(
        &mut self,
        context: &IntakeContext,
        backpressure: &Backpressure,
        files: &mut [ReadOutcome],
    ) -> Option<Vec<AdmissionCounts>> {
        let mut admission = Admission::default();
        let mut receipts: Vec<FileReceipt> = Vec::new();
        let mut shares = Vec::with_capacity(files.len());
        for found in files.iter_mut() {
            let mut share = 0;
            if let ReadOutcome::Results(open_file, chunk) = found
                && !chunk.entries.is_empty()
            {
                tell(context, chunk);
                share = chunk.entries.len();
                admission.entries.append(&mut chunk.entries);
                receipts.push(open_file.receipt());
            }
            shares.push(share);
        }
        if receipts.is_empty() {
            return Some(vec![AdmissionCounts::default(); shares.len()]);
        }
        admission.receipts = receipts.iter().cloned().map(Receipt::File).collect();
        // Crash here: nothing is taken yet, the next start finds the files as they are.
        let admitting = admit(context, backpressure, admission);
        let mut outcomes = self.observer.during(&mut self.known, admitting).await?;
        // Crash here: everything is in, the files are still there. Their receipts make the next take a no-op.
        self.receipts.admitted(receipts);
        let (mut of_small, mut small, mut last) = (AdmissionCounts::default(), 0_u64, String::new());
        let mut counts = Vec::with_capacity(shares.len());
        for (found, share) in files.iter().zip(shares) {
            let rest = outcomes.split_off(share.min(outcomes.len()));
            let of_file = AdmissionCounts::of(&outcomes);
            outcomes = rest;
            counts.push(of_file);
            // A file that goes on has an event of its own at its end.
            if let ReadOutcome::Results(open_file, chunk) = found
                && chunk.end != End::More
                && share > 0
            {
                of_small.add(of_file);
                small += 1;
                last.clone_from(&open_file.shown);
            }
        }
        of_small.tell(&if small == 1 { last } else { format!("{small} files") });
        Some(counts)
    }

    /// The rest of a file that does not fit into one admission. `counts`: of what is in already.
    async fn go_on(
        &mut self,
        context: &IntakeContext,
        backpressure: &Backpressure,
        mut open_file: OpenFile,
        mut counts: AdmissionCounts,
    ) {
        let name = open_file.shown.clone();
        // Held open while it waits: begun anew, it would be read from its beginning each time.
        while self
            .observer
            .during(&mut self.known, backpressure.until_room(context))
            .await
        {
            let criteria = context.criteria();
            let read = context.in_inbox(move || {
                let chunk = open_file.chunk(&criteria).and_then(|chunk| {
                    open_file.sync()?;
                    Ok(chunk)
                });
                (open_file, chunk)
            });
            let chunk;
            (open_file, chunk) = match self.observer.during(&mut self.known, read).await {
                Ok(read) => read,
                Err(error) => return stumbled(context, &error).await,
            };
            let mut chunk = match chunk {
                Ok(chunk) => chunk,
                Err(ReadError::Bad(bad)) => {
                    counts.tell(&name);
                    if open_file.stays {
                        return self.keep(&open_file.name, open_file.stat, 0, false);
                    }
                    return self.reject(context, open_file, bad).await;
                }
                Err(ReadError::Io(error)) => {
                    self.leave(context, &open_file.name, &error);
                    break;
                }
            };
            let end = chunk.end.clone();
            if !chunk.entries.is_empty() {
                tell(context, &mut chunk);
                let receipt = open_file.receipt();
                let admission = Admission {
                    entries: chunk.entries,
                    receipts: vec![Receipt::File(receipt.clone())],
                };
                // Crash before or after it: the receipt says where to go on.
                let admitting = admit(context, backpressure, admission);
                let Some(outcomes) = self.observer.during(&mut self.known, admitting).await else {
                    break;
                };
                self.receipts.admitted([receipt]);
                counts.add(AdmissionCounts::of(&outcomes));
            }
            match end {
                End::More => {}
                End::Whole | End::Unfinished(_) if open_file.stays => {
                    self.keep(&open_file.name, open_file.stat, open_file.bad_lines, true);
                    break;
                }
                End::Whole => {
                    counts.tell(&name);
                    return self.finish(context, vec![open_file]).await;
                }
                End::Unfinished(_) => {
                    self.known
                        .unsettle(&open_file.name, open_file.stat, true, Instant::now());
                    break;
                }
            }
        }
        counts.tell(&name);
    }
}

/// What is to be said of a chunk beside what becomes of its results.
fn tell(context: &IntakeContext, chunk: &mut Chunk) {
    if chunk.has_unknown_code {
        context.unknown_code.notify_one();
    }
    for warning in chunk.warnings.drain(..) {
        events::warning(&warning, "it is sent all the same: validation.mode is \"warn\"");
    }
}
