//! The row inbox as the worker has it open: created where it is missing, and trusted in nothing. Anybody who drops rows
//! may have written it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::migrate::Migration;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::Instant;

use crate::sqlite_file::{self, Identity, Pragma};

use super::error::RowsError;
use super::file_checks;
use super::schema::{self, MIGRATIONS};

/// The letters `RtIn`.
const APPLICATION_ID: i64 = 0x5274_496e;
/// How long SQLite waits for a producer's lock; they hold it for milliseconds, and we come again.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// So many rows are read ahead by SQLite's thread; each may be as large as `inbox.max_result_size`.
const READ_AHEAD: usize = 4;
/// How many instructions of SQLite's machine pass between two looks at the clock.
const INSTRUCTIONS: i32 = 20_000;

#[derive(Debug)]
pub struct Database {
    /// The one connection to it: `data_version` counts the others' commits.
    pub conn: SqliteConnection,
    pub id: [u8; 16],
    path: PathBuf,
    outbox: PathBuf,
    file: (u64, u64),
    schema_version: i64,
    deadline: Deadline,
}

/// When SQLite's machine gives up what it computes.
#[derive(Debug, Clone)]
struct Deadline(Arc<Mutex<Instant>>);

impl Deadline {
    fn new(patience: Duration) -> Self {
        Self(Arc::new(Mutex::new(Instant::now() + patience)))
    }

    fn set(&self, patience: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + patience;
    }

