//! The version of the database, and the way to the newest.

use std::path::Path;

use sqlx::Row as _;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnection;

use crate::sqlite_file::{self, Identity};
use crate::store::sqlite::machine::transaction::{self, Transaction};

use super::{location, pragma};

/// `migrations/outbox`, embedded. Only the files are sqlx's: they are run here, since the version must be in the
/// file's header, where it can be read before anything else of a database is trusted, and must change in the
/// transaction that changes the tables.
static MIGRATIONS: Migrator = sqlx::migrate!("migrations/outbox");

/// The letters `RtOb`.
const APPLICATION_ID: i64 = 0x5274_4f62;

/// The version this program writes.
pub(crate) fn newest() -> i64 {
    sqlite_file::newest(&MIGRATIONS)
}

pub(crate) const BEGIN_READ: &str = "BEGIN DEFERRED";
pub(crate) const END_READ: &str = "ROLLBACK";

/// Reads it, in one transaction of its own: between two reads another process may create the outbox, and half of its
/// name would be a stranger's. Also the first read of the file: a file that is no database, or a truncated one, fails
/// here.
pub(crate) async fn identity(conn: &mut SqliteConnection) -> Result<Identity, sqlx::Error> {
    sqlx::query(BEGIN_READ).execute(&mut *conn).await?;
    let identity = identity_within(conn).await;
    let ended = sqlx::query(END_READ).execute(conn).await;
    let identity = identity?;
    ended?;
    Ok(identity)
}

/// The same, where a transaction is open.
pub(crate) async fn identity_within(conn: &mut SqliteConnection) -> Result<Identity, sqlx::Error> {
    sqlite_file::identity(conn, APPLICATION_ID, &MIGRATIONS).await
}

/// Brings the database to the newest version, one transaction a step. Two processes may come here at once: each step
/// looks again under the lock.
///
/// A table that others refer to is rebuilt under another name, which foreign keys would forbid; they are switched off
/// outside of transactions only.
pub(crate) async fn migrate(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    match identity(conn).await? {
        Identity::Ours | Identity::Newer(_) | Identity::Foreign => return Ok(()),
        Identity::Older(1..REWRITTEN) => refuse_without_room(conn).await?,
        Identity::Older(_) | Identity::Empty => {}
    }
    // Indexes are sorted while they are built: in a file, so that memory is bounded however many submissions there are.
    sqlx::query("PRAGMA temp_store = FILE")
        .persistent(false)
        .execute(&mut *conn)
        .await?;
    sqlx::query("PRAGMA foreign_keys = OFF")
        .persistent(false)
        .execute(&mut *conn)
        .await?;
    let migrated = steps(conn).await;
    for pragma in [pragma::FOREIGN_KEYS, pragma::TEMP_STORE] {
        sqlx::query(pragma.0).persistent(false).execute(&mut *conn).await?;
    }
    migrated
}

/// The last version that wrote rows anew: what comes after it only adds tables.
const REWRITTEN: i64 = 3;

/// What bringing an old outbox up to date may write: its narrow rows and their indexes anew, into the WAL first and
/// then into the file, where the old ones are given up only at the end. About twice what was measured.
const ROOM_A_ROW: u64 = 512;
const ROOM_AT_LEAST: u64 = 16 << 20;

pub(crate) const ROWS: &str = "SELECT count(*) FROM delivery";
pub(crate) const PLACE: &str = "SELECT file FROM pragma_database_list WHERE name = 'main'";

/// Before anything is written: a disk that fills in the middle costs the time until then, and each start anew.
async fn refuse_without_room(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let rows: i64 = sqlx::query(ROWS).fetch_one(&mut *conn).await?.try_get(0)?;
    let path: String = sqlx::query(PLACE).fetch_one(conn).await?.try_get(0)?;
    let needed = rows.unsigned_abs() * ROOM_A_ROW + ROOM_AT_LEAST;
    match Path::new(&path).parent().and_then(location::free_bytes) {
        Some(free) if free < needed => Err(sqlx::Error::Configuration(
            format!(
                "it was written by an older version, and bringing it up to date needs about {} MiB of free room beside \
                 it, of which there are {}; make room and start again. Nothing was changed",
                needed >> 20,
                free >> 20
            )
            .into(),
        )),
        Some(_) | None => Ok(()),
    }
}

async fn steps(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for migration in MIGRATIONS.iter() {
        let transaction = Transaction::begin(&mut *conn).await?;
        let is_due = match identity_within(transaction.conn).await? {
            Identity::Empty => true,
            Identity::Older(version) => version < migration.version,
            Identity::Ours | Identity::Newer(_) | Identity::Foreign => false,
        };
        if !is_due {
            transaction.commit().await?;
            continue;
        }
        let applied = sqlite_file::apply(&mut *transaction.conn, migration, APPLICATION_ID).await;
        let committed = match applied {
            Ok(()) => transaction.commit().await,
            Err(error) => Err(error),
        };
        if let Err(error) = committed {
            transaction::roll_back(conn).await;
            return Err(error);
        }
    }
    Ok(())
}
