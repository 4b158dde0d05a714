//! Rows through the real loop and a real worker, inserted by a foreign connection as producers would.

pub mod attacks;
pub mod worker;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use sqlx::AssertSqlSafe;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::batch::{self, COLUMN_BYTES_MAX};
use super::database::Database;
use super::*;
use crate::intake::tests::{House, NOW, numbered, result};
use crate::model::{Admission, Receipt, StateName};

/// Longer than any of it takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// A producer: knows the file and nothing of us.
async fn producer(house: &House) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(&house.config.inbox.database)
        .connect()
        .await
        .unwrap()
}

async fn sql(house: &House, statement: &str) {
    let mut conn = producer(house).await;
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&mut conn)
        .await
        .unwrap();
    conn.close().await.unwrap();
}

async fn number(house: &House, query: &'static str) -> i64 {
    let mut conn = producer(house).await;
    let found = sqlx::query_scalar(query).fetch_one(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    found
}

fn inserts(activities: &[String]) -> String {
    let values: Vec<String> = activities
        .iter()
        .map(|activity| format!("('{}')", result(activity)))
        .collect();
    format!("INSERT INTO inbox (payload) VALUES {}", values.join(","))
}

async fn created(house: &House) {
    try_open(&house.config.inbox.database, house.config.outbox.database.anchor())
        .await
        .unwrap();
}

async fn until_empty(house: &House) {
    house
        .eventually("no rows are left", async |house| {
            number(house, "SELECT count(*) FROM inbox").await == 0
        })
        .await;
}

#[tokio::test]
async fn rows_are_taken_in_the_order_of_their_ids_and_deleted() {
    let mut house = House::new().await;
    created(&house).await;
    sql(&house, &inserts(&numbered(0..1200))).await;
    house.start();
    until_empty(&house).await;
    sql(&house, &inserts(&numbered(1200..1203))).await;
    until_empty(&house).await;
    assert_eq!(house.activities().await, numbered(0..1203));
    house.stop().await;
}

#[tokio::test]
async fn the_file_is_made_for_owner_and_group_with_a_rollback_journal() {
    let house = House::new().await;
    created(&house).await;
    let mode = fs::metadata(&house.config.inbox.database).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);
    let mut conn = producer(&house).await;
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(journal, "delete");
    for refused in ["x'00'", "NULL", "printf('%.*c', 16777217, 'x')"] {
        let insert = format!("INSERT INTO inbox (payload) VALUES ({refused})");
        assert!(
            sqlx::raw_sql(AssertSqlSafe(insert)).execute(&mut conn).await.is_err(),
            "{refused}"
        );
    }
    conn.close().await.unwrap();
    assert_ne!(
        number(
            &house,
            "SELECT count(*) FROM meta WHERE value <> zeroblob(16) AND length(value) = 16"
        )
        .await,
        0
    );
}

#[tokio::test]
async fn columns_are_directives_and_what_is_no_object_is_kept() {
    let mut house = House::new().await;
    created(&house).await;
    let good = result("a");
    sql(
        &house,
        &format!(
            "INSERT INTO inbox (payload, submission_key, on_conflict, source) VALUES
             ('{good}', 'k-1', 'override', 'erp'), ('[1,2]', 'k-2', NULL, 'erp'), ('{good}', NULL, 'overwrite', NULL), ('{good}', x'00', NULL, NULL)"
        ),
    )
    .await;
    house.start();
    until_empty(&house).await;
    let all = house.all().await;
    let states: Vec<StateName> = all.iter().map(|one| one.state.name()).collect();
    assert_eq!(
        states,
        [StateName::Pending, StateName::Dead, StateName::Dead, StateName::Dead]
    );
    assert_eq!(
        (all[0].key.as_ref().unwrap().0.as_str(), all[0].source.as_deref()),
        ("k-1", Some("erp"))
    );
    assert_eq!(
        house.outbox.show(all[1].id).await.unwrap().unwrap().payload.text(),
        "[1,2]"
    );
    assert!(
        all[3]
            .invalid
            .as_ref()
            .unwrap()
            .contains("submission_key: is to be text")
    );
    house.stop().await;
}

#[tokio::test]
async fn what_cannot_be_taken_moves_to_rejected_and_the_others_are_taken() {
    let mut house = House::new().await;
    house.config.inbox.max_result_size = 300;
    created(&house).await;
    sql(
        &house,
        &format!(
            "INSERT INTO inbox (payload) VALUES (printf('%.*c', 301, 'x')), (CAST(x'7bff7d' AS TEXT)), ('{}');
             PRAGMA ignore_check_constraints = ON;
             INSERT INTO inbox (payload, source) VALUES (x'00', 'erp')",
            result("a")
        ),
    )
    .await;
    house.start();
    until_empty(&house).await;
    assert_eq!(house.activities().await, ["a"]);
    let mut conn = producer(&house).await;
    let reasons: Vec<String> = sqlx::query_scalar("SELECT inbox_row || ' ' || reason FROM rejected ORDER BY id")
        .fetch_all(&mut conn)
        .await
        .unwrap();
    assert!(
        reasons[0].starts_with("1 ") && reasons[0].contains("inbox.max_result_size (300 bytes)"),
        "{reasons:?}"
    );
    assert!(reasons[1].contains("not UTF-8"), "{reasons:?}");
    assert!(
        reasons[2].starts_with("4 ") && reasons[2].contains("of type blob"),
        "{reasons:?}"
    );
    assert_eq!(
        number(&house, "SELECT length(payload) FROM rejected WHERE inbox_row = 1").await,
        301
    );
    house.stop().await;
}

