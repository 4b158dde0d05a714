//! How fast results are taken in, while a pause holds the deliveries back.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use reten_outbox::bench::StateName;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::daemon::Place;
use crate::figures::{Figures, rate, tell, tell_ratio};
use crate::fill;
use crate::sizes::Sizes;

/// Rows a transaction of the yardstick.
const TRANSACTION: usize = 1_000;
/// Of rows that take half a minute each time.
const ROUNDS_MAX: usize = 3;
/// How often is looked whether a file is gone.
const LOOK: Duration = Duration::from_millis(5);

/// One NDJSON file of many lines, against the same lines by one prepared statement.
pub fn lines(sizes: &Sizes) {
    let dir = tempfile::tempdir().unwrap();
    let ndjson = dir.path().join("results.ndjson");
    let mut file = BufWriter::new(File::create(&ndjson).unwrap());
    (0..sizes.backlog)
        .try_for_each(|n| writeln!(file, "{}", fill::body(n)))
        .unwrap();
    file.into_inner().unwrap();
    let [mut ours, mut singly, mut together] = [const { Figures::new() }; 3];
    for _ in 0..sizes.rounds.min(ROUNDS_MAX) {
        for (way, figures) in [(Way::ARow, &mut singly), (Way::ATransaction, &mut together)] {
            fill::sync();
            figures.push(rate(
                sizes.backlog,
                inserted(&ndjson, &dir.path().join("plain.db"), way),
            ));
        }
        let place = paused(sizes);
        let waiting = place.path("results.ndjson");
        fs::copy(&ndjson, &waiting).unwrap();
        fill::sync();
        let mut daemon = place.start();
        daemon.wait_until_ready();
        let dropped = place.path("inbox/results.ndjson");
        let began = Instant::now();
        fs::rename(&waiting, &dropped).unwrap();
        wait_until_empty(&place.path("inbox"));
        ours.push(rate(sizes.backlog, began.elapsed()));
        place.wait_until(StateName::Pending, sizes.backlog);
        daemon.stop();
    }
    tell("plain inserts, a row a statement", &singly, "/s");
    tell("plain inserts, a transaction a statement", &together, "/s");
    tell("lines taken in", &ours, "/s");
    tell_ratio("ratio to a row a statement", &ours, &singly);
    tell_ratio("ratio to a transaction a statement", &ours, &together);
}

/// How the yardstick inserts: every statement costs `sqlx` two switches of threads.
#[derive(Clone, Copy)]
enum Way {
    ARow,
    ATransaction,
}

fn inserted(ndjson: &Path, database: &Path, way: Way) -> Duration {
    let _ = fs::remove_file(database);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let options = SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging();
    runtime.block_on(async {
        let mut connection = options.connect().await.unwrap();
        let table = "create table plain (id integer primary key, payload text not null)";
        sqlx::query(table).execute(&mut connection).await.unwrap();
        let began = Instant::now();
        let mut lines = BufReader::new(File::open(ndjson).unwrap()).lines().map(Result::unwrap);
        loop {
            let rows: Vec<String> = lines.by_ref().take(TRANSACTION).collect();
            if rows.is_empty() {
                break;
            }
            transaction(&mut connection, &rows, way).await;
        }
        let took = began.elapsed();
        connection.close().await.unwrap();
        took
    })
}

async fn transaction(connection: &mut SqliteConnection, rows: &[String], way: Way) {
    let mut transaction = connection.begin().await.unwrap();
    match way {
        Way::ARow => {
            for row in rows {
                let insert = sqlx::query("insert into plain (payload) values (?1)").bind(row);
                insert.execute(&mut *transaction).await.unwrap();
            }
        }
        Way::ATransaction => {
            let all = format!("[{}]", rows.join(","));
            let insert = sqlx::query("insert into plain (payload) select value from json_each(?1)").bind(all);
            insert.execute(&mut *transaction).await.unwrap();
        }
    }
    transaction.commit().await.unwrap();
}

/// Single files, against `cp` of them.
pub fn files(sizes: &Sizes) {
    let [mut ours, mut copied, mut synced] = [const { Figures::new() }; 3];
    for _ in 0..sizes.rounds.min(ROUNDS_MAX) {
        let place = paused(sizes);
        let source = place.path("files");
        fs::create_dir(&source).unwrap();
        let names: Vec<PathBuf> = (0..sizes.files).map(|n| format!("{n:08}.json").into()).collect();
        for (name, n) in names.iter().zip(0..) {
            fs::write(source.join(name), fill::body(n)).unwrap();
        }
        fill::sync();
        let began = Instant::now();
        let copy = Command::new("cp")
            .arg("-r")
            .arg(&source)
            .arg(place.path("copy"))
            .status()
            .unwrap();
        assert!(copy.success());
        copied.push(rate(sizes.files, began.elapsed()));
        fill::sync();
        synced.push(rate(sizes.files, began.elapsed()));
        fs::remove_dir_all(place.path("copy")).unwrap();
        fill::sync();

        let mut daemon = place.start();
        daemon.wait_until_ready();
        let inbox = place.path("inbox");
        let began = Instant::now();
        for name in &names {
            fs::rename(source.join(name), inbox.join(name)).unwrap();
        }
        wait_until_empty(&inbox);
        ours.push(rate(sizes.files, began.elapsed()));
        place.wait_until(StateName::Pending, sizes.files);
        daemon.stop();
    }
    tell("cp", &copied, "/s");
    tell("cp, and sync", &synced, "/s");
    tell("files taken in", &ours, "/s");
    tell_ratio("ratio to cp", &ours, &copied);
    tell_ratio("ratio to cp and sync", &ours, &synced);
}

/// A place whose daemon delivers nothing.
fn paused(sizes: &Sizes) -> Place {
    let place = Place::new(sizes, "http://127.0.0.1:1", 1);
    let paused = place.program().arg("pause").output().unwrap();
    assert!(paused.status.success(), "{}", String::from_utf8_lossy(&paused.stderr));
    place
}

/// Until everything that was dropped is in the outbox, and gone.
fn wait_until_empty(inbox: &Path) {
    let is_dropped = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        !is_hidden && entry.file_type().is_ok_and(|kind| kind.is_file())
    };
    while fs::read_dir(inbox).unwrap().any(is_dropped) {
        std::thread::sleep(LOOK);
    }
}
