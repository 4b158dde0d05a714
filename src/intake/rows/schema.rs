//! Whether the tables of a row inbox are ours and nothing else is there: each entry of `sqlite_schema` is compared
//! letter by letter with that of a new file. A generated column, an index on an expression, a trigger or a view
//! computes in our name whatever its author liked.

use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, raw_sql};
use tokio::sync::OnceCell;

use super::error::RowsError;
use super::file_checks::turned_to_wal;

/// `migrations/inbox`, embedded. They are run by us and not by sqlx, whose table of migrations would lie among the
/// producers' tables.
pub static MIGRATIONS: Migrator = sqlx::migrate!("migrations/inbox");

/// Type, name, table and text of an entry.
type SchemaEntry = (String, String, String, String);

/// More than ours and SQLite's own; what comes after them is strange in any case.
const SCHEMA: &str = "SELECT substr(CAST(type AS TEXT), 1, 100), substr(CAST(name AS TEXT), 1, 200), \
     substr(CAST(tbl_name AS TEXT), 1, 200), \
     substr(CAST(coalesce(sql, '') AS TEXT), 1, 10000) FROM sqlite_schema LIMIT 20";

/// What SQLite itself adds when a producer's client runs ANALYZE (some do so when they close). They hold counts, which
/// the planner reads as numbers.
const STATISTICS: [(&str, &str); 2] = [
    ("sqlite_stat1", "CREATE TABLE sqlite_stat1(tbl,idx,stat)"),
    ("sqlite_stat4", "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)"),
];

/// Compares what is there with what should be. In a transaction, so that it stays so.
pub async fn inspect(conn: &mut SqliteConnection, path: &Path) -> Result<(), RowsError> {
    let shown = path.display();
    let expected = expected().await?;
    let found = items(conn).await?;
    let is_strange = |item: &&SchemaEntry| !expected.contains(item) && !is_statistics(item);
    // First what bears a name of ours.
    let strange = found.iter().filter(is_strange);
    let strange = strange.min_by_key(|(_, name, ..)| !expected.iter().any(|(_, ours, ..)| ours == name));
    if let Some((kind, name, ..)) = strange {
        let is_ours = expected.iter().any(|(ours, named, ..)| (ours, named) == (kind, name));
        let what = if is_ours {
            "which is not as we made it; undo what was changed"
        } else {
            "which is not ours; drop it"
        };
        return Err(RowsError::Refused(format!("{shown}: it has a {kind} {name}, {what}")));
    }
    match expected.iter().find(|item| !found.contains(item)) {
        None => Ok(()),
        Some((kind, name, ..)) => Err(RowsError::Refused(format!(
            "{shown}: its {kind} {name} is not there; move the file away"
        ))),
    }
}

/// A file that was turned to WAL since it was opened.
pub async fn is_no_wal(conn: &mut SqliteConnection, path: &Path) -> Result<(), RowsError> {
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(conn).await?;
    if mode == "wal" {
        Err(turned_to_wal(path))
    } else {
        Ok(())
    }
}

fn is_statistics(item: &SchemaEntry) -> bool {
    let (kind, name, table, text) = item;
    kind == "table" && name == table && STATISTICS.contains(&(name.as_str(), text.as_str()))
}

async fn items(conn: &mut SqliteConnection) -> Result<Vec<SchemaEntry>, RowsError> {
    Ok(sqlx::query_as(SCHEMA).fetch_all(conn).await?)
}

/// Those of a new file, made once a process, in memory.
async fn expected() -> Result<&'static [SchemaEntry], RowsError> {
    static EXPECTED: OnceCell<Vec<SchemaEntry>> = OnceCell::const_new();
    let make = || async {
        let mut conn = SqliteConnectOptions::new()
            .in_memory(true)
            .disable_statement_logging()
            .connect()
            .await?;
        for migration in MIGRATIONS.iter() {
            raw_sql(migration.sql.clone()).execute(&mut conn).await?;
        }
        let items = items(&mut conn).await?;
        conn.close().await?;
        Ok::<_, RowsError>(items)
    };
    Ok(EXPECTED.get_or_try_init(make).await?.as_slice())
}
