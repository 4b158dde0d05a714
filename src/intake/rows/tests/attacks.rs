//! What a producer may do to the file that everybody writes.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::intake::rows::confine;
use crate::intake::rows::file_checks::{beside, named};

/// A journal as a crash of a program leaves it that was writing several databases: no page to roll back, and at the end
/// the super-journal, which is deleted after the rollback.
pub fn journal_with_super_journal(database: &Path, named: &Path) -> Vec<u8> {
    const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    let pages = fs::read(database).unwrap()[28..32].to_vec();
    let mut journal = MAGIC.to_vec();
    journal.extend([0; 4]); // records
    journal.extend([1; 4]); // of the sum
    journal.extend(pages);
    journal.extend(512_u32.to_be_bytes()); // a sector
    journal.extend(4096_u32.to_be_bytes()); // a page
    journal.resize(512, 0);
    let name = named.as_os_str().as_encoded_bytes();
    journal.extend((0x4000_0000_u32 / 4096 + 1).to_be_bytes());
    journal.extend(name);
    journal.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
    journal.extend(name.iter().map(|byte| u32::from(*byte)).sum::<u32>().to_be_bytes());
    journal.extend(MAGIC);
    journal
}

/// In the environment of a test harness that is to roll back: the database, and whether it confines itself first.
const ROLLS_BACK: &str = "RETEN_TEST_ROLLS_BACK";
const CONFINED: &str = "RETEN_TEST_CONFINED";

/// Where the harness was started to do so, it opens a row inbox without looking at anything first, as SQLite alone
/// would.
#[test]
fn rolls_back_where_it_was_started_to() {
    let Some(database) = std::env::var_os(ROLLS_BACK) else {
        return;
    };
    let database = Path::new(&database);
    let is_confined = std::env::var_os(CONFINED).is_some() && confine::to(database.parent().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut conn = SqliteConnectOptions::new().filename(database).connect().await.unwrap();
        let read = sqlx::query("SELECT count(*) FROM inbox").fetch_one(&mut conn).await;
        assert_eq!(read.is_err(), is_confined, "{read:?}");
    });
    if std::env::var_os(CONFINED).is_some() && !is_confined {
        std::process::abort();
    }
}

/// What SQLite does with that journal: whether it ended well.
fn roll_back(database: &Path, confined: bool) -> bool {
    let mut harness = Command::new("/proc/self/exe");
    let test = "intake::rows::tests::attacks::rolls_back_where_it_was_started_to";
    harness
        .args(["--exact", test, "--test-threads=1"])
        .env(ROLLS_BACK, database);
    if confined {
        harness.env(CONFINED, "1");
    }
    harness.output().unwrap().status.success()
}

#[tokio::test]
async fn a_super_journal_is_refused_by_name_and_the_walls_hold_without_that_too() {
    let house = House::new().await;
    created(&house).await;
    let database = &house.config.inbox.database;
    let journal = named(database, "-journal");
    let victim = house.dir.path().join("victim");
    let prepare = || {
        fs::write(&victim, "of others").unwrap();
        fs::write(&journal, journal_with_super_journal(database, &victim)).unwrap();
    };
    prepare();
    let refused = try_open(database, house.config.outbox.database.anchor())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, RowsError::SuperJournal(_)) && refused.to_string().contains("victim"),
        "{refused}"
    );
    assert!(victim.exists() && journal.exists(), "nothing was touched");
    assert!(beside(database).is_err());
    // SQLite alone does it: this is the attack, and no other.
    assert!(roll_back(database, false));
    assert!(
        !victim.exists(),
        "SQLite does not do this any more: the test is out of date"
    );
    prepare();
    if roll_back(database, true) {
        assert!(victim.exists());
    } else {
        println!("SKIPPED: this kernel has no Landlock");
    }
}

#[tokio::test]
async fn wal_is_refused_with_what_mends_it_and_the_rows_stay() {
    let mut house = House::new().await;
    created(&house).await;
    sql(&house, &inserts(&numbered(0..1))).await;
    let mut conn = producer(&house).await;
    sqlx::raw_sql("PRAGMA journal_mode = WAL; DELETE FROM rejected")
        .execute(&mut conn)
        .await
        .unwrap();
    let refused = async |house: &House| {
        let refused = try_open(&house.config.inbox.database, house.config.outbox.database.anchor())
            .await
            .unwrap_err();
        assert!(
            matches!(refused, RowsError::Refused(_)) && refused.to_string().contains("PRAGMA journal_mode=DELETE"),
            "{refused}"
        );
    };
    assert!(named(&house.config.inbox.database, "-wal").exists());
    refused(&house).await;
    conn.close().await.unwrap();
    assert!(!named(&house.config.inbox.database, "-wal").exists());
    refused(&house).await;
    sql(&house, "PRAGMA journal_mode=DELETE").await;
    house.start();
    until_empty(&house).await;
    assert_eq!(house.activities().await, numbered(0..1));
    // And while it is open.
    sql(
        &house,
        &format!("PRAGMA journal_mode = WAL; {}", inserts(&numbered(1..2))),
    )
    .await;
    tokio::time::sleep(house.config.inbox.rescan * 2).await;
    assert_eq!(house.activities().await.len(), 1, "not taken");
    sql(&house, "PRAGMA journal_mode=DELETE").await;
    until_empty(&house).await;
    assert_eq!(house.activities().await, numbered(0..2));
    house.stop().await;
}

