//! The rows' loop: takes rows out of `inbox.database`, in the order of their ids, exactly once.
//!
//! ```text
//!  daemon or command                       child process, shut into the inbox's directory
//!  row_loop · worker ── protocol (socket) ── worker_process · database · schema · batch ── inbox.db
//! ```
//!
//! Anybody who drops rows may write that file, and what SQLite finds in it, it does: deletes what a journal names,
//! computes what a schema says, dies of a file that is cut short. So nothing here opens it but the worker, a child
//! process that reaches that directory alone, has a time limit on every answer, and may die.
//!
//! The two databases cannot commit together, so each batch is read, admitted to the outbox with a receipt a row,
//! deleted here, and only then are the receipts forgotten.
//!
//! A foreign producer often has no busy timeout, and meets our locks as an error of its own. So we never look while its
//! journal is there, and delete only when it has been quiet for a moment (see [`pending_deletes::PendingDeletes`]): a
//! deletion syncs, and holds the write lock for milliseconds. Trouble with this file (locked, replaced, not ours) is
//! said once and tried again; it stops nothing else.

mod admission;
mod batch;
mod confine;
mod database;
pub(super) mod error;
mod file_checks;
mod limits;
mod pending_deletes;
mod protocol;
mod row;
mod row_lock;
mod row_loop;
mod row_wait;
mod schema;
mod snapshot;
#[cfg(test)]
mod tests;
mod worker;
mod worker_process;

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::backpressure::Backpressure;
use super::context::{IntakeContext, PRESSURE_PAUSE, blocking};

pub use error::RowsError;
use row_loop::{RowLoop, RowTurn};
use worker::RowWorker;
pub use worker::WORD as CLERK;
pub use worker_process::serve;

/// How long an operator who only looks waits for the counts.
const COUNT_MAX: Duration = Duration::from_secs(3);
/// How long a start waits to hear whether the file can be used; it goes on without.
const TRY_MAX: Duration = Duration::from_secs(10);
/// How long an operator who inserts waits: for a lock, and for a disk.
const INSERT_MAX: Duration = Duration::from_mins(1);

pub async fn run(context: &IntakeContext, backpressure: &Backpressure) {
    let mut rows = RowLoop::default();
    while !context.is_ending() {
        context.turn();
        rows.drain();
        match context.lively(rows.turn(context, backpressure)).await {
            Ok(RowTurn::Nothing) => {
                rows.works(backpressure);
                rows.rest(context).await;
            }
            Ok(RowTurn::Writing) => rows.rest(context).await,
            Ok(RowTurn::Took) => {
                rows.works(backpressure);
                rows.ladder = None;
            }
            Ok(RowTurn::NoRoom) => {
                backpressure.rows_wait();
                context.sleep(PRESSURE_PAUSE).await;
            }
            // The worker was in the midst of something, which is rolled back, or known by its receipts.
            Err(RowsError::Gone(_)) if context.is_ending() => break,
            Err(error) => {
                let pause = rows.fails(&error, backpressure);
                limits::pause(context, pause).await;
            }
        }
    }
    // Whatever this cannot delete is deleted at the next start, by its receipts.
    match rows.delete(context).await {
        Ok(()) | Err(RowsError::Gone(_)) => {}
        Err(error) => {
            rows.fails(&error, backpressure);
        }
    }
    rows.close().await;
}

/// Whether a daemon may take rows from this inbox, and whether the kernel confines who opens it. The lock is only asked
/// for: the loop takes it itself, and one that lost a race for it takes no rows and says so.
pub async fn try_open(path: &Path, outbox: &Path) -> Result<bool, RowsError> {
    let database = path.to_owned();
    drop(blocking(move || row_lock::take(&database)).await??);
    with_worker(path, outbox, TRY_MAX, async |_, confined| Ok(confined)).await
}

/// Inserts results, as any producer could, in one transaction; returns their row ids.
pub async fn insert(path: &Path, outbox: &Path, texts: &[String]) -> Result<Vec<i64>, RowsError> {
    if let Some(long) = texts.iter().find(|text| text.len() > batch::COLUMN_BYTES_MAX) {
        return Err(RowsError::Refused(format!(
            "a result of {} bytes is too large for the row inbox, which takes up to 16 MiB",
            long.len()
        )));
    }
    with_worker(path, outbox, INSERT_MAX, async |worker, _| {
        worker.insert(texts.to_vec()).await
    })
    .await
}

/// How many rows wait to be taken, and how many could not be.
pub(super) async fn count(path: &Path, outbox: &Path) -> Result<(u64, u64), RowsError> {
    with_worker(path, outbox, COUNT_MAX, async |worker, _| worker.count().await).await
}

/// Does one thing with a worker of its own.
async fn with_worker<T>(
    path: &Path,
    outbox: &Path,
    limit: Duration,
    work: impl AsyncFnOnce(&mut RowWorker, bool) -> Result<T, RowsError>,
) -> Result<T, RowsError> {
    let mut worker = RowWorker::start()?;
    let done = timeout(limit, async {
        let (_, confined) = worker.open(path, outbox).await?;
        work(&mut worker, confined).await
    });
    let late = |_| {
        Err(RowsError::Gone(format!(
            "did not answer within {limit:?} and was ended"
        )))
    };
    let done = done.await.unwrap_or_else(late);
    // One that the kernel holds is nobody's here: this command ends, and it with it.
    drop(worker.end().await);
    done
}
