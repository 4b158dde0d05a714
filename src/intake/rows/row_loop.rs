//! One turn of the rows' loop: the worker, what is taken and not deleted yet, and when to look again.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock;
use crate::config::Config;
use crate::intake::admit::{AdmissionCounts, admit};
use crate::intake::backpressure::Backpressure;
use crate::intake::context::{IntakeContext, blocking};
use crate::intake::watch::Watch;
use crate::lock::Lock;
use crate::model::{InboxId, Receipt};
use crate::telemetry::events;

use super::admission::admission;
use super::database::directory;
use super::error::RowsError;
use super::limits::patiently;
use super::pending_deletes::PendingDeletes;
use super::protocol::RowBatch;
use super::row::InboxRow;
use super::row_lock;
use super::snapshot::{FileSnapshot, snapshot};
use super::worker::{LOOK_MAX, OPEN_MAX, RowWorker, RowsRead, WRITE_MAX};

/// How long a snapshot from outside may take.
const GLANCE_MAX: Duration = Duration::from_secs(10);
/// A file that looks the same from outside is read all the same so often, should a file system tell nothing.
const UNSEEN_MAX: Duration = Duration::from_mins(1);
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowTurn {
    Nothing,
    /// A producer is about to commit: a look now would be its error. The journal's deletion is the next event.
    Writing,
    /// Rows, which are in the outbox now; there may be more.
    Took,
    NoRoom,
}

#[derive(Default)]
pub(super) struct RowLoop {
    pub(super) path: PathBuf,
    lock: Option<Lock>,
    worker: Option<RowWorker>,
    inbox: Option<InboxId>,
    /// A worker that was killed, and that the kernel did not let go: there must not be more of them with every try.
    stuck: Option<Child>,
    pub(super) watch: Option<Watch>,
    /// The look from outside that is under way.
    snapshot: Option<JoinHandle<io::Result<FileSnapshot>>>,
    /// `data_version` when nothing was left.
    seen: Option<i64>,
    /// How it looked from outside before the look that found nothing, and when that was.
    pub(super) quiet: Option<(FileSnapshot, Instant)>,
    /// What is in the outbox and not deleted here yet.
    pub(super) taken: PendingDeletes,
    /// The next look of the ladder, and its step.
    pub(super) ladder: Option<(Instant, u32)>,
    /// Failures in a row, and of these the workers that ended.
    pub(super) failures: u32,
    pub(super) gone: u32,
    /// The row that can neither be taken nor moved, of which it was said.
    oversized: Option<i64>,
}

impl RowLoop {
    /// Looks for rows; where there are none, deletes what has been taken, when it is time.
    pub(super) async fn turn(
        &mut self,
        context: &IntakeContext,
        backpressure: &Backpressure,
    ) -> Result<RowTurn, RowsError> {
        let config = context.config.borrow().clone();
        if self.path != config.inbox.database {
            self.path.clone_from(&config.inbox.database);
            self.watch = None;
            self.lock = None;
            self.forget();
        }
        let snapshot = self.snapshot(context).await?;
        if self.ladder.is_some() && snapshot.is_being_written() {
            return Ok(RowTurn::Writing);
        }
        if self.taken.is_full() {
            self.delete(context).await?;
            if self.taken.is_full() {
                return Ok(RowTurn::Took);
            }
        }
        let turned = if self.is_quiet(&snapshot) {
            RowTurn::Nothing
        } else {
            self.poll(context, backpressure, &config).await?
        };
        if turned == RowTurn::Nothing && self.quiet.is_none_or(|(quiet, _)| quiet != snapshot) {
            self.quiet = Some((snapshot, Instant::now()));
        }
        let is_due = turned != RowTurn::Took && self.taken.is_due(Instant::now());
        if is_due && !self.snapshot(context).await?.is_being_written() {
            self.delete(context).await?;
        }
        Ok(turned)
    }

    async fn snapshot(&mut self, context: &IntakeContext) -> Result<FileSnapshot, RowsError> {
        let snapshot = patiently(context, GLANCE_MAX, snapshot(&mut self.snapshot, &self.path)).await;
        // What the directory refuses is told by who opens it.
        Ok(snapshot.ok_or_else(|| self.hangs())?.unwrap_or_default())
    }

