//! What is refused, how it says so, and that nothing of it changes.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::store::daemon_is_running;

/// Every file beside the outbox with its bytes, but for the lock's.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| !entry.file_name().to_string_lossy().ends_with(".lock"))
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                std::fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

/// An outbox with some submissions, closed; and the size of its pages.
async fn closed() -> TempDir {
    let bench = Bench::sqlite().await;
    let entries = (0..200).map(|place| entry(&format!("activity-{place}"))).collect();
    let admission = Admission {
        entries,
        receipts: Vec::new(),
    };
    bench.outbox.admit(admission, NOW).await.unwrap();
    bench.outbox.close().await;
    bench.directory
}

/// Opens in every role; each refusal must be `Unusable`, name the file, and leave every byte as it was.
async fn refused_untouched(directory: &Path, words: &str) {
    let before = files(directory);
    for role in [Role::Daemon, Role::Tool, Role::Reader] {
        let error = Outbox::open(&directory.join("outbox.db"), role, NOW).await.unwrap_err();
        let OpenError::Unusable(message) = &error else {
            panic!("{role:?}: {error:?}")
        };
        assert!(
            message.contains("outbox.db") && message.contains(words),
            "{role:?}: {message}"
        );
        assert_eq!(files(directory), before, "{role:?}");
    }
}

async fn by_hand(path: &Path, sql: &str) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut conn = options.connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    for bytes in [
        b"not a database, but a letter to my aunt".repeat(50),
        b"SQLite".to_vec(),
        vec![0; 5000],
    ] {
        let directory = directory();
        std::fs::write(directory.path().join("outbox.db"), bytes).unwrap();
        refused_untouched(directory.path(), "damaged").await;
    }
}

#[tokio::test]
async fn a_truncated_one_is_refused() {
    let directory = closed().await;
    let path = directory.path().join("outbox.db");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    refused_untouched(directory.path(), "restore the newest backup").await;
}

#[tokio::test]
async fn a_newer_one_is_refused() {
    let directory = closed().await;
    by_hand(&directory.path().join("outbox.db"), "PRAGMA user_version = 9999").await;
    refused_untouched(directory.path(), "newer").await;
}

#[tokio::test]
async fn a_newer_one_that_says_so_only_in_its_wal_is_refused() {
    let directory = closed().await;
    let path = directory.path().join("outbox.db");
    // A newer daemon that was killed: its WAL stays behind.
    let living = tempfile::tempdir_in(directory.path().parent().unwrap()).unwrap();
    let elsewhere = living.path().join("outbox.db");
    std::fs::copy(&path, &elsewhere).unwrap();
    let mut conn = SqliteConnectOptions::new()
        .filename(&elsewhere)
        .connect()
        .await
        .unwrap();
    sqlx::raw_sql("PRAGMA user_version = 9999")
        .execute(&mut conn)
        .await
        .unwrap();
    for end in ["", "-wal"] {
        let name = format!("outbox.db{end}");
        std::fs::copy(living.path().join(&name), directory.path().join(&name)).unwrap();
    }
    conn.close().await.unwrap();
    let before = files(directory.path());
    for role in [Role::Daemon, Role::Tool, Role::Reader] {
        let error = Outbox::open(&path, role, NOW).await.unwrap_err();
        assert!(error.to_string().contains("newer"), "{error}");
        let mut after = files(directory.path());
        // The index of the WAL is no data: SQLite builds it anew from the WAL at every first look.
        after.remove("outbox.db-shm");
        assert_eq!(after, before, "{role:?}");
    }
}

#[tokio::test]
async fn somebody_elses_database_is_refused() {
    let directory = directory();
    by_hand(&directory.path().join("outbox.db"), "CREATE TABLE song (title TEXT)").await;
    refused_untouched(directory.path(), "not an outbox").await;
}

