//! The worker's own side: a process of its own that opens the row inbox and does what the daemon, or a command, asks.
//! It may be killed at any point: SQLite rolls back what was not committed, and receipts know what was taken.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::batch;
use super::confine;
use super::database::{Database, directory};
use super::error::RowsError;
use super::protocol::{self, Reply, Request, RowBatch};

/// How long SQLite may compute at one request: a thousand times what our own statements need.
const READ_PATIENCE: Duration = Duration::from_secs(5);
/// The same where it writes, and may wait for a disk meanwhile.
const WRITE_PATIENCE: Duration = Duration::from_secs(25);

/// Serves until the daemon is gone.
pub fn serve() -> io::Result<()> {
    confine::alone()?;
    // A socket, or there is nobody to serve: an operator typed the word.
    let mut line = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    line.peer_addr()?;
    let Some(Request::Open { path, outbox }) = protocol::read(&mut line)? else {
        return Ok(());
    };
    let confined = match confine::to(&directory(&path)) {
        Ok(confined) => confined,
        Err(error) => return protocol::write(&mut line, &Reply::Failed(error)),
    };
    // After the confinement, so that every thread it starts is confined.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _ignored = runtime.block_on(async { deaf() })?;
    let mut worker = Serving {
        runtime,
        confined,
        database: None,
    };
    let mut request = Some(Request::Open { path, outbox });
    while let Some(asked) = request {
        let answer = worker
            .answer(asked)
            .unwrap_or_else(|error| Reply::Failed(error.bounded()));
        protocol::write(&mut line, &answer)?;
        request = protocol::read(&mut line)?;
    }
    Ok(())
}

/// A service manager signals every process of the service: the daemon ends us, when it is done with us.
fn deaf() -> io::Result<[Signal; 3]> {
    Ok([
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    ])
}

struct Serving {
    runtime: Runtime,
    confined: bool,
    database: Option<Database>,
}

impl Serving {
    fn answer(&mut self, request: Request) -> Result<Reply, RowsError> {
        if let Request::Open { path, outbox } = request {
            return self.open(&path, &outbox);
        }
        let Some(mut database) = self.database.take() else {
            return Ok(Reply::Replaced);
        };
        // What it fails at, or is replaced, is opened anew: a fresh connection is no worse, and an open transaction is
        // rolled back with it.
        if !database.is_there()? {
            return Ok(Reply::Replaced);
        }
        let answer = self.runtime.block_on(serve_one(&mut database, request))?;
        self.database = Some(database);
        Ok(answer)
    }

    fn open(&mut self, path: &Path, outbox: &Path) -> Result<Reply, RowsError> {
        self.runtime.block_on(async {
            if let Some(database) = self.database.take() {
                database.close().await;
            }
            let database = Database::open(path, outbox, READ_PATIENCE).await?;
            let inbox = database.id;
            self.database = Some(database);
            Ok(Reply::Opened {
                inbox,
                confined: self.confined,
            })
        })
    }
}

async fn serve_one(database: &mut Database, request: Request) -> Result<Reply, RowsError> {
    match request {
        Request::Open { .. } => Ok(Reply::Replaced),
        Request::Poll { seen, after, bytes_max } => poll(database, seen, after, bytes_max).await,
        Request::Delete { rows, bytes_max, now } => {
            database.begin("BEGIN IMMEDIATE", WRITE_PATIENCE).await?;
            let deleted = batch::delete(&mut database.conn, &rows, bytes_max, &now).await;
            let (done, gone) = ended(database, deleted).await?;
            // Power cut before this: the journal may come back and the deletion be undone; the receipts are still
            // there.
            database.sync()?;
            Ok(Reply::Deleted { done, gone })
        }
        Request::Count => {
            database.begin("BEGIN", READ_PATIENCE).await?;
            let counted = count(database).await;
            let (waiting, rejected) = ended(database, counted).await?;
            Ok(Reply::Counted { waiting, rejected })
        }
        Request::Insert { texts } => {
            database.be_patient().await?;
            database.begin("BEGIN IMMEDIATE", WRITE_PATIENCE).await?;
            let inserted = insert(database, &texts).await;
            let ids = ended(database, inserted).await?;
            database.sync()?;
            Ok(Reply::Inserted(ids))
        }
    }
}

async fn poll(database: &mut Database, seen: Option<i64>, after: i64, bytes_max: usize) -> Result<Reply, RowsError> {
    let version = database.data_version().await?;
    if seen == Some(version) {
        return Ok(Reply::Unchanged);
    }
    database.begin("BEGIN", READ_PATIENCE).await?;
    let read = batch::read(&mut database.conn, after, bytes_max).await;
    let batch = ended(database, read).await?;
    Ok(Reply::Rows(RowBatch { version, ..batch }))
}

async fn count(database: &mut Database) -> Result<(u64, u64), RowsError> {
    const COUNTS: &str = "SELECT (SELECT count(*) FROM inbox), (SELECT count(*) FROM rejected)";
    let (waiting, rejected): (i64, i64) = sqlx::query_as(COUNTS).fetch_one(&mut database.conn).await?;
    Ok((waiting.unsigned_abs(), rejected.unsigned_abs()))
}

async fn insert(database: &mut Database, texts: &[String]) -> Result<Vec<i64>, RowsError> {
    let mut ids = Vec::with_capacity(texts.len());
    for text in texts {
        let inserted = sqlx::query("INSERT INTO inbox (payload) VALUES (?1)")
            .bind(text)
            .execute(&mut database.conn)
            .await?;
        ids.push(inserted.last_insert_rowid());
    }
    Ok(ids)
}

/// Ends the transaction, as its work went.
async fn ended<T>(database: &mut Database, work: Result<T, RowsError>) -> Result<T, RowsError> {
    match work {
        Ok(done) => {
            database.commit().await?;
            Ok(done)
        }
        Err(error) => {
            database.roll_back().await;
            Err(error)
        }
    }
}