    fn hangs(&self) -> RowsError {
        RowsError::Broken(format!(
            "{} did not answer within {GLANCE_MAX:?}",
            directory(&self.path).display()
        ))
    }

    /// Whether nothing can have been written since a look that found nothing: then the worker is not woken.
    fn is_quiet(&self, snapshot: &FileSnapshot) -> bool {
        let is_same = self
            .quiet
            .is_some_and(|(quiet, at)| quiet == *snapshot && at.elapsed() < UNSEEN_MAX);
        is_same && self.watch.is_some() && self.ladder.is_none() && self.inbox.is_some() && !snapshot.is_being_written()
    }

    async fn poll(
        &mut self,
        context: &IntakeContext,
        backpressure: &Backpressure,
        config: &Config,
    ) -> Result<RowTurn, RowsError> {
        // What changes from here on is seen by the next snapshot.
        self.quiet = None;
        if self.watch.is_none() {
            // Before the look: what comes in between is seen twice and never missed. Without it the slow poll is left.
            let dir = directory(&self.path);
            let watch = patiently(context, GLANCE_MAX, blocking(move || Watch::rows(&dir))).await;
            self.watch = watch.and_then(Result::ok).and_then(Result::ok);
        }
        let bytes_max = config.inbox.max_result_size;
        let (mut worker, inbox) = self.worker(context, config).await?;
        let polled = patiently(
            context,
            LOOK_MAX,
            worker.poll(self.seen, self.taken.last_id(), bytes_max),
        )
        .await;
        match self.kept(worker, polled, LOOK_MAX).await? {
            RowsRead::Replaced => {
                self.forget();
                Ok(RowTurn::Took)
            }
            RowsRead::Unchanged => Ok(RowTurn::Nothing),
            RowsRead::Rows(batch) => self.take(context, backpressure, inbox, batch, bytes_max).await,
        }
    }

    /// Brings rows into the outbox.
    async fn take(
        &mut self,
        context: &IntakeContext,
        backpressure: &Backpressure,
        inbox: InboxId,
        batch: RowBatch,
        bytes_max: usize,
    ) -> Result<RowTurn, RowsError> {
        self.log_oversized(batch.oversized);
        let RowBatch {
            version, rows, is_all, ..
        } = batch;
        if rows.is_empty() {
            self.seen = Some(version);
            return Ok(RowTurn::Nothing);
        }
        if !backpressure.may_take(context).await {
            return Ok(RowTurn::NoRoom);
        }
        let admission = admission(context, inbox, &rows);
        // Crash here: nothing is taken yet.
        if !admission.entries.is_empty() {
            let Some(outcomes) = admit(context, backpressure, admission).await else {
                return Ok(RowTurn::NoRoom);
            };
            AdmissionCounts::of(&outcomes).tell("rows");
        }
        // Crash here: they are in and still here. Their receipts make the next take a no-op, and then they are deleted.
        self.taken.add(rows, bytes_max, Instant::now());
        if is_all {
            self.seen = Some(version);
        }
        Ok(RowTurn::Took)
    }

    /// Deletes what has been taken, as much of it as one short transaction bears.
    pub(super) async fn delete(&mut self, context: &IntakeContext) -> Result<(), RowsError> {
        let Some(inbox) = self.inbox.filter(|_| !self.taken.rows.is_empty()) else {
            return Ok(());
        };
        let Some(mut worker) = self.worker.take() else {
            return Ok(());
        };
        let rows = self.taken.rows.iter().map(|row| (row.id, row.digest)).collect();
        let deleting = worker.delete(rows, self.taken.bytes_max, clock::now().to_string());
        let deleted = patiently(context, WRITE_MAX, deleting).await;
        let Some((done, gone)) = self.kept(worker, deleted, WRITE_MAX).await? else {
            self.forget();
            return Ok(());
        };
        for row in &gone {
            if let Some(reason) = &row.rejected {
                events::row_rejected(
                    row.id,
                    reason,
                    "it is in the table `rejected` beside the inbox; insert a mended one, and delete it there",
                );
            }
        }
        let is_gone = |row: &&InboxRow| gone.binary_search_by_key(&row.id, |gone| gone.id).is_ok();
        let rows = self.taken.rows.iter().filter(is_gone);
        let receipts = rows.map(|row| Receipt::Row(row.receipt(inbox))).collect();
        self.taken.drop_first(done, Instant::now());
        if self.taken.rows.is_empty() {
            // Ids below the last one were not looked at meanwhile; a producer may have given one.
            self.seen = None;
        }
        // Crash here: receipts stay of rows that are gone. They do no harm, for ids are not given out again.
        if let Err(error) = context.outbox.forget(receipts).await {
            events::storage_error(
                "forget rows",
                &error.to_string(),
                "they are gone all the same; a few bytes of receipts stay",
            );
        }
        Ok(())
    }

