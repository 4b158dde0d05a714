//! The rows' loop: takes rows out of `inbox.database`, in the order of their ids, exactly once.
//!
//! The two databases cannot commit together, so each batch is read, admitted to the outbox with a receipt a row, deleted here, and only then
//! are the receipts forgotten.
//!
//! A foreign producer often has no busy timeout, and meets our locks as an error of its own. So we never look while its journal is there, and
//! delete only when it has been quiet for a moment (see [`Taken`]): a deletion syncs, and holds the write lock for milliseconds. Trouble with this file (locked, replaced, not ours) is said once and tried again; it stops nothing else.

mod batch;
mod database;
mod error;
mod taken;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::FutureExt as _;
use sqlx::Executor as _;
use tokio::time::Instant;

use crate::clock;
use crate::model::{Admission, Receipt};
use crate::telemetry::events;

use super::admit::{Counts, admit, pause};
use super::folder::Folder;
use super::taking::{CHUNK_BYTES, CHUNK_RESULTS};
use super::waiting::Waiting;
use super::watch::Watch;
use super::{Context, PRESSURE_PAUSE, blocking};

use batch::Row;
use database::Database;
pub(super) use database::directory;
pub use error::RowsError;
use taken::Taken;

/// Where an event may come before the commit that it belongs to can be seen, these looks follow it: half a millisecond, doubled ten times.
const LADDER_FIRST: Duration = Duration::from_micros(500);
const LADDER_STEPS: u32 = 10;
/// A lock is worth a word when it was met so often in a row: producers hold it for milliseconds.
const BUSY_SAID_AFTER: u32 = 5;

/// Takes rows until shutdown.
pub async fn run(context: &Context, waiting: &Waiting) {
    let mut room = Room::default();
    while !context.is_ending() {
        context.turn();
        room.drain();
        if room.ladder.is_some() && room.is_being_written() {
            // It is about to commit: a look now would be its error. The journal's deletion is the next event.
            room.rest(context).await;
            continue;
        }
        match context.lively(room.turn(context, waiting)).await {
            Ok(Looked::Nothing) => {
                room.works(waiting);
                room.rest(context).await;
            }
            Ok(Looked::Took) => {
                room.works(waiting);
                room.ladder = None;
            }
            Ok(Looked::NoRoom) => {
                waiting.rows_wait();
                context.sleep(PRESSURE_PAUSE).await;
            }
            Err(error) => {
                room.fails(&error, waiting).await;
                context.sleep(pause(room.failures)).await;
            }
        }
    }
    // Whatever this cannot delete is deleted at the next start, by its receipts.
    if let Err(error) = room.delete(context).await {
        room.fails(&error, waiting).await;
    }
    room.close().await;
}

/// Opens the row inbox and closes it again: whether it can be used.
pub async fn try_open(path: &Path, outbox: &Path) -> Result<(), RowsError> {
    Database::open(path, outbox).await?.close().await;
    Ok(())
}

/// Inserts results, as any producer could, in one transaction; returns their row ids.
pub async fn insert(path: &Path, outbox: &Path, texts: &[String]) -> Result<Vec<i64>, RowsError> {
    let mut database = Database::open(path, outbox).await?;
    // A person waits for it: longer than the daemon would, whom others must not wait for.
    database.conn.execute("PRAGMA busy_timeout = 5000").await?;
    database.conn.execute("BEGIN IMMEDIATE").await?;
    let mut ids = Vec::with_capacity(texts.len());
    for text in texts {
        let inserted = sqlx::query("INSERT INTO inbox (payload) VALUES (?1)")
            .bind(text)
            .execute(&mut database.conn)
            .await?;
        ids.push(inserted.last_insert_rowid());
    }
    database.conn.execute("COMMIT").await?;
    database.close().await;
    let dir = directory(path);
    // With a rollback journal the commit is the deletion of the journal, which is durable only with the directory.
    blocking(move || Folder::open(&dir)?.sync()).await.and_then(|synced| synced)?;
    Ok(ids)
}

/// How many rows wait to be taken, and how many could not be.
pub(super) async fn count(path: &Path, outbox: &Path) -> Result<(u64, u64), RowsError> {
    const COUNTS: &str = "SELECT (SELECT count(*) FROM inbox), (SELECT count(*) FROM rejected)";
    let mut database = Database::open(path, outbox).await?;
    let counted: Result<(i64, i64), sqlx::Error> = sqlx::query_as(COUNTS).fetch_one(&mut database.conn).await;
    database.close().await;
    let (waiting, rejected) = counted?;
    Ok((waiting.unsigned_abs(), rejected.unsigned_abs()))
}

