//! The row inbox as a file: created where it is missing, and trusted in nothing. Anybody who drops rows may have written it.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, raw_sql};

use super::error::RowsError;

/// `migrations/inbox`, embedded. They are run here and not by sqlx, whose table of migrations would lie among the producers' tables.
static MIGRATIONS: Migrator = sqlx::migrate!("migrations/inbox");
/// `PRAGMA application_id`: tells our file from any other SQLite database. The letters `RtIn`.
const APPLICATION_ID: i64 = 0x5274_496e;
/// For owner and group: producers are members of the group.
const MODE: u32 = 0o660;
/// How long SQLite waits for a producer's lock; they hold it for milliseconds, and we come again.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// So many rows are read ahead by SQLite's thread; each may be as large as `inbox.max_result_size`.
const READ_AHEAD: usize = 4;

/// An open row inbox.
#[derive(Debug)]
pub struct Database {
    /// The one connection to it: `data_version` counts the others' commits.
    pub conn: SqliteConnection,
    /// Its own random id.
    pub id: [u8; 16],
    file: FileId,
    schema_version: i64,
}

/// Which file a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl Database {
    /// Opens it, creating it where it is missing. `outbox` is the file it must not be.
    pub async fn open(path: &Path, outbox: &Path) -> Result<Self, RowsError> {
        let path = std::path::absolute(path)?;
        if look(&path, outbox)?.is_none() {
            create(&path)?;
        }
        let file = look(&path, outbox)?.ok_or_else(|| RowsError::Broken(format!("{}: it vanished", path.display())))?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(false)
            .busy_timeout(BUSY_TIMEOUT)
            .row_buffer_size(READ_AHEAD)
            .disable_statement_logging();
        let mut conn = options.connect().await?;
        match prepare(&mut conn, &path).await {
            Ok((id, schema_version)) => Ok(Self {
                conn,
                id,
                file,
                schema_version,
            }),
            Err(error) => {
                drop(conn.close().await);
                Err(error)
            }
        }
    }

    /// Whether the path still names the file that is open.
    pub fn is_at(&self, path: &Path, outbox: &Path) -> Result<bool, RowsError> {
        Ok(look(path, outbox)? == Some(self.file))
    }

    /// A number that changes when somebody else commits.
    pub async fn data_version(&mut self) -> Result<i64, RowsError> {
        pragma(&mut self.conn, "PRAGMA data_version").await
    }

    /// Looks at the schema again where it changed: a trigger could have come.
    pub async fn check_schema(&mut self, path: &Path) -> Result<(), RowsError> {
        let version = pragma(&mut self.conn, "PRAGMA schema_version").await?;
        if version != self.schema_version {
            inspect(&mut self.conn, path).await?;
            self.schema_version = version;
        }
        Ok(())
    }

    /// Closes it.
    pub async fn close(self) {
        drop(self.conn.close().await);
    }
}

/// Looks at the path without opening anything: opening a FIFO would hang, closing a second descriptor of a database drops its locks.
fn look(path: &Path, outbox: &Path) -> Result<Option<FileId>, RowsError> {
    let shown = path.display();
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RowsError::Broken(format!("{shown}: {error}"))),
    };
    if !found.is_file() {
        return Err(RowsError::Refused(format!(
            "{shown}: not a regular file; inbox.database must name a file of its own"
        )));
    }
    let file = FileId {
        device: found.dev(),
        inode: found.ino(),
    };
    let is_outbox = fs::metadata(outbox).is_ok_and(|outbox| (outbox.dev(), outbox.ino()) == (file.device, file.inode));
    if is_outbox {
        return Err(RowsError::Refused(format!(
            "{shown}: this is the outbox; inbox.database must name a file of its own"
        )));
    }
    if found.nlink() > 1 {
        // Under another name other processes keep other journals beside it, and a crash of theirs corrupts it.
        return Err(RowsError::Refused(format!(
            "{shown}: the file has more than one name; remove the other links"
        )));
    }
    Ok(Some(file))
}

/// Creates an empty file, which SQLite takes for an empty database. Its journal gets the same rights from SQLite.
fn create(path: &Path) -> Result<(), RowsError> {
    match OpenOptions::new().write(true).create_new(true).mode(MODE).open(path) {
        // Whatever the umask says: without the group nobody but us could drop rows.
        Ok(_) => Ok(fs::set_permissions(path, Permissions::from_mode(MODE))?),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(RowsError::Broken(format!("{}: cannot be created: {error}", path.display()))),
    }
}

/// Sets up the connection, brings the tables to the newest version, and looks at what is there.
async fn prepare(conn: &mut SqliteConnection, path: &Path) -> Result<([u8; 16], i64), RowsError> {
    set_up(conn, path).await?;
    migrate(conn, path).await?;
    let schema_version = pragma(conn, "PRAGMA schema_version").await?;
    inspect(conn, path).await?;
    let id: Vec<u8> = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'inbox_id'")
        .fetch_one(conn)
        .await?;
    let id = id
        .try_into()
        .map_err(|_| RowsError::Refused(format!("{}: its inbox_id is not 16 bytes", path.display())))?;
    Ok((id, schema_version))
}