    /// The worker with the row inbox open.
    async fn worker(&mut self, context: &IntakeContext, config: &Config) -> Result<(RowWorker, InboxId), RowsError> {
        if let Some(inbox) = self.inbox
            && let Some(worker) = self.worker.take()
        {
            return Ok((worker, inbox));
        }
        self.forget();
        if self.lock.is_none() {
            let path = self.path.clone();
            let taken = patiently(context, GLANCE_MAX, blocking(move || row_lock::take(&path))).await;
            self.lock = Some(taken.ok_or_else(|| self.hangs())???);
        }
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.start()?,
        };
        let opening = worker.open(&self.path, config.outbox.database.anchor());
        let opening = patiently(context, OPEN_MAX, opening).await;
        let (inbox, _) = self.kept(worker, opening, OPEN_MAX).await?;
        self.inbox = Some(inbox);
        let worker = self.worker.take().ok_or_else(|| RowsError::Gone("ended".into()))?;
        Ok((worker, inbox))
    }

    fn start(&mut self) -> Result<RowWorker, RowsError> {
        if let Some(stuck) = &mut self.stuck {
            if matches!(stuck.try_wait(), Ok(None)) {
                let pid = stuck.id().unwrap_or_default();
                return Err(RowsError::Gone(format!(
                    "(pid {pid}) was ended and is still held by the kernel: the disk of inbox.database does not answer"
                )));
            }
            self.stuck = None;
        }
        RowWorker::start()
    }

    /// Keeps the worker, or ends it, as its answer was; `None`: it gave none in time.
    async fn kept<T>(
        &mut self,
        worker: RowWorker,
        answer: Option<Result<T, RowsError>>,
        limit: Duration,
    ) -> Result<T, RowsError> {
        let answer = answer.unwrap_or_else(|| {
            Err(RowsError::Gone(format!(
                "did not answer within {limit:?} and was ended"
            )))
        });
        match &answer {
            Ok(_) => self.worker = Some(worker),
            Err(RowsError::Busy(_) | RowsError::SuperJournal(_) | RowsError::Refused(_)) => {
                self.worker = Some(worker);
                self.forget();
            }
            // A directory that was replaced is out of the old one's reach.
            Err(RowsError::Misplaced(_) | RowsError::InUse(_) | RowsError::Broken(_) | RowsError::Gone(_)) => {
                self.forget();
                self.stuck = worker.end().await;
            }
        }
        answer
    }

    /// It is to be opened anew. What is taken and not deleted is found again then, known by its receipts, and deleted.
    pub(super) fn forget(&mut self) {
        self.inbox = None;
        self.seen = None;
        self.quiet = None;
        self.taken = PendingDeletes::default();
    }

    pub(super) async fn close(&mut self) {
        self.forget();
        if let Some(worker) = self.worker.take() {
            self.stuck = worker.end().await;
        }
    }

    fn log_oversized(&mut self, oversized: Option<(i64, u64)>) {
        let id = oversized.map(|(id, _)| id);
        if let Some((id, bytes)) = oversized
            && self.oversized != Some(id)
        {
            events::storage_error(
                "take rows",
                &format!(
                    "row {id} has a column of more than 16 MiB ({bytes} bytes in all), past what its table allows: \
                     it is left where it is"
                ),
                "delete it from the table `inbox`; the rows behind it are taken",
            );
        }
        self.oversized = id;
    }
}