#[tokio::test]
async fn a_database_with_a_broken_page_is_refused_by_the_daemon() {
    let directory = closed().await;
    let path = directory.path().join("outbox.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let pages = bytes.len() / 4096;
    for page in pages / 2..pages {
        bytes[page * 4096..page * 4096 + 64].fill(0xee);
    }
    std::fs::write(&path, &bytes).unwrap();
    let before = files(directory.path());
    let error = Outbox::open(&path, Role::Daemon, NOW).await.unwrap_err();
    assert!(
        matches!(&error, OpenError::Unusable(message) if message.contains("damaged")),
        "{error}"
    );
    assert_eq!(files(directory.path()), before);
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let bench = Bench::sqlite().await;
    let error = Outbox::open(&bench.path(), Role::Daemon, NOW).await.unwrap_err();
    let OpenError::InUse(message) = &error else {
        panic!("{error:?}")
    };
    assert!(
        message.contains("outbox.db") && message.contains(&format!("process {}", std::process::id())),
        "{message}"
    );
    bench.admit(entry("a")).await;
    assert_eq!(bench.claim().await.len(), 1);
}

#[tokio::test]
async fn whether_a_daemon_runs_is_told_by_its_lock() {
    let directory = directory();
    let path = directory.path().join("outbox.db");
    assert_eq!(daemon_is_running(&path), None);
    assert!(files(directory.path()).is_empty(), "asking creates nothing");
    let outbox = Outbox::open(&path, Role::Daemon, NOW).await.unwrap();
    assert_eq!(daemon_is_running(&path).unwrap().pid, Some(std::process::id()));
    outbox.close().await;
    assert_eq!(daemon_is_running(&path), None);
    let tool = Outbox::open(&path, Role::Tool, NOW).await.unwrap();
    assert_eq!(daemon_is_running(&path), None);
    tool.close().await;
}

#[tokio::test]
async fn asking_whether_a_daemon_runs_never_keeps_one_from_starting() {
    let directory = directory();
    let path = directory.path().join("outbox.db");
    Outbox::open(&path, Role::Daemon, NOW).await.unwrap().close().await;
    let asked = std::fs::File::open(path.with_extension("db.lock")).unwrap();
    rustix::fs::flock(&asked, rustix::fs::FlockOperation::NonBlockingLockShared).unwrap();
    let (opened, ()) = tokio::join!(Outbox::open(&path, Role::Daemon, NOW), async { drop(asked) });
    opened.unwrap().close().await;
}

#[tokio::test]
async fn who_only_looks_never_creates_a_database() {
    let directory = directory();
    let path = directory.path().join("outbox.db");
    assert!(matches!(
        Outbox::open(&path, Role::Reader, NOW).await,
        Err(OpenError::Missing(_))
    ));
    assert!(files(directory.path()).is_empty());
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(
        Outbox::open(&path, Role::Reader, NOW).await,
        Err(OpenError::Missing(_))
    ));
}

#[tokio::test]
async fn who_only_looks_needs_no_daemon() {
    let directory = closed().await;
    let path = directory.path().join("outbox.db");
    let before = std::fs::read(&path).unwrap();
    let reader = Outbox::open(&path, Role::Reader, NOW).await.unwrap();
    assert_eq!(reader.tally().await.unwrap().counts[0].1, 200);
    reader.close().await;
    assert_eq!(std::fs::read(&path).unwrap(), before);
    Outbox::open(&path, Role::Daemon, NOW).await.unwrap().close().await;
}

#[tokio::test]
async fn the_files_are_their_owners_alone_and_a_missing_directory_is_made_so() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = directory();
    let path = directory.path().join("state/outbox.db");
    let outbox = Outbox::open(&path, Role::Daemon, NOW).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for name in ["outbox.db", "outbox.db-wal", "outbox.db-shm", "outbox.db.lock"] {
        assert_eq!(mode(&path.with_file_name(name)), 0o600, "{name}");
    }
    outbox.close().await;
    let deep = Outbox::open(&directory.path().join("x/y/outbox.db"), Role::Daemon, NOW)
        .await
        .unwrap_err();
    assert!(
        matches!(&deep, OpenError::Unusable(message) if message.contains("x/y")),
        "{deep}"
    );
}

#[tokio::test]
async fn a_directory_in_its_place_is_refused() {
    let directory = directory();
    std::fs::create_dir(directory.path().join("outbox.db")).unwrap();
    let error = Outbox::open(&directory.path().join("outbox.db"), Role::Daemon, NOW)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, OpenError::Unusable(message) if message.contains("not a file")),
        "{error}"
    );
}

#[tokio::test]
async fn tools_and_the_daemon_write_side_by_side() {
    let bench = Bench::sqlite().await;
    let tool = bench.open(Role::Tool, NOW).await.unwrap();
    let admission = |activity: &str| Admission {
        entries: vec![entry(activity)],
        receipts: Vec::new(),
    };
    for _ in 0..20 {
        let (left, right) = tokio::join!(bench.outbox.admit(admission("a"), NOW), tool.admit(admission("b"), NOW));
        assert!(left.is_ok() && right.is_ok());
    }
    tool.close().await;
    assert_eq!(bench.outbox.tally().await.unwrap().counts[0].1, 40);
    bench.check().await;
}

#[tokio::test]
async fn many_may_create_it_at_once() {
    let directory = directory();
    for round in 0..ROUNDS {
        let path = directory.path().join(format!("{round}.db"));
        let mut openings = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let path = path.clone();
            openings.spawn(async move { Outbox::open(&path, Role::Tool, NOW).await });
        }
        for outbox in openings.join_all().await {
            outbox.unwrap().close().await;
        }
    }
}

/// SQLite does not wait at one place of a creation; with fewer this would not be met every time.
const ROUNDS: usize = 8;
