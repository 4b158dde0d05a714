//! Opening, in this order: place, lock, identity, integrity, a trial of the write lock; only then is anything written.
//! Whatever is refused is refused by name, with what to do, and without a byte of it changed.
//!
//! Others may be at work on the file meanwhile. So it is read as SQLite reads it, under its locks and through its WAL,
//! and what looks damaged or strange is looked at again before it is called so.

use std::path::Path;
use std::time::Duration;

use rustix::fs::StatVfsMountFlags;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use tokio::time::{Instant, sleep};

use crate::sqlite_file::Identity;
use crate::store::beside::lock::{self, Lock};
use crate::store::sqlite::copying::swap;
use crate::store::sqlite::machine::trouble::Trouble;
use crate::store::sqlite::machine::{hot, transaction};
use crate::store::sqlite::processes::usage::{self, Usage};
use crate::store::{OpenError, Role, StoreError};

use super::inspect;
use super::location::{self, AtPath};
use super::{pragma, schema};

/// The oldest SQLite that may write the outbox: earlier ones can lose commits when two processes write and checkpoint
/// at the same time.
const SQLITE_MIN: (u32, u32, u32) = (3, 51, 3);
/// Connections that read: status and lists beside the questions of a 409. Each is a thread and two files.
const READERS: u32 = 2;

/// Rows that may stand between SQLite's thread and ours: with fewer than a claim has, the two wait for one another at
/// every other row.
const ROW_BUFFER: usize = 1024;

/// How often a file is looked at, each time with a connection of its own, before it is called damaged or a stranger's,
/// and the pause between.
const LOOKS: u32 = 3;
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Before what met another that creates the outbox begins anew: about as long as a creation takes.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Opened {
    pub(crate) readers: SqlitePool,
    /// The connection that writes, and what must outlive it; none for who only looks.
    pub(crate) writing: Option<(SqliteConnection, Held)>,
    /// The share of who only looks.
    pub(crate) looking: Option<Usage>,
}

/// What is let go after the connection that writes is closed.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: Option<Lock>,
    _usage: Usage,
}

/// How the database is opened, by everyone.
pub(crate) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(pragma::BUSY_WAIT)
        .row_buffer_size(ROW_BUFFER)
        .disable_statement_logging()
}

/// Opens the database for this role.
pub(crate) async fn open(path: &Path, role: Role) -> Result<Opened, OpenError> {
    let path = location::absolute(path)?;
    let options = options(&path);
    match role {
        Role::Reader => {
            let looking = usage::share_to_look(&path).await?;
            swap::refuse_unfinished(&path)?;
            let AtPath::File { bytes } = location::stat(&path)? else {
                return Err(missing(&path));
            };
            examine(&path, &options, Role::Reader, bytes).await?;
            let readers = readers(&path, &options).await?;
            Ok(Opened {
                readers,
                writing: None,
                looking,
            })
        }
        Role::Daemon | Role::Tool => {
            location::prepare_directory(&path)?;
            let held = hold(&path, role).await?;
            match location::stat(&path)? {
                AtPath::Empty => location::create(&path)?,
                AtPath::File { bytes } => examine(&path, &options, role, bytes).await?,
            }
            let conn = writer(&path, &options).await?;
            let readers = readers(&path, &options).await?;
            Ok(Opened {
                readers,
                writing: Some((conn, held)),
                looking: None,
            })
        }
    }
}

/// Takes what a writer holds. A restore that was cut off is finished by the daemon, which has its lock.
async fn hold(path: &Path, role: Role) -> Result<Held, OpenError> {
    let lock = match role {
        Role::Daemon => Some(lock::take(path).await?),
        Role::Tool | Role::Reader => None,
    };
    let usage = usage::share(path).await?;
    match lock {
        Some(_) => drop(swap::finish(path)?),
        None => swap::refuse_unfinished(path)?,
    }
    Ok(Held {
        _lock: lock,
        _usage: usage,
    })
}

/// Identity and integrity of a file that is there. An empty file is a new outbox.
async fn examine(path: &Path, options: &SqliteConnectOptions, role: Role, bytes: u64) -> Result<(), OpenError> {
    if bytes == 0 {
        return if role == Role::Reader {
            Err(missing(path))
        } else {
            Ok(())
        };
    }
    let mut looks = 1;
    loop {
        match examine_once(path, options, role, bytes).await {
            Ok(()) => return Ok(()),
            Err(OpenError::Unusable(_)) if looks < LOOKS => looks += 1,
            Err(error) => return Err(error),
        }
        sleep(LOOK_PAUSE).await;
    }
}

