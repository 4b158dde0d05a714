//! The settings of every connection to the outbox.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;

use crate::sqlite_file::{Pragma, set_pragmas};

/// How long SQLite itself waits for another process's lock. The same as [`BUSY_TIMEOUT`].
pub(crate) const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Set anew after something that must not wait so long.
pub(crate) const BUSY_TIMEOUT: Pragma = ("PRAGMA busy_timeout = 5000", "5000");

/// How long the one writer waits at a time. The same as [`BUSY_ROUND`].
pub(crate) const BUSY_ROUND_WAIT: Duration = Duration::from_millis(250);

/// How long the one writer waits at a time, many times in a row: between two of them it sees that the process is to
/// end.
pub(crate) const BUSY_ROUND: Pragma = ("PRAGMA busy_timeout = 250", "250");

const WAL: Pragma = ("PRAGMA journal_mode = WAL", "wal");

/// A commit is on the disk before it returns. WAL's default of most builds, NORMAL, may lose the last ones in a power
/// cut.
const SYNCHRONOUS: Pragma = ("PRAGMA synchronous = FULL", "2");

/// On but for migrations.
pub(crate) const FOREIGN_KEYS: Pragma = ("PRAGMA foreign_keys = ON", "1");

/// No function or virtual table that a changed schema smuggles in.
const TRUSTED_SCHEMA: Pragma = ("PRAGMA trusted_schema = OFF", "0");

/// Pages in the WAL after which a commit copies them. A page that is written many times before a checkpoint is copied
/// once, so a backlog drains the faster the seldomer that comes; beyond 16 MB it is no faster. A start after a crash
/// reads what the WAL holds.
const SELDOM: Pragma = ("PRAGMA wal_autocheckpoint = 4000", "4000");

/// For a small disk: 4 MB.
const OFTEN: Pragma = ("PRAGMA wal_autocheckpoint = 1000", "1000");

/// Free bytes of a disk with room for the larger WAL.
pub(crate) const ROOMY: u64 = 1 << 30;

/// What a burst made the WAL grow to is cut back to 64 MiB when it begins anew.
const JOURNAL_SIZE: Pragma = ("PRAGMA journal_size_limit = 67108864", "67108864");

/// 4 MiB of pages at hand. Twice that is no faster since lanes lie in the order of intake; the 2 MiB of SQLite's
/// default are read again and again.
const CACHE_SIZE: Pragma = ("PRAGMA cache_size = -4096", "-4096");

/// What a statement of many rows keeps to undo itself by stays in memory, not in a temporary file: a tenth of the cost
/// of settling.
pub(crate) const TEMP_STORE: Pragma = ("PRAGMA temp_store = MEMORY", "2");

/// Free pages can be given back in small steps. Only an empty database takes it (not even a write transaction may have
/// been tried), and setting it again would write: so it is set at creation and only looked at afterwards.
const AUTO_VACUUM: Pragma = ("PRAGMA auto_vacuum = INCREMENTAL", "2");

const QUERY_ONLY: Pragma = ("PRAGMA query_only = ON", "1");

/// Those of the writing connection.
const WRITING: &[Pragma] = &[
    BUSY_TIMEOUT,
    ("PRAGMA auto_vacuum", AUTO_VACUUM.1),
    WAL,
    SYNCHRONOUS,
    FOREIGN_KEYS,
    TRUSTED_SCHEMA,
    JOURNAL_SIZE,
    TEMP_STORE,
    CACHE_SIZE,
];

/// Those of a reading connection.
const READING: &[Pragma] = &[BUSY_TIMEOUT, FOREIGN_KEYS, TRUSTED_SCHEMA, QUERY_ONLY, SYNCHRONOUS];

/// Prepares an empty database; before anything else.
pub(crate) async fn for_creation(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    apply(conn, &[BUSY_TIMEOUT, AUTO_VACUUM]).await
}

/// Sets up the connection that writes, on a disk with so many free bytes.
pub(crate) async fn for_writing(conn: &mut SqliteConnection, free: Option<u64>) -> Result<(), sqlx::Error> {
    apply(conn, WRITING).await?;
    let is_roomy = free.is_some_and(|free| free >= ROOMY);
    apply(conn, if is_roomy { &[SELDOM] } else { &[OFTEN] }).await
}

/// From here on the connection waits for a lock in short rounds.
pub(crate) async fn for_rounds(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    apply(conn, &[BUSY_ROUND]).await
}

/// Sets up a connection that reads.
pub(crate) async fn for_reading(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    apply(conn, READING).await
}

async fn apply(conn: &mut SqliteConnection, pragmas: &[Pragma]) -> Result<(), sqlx::Error> {
    match set_pragmas(conn, pragmas).await? {
        None => Ok(()),
        Some(failed) => Err(sqlx::Error::Configuration(failed.into())),
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions as _, Row as _};

    use super::*;

    #[tokio::test]
    async fn the_wal_grows_where_there_is_room_for_it() {
        let directory = crate::store::tests::directory();
        let options = SqliteConnectOptions::new().filename(directory.path().join("outbox.db"));
        let mut conn = options.create_if_missing(true).connect().await.unwrap();
        for_creation(&mut conn).await.unwrap();
        for (free, pages) in [(Some(ROOMY), 4_000_i64), (Some(ROOMY - 1), 1000), (None, 1000)] {
            for_writing(&mut conn, free).await.unwrap();
            let found = sqlx::query("PRAGMA wal_autocheckpoint")
                .fetch_one(&mut conn)
                .await
                .unwrap();
            assert_eq!(found.get::<i64, _>(0), pages, "{free:?}");
        }
    }
}
