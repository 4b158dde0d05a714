//! The settings of every connection, set and read back: SQLite accepts a misspelt one in silence, and a build may lack
//! one.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

/// One setting.
pub(crate) struct Pragma {
    /// The statement that sets it.
    pub(crate) set: &'static str,
    /// The statement that reads it.
    read: &'static str,
    /// What must then be there.
    expected: &'static str,
}

/// How long SQLite itself waits for another process's lock. The same as [`BUSY_TIMEOUT`].
pub(crate) const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Set anew after something that must not wait so long.
pub(crate) const BUSY_TIMEOUT: Pragma = Pragma {
    set: "PRAGMA busy_timeout = 5000",
    read: "PRAGMA busy_timeout",
    expected: "5000",
};

/// How long the one writer waits at a time. The same as [`BUSY_ROUND`].
pub(crate) const BUSY_ROUND_WAIT: Duration = Duration::from_millis(250);

/// How long the one writer waits at a time, many times in a row: between two of them it sees that the process is to
/// end.
pub(crate) const BUSY_ROUND: Pragma = Pragma {
    set: "PRAGMA busy_timeout = 250",
    read: "PRAGMA busy_timeout",
    expected: "250",
};

const WAL: Pragma = Pragma {
    set: "PRAGMA journal_mode = WAL",
    read: "PRAGMA journal_mode",
    expected: "wal",
};

/// A commit is on the disk before it returns. WAL's default of most builds, NORMAL, may lose the last ones in a power
/// cut.
const SYNCHRONOUS: Pragma = Pragma {
    set: "PRAGMA synchronous = FULL",
    read: "PRAGMA synchronous",
    expected: "2",
};

/// On but for migrations.
pub(crate) const FOREIGN_KEYS: Pragma = Pragma {
    set: "PRAGMA foreign_keys = ON",
    read: "PRAGMA foreign_keys",
    expected: "1",
};

/// No function or virtual table that a changed schema smuggles in.
const TRUSTED_SCHEMA: Pragma = Pragma {
    set: "PRAGMA trusted_schema = OFF",
    read: "PRAGMA trusted_schema",
    expected: "0",
};

/// Pages in the WAL after which a commit copies them. A page that is written many times before a checkpoint is copied
/// once, so a backlog drains the faster the seldomer that comes; beyond 16 MB it is no faster. A start after a crash
/// reads what the WAL holds.
const SELDOM: Pragma = Pragma {
    set: "PRAGMA wal_autocheckpoint = 4000",
    read: "PRAGMA wal_autocheckpoint",
    expected: "4000",
};

/// For a small disk: 4 MB.
const OFTEN: Pragma = Pragma {
    set: "PRAGMA wal_autocheckpoint = 1000",
    read: "PRAGMA wal_autocheckpoint",
    expected: "1000",
};

/// Free bytes of a disk with room for the larger WAL.
pub(crate) const ROOMY: u64 = 1 << 30;

/// What a burst made the WAL grow to is cut back to 64 MiB when it begins anew.
const JOURNAL_SIZE: Pragma = Pragma {
    set: "PRAGMA journal_size_limit = 67108864",
    read: "PRAGMA journal_size_limit",
    expected: "67108864",
};

/// 4 MiB of pages at hand. Twice that is no faster since lanes lie in the order of intake; the 2 MiB of SQLite's
/// default are read again and again.
const CACHE_SIZE: Pragma = Pragma {
    set: "PRAGMA cache_size = -4096",
    read: "PRAGMA cache_size",
    expected: "-4096",
};

/// What a statement of many rows keeps to undo itself by stays in memory, not in a temporary file: a tenth of the cost
/// of settling.
pub(crate) const TEMP_STORE: Pragma = Pragma {
    set: "PRAGMA temp_store = MEMORY",
    read: "PRAGMA temp_store",
    expected: "2",
};

/// Free pages can be given back in small steps. Only an empty database takes it (not even a write transaction may have
/// been tried), and setting it again would write: so it is set at creation and only looked at afterwards.
const AUTO_VACUUM: Pragma = Pragma {
    set: "PRAGMA auto_vacuum = INCREMENTAL",
    read: "PRAGMA auto_vacuum",
    expected: "2",
};

const QUERY_ONLY: Pragma = Pragma {
    set: "PRAGMA query_only = ON",
    read: "PRAGMA query_only",
    expected: "1",
};

/// Those of the writing connection.
const WRITING: &[Pragma] = &[
    BUSY_TIMEOUT,
    Pragma {
        set: AUTO_VACUUM.read,
        ..AUTO_VACUUM
    },
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
    for Pragma { set, read, expected } in pragmas {
        // Not prepared for keeps: each is used once a connection.
        sqlx::query(*set).persistent(false).fetch_all(&mut *conn).await?;
        let row = sqlx::query(*read).persistent(false).fetch_one(&mut *conn).await?;
        let found: String = row.try_get_unchecked(0)?;
        if found != *expected {
            return Err(sqlx::Error::Configuration(
                format!("`{set}` had no effect: it reads {found}").into(),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions as _;
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;

    #[tokio::test]
    async fn the_wal_grows_where_there_is_room_for_it() {
        let directory = crate::store::tests::directory();
        let options = SqliteConnectOptions::new().filename(directory.path().join("outbox.db"));
        let mut conn = options.create_if_missing(true).connect().await.unwrap();
        for_creation(&mut conn).await.unwrap();
        for (free, pages) in [(Some(ROOMY), 4_000_i64), (Some(ROOMY - 1), 1000), (None, 1000)] {
            for_writing(&mut conn, free).await.unwrap();
            let found = sqlx::query(OFTEN.read).fetch_one(&mut conn).await.unwrap();
            assert_eq!(found.get::<i64, _>(0), pages, "{free:?}");
        }
    }
}