/// One look. With a WAL beside the file, without writing: closing a connection that may write copies the WAL into the
/// file, and this one may yet be refused. Without one there is nothing to copy, and such a connection takes away what
/// it made beside the file.
async fn examine_once(path: &Path, options: &SqliteConnectOptions, role: Role, bytes: u64) -> Result<(), OpenError> {
    let examined = match options.clone().read_only(location::has_wal(path)).connect().await {
        Ok(mut conn) => {
            let examined = query_identity(&mut conn, role, bytes).await;
            drop(conn.close().await);
            examined
        }
        Err(error) => Err(error),
    };
    match examined {
        Ok((identity, wrong)) => {
            refuse_strangers(path, identity, role)?;
            wrong.map_or(Ok(()), |wrong| Err(damaged(path, &wrong)))
        }
        // Who may not write beside it: the readers know what to do, or say what it is.
        Err(error) if role == Role::Reader && Trouble::of(&error) == Trouble::CannotOpen && is_read_only(path) => {
            Ok(())
        }
        Err(error) => Err(refusal(path, &error)),
    }
}

/// The identity, and for the daemon whether all is whole, as of one commit.
async fn query_identity(
    conn: &mut SqliteConnection,
    role: Role,
    bytes: u64,
) -> Result<(Identity, Option<String>), sqlx::Error> {
    sqlx::query(schema::BEGIN_READ).execute(&mut *conn).await?;
    let identity = schema::identity_within(conn).await?;
    let wrong = match (role, identity) {
        (Role::Daemon, Identity::Ours | Identity::Older(_)) => inspect::check(conn, bytes, identity).await?,
        (Role::Daemon | Role::Tool | Role::Reader, _) => None,
    };
    sqlx::query(schema::END_READ).execute(conn).await?;
    Ok((identity, wrong))
}

/// Refuses what is not ours to open.
pub(crate) fn refuse_strangers(path: &Path, identity: Identity, role: Role) -> Result<(), OpenError> {
    let shown = path.display();
    match identity {
        Identity::Empty if role == Role::Reader => Err(missing(path)),
        Identity::Older(version) if role == Role::Reader => Err(OpenError::Unusable(format!(
            "{shown}: written by an older reten-outbox (its version {version}, this program knows {}); \
             start the daemon once, which brings it up to date",
            schema::newest()
        ))),
        // A daemon of that version may be at work, between the installation of a package and the restart: its
        // statements would fail.
        Identity::Older(_) if role == Role::Tool && lock::daemon_is_running(path).is_some() => {
            Err(OpenError::InUse(format!(
                "{shown}: the daemon that has this outbox is of an older version than this command; \
                 restart the daemon first"
            )))
        }
        Identity::Ours | Identity::Older(_) | Identity::Empty => Ok(()),
        Identity::Newer(version) => Err(OpenError::Unusable(format!(
            "{shown}: written by a newer reten-outbox (its version {version}, this program knows {}); \
             install that one again, or name another outbox.database. It was not touched",
            schema::newest()
        ))),
        Identity::Foreign => Err(OpenError::Unusable(format!(
            "{shown}: a SQLite database, but not an outbox of ours; name another outbox.database. It was not touched"
        ))),
    }
}

/// The connection that writes. SQLite waits for whoever writes everywhere but where the journal becomes a WAL: there it
/// has begun to read, and is refused at once. So one of several that create an outbox begins anew, and finds it there.
async fn writer(path: &Path, options: &SqliteConnectOptions) -> Result<SqliteConnection, OpenError> {
    let started = Instant::now();
    loop {
        match prepared(path, options).await {
            Err(error) if Trouble::of(&error) == Trouble::Busy && started.elapsed() < pragma::BUSY_WAIT => {}
            prepared => return prepared.map_err(|error| refusal(path, &error)),
        }
        sleep(BUSY_PAUSE).await;
    }
}

/// A connection: tried, set up, migrated.
async fn prepared(path: &Path, options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    let mut conn = options.connect().await?;
    refuse_old_sqlite(&mut conn).await?;
    if schema::identity(&mut conn).await? == Identity::Empty {
        pragma::for_creation(&mut conn).await?;
    } else {
        transaction::try_lock(&mut conn).await?;
    }
    pragma::for_writing(&mut conn, path.parent().and_then(location::free_bytes)).await?;
    schema::migrate(&mut conn).await?;
    hot::prepare(&mut conn).await?;
    Ok(conn)
}