    fn is_ahead(&self) -> bool {
        Instant::now() < *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database {
    /// Opens it, creating it where it is missing. `outbox` is the file it must not be.
    pub async fn open(path: &Path, outbox: &Path, patience: Duration) -> Result<Self, RowsError> {
        if file_checks::file_id(path, outbox)?.is_none() {
            file_checks::create(path)?;
        }
        let vanished = || RowsError::Broken(format!("{}: it vanished", path.display()));
        let file = file_checks::file_id(path, outbox)?.ok_or_else(vanished)?;
        file_checks::beside(path)?;
        file_checks::header(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .busy_timeout(BUSY_TIMEOUT)
            .row_buffer_size(READ_AHEAD)
            .disable_statement_logging();
        let mut conn = options.connect().await?;
        let deadline = Deadline::new(patience);
        let asked = deadline.clone();
        conn.lock_handle()
            .await?
            .set_progress_handler(INSTRUCTIONS, move || asked.is_ahead());
        match prepare(&mut conn, path).await {
            Ok((id, schema_version)) => Ok(Self {
                conn,
                id,
                path: path.to_owned(),
                outbox: outbox.to_owned(),
                file,
                schema_version,
                deadline,
            }),
            Err(error) => {
                drop(conn.close().await);
                Err(error)
            }
        }
    }

    /// Looks at everything outside again before SQLite does; whether the path still names the file that is open.
    pub fn is_there(&self) -> Result<bool, RowsError> {
        let is_there = file_checks::file_id(&self.path, &self.outbox)? == Some(self.file);
        if is_there {
            file_checks::beside(&self.path)?;
        }
        Ok(is_there)
    }

    /// A number that changes when somebody else commits.
    pub async fn data_version(&mut self) -> Result<i64, RowsError> {
        pragma(&mut self.conn, "PRAGMA data_version").await
    }

    /// Begins a transaction in which `patience` is the limit of all computing, with `BEGIN` or `BEGIN IMMEDIATE`, and
    /// looks at what is there again, now that nobody can change it.
    pub async fn begin(&mut self, begin: &'static str, patience: Duration) -> Result<(), RowsError> {
        self.deadline.set(patience);
        sqlx::query(begin).execute(&mut self.conn).await?;
        let checked = self.check().await;
        if checked.is_err() {
            self.roll_back().await;
        }
        checked
    }

    async fn check(&mut self) -> Result<(), RowsError> {
        // Reads the file, and so takes the lock.
        let version = pragma(&mut self.conn, "PRAGMA schema_version").await?;
        schema::is_no_wal(&mut self.conn, &self.path).await?;
        if version != self.schema_version {
            // A trigger could have come.
            schema::inspect(&mut self.conn, &self.path).await?;
            self.schema_version = version;
        }
        Ok(())
    }

    pub async fn commit(&mut self) -> Result<(), RowsError> {
        sqlx::query("COMMIT").execute(&mut self.conn).await?;
        Ok(())
    }

    /// Ends the transaction as if it had not been. Where that fails, closing the connection does it.
    pub async fn roll_back(&mut self) {
        let _ended: Result<_, sqlx::Error> = sqlx::query("ROLLBACK").execute(&mut self.conn).await;
    }

    /// For what an operator waits for: longer than the daemon would wait for a lock, whom others must not wait for.
    pub async fn be_patient(&mut self) -> Result<(), RowsError> {
        sqlx::query("PRAGMA busy_timeout = 5000")
            .execute(&mut self.conn)
            .await?;
        Ok(())
    }

    /// Makes commits durable: with a rollback journal the commit is the deletion of the journal, which is durable only
    /// with the directory.
    pub fn sync(&self) -> Result<(), RowsError> {
        Ok(std::fs::File::open(directory(&self.path))?.sync_all()?)
    }

    pub async fn close(self) {
        drop(self.conn.close().await);
    }
}

/// Sets up the connection, brings the tables to the newest version, and looks at what is there.
async fn prepare(conn: &mut SqliteConnection, path: &Path) -> Result<([u8; 16], i64), RowsError> {
    set_up(conn, path).await?;
    schema::is_no_wal(conn, path).await?;
    migrate(conn, path).await?;
    // In one transaction, so that nobody changes it between.
    sqlx::query("BEGIN").execute(&mut *conn).await?;
    let schema_version = pragma(conn, "PRAGMA schema_version").await?;
    schema::inspect(conn, path).await?;
    let id: Vec<u8> = sqlx::query_scalar("SELECT CAST(substr(value, 1, 17) AS BLOB) FROM meta WHERE name = 'inbox_id'")
        .fetch_one(&mut *conn)
        .await?;
    sqlx::query("COMMIT").execute(conn).await?;
    let id = id
        .try_into()
        .map_err(|_| RowsError::Refused(format!("{}: its inbox_id is not 16 bytes", path.display())))?;
    Ok((id, schema_version))
}

/// Settings of the connection, each with what it must read.
const PRAGMAS: [Pragma; 7] = [
    // No function that a changed schema smuggles in.
    ("PRAGMA trusted_schema = OFF", "0"),
    ("PRAGMA cell_size_check = ON", "1"),
    ("PRAGMA synchronous = FULL", "2"),
    ("PRAGMA busy_timeout = 250", "250"),
    // A mapped file that is cut short ends the process.
    ("PRAGMA mmap_size = 0", "0"),
    // No temporary files: there is no place for them.
    ("PRAGMA temp_store = MEMORY", "2"),
    // The four columns of the largest row that is moved, and three copies of it on the way: 256 MiB.
    ("PRAGMA hard_heap_limit = 268435456", "268435456"),
];

async fn set_up(conn: &mut SqliteConnection, path: &Path) -> Result<(), RowsError> {
    if let Some(failed) = sqlite_file::set_pragmas(conn, &PRAGMAS).await? {
        return Err(RowsError::Broken(failed));
    }
    let encoding: String = sqlx::query_scalar("PRAGMA encoding").fetch_one(conn).await?;
    if encoding != "UTF-8" {
        let shown = path.display();
        return Err(RowsError::Refused(format!(
            "{shown}: its encoding is {encoding}, not UTF-8; move it away"
        )));
    }
    Ok(())
}

async fn pragma(conn: &mut SqliteConnection, read: &'static str) -> Result<i64, RowsError> {
    Ok(sqlx::query_scalar(read).fetch_one(conn).await?)
}

async fn migrate(conn: &mut SqliteConnection, path: &Path) -> Result<(), RowsError> {
    let newest = sqlite_file::newest(&MIGRATIONS);
    if version(conn, path, newest).await? == newest {
        return Ok(());
    }
    for migration in MIGRATIONS.iter() {
        // Two processes may come here at once (`enqueue` beside the daemon): looked at again under the lock.
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
        let outcome = match version(conn, path, newest).await {
            Ok(version) if version >= migration.version => Ok(()),
            Ok(_) => apply(conn, migration).await,
            Err(error) => Err(error),
        };
        // Crash before the end of this: the file has the older version, and is brought on at the next open.
        let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = sqlx::query(end).execute(&mut *conn).await;
        outcome?;
        ended?;
    }
    Ok(())
}

async fn apply(conn: &mut SqliteConnection, migration: &Migration) -> Result<(), RowsError> {
    sqlite_file::apply(&mut *conn, migration, APPLICATION_ID).await?;
    if migration.version == 1 {
        // SQLite's own random numbers come from a device that the worker cannot open, and would be those of the clock.
        let mut id = [0; 16];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty()).map_err(std::io::Error::from)?;
        sqlx::query("UPDATE meta SET value = ?1 WHERE name = 'inbox_id'")
            .bind(id.as_slice())
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Our version of the file, 0 where it is empty; a file of others, or of a newer version, is refused.
async fn version(conn: &mut SqliteConnection, path: &Path, newest: i64) -> Result<i64, RowsError> {
    let shown = path.display();
    match sqlite_file::identity(conn, APPLICATION_ID, &MIGRATIONS).await? {
        Identity::Empty => Ok(0),
        Identity::Ours => Ok(newest),
        Identity::Older(version) => Ok(version),
        Identity::Newer(version) => Err(RowsError::Refused(format!(
            "{shown}: version {version}, made by a newer reten-outbox than this one, which knows up to {newest}; \
             run the newer one"
        ))),
        Identity::Foreign => Err(RowsError::Refused(format!(
            "{shown}: this is a database of another program; inbox.database must name a file of its own"
        ))),
    }
}

/// The directory of the database, whose entries are its journal's fate.
pub fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