/// What a look brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// Nothing is there.
    Nothing,
    /// Rows, which are in the outbox now; there may be more.
    Took,
    /// Intake waits.
    NoRoom,
}

#[derive(Default)]
struct Room {
    path: PathBuf,
    database: Option<Database>,
    watch: Option<Watch>,
    /// `data_version` when nothing was left.
    seen: Option<i64>,
    /// What is in the outbox and not deleted here yet.
    taken: Taken,
    /// The next look of the ladder, and its step.
    ladder: Option<(Instant, u32)>,
    /// Failures in a row.
    failures: u32,
}

impl Room {
    /// Looks for rows; where there are none, deletes what has been taken, when it is time.
    async fn turn(&mut self, context: &Context, waiting: &Waiting) -> Result<Looked, RowsError> {
        if self.taken.is_full() {
            self.delete(context).await?;
        }
        let looked = self.look(context, waiting).await?;
        if looked != Looked::Took && self.taken.is_due(Instant::now()) && !self.is_being_written() {
            self.delete(context).await?;
        }
        Ok(looked)
    }

    /// Whether a producer is in a transaction: with a rollback journal, it stands beside the file for as long. One that a crash left behind is
    /// rolled back by the looks of the slow poll, which do not ask.
    fn is_being_written(&self) -> bool {
        let mut journal = self.path.clone().into_os_string();
        journal.push("-journal");
        std::fs::symlink_metadata(journal).is_ok_and(|journal| journal.len() > 0)
    }

    async fn look(&mut self, context: &Context, waiting: &Waiting) -> Result<Looked, RowsError> {
        let config = context.config.borrow().clone();
        let (path, outbox) = (&config.inbox.database, &config.outbox.database);
        if self.path != *path {
            self.path.clone_from(path);
            self.watch = None;
        }
        // A replaced file never changes the data version of the one that is open.
        let is_same = self.database.as_ref().map(|database| database.is_at(path, outbox)).transpose()?;
        if is_same != Some(true) {
            self.close().await;
        }
        if self.watch.is_none() {
            // Before the look: what comes in between is seen twice and never missed. Without it the slow poll is left.
            self.watch = Watch::rows(&directory(path)).ok();
        }
        let database = match &mut self.database {
            Some(database) => database,
            None => self.database.insert(Database::open(path, outbox).await?),
        };
        let version = database.data_version().await?;
        if self.seen == Some(version) {
            return Ok(Looked::Nothing);
        }
        database.check_schema(path).await?;
        let bytes_max = config.inbox.max_result_size;
        let rows = batch::read(&mut database.conn, self.taken.last_id(), bytes_max).await?;
        // Asked before the reading: what was committed since then changes it again. A full batch may have more behind it.
        let is_all = rows.len() < CHUNK_RESULTS && batch::bytes(&rows) < CHUNK_BYTES;
        if rows.is_empty() {
            self.seen = Some(version);
            return Ok(Looked::Nothing);
        }
        if !waiting.may_take(context).await {
            return Ok(Looked::NoRoom);
        }
        let admission = admission(context, database.id, &rows);
        // Crash here: nothing is taken yet.
        if !admission.entries.is_empty() {
            let Some(outcomes) = admit(context, waiting, admission).await else {
                return Ok(Looked::NoRoom);
            };
            Counts::of(&outcomes).tell("rows");
        }
        // Crash here: they are in and still here. Their receipts make the next take a no-op, and then they are deleted.
        self.taken.add(rows, bytes_max, Instant::now());
        if is_all {
            self.seen = Some(version);
        }
        Ok(Looked::Took)
    }

    /// Deletes what has been taken.
    async fn delete(&mut self, context: &Context) -> Result<(), RowsError> {
        let Some(database) = self.database.as_mut().filter(|_| !self.taken.rows.is_empty()) else {
            return Ok(());
        };
        delete(context, &self.path, database, &self.taken).await?;
        self.taken = Taken::default();
        // Ids below the last one were not looked at meanwhile; a producer may have given one.
        self.seen = None;
        Ok(())
    }

    async fn close(&mut self) {
        self.seen = None;
        // Found again by the next look, known by their receipts, and deleted then.
        self.taken = Taken::default();
        if let Some(database) = self.database.take() {
            database.close().await;
        }
    }

