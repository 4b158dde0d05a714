//! What both SQLite files, the outbox and the row inbox, need: settings that are read back, whose file it is and of
//! which version, migrations, and SQLite's result codes.

use std::cmp::Ordering;

use sqlx::migrate::{Migration, Migrator};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row as _, raw_sql};

/// What a file is to this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Nothing in it yet.
    Empty,
    /// Ours, and of this program's version.
    Ours,
    /// Of an older version, to be migrated.
    Older(i64),
    /// Written by a newer program.
    Newer(i64),
    Foreign,
}

/// Identifies a file by `PRAGMA application_id`, which tells our files from all others, and by the last migration;
/// consistent only within a transaction of the caller's.
pub async fn identity(
    conn: &mut SqliteConnection,
    application_id: i64,
    migrations: &Migrator,
) -> Result<Identity, sqlx::Error> {
    let mut numbers = [0_i64; 3];
    for (number, sql) in numbers.iter_mut().zip([
        "PRAGMA application_id",
        "PRAGMA user_version",
        "SELECT count(*) FROM sqlite_schema",
    ]) {
        *number = sqlx::query(sql).fetch_one(&mut *conn).await?.try_get(0)?;
    }
    let [found, version, _] = numbers;
    Ok(match version.cmp(&newest(migrations)) {
        _ if numbers == [0; 3] => Identity::Empty,
        _ if found != application_id => Identity::Foreign,
        Ordering::Less => Identity::Older(version),
        Ordering::Equal => Identity::Ours,
        Ordering::Greater => Identity::Newer(version),
    })
}

/// The version that these migrations lead to.
pub fn newest(migrations: &Migrator) -> i64 {
    let versions = migrations.iter().map(|migration| migration.version);
    versions.max().unwrap_or_default()
}

/// Applies a migration and writes its number into the header, in a transaction of the caller's.
pub async fn apply(conn: &mut SqliteConnection, migration: &Migration, application_id: i64) -> Result<(), sqlx::Error> {
    let version = migration.version;
    let numbers = format!("PRAGMA application_id = {application_id}; PRAGMA user_version = {version};");
    raw_sql(migration.sql.clone()).execute(&mut *conn).await?;
    raw_sql(AssertSqlSafe(numbers)).execute(conn).await?;
    Ok(())
}

/// A statement that sets a pragma, or only reads it, and what it must then read.
pub type Pragma = (&'static str, &'static str);

/// Sets pragmas and reads them back: SQLite accepts a misspelt one in silence, and a build may lack one. The first that
/// had no effect, as a sentence.
pub async fn set_pragmas(conn: &mut SqliteConnection, pragmas: &[Pragma]) -> Result<Option<String>, sqlx::Error> {
    for (set, expected) in pragmas {
        let read = set.split(" = ").next().unwrap_or(set);
        // Not prepared for keeps: each is used once a connection.
        sqlx::query(*set).persistent(false).fetch_all(&mut *conn).await?;
        let row = sqlx::query(read).persistent(false).fetch_one(&mut *conn).await?;
        let found: String = row.try_get_unchecked(0)?;
        if found != *expected {
            return Ok(Some(format!("`{set}` had no effect: it reads {found}")));
        }
    }
    Ok(None)
}

/// The primary result codes are the lowest byte of the extended ones.
pub const PRIMARY: i32 = 0xff;

/// SQLite's extended result code.
pub fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}
