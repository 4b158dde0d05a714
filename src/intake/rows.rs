//! The rows' loop: takes rows out of `inbox.database`, in the order of their ids, exactly once.
//!
//! ```text
//!  daemon or command                       child process, shut into the inbox's directory
//!  rows · room · clerk ── wire (socket) ── serve · database · schema · batch · outside ── inbox.db
//! ```
//!
//! Anybody who drops rows may write that file, and what SQLite finds in it, it does: deletes what a journal names,
//! computes what a schema says, dies of a file that is cut short. So nothing here opens it but the clerk, a child
//! process that reaches that directory alone, has a time limit on every answer, and may die.
//!
//! The two databases cannot commit together, so each batch is read, admitted to the outbox with a receipt a row,
//! deleted here, and only then are the receipts forgotten.
//!
//! A foreign producer often has no busy timeout, and meets our locks as an error of its own. So we never look while its
//! journal is there, and delete only when it has been quiet for a moment (see [`taken::Taken`]): a deletion syncs, and
//! holds the write lock for milliseconds. Trouble with this file (locked, replaced, not ours) is said once and tried
//! again; it stops nothing else.

mod alone;
mod batch;
mod clerk;
mod confine;
mod database;
mod error;
mod glance;
mod outside;
mod patience;
mod room;
mod row;
mod schema;
mod serve;
mod taken;
#[cfg(test)]
mod tests;
mod wire;

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use crate::model::{Admission, Receipt};
use crate::telemetry::events;

use super::identity::InboxId;
use super::waiting::Waiting;
use super::{Context, PRESSURE_PAUSE, blocking};

use clerk::Clerk;
pub use clerk::WORD as CLERK;
pub use error::RowsError;
use room::{Room, Turned};
use row::Row;
pub use serve::serve;

/// How long a person who only looks waits for the counts.
const COUNT_MAX: Duration = Duration::from_secs(3);
/// How long a start waits to hear whether the file can be used; it goes on without.
const TRY_MAX: Duration = Duration::from_secs(10);
/// How long a person who inserts waits: for a lock, and for a disk.
const INSERT_MAX: Duration = Duration::from_mins(1);

/// Takes rows until shutdown.
pub async fn run(context: &Context, waiting: &Waiting) {
    let mut room = Room::default();
    while !context.is_ending() {
        context.turn();
        room.drain();
        match context.lively(room.turn(context, waiting)).await {
            Ok(Turned::Nothing) => {
                room.works(waiting);
                room.rest(context).await;
            }
            Ok(Turned::Writing) => room.rest(context).await,
            Ok(Turned::Took) => {
                room.works(waiting);
                room.ladder = None;
            }
            Ok(Turned::NoRoom) => {
                waiting.rows_wait();
                context.sleep(PRESSURE_PAUSE).await;
            }
            // The clerk was in the midst of something, which is rolled back, or known by its receipts.
            Err(RowsError::Gone(_)) if context.is_ending() => break,
            Err(error) => {
                let pause = room.fails(&error, waiting);
                patience::pause(context, pause).await;
            }
        }
    }
    // Whatever this cannot delete is deleted at the next start, by its receipts.
    match room.delete(context).await {
        Ok(()) | Err(RowsError::Gone(_)) => {}
        Err(error) => {
            room.fails(&error, waiting);
        }
    }
    room.close().await;
}

/// Whether a daemon may take rows from this inbox, and whether the kernel confines who opens it. The lock is only asked
/// for: the loop takes it itself, and one that lost a race for it takes no rows and says so.
pub async fn try_open(path: &Path, outbox: &Path) -> Result<bool, RowsError> {
    let database = path.to_owned();
    drop(blocking(move || alone::take(&database)).await??);
    with_clerk(path, outbox, TRY_MAX, async |_, confined| Ok(confined)).await
}

/// Inserts results, as any producer could, in one transaction; returns their row ids.
pub async fn insert(path: &Path, outbox: &Path, texts: &[String]) -> Result<Vec<i64>, RowsError> {
    if let Some(long) = texts.iter().find(|text| text.len() > batch::COLUMN_BYTES_MAX) {
        return Err(RowsError::Refused(format!(
            "a result of {} bytes is too large for the row inbox, which takes up to 16 MiB",
            long.len()
        )));
    }
    with_clerk(path, outbox, INSERT_MAX, async |clerk, _| {
        clerk.insert(texts.to_vec()).await
    })
    .await
}

/// How many rows wait to be taken, and how many could not be.
pub(super) async fn count(path: &Path, outbox: &Path) -> Result<(u64, u64), RowsError> {
    with_clerk(path, outbox, COUNT_MAX, async |clerk, _| clerk.count().await).await
}

/// Does one thing with a clerk of its own.
async fn with_clerk<T>(
    path: &Path,
    outbox: &Path,
    limit: Duration,
    work: impl AsyncFnOnce(&mut Clerk, bool) -> Result<T, RowsError>,
) -> Result<T, RowsError> {
    let mut clerk = Clerk::start()?;
    let done = timeout(limit, async {
        let (_, confined) = clerk.open(path, outbox).await?;
        work(&mut clerk, confined).await
    });
    let late = |_| {
        Err(RowsError::Gone(format!(
            "did not answer within {limit:?} and was ended"
        )))
    };
    let done = done.await.unwrap_or_else(late);
    // One that the kernel holds is nobody's here: this command ends, and it with it.
    drop(clerk.end().await);
    done
}

fn admission(context: &Context, inbox: InboxId, rows: &[Row]) -> Admission {
    let standards = context.standards();
    let mut admission = Admission::default();
    for row in rows {
        let Some(judged) = row.judge(&standards.judge()) else {
            continue;
        };
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