/// Settings of the connection, each with what it must read: SQLite accepts a misspelt one in silence.
const PRAGMAS: [(&str, &str, i64); 4] = [
    // No function that a changed schema smuggles in.
    ("PRAGMA trusted_schema = OFF", "PRAGMA trusted_schema", 0),
    ("PRAGMA cell_size_check = ON", "PRAGMA cell_size_check", 1),
    ("PRAGMA synchronous = FULL", "PRAGMA synchronous", 2),
    ("PRAGMA busy_timeout = 250", "PRAGMA busy_timeout", 250),
];

async fn set_up(conn: &mut SqliteConnection, path: &Path) -> Result<(), RowsError> {
    for (set, read, expected) in PRAGMAS {
        sqlx::query(set).fetch_all(&mut *conn).await?;
        let found = pragma(conn, read).await?;
        if found != expected {
            return Err(RowsError::Broken(format!("`{set}` had no effect: it reads {found}")));
        }
    }
    let encoding: String = sqlx::query_scalar("PRAGMA encoding").fetch_one(&mut *conn).await?;
    if encoding != "UTF-8" {
        let shown = path.display();
        return Err(RowsError::Refused(format!(
            "{shown}: its encoding is {encoding}, not UTF-8; move it away"
        )));
    }
    // A file somebody turned to WAL goes back. Whoever holds it in WAL now makes this fail; that works too, and the next open tries again.
    let _stays_in_wal: Result<_, sqlx::Error> = sqlx::query("PRAGMA journal_mode = DELETE").fetch_all(conn).await;
    Ok(())
}

async fn pragma(conn: &mut SqliteConnection, read: &'static str) -> Result<i64, RowsError> {
    Ok(sqlx::query_scalar(read).fetch_one(conn).await?)
}

async fn migrate(conn: &mut SqliteConnection, path: &Path) -> Result<(), RowsError> {
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    if version(conn, path, newest).await? == newest {
        return Ok(());
    }
    for migration in MIGRATIONS.iter() {
        // Two processes may come here at once (`enqueue` beside the daemon): looked at again under the lock.
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
        let outcome = match version(conn, path, newest).await {
            Ok(version) if version >= migration.version => Ok(()),
            Ok(_) => apply(conn, migration.sql.as_str(), migration.version).await,
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

async fn apply(conn: &mut SqliteConnection, sql: &str, version: i64) -> Result<(), RowsError> {
    let numbers = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};");
    raw_sql(AssertSqlSafe(sql)).execute(&mut *conn).await?;
    raw_sql(AssertSqlSafe(numbers)).execute(conn).await?;
    Ok(())
}

/// Our version of the file, 0 where it is empty; a file of others, or of a newer version, is refused.
async fn version(conn: &mut SqliteConnection, path: &Path, newest: i64) -> Result<i64, RowsError> {
    let shown = path.display();
    let application = pragma(conn, "PRAGMA application_id").await?;
    let version = pragma(conn, "PRAGMA user_version").await?;
    let objects: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(conn).await?;
    match (application, version) {
        (0, 0) if objects == 0 => Ok(0),
        (APPLICATION_ID, version) if version <= newest => Ok(version),
        (APPLICATION_ID, version) => Err(RowsError::Refused(format!(
            "{shown}: version {version}, made by a newer reten-outbox than this one, which knows up to {newest}; run the newer one"
        ))),
        _ => Err(RowsError::Refused(format!(
            "{shown}: this is a database of another program; inbox.database must name a file of its own"
        ))),
    }
}

/// What would act when we delete, or is not the table it seems to be.
const STRANGE: &str = "SELECT type || ' ' || name FROM sqlite_schema \
     WHERE type = 'trigger' \
        OR (name IN ('inbox', 'rejected', 'meta') AND (type <> 'table' OR sql LIKE 'CREATE VIRTUAL%')) \
     LIMIT 1";
const OURS: &str = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('inbox', 'rejected', 'meta')";

async fn inspect(conn: &mut SqliteConnection, path: &Path) -> Result<(), RowsError> {
    let shown = path.display();
    let strange: Option<String> = sqlx::query_scalar(STRANGE).fetch_optional(&mut *conn).await?;
    if let Some(strange) = strange {
        return Err(RowsError::Refused(format!(
            "{shown}: it has a {strange}, which is not ours; drop it"
        )));
    }
    let ours: i64 = sqlx::query_scalar(OURS).fetch_one(conn).await?;
    if ours == 3 {
        Ok(())
    } else {
        Err(RowsError::Refused(format!(
            "{shown}: the tables inbox, rejected and meta are not all there; move the file away"
        )))
    }
}

/// The directory of the database, whose entries are its journal's fate.
pub fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