#[tokio::test]
async fn every_entry_of_the_schema_is_compared_letter_by_letter() {
    for (change, expected) in [
        (
            "CREATE TRIGGER hook AFTER DELETE ON inbox BEGIN SELECT 1; END",
            "trigger hook",
        ),
        ("CREATE VIEW hook AS SELECT 1", "view hook"),
        ("CREATE INDEX hook ON inbox (length(payload))", "index hook"),
        ("CREATE TABLE hook (a)", "table hook"),
        (
            "ALTER TABLE inbox ADD COLUMN hook TEXT AS (upper(payload)) VIRTUAL",
            "table inbox, which is not as we made it",
        ),
        (
            "ALTER TABLE inbox ADD COLUMN hook",
            "table inbox, which is not as we made it",
        ),
        ("DROP TABLE rejected", "table rejected is not there"),
        (
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'reason         TEXT NOT NULL', 'reason         TEXT         ')",
            "table rejected, which is not as we made it",
        ),
    ] {
        let house = House::new().await;
        created(&house).await;
        sql(&house, change).await;
        let refused = try_open(&house.config.inbox.database, house.config.outbox.database.anchor())
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(expected), "{change}: {refused}");
    }
    let house = House::new().await;
    created(&house).await;
    sql(
        &house,
        "INSERT INTO rejected (inbox_row, reason, rejected_at) VALUES (1, '', ''); ANALYZE; VACUUM",
    )
    .await;
    created(&house).await;
}

#[tokio::test]
async fn what_the_landed_version_made_is_the_same_to_the_letter() {
    let mut house = House::new().await;
    fs::create_dir_all(house.config.inbox.database.parent().unwrap()).unwrap();
    fs::write(
        &house.config.inbox.database,
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/row-inbox-1.db")),
    )
    .unwrap();
    house.start();
    until_empty(&house).await;
    assert_eq!(house.activities().await, ["made-by-0.1.0"]);
    house.stop().await;
}

#[tokio::test]
async fn what_computes_for_hours_is_given_up() {
    let house = House::new().await;
    created(&house).await;
    let mut database = open(&house).await;
    database.begin("BEGIN", Duration::from_millis(50)).await.unwrap();
    let hours = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let given_up = sqlx::query(hours).fetch_one(&mut database.conn).await.unwrap_err();
    assert!(matches!(RowsError::from(given_up), RowsError::Refused(_)));
}

#[tokio::test]
async fn rows_over_the_limit_move_in_short_transactions() {
    let house = House::new().await;
    created(&house).await;
    sql(&house, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 7) INSERT INTO inbox (payload) SELECT printf('%.*c', 1500000, 'x') FROM n").await;
    let mut database = open(&house).await;
    let rows = batch::read(&mut database.conn, i64::MIN, 1000).await.unwrap().rows;
    let mut rows: Vec<_> = rows.iter().map(|row| (row.id, row.digest)).collect();
    let mut moved = Vec::new();
    while !rows.is_empty() {
        database.begin("BEGIN IMMEDIATE", PATIENCE).await.unwrap();
        let (done, gone) = batch::delete(&mut database.conn, &rows, 1000, "now").await.unwrap();
        database.commit().await.unwrap();
        assert!(gone.iter().all(|gone| gone.rejected.is_some()));
        moved.push(done);
        rows.drain(..done);
    }
    assert_eq!(moved, [2, 2, 2, 1], "4 MiB at once");
    database.close().await;
    assert_eq!(number(&house, "SELECT count(*) FROM rejected").await, 7);
}

#[tokio::test]
async fn a_row_past_the_tables_own_check_stays_and_the_others_are_taken() {
    let mut house = House::new().await;
    created(&house).await;
    let long = COLUMN_BYTES_MAX + 1;
    sql(
        &house,
        &format!(
            "{}; INSERT INTO inbox (payload, source) VALUES ('{{}}', printf('%.*c', {long}, 'x')); {}",
            inserts(&numbered(0..1)),
            inserts(&numbered(1..2))
        ),
    )
    .await;
    house.start();
    house
        .eventually("one is left", async |house| {
            number(house, "SELECT count(*) FROM inbox").await == 1
        })
        .await;
    sql(&house, &inserts(&numbered(2..3))).await;
    house
        .eventually("one is left", async |house| {
            number(house, "SELECT count(*) FROM inbox").await == 1
        })
        .await;
    assert_eq!(house.activities().await, numbered(0..3));
    assert_eq!(number(&house, "SELECT id FROM inbox").await, 2);
    house.stop().await;
}