    fn works(&mut self, waiting: &Waiting) {
        self.failures = 0;
        waiting.rows_work();
    }

    async fn fails(&mut self, error: &RowsError, waiting: &Waiting) {
        self.failures += 1;
        let is_worth_a_word = match error {
            RowsError::Busy(_) => self.failures >= BUSY_SAID_AFTER,
            RowsError::Refused(_) | RowsError::Broken(_) => true,
        };
        if is_worth_a_word {
            waiting.rows_fail(error, &self.path);
        }
        // Whatever it is, a fresh connection is no worse; a transaction that was open is rolled back by it.
        self.close().await;
    }

    /// Forgets the events of what is looked at next, those of our own deletions among them.
    fn drain(&mut self) {
        let name = self.path.file_name().unwrap_or_default().to_owned();
        while let Some(touched) = self.watch.as_mut().and_then(|watch| watch.touched(&name).now_or_never()) {
            if !touched.unwrap_or(false) {
                self.watch = None;
            }
        }
    }

    /// Waits for an event, the next look of the ladder, the next poll, or the shutdown.
    async fn rest(&mut self, context: &Context) {
        let now = Instant::now();
        let mut until = now + context.turn_max.min(context.config.borrow().inbox.rescan);
        if let Some((at, _)) = self.ladder {
            until = until.min(at);
        }
        if let Some(at) = self.taken.look_at(now) {
            until = until.min(at);
        }
        let name = self.path.file_name().unwrap_or_default().to_owned();
        let watch = self.watch.as_mut();
        let touched = async {
            match watch {
                Some(watch) => watch.touched(&name).await,
                None => std::future::pending().await,
            }
        };
        let touched = tokio::select! {
            touched = touched => Some(touched.unwrap_or(false)),
            () = tokio::time::sleep_until(until) => None,
            () = context.ending() => None,
        };
        match touched {
            Some(true) => {
                self.ladder = Some((Instant::now() + LADDER_FIRST, 0));
                self.taken.postpone(Instant::now());
            }
            Some(false) => self.watch = None,
            None => self.climb(),
        }
    }

    fn climb(&mut self) {
        let now = Instant::now();
        self.ladder = match self.ladder {
            Some((at, step)) if at <= now && step < LADDER_STEPS => Some((now + LADDER_FIRST * (1 << step), step + 1)),
            Some((at, _)) if at <= now => None,
            waits => waits,
        };
    }
}

/// Takes out of the inbox what is in the outbox.
async fn delete(context: &Context, path: &Path, database: &mut Database, taken: &Taken) -> Result<(), RowsError> {
    database.conn.execute("BEGIN IMMEDIATE").await?;
    // Under the lock, so that no trigger has come since.
    database.check_schema(path).await?;
    let gone = batch::delete(&mut database.conn, &taken.rows, taken.bytes_max, clock::now()).await?;
    database.conn.execute("COMMIT").await?;
    for row in &gone {
        if let Err(reason) = &row.payload {
            events::row_rejected(
                row.id,
                reason,
                "it is in the table `rejected` beside the inbox; insert a mended one, and delete it there",
            );
        }
    }
    let dir = directory(path);
    // Power cut before this: the journal may come back and the deletion be undone; the receipts are still there.
    blocking(move || Folder::open(&dir)?.sync()).await.and_then(|synced| synced)?;
    let receipts = gone.iter().map(|row| Receipt::Row(row.receipt(database.id))).collect();
    // Crash here: receipts stay of rows that are gone. They do no harm, for ids are not given out again.
    if let Err(error) = context.outbox.forget(receipts).await {
        events::storage_error("forget receipts of rows", &error.to_string(), "nothing is lost or doubled by it");
    }
    Ok(())
}

fn admission(context: &Context, inbox: [u8; 16], rows: &[Row]) -> Admission {
    let standards = context.standards();
    let mut admission = Admission::default();
    for row in rows {
        let Some(judged) = row.judge(&standards.judge()) else { continue };
        if judged.has_unknown_code {
            context.unknown_code.notify_one();
        }
        if let Some(warning) = judged.warning {
            events::warning(
                &format!("row {}: {warning}", row.id),
                "it is sent all the same: validation.mode is \"warn\"",
            );
        }
        admission.entries.push(judged.entry);
        admission.receipts.push(Receipt::Row(row.receipt(inbox)));
    }
    admission
}

#[cfg(test)]
mod tests;
