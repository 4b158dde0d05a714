//! Whether a database may be used: whose it is, how new, and whole. Nothing here changes a byte of it.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row as _};

use crate::sqlite_file::Identity;
use crate::store::sqlite::machine::trouble::Trouble;

/// Up to this size a start waits until the database is checked page by page: some hundredths of a second.
const AT_START_MAX_BYTES: u64 = 8 << 20;

/// Up to this size one that was not checked at the start is checked while the daemon works: about a second of a cold
/// disk, in which no other commit can let the WAL begin anew.
const AFTER_START_MAX_BYTES: u64 = 256 << 20;

pub(crate) const QUICK_CHECK: &str = "PRAGMA quick_check(1)";

/// Checks that the database is whole; `Some` says what is wrong. Above [`AT_START_MAX_BYTES`] only the first and the
/// last row of each table and index, and of an older one, whose tables are not all known here and will be rewritten at
/// once, a row of each.
pub(crate) async fn check(
    conn: &mut SqliteConnection,
    bytes: u64,
    identity: Identity,
) -> Result<Option<String>, sqlx::Error> {
    if bytes > AT_START_MAX_BYTES {
        let statements = match identity {
            Identity::Older(_) => beginnings(conn).await?,
            Identity::Ours | Identity::Empty | Identity::Newer(_) | Identity::Foreign => edges(),
        };
        for statement in statements {
            sqlx::query(AssertSqlSafe(statement))
                .persistent(false)
                .fetch_all(&mut *conn)
                .await?;
        }
        return Ok(None);
    }
    page_by_page(conn).await
}

/// The rest of the check, for a database that is in use: what [`check`] left out, up to a size that costs a second.
pub(crate) async fn check_further(conn: &mut SqliteConnection, bytes: u64) -> Result<Option<String>, sqlx::Error> {
    if bytes <= AT_START_MAX_BYTES || bytes > AFTER_START_MAX_BYTES {
        return Ok(None);
    }
    // What is called damaged was looked at twice.
    match page_by_page(conn).await? {
        Some(_) => page_by_page(conn).await,
        None => Ok(None),
    }
}

/// One statement, so one commit's pages, under the lock of a reader. A page can be so torn that the check itself fails.
async fn page_by_page(conn: &mut SqliteConnection) -> Result<Option<String>, sqlx::Error> {
    let found: String = match sqlx::query(QUICK_CHECK).fetch_one(conn).await {
        Ok(row) => row.try_get(0)?,
        Err(error) if Trouble::of(&error) == Trouble::Damaged => error.to_string(),
        Err(error) => return Err(error),
    };
    Ok((found != "ok").then_some(found))
}

pub(crate) const NAMES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";

/// Statements that read a row of each table that is there.
async fn beginnings(conn: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    let names = sqlx::query(NAMES).fetch_all(conn).await?;
    let statement =
        |row: &sqlx::sqlite::SqliteRow| Ok(format!("SELECT * FROM \"{}\" LIMIT 1", row.try_get::<&str, _>(0)?));
    names.iter().map(statement).collect()
}

/// Every table with the columns of its key.
pub(crate) const TABLES: &[(&str, &str)] = &[
    ("submission", "id"),
    ("delivery", "id"),
    ("tally", "state"),
    ("flight", "id"),
    ("lane", "hash"),
    ("attempt", "submission, number"),
    ("history", "seq"),
    ("episode", "id"),
    ("receipt_file", "inbox, name, inode"),
    ("receipt_row", "inbox, row, digest"),
    ("memory", "rowid"),
    ("minute", "until, node"),
    ("total", "figure"),
];

/// Every index with its table, its columns and its condition.
pub(crate) const INDEXES: &[(&str, &str, &str, &str)] = &[
    ("submission_key", "submission", "submission_key", "holds_key = 1"),
    ("submission_by_result_types", "submission", "id", "by_result_types = 1"),
    (
        "delivery_live",
        "delivery",
        "lane",
        "lane IS NOT NULL AND state = 'head'",
    ),
    ("delivery_waiting", "delivery", "lane", "state = 'waiting'"),
    (
        "delivery_due",
        "delivery",
        "requeued, next_at",
        "state = 'head' AND not_before IS NULL",
    ),
    (
        "delivery_held",
        "delivery",
        "not_before",
        "state = 'head' AND not_before IS NOT NULL",
    ),
    (
        "delivery_probe",
        "delivery",
        "tries",
        "state = 'head' AND not_before IS NULL",
    ),
    ("delivery_lane", "delivery", "lane", "lane IS NOT NULL"),
    (
        "delivery_pending",
        "delivery",
        "id",
        "state = 'head' OR state = 'waiting'",
    ),
    (
        "delivery_newest",
        "delivery",
        "lane",
        "state = 'delivered' AND lane IS NOT NULL",
    ),
    ("delivery_dead", "delivery", "id", "state = 'dead'"),
    ("delivery_parked", "delivery", "id", "state = 'parked'"),
    (
        "delivery_delivered_since",
        "delivery",
        "updated_at",
        "state = 'delivered'",
    ),
    (
        "delivery_dismissed_since",
        "delivery",
        "updated_at",
        "state = 'dismissed'",
    ),
    ("delivery_dead_since", "delivery", "updated_at", "state = 'dead'"),
    ("history_submission", "history", "submission", "true"),
    ("lane_number", "lane", "number", "true"),
];

/// Statements that read the first and the last row of each table and index.
pub(crate) fn edges() -> Vec<String> {
    let mut statements = Vec::new();
    for (table, key) in TABLES {
        let backwards = key.replace(", ", " DESC, ");
        statements.push(format!("SELECT * FROM {table} ORDER BY {key} LIMIT 1"));
        statements.push(format!("SELECT * FROM {table} ORDER BY {backwards} DESC LIMIT 1"));
    }
    for (index, table, columns, condition) in INDEXES {
        for direction in ["ASC", "DESC"] {
            let order = columns.replace(", ", &format!(" {direction}, "));
            statements.push(format!(
                "SELECT {columns} FROM {table} INDEXED BY {index} WHERE {condition} ORDER BY {order} {direction} \
                 LIMIT 1"
            ));
        }
    }
    statements
}

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions as _;
    use sqlx::sqlite::SqliteConnectOptions;

    use super::super::schema;
    use super::*;

    #[tokio::test]
    async fn a_large_outbox_of_an_older_version_is_looked_through_by_the_tables_that_it_has() {
        let directory = crate::store::tests::directory();
        let path = directory.path().join("outbox.db");
        std::fs::write(&path, include_bytes!("../../../../tests/fixtures/outbox-1.db")).unwrap();
        let mut conn = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        let identity = schema::identity(&mut conn).await.unwrap();
        assert_eq!(identity, Identity::Older(1));
        assert_eq!(check(&mut conn, AT_START_MAX_BYTES + 1, identity).await.unwrap(), None);
    }
}