async fn open(house: &House) -> Database {
    Database::open(
        &house.config.inbox.database,
        house.config.outbox.database.anchor(),
        PATIENCE,
    )
    .await
    .unwrap()
}

/// Admits what is there, and there the daemon dies.
async fn admit_and_die(house: &House) {
    let mut database = open(house).await;
    let rows = batch::read(&mut database.conn, i64::MIN, 1 << 20).await.unwrap().rows;
    let (_stop, shutdown) = tokio::sync::watch::channel(false);
    let admission: Admission = admission::admission(&house.context(shutdown), database.id, &rows);
    assert!(
        admission
            .receipts
            .iter()
            .all(|receipt| matches!(receipt, Receipt::Row(_)))
    );
    house.outbox.admit(admission, NOW).await.unwrap();
    database.close().await;
}

#[tokio::test]
async fn what_was_committed_and_not_deleted_is_not_taken_twice() {
    let mut house = House::new().await;
    created(&house).await;
    sql(&house, &inserts(&numbered(0..10))).await;
    admit_and_die(&house).await;
    sql(&house, &inserts(&numbered(10..12))).await;
    house.start();
    until_empty(&house).await;
    assert_eq!(house.activities().await, numbered(0..12));
    house.stop().await;
}

#[tokio::test]
async fn an_id_given_out_again_after_a_power_cut_is_a_new_row() {
    let mut house = House::new().await;
    created(&house).await;
    sql(&house, &inserts(&numbered(0..2))).await;
    admit_and_die(&house).await;
    // The producer's commit was undone, and its ids are used again.
    sql(&house, "DELETE FROM inbox; DELETE FROM sqlite_sequence").await;
    sql(&house, &inserts(&["a00000".into(), "b".into()])).await;
    house.start();
    until_empty(&house).await;
    // The first is the very same row again, the second is not.
    assert_eq!(house.activities().await, ["a00000", "a00001", "b"]);
    house.stop().await;
}

#[tokio::test]
async fn a_row_changed_after_the_admission_is_another_one() {
    let mut house = House::new().await;
    created(&house).await;
    sql(&house, &inserts(&numbered(0..2))).await;
    admit_and_die(&house).await;
    sql(
        &house,
        &format!("UPDATE inbox SET payload = '{}' WHERE id = 2", result("changed")),
    )
    .await;
    house.start();
    until_empty(&house).await;
    assert_eq!(house.activities().await, ["a00000", "a00001", "changed"]);
    house.stop().await;
}

#[tokio::test]
async fn a_row_changed_between_reading_and_deleting_stays() {
    let house = House::new().await;
    created(&house).await;
    sql(&house, &inserts(&numbered(0..3))).await;
    let mut database = open(&house).await;
    let rows = batch::read(&mut database.conn, i64::MIN, 1 << 20).await.unwrap().rows;
    let rows: Vec<_> = rows.iter().map(|row| (row.id, row.digest)).collect();
    sql(
        &house,
        "UPDATE inbox SET source = 'x' WHERE id = 2; DELETE FROM inbox WHERE id = 3",
    )
    .await;
    database.begin("BEGIN IMMEDIATE", PATIENCE).await.unwrap();
    let (done, gone) = batch::delete(&mut database.conn, &rows, 1 << 20, "").await.unwrap();
    assert_eq!(
        (done, gone.iter().map(|row| row.id).collect::<Vec<_>>()),
        (3, vec![1, 3])
    );
    database.commit().await.unwrap();
    database.close().await;
    assert_eq!(number(&house, "SELECT id FROM inbox").await, 2);
}

#[tokio::test]
async fn a_replaced_and_a_missing_database_are_noticed() {
    let mut house = House::new().await;
    house.start();
    house
        .eventually("it is created", async |house| house.config.inbox.database.exists())
        .await;
    house
        .eventually("it has its tables", async |house| {
            count(&house.config.inbox.database, house.config.outbox.database.anchor())
                .await
                .is_ok()
        })
        .await;
    sql(&house, &inserts(&numbered(0..1))).await;
    until_empty(&house).await;
    // Another one is made elsewhere and moved over it.
    let path = house.config.inbox.database.clone();
    house.config.inbox.database = house.dir.path().join("other.db");
    created(&house).await;
    sql(&house, &inserts(&numbered(1..2))).await;
    fs::rename(&house.config.inbox.database, &path).unwrap();
    house.config.inbox.database = path;
    until_empty(&house).await;
    fs::remove_file(&house.config.inbox.database).unwrap();
    house
        .eventually("a new one", async |house| {
            count(&house.config.inbox.database, house.config.outbox.database.anchor())
                .await
                .is_ok()
        })
        .await;
    sql(&house, &inserts(&numbered(2..3))).await;
    until_empty(&house).await;
    assert_eq!(house.activities().await, numbered(0..3));
    house.stop().await;
}

