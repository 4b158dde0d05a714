//! Outboxes of older versions: each opens, and every row of it stays. `tests/fixtures/outbox-N.db` was left by the
//! released program with version N when it was killed: with submissions in every state, one on the wire, and receipts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sqlx::SqliteConnection;

use super::*;
use crate::model::StateName;
use crate::store::OpenError;

const OLD: &[u8] = include_bytes!("../../../tests/fixtures/outbox-1.db");
/// What is there in it: at the daemon's start the one on the wire is pending again.
const COUNTS: [(StateName, u64); 6] = [
    (StateName::Pending, 7),
    (StateName::Sending, 0),
    (StateName::Delivered, 2),
    (StateName::Dead, 2),
    (StateName::Parked, 1),
    (StateName::Dismissed, 1),
];

fn old() -> TempDir {
    let directory = directory();
    fs::write(directory.path().join("outbox.db"), OLD).unwrap();
    directory
}

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

/// The rows of each table whose columns no later version changed.
async fn rows(path: &Path) -> BTreeMap<String, Vec<String>> {
    let mut conn = connect(path).await;
    let mut rows = BTreeMap::new();
    for (table, columns) in [
        (
            "submission",
            "id, created_at, submission_key, holds_key, origin, payload",
        ),
        ("attempt", "submission, number, started_at, outcome, status, hex(body)"),
        ("history", "seq, submission, at, actor, what, detail, old_payload"),
        ("receipt_row", "hex(inbox), row, hex(digest)"),
        (
            "receipt_file",
            "hex(name), inode, modified_ns, taken, lines, hex(digest)",
        ),
        ("memory", "name, value"),
    ] {
        let sql = format!("SELECT json_array({columns}) FROM {table} ORDER BY 1");
        let found = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
        rows.insert(table.to_owned(), found.iter().map(|row| row.get(0)).collect());
    }
    conn.close().await.unwrap();
    rows
}

/// Opens it as the daemon does, and looks whether all is there.
async fn holds_everything(directory: TempDir) {
    let path = directory.path().join("outbox.db");
    let outbox = Outbox::open(&path, Role::Daemon, NOW).await.unwrap();
    assert_eq!(outbox.recovered(), 1);
    assert_eq!(outbox.tally().await.unwrap().counts, COUNTS);
    let receipts = outbox.file_receipts().await.unwrap();
    assert_eq!(
        (receipts.len(), &receipts[0].inbox, receipts[0].result_bytes_max),
        (1, &None, None),
        "they know no directory and no limit"
    );
    let bench = Bench {
        directory,
        address: Address::File(path.clone()),
        outbox,
    };
    bench.check().await;
    assert!(!bench.claim().await.is_empty());
    bench.outbox.close().await;
    let before = old();
    let (mut before, mut after) = (rows(&before.path().join("outbox.db")).await, rows(&path).await);
    // The start closed the attempt that was on the wire, and says so.
    for table in ["attempt", "history"] {
        let (before, after) = (before.remove(table).unwrap(), after.remove(table).unwrap());
        assert!(before.iter().all(|row| after.contains(row)), "{table}");
        assert_eq!(after.len(), before.len() + 1, "{table}");
    }
    for table in ["submission", "receipt_row", "receipt_file"] {
        assert_eq!(after[table], before[table], "{table}");
        assert!(!before[table].is_empty(), "{table}");
    }
    assert!(before["memory"].iter().all(|value| after["memory"].contains(value)));
}

#[tokio::test]
async fn an_outbox_of_version_1_opens_with_every_row() {
    holds_everything(old()).await;
}

#[tokio::test]
async fn a_crash_anywhere_in_the_upgrade_leaves_the_old_version_or_the_new_one() {
    let directory = old();
    let path = directory.path().join("outbox.db");
    let sql = concat!(
        "PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 1; BEGIN IMMEDIATE;",
        include_str!("../../../migrations/outbox/0002_outbox.sql"),
        "PRAGMA user_version = 2; COMMIT;"
    );
    let mut conn = connect(&path).await;
    sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    // A WAL cut anywhere is what a crash leaves: without its last frame nothing of it counts.
    let (file, wal) = (
        fs::read(&path).unwrap(),
        fs::read(directory.path().join("outbox.db-wal")).unwrap(),
    );
    conn.close().await.unwrap();
    let frames = (wal.len() - 32) / 4120;
    assert!(frames > 2);
    for frame in [0, 1, frames / 2, frames - 1, frames] {
        let crashed = super::directory();
        fs::write(crashed.path().join("outbox.db"), &file).unwrap();
        fs::write(crashed.path().join("outbox.db-wal"), &wal[..32 + frame * 4120]).unwrap();
        holds_everything(crashed).await;
    }
}

#[tokio::test]
async fn who_only_looks_leaves_an_old_one_as_it_is_and_says_what_to_do() {
    let directory = old();
    let path = directory.path().join("outbox.db");
    let error = Outbox::open(&path, Role::Reader, NOW).await.unwrap_err();
    assert!(error.to_string().contains("start the daemon once"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), OLD);
}

#[tokio::test]
async fn no_command_upgrades_an_outbox_beneath_a_daemon_that_does_not_know_the_new_one() {
    let directory = old();
    let path = directory.path().join("outbox.db");
    let lock = crate::lock::take(fs::File::create(directory.path().join("outbox.db.lock")).unwrap()).unwrap();
    let error = Outbox::open(&path, Role::Tool, NOW).await.unwrap_err();
    assert!(
        matches!(&error, OpenError::InUse(message) if message.contains("restart the daemon")),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), OLD);
    drop(lock);
    Outbox::open(&path, Role::Tool, NOW).await.unwrap().close().await;
    assert_ne!(fs::read(&path).unwrap(), OLD);
}