async fn refuse_old_sqlite(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let version: String = sqlx::query("SELECT sqlite_version()")
        .fetch_one(conn)
        .await?
        .try_get(0)?;
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    if (part(), part(), part()) < SQLITE_MIN {
        let (major, minor, patch) = SQLITE_MIN;
        let message = format!(
            "this program was built with SQLite {version}, which can lose commits; \
             it needs {major}.{minor}.{patch} or newer"
        );
        return Err(sqlx::Error::Configuration(message.into()));
    }
    Ok(())
}

/// The pool that reads. A read-only connection still has to create `-wal` and `-shm` where nobody has the database
/// open. On a file system that is mounted read-only (a snapshot) it cannot, and needs not: nothing changes the file
/// there, which is then complete (`immutable`).
async fn readers(path: &Path, options: &SqliteConnectOptions) -> Result<SqlitePool, OpenError> {
    let pool = || {
        SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(0)
            .test_before_acquire(false)
            .after_connect(|conn, _| Box::pin(pragma::for_reading(conn)))
    };
    let read_only = options.clone().read_only(true);
    let first = match pool().connect_with(read_only.clone()).await {
        Ok(pool) => match readable(&pool).await {
            Ok(()) => return Ok(pool),
            Err(error) => error,
        },
        Err(error) => error,
    };
    if location::has_wal(path)
        || !is_read_only(path)
        || !matches!(Trouble::of(&first), Trouble::CannotOpen | Trouble::ReadOnly)
    {
        return Err(refusal(path, &first));
    }
    pool()
        .connect_with(read_only.immutable(true))
        .await
        .map_err(|error| refusal(path, &error))
}

/// Whether it lies on a file system that nobody writes through this mount.
fn is_read_only(path: &Path) -> bool {
    let directory = path.parent().unwrap_or(path);
    rustix::fs::statvfs(directory).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Whether anything can be read: a connection alone does not open the file.
async fn readable(pool: &SqlitePool) -> Result<(), sqlx::Error> {
    let mut conn = pool.acquire().await?;
    schema::identity(&mut conn).await.map(drop)
}

pub(crate) fn missing(path: &Path) -> OpenError {
    OpenError::Missing(format!(
        "{}: there is no outbox yet; `reten-outbox run` or `reten-outbox enqueue` creates it",
        path.display()
    ))
}

fn damaged(path: &Path, what: &str) -> OpenError {
    OpenError::Unusable(format!(
        "{}: damaged ({what}); restore the newest backup (`reten-outbox restore FILE` keeps this one aside, \
         and `reten-outbox salvage` reads out of \
         it what the backup lacks), or move it away together with its -wal and start with an empty outbox. \
         It was not touched",
        path.display()
    ))
}

/// An error of SQLite's, with what to do.
pub(crate) fn refusal(path: &Path, error: &sqlx::Error) -> OpenError {
    let shown = path.display();
    let cure = |otherwise: &str| location::strangers(path).unwrap_or_else(|| otherwise.to_owned());
    match Trouble::of(error) {
        Trouble::Busy => OpenError::Busy(format!(
            "{shown}: locked by another process for longer than {} s ({error}); try again, or end what holds it",
            pragma::BUSY_WAIT.as_secs()
        )),
        Trouble::Damaged => damaged(path, &error.to_string()),
        Trouble::ReadOnly => OpenError::Unusable(format!(
            "{shown}: cannot be written ({error}); {}",
            cure("the file, its -wal and -shm and their directory must belong to the daemon's user")
        )),
        Trouble::CannotOpen => OpenError::Unusable(format!(
            "{shown}: cannot be opened ({error}); {}",
            cure("the file and its directory must be readable and writable for this user")
        )),
        Trouble::Full => OpenError::Unusable(format!(
            "{shown}: the disk is full ({error}); make room and start again"
        )),
        Trouble::Other => OpenError::Unusable(format!("{shown}: {error}")),
    }
}

/// What went wrong after the opening itself, as an error of opening.
pub(crate) fn failed_after(path: &Path, error: &StoreError) -> OpenError {
    let message = format!("{}: {error}", path.display());
    match error {
        StoreError::Busy(_) | StoreError::Away(_) => OpenError::Busy(message),
        StoreError::Full(_) | StoreError::Broken(_) | StoreError::Closed => OpenError::Unusable(message),
    }
}