#[tokio::test]
async fn a_locked_database_hinders_no_files_and_is_taken_when_it_is_free() {
    let mut house = House::new().await;
    created(&house).await;
    let mut conn = producer(&house).await;
    sqlx::raw_sql(AssertSqlSafe(format!("BEGIN EXCLUSIVE; {}", inserts(&numbered(0..1)))))
        .execute(&mut conn)
        .await
        .unwrap();
    house.start();
    house.rename_in("a.json", result("file"));
    house.taken().await;
    sqlx::raw_sql("COMMIT").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    until_empty(&house).await;
    assert_eq!(house.activities().await, ["file", "a00000"]);
    house.stop().await;
}

#[tokio::test]
async fn what_is_not_our_file_is_refused_by_name() {
    let house = House::new().await;
    let path = &house.config.inbox.database;
    let outbox = house.config.outbox.database.anchor();
    let refused = async |expected: &str| {
        let error = try_open(path, outbox).await.unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("inbox.db"),
            "{expected}: {error}"
        );
    };
    std::os::unix::fs::symlink(outbox, path).unwrap();
    refused("not a regular file").await;
    fs::remove_file(path).unwrap();
    fs::hard_link(outbox, path).unwrap();
    refused("this is the outbox").await;
    fs::remove_file(path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    refused("not a regular file").await;
    fs::remove_file(path).unwrap();
    created(&house).await;
    fs::hard_link(path, house.dir.path().join("second")).unwrap();
    refused("more than one name").await;
    fs::remove_file(house.dir.path().join("second")).unwrap();
    sql(&house, "CREATE TRIGGER hook AFTER DELETE ON inbox BEGIN SELECT 1; END").await;
    refused("trigger hook").await;
    sql(
        &house,
        "DROP TRIGGER hook; ALTER TABLE inbox RENAME TO old; CREATE VIEW inbox AS SELECT * FROM old",
    )
    .await;
    refused("view inbox").await;
    sql(&house, "PRAGMA user_version = 99").await;
    refused("newer reten-outbox").await;
    sql(&house, "PRAGMA application_id = 7").await;
    refused("another program").await;
    fs::write(path, "no database at all, but long enough to be read as one").unwrap();
    let error = try_open(path, outbox).await.unwrap_err();
    assert!(matches!(error, RowsError::Refused(_)), "{error}");
}

#[tokio::test]
async fn a_trigger_that_comes_while_we_run_is_never_fired() {
    let mut house = House::new().await;
    created(&house).await;
    house.start();
    sql(&house, &inserts(&numbered(0..1))).await;
    until_empty(&house).await;
    sql(
        &house,
        &format!(
            "CREATE TRIGGER hook AFTER DELETE ON inbox BEGIN DELETE FROM meta; END; {}",
            inserts(&numbered(1..2))
        ),
    )
    .await;
    tokio::time::sleep(house.config.inbox.rescan * 2).await;
    assert_eq!(number(&house, "SELECT count(*) FROM meta").await, 1);
    sql(&house, "DROP TRIGGER hook").await;
    until_empty(&house).await;
    assert_eq!(house.activities().await, numbered(0..2));
    house.stop().await;
}

#[tokio::test]
async fn kills_at_any_await_neither_lose_nor_double_a_row() {
    let mut house = House::new().await;
    created(&house).await;
    let mut roll = fastrand::Rng::with_seed(5);
    for round in 0..25_u32 {
        house.start();
        sql(&house, &inserts(&numbered(round * 30..round * 30 + 30))).await;
        tokio::time::sleep(Duration::from_micros(roll.u64(0..15_000))).await;
        house.kill().await;
    }
    house.start();
    until_empty(&house).await;
    let mut activities = house.activities().await;
    activities.sort();
    assert_eq!(activities, numbered(0..750));
    house.stop().await;
}

#[tokio::test]
async fn what_enqueue_inserts_is_what_a_producer_would() {
    let mut house = House::new().await;
    let ids = insert(
        &house.config.inbox.database,
        house.config.outbox.database.anchor(),
        &[result("a"), result("b")],
    )
    .await
    .unwrap();
    assert_eq!(ids, [1, 2]);
    house.start();
    until_empty(&house).await;
    assert_eq!(house.activities().await, ["a", "b"]);
    house.stop().await;
}
