//! The row inbox is written by everybody who drops rows: what they can do to it stays in it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{World, both, eventually, result};

/// The daemon's child that alone opens the row inbox.
fn clerk_of(daemon: u32) -> Option<u32> {
    let parent = |status: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
    };
    let pids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let mut pids: Vec<u32> = pids.collect();
    pids.retain(|pid| {
        fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| parent(&status) == Some(daemon))
    });
    pids.pop()
}

fn clerk(world: &World) -> u32 {
    eventually("the process that opens the row inbox", || {
        clerk_of(world.pid()).ok_or_else(|| world.log())
    })
}

fn signal(pid: u32, name: &str) {
    assert!(
        Command::new("kill")
            .args([&format!("-{name}"), &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// A journal as a crash of a program leaves it that was writing several databases: no page to roll back, and at the end
/// the super-journal, which SQLite deletes behind the rollback, whatever it is.
fn journal_with_super_journal(database: &Path, named: &Path) -> Vec<u8> {
    const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    let mut journal = MAGIC.to_vec();
    journal.extend([0; 8]);
    journal.extend(&fs::read(database).unwrap()[28..32]);
    journal.extend(512_u32.to_be_bytes());
    journal.extend(4096_u32.to_be_bytes());
    journal.resize(512, 0);
    let name = named.as_os_str().as_encoded_bytes();
    journal.extend((0x4000_0000_u32 / 4096 + 1).to_be_bytes());
    journal.extend(name);
    journal.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
    journal.extend(name.iter().map(|byte| u32::from(*byte)).sum::<u32>().to_be_bytes());
    journal.extend(MAGIC);
    journal
}

fn one(activity: &str) -> Value {
    result(activity, &json!({}))
}

/// Files go on.
fn delivers(world: &World, activity: &str) {
    world.drop_results(&format!("{activity}.ndjson"), &[one(activity)]);
    eventually(&format!("{activity} delivered"), || {
        match world.list(&["--state", "delivered", "--activity", activity]).len() {
            1 => Ok(()),
            _ => Err(world.log()),
        }
    });
}

fn row_delivered(world: &World, activity: &str) {
    world.insert(&one(activity));
    eventually(&format!("row {activity} delivered"), || {
        match world.list(&["--state", "delivered", "--activity", activity]).len() {
            1 => Ok(()),
            _ => Err(world.log()),
        }
    });
}

/// Until what was taken is deleted, so that nobody is in the midst of that.
fn emptied(world: &World) {
    eventually("an empty table", || {
        let left = world.column("rows/inbox.db", "SELECT CAST(count(*) AS TEXT) FROM inbox");
        if left == ["0"] {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

fn refused(world: &World, why: &str) {
    eventually("a refusal", || {
        if refusals(world, why) > 0 {
            Ok(())
        } else {
            Err(world.log())
        }
    });
}

/// How often the row inbox was refused for it.
fn refusals(world: &World, why: &str) -> usize {
    let is_one = |line: &&Value| {
        line["operation"] == "take rows" && line["error"].as_str().is_some_and(|error| error.contains(why))
    };
    world.events("storage_error").iter().filter(is_one).count()
}

fn taken_again(world: &World) {
    world.event_where("intake_resumed", |line| {
        line.to_string().contains("rows are taken again")
    });
}

#[test]
fn a_journal_that_names_another_file_deletes_nothing_and_stops_no_delivery() {
    let mut world = World::new();
    fs::write(world.path("of-others"), "keep").unwrap();
    world.start();
    row_delivered(&world, "before");
    // Else it may take the place of a journal of ours, and be removed for that.
    emptied(&world);
    let database = world.path("rows/inbox.db");
    let journal = world.path("rows/inbox.db-journal");
    for (number, victim) in ["outbox/outbox.db", "outbox/outbox.db.lock", "of-others"]
        .iter()
        .enumerate()
    {
        let craft = || {
            let crafted = world.path("rows/crafted");
            fs::write(&crafted, journal_with_super_journal(&database, &world.path(victim))).unwrap();
            fs::rename(crafted, &journal).unwrap();
        };
        craft();
        eventually("the journal to be refused by its name", || {
            // One that comes between our look and SQLite's is kept off by the walls alone, and may be gone afterwards.
            if !journal.exists() {
                craft();
            }
            if refusals(&world, victim) > 0 {
                Ok(())
            } else {
                Err(world.log())
            }
        });
        delivers(&world, &format!("meanwhile-{number}"));
        assert!(world.path(victim).exists(), "{victim}");
    }
    // Nor does a command, nor a start, which it does not stop either.
    assert_eq!(world.status()["waiting_rows"], Value::Null);
    world.stop().start();
    refused(&world, "of-others");
    delivers(&world, "after-the-start");
    for victim in ["outbox/outbox.db", "outbox/outbox.db.lock", "of-others"] {
        assert!(world.path(victim).exists(), "{victim}");
    }
    fs::remove_file(&journal).unwrap();
    row_delivered(&world, "mended");
    taken_again(&world);
    assert_eq!(world.list(&["--state", "delivered"]).len(), 6);
}

#[test]
fn a_file_in_wal_mode_is_refused_and_its_cut_shared_memory_kills_nobody() {
    use sqlx::{ConnectOptions, Connection};
    let mut world = World::new();
    world.start();
    row_delivered(&world, "before");
    emptied(&world);
    // As a producer leaves it that dies with the file open: made aside, for its memory is cut short under it.
    let aside = world.path("aside.db");
    fs::copy(world.path("rows/inbox.db"), &aside).unwrap();
    let looks = clerk(&world);
    let directory = world.dir.path().to_owned();
    let named = |name: &str, ending: &str| directory.join(format!("{name}.db{ending}"));
    let sql = |database: &Path, statement: String| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut producer = sqlx::sqlite::SqliteConnectOptions::new()
                .filename(database)
                .connect()
                .await
                .unwrap();
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
                .execute(&mut producer)
                .await
                .unwrap();
            if database == aside {
                // Both in one blink of whoever looks: a database still empty beside its WAL costs that WAL, by SQLite's
                // own hand.
                for ending in ["", "-wal"] {
                    fs::copy(named("aside", ending), named("draft", ending)).unwrap();
                }
                signal(looks, "STOP");
                for ending in ["", "-wal"] {
                    fs::rename(named("draft", ending), named("rows/inbox", ending)).unwrap();
                }
                signal(looks, "CONT");
            }
            producer.close().await.unwrap();
        });
    };
    fs::write(world.path("rows/inbox.db-shm"), "").unwrap();
    let insert = format!("INSERT INTO inbox (payload) VALUES ('{}')", one("in-the-wal"));
    sql(&aside, format!("PRAGMA journal_mode = WAL; {insert}"));
    refused(&world, "PRAGMA journal_mode=DELETE");
    delivers(&world, "meanwhile");
    assert_eq!(world.status()["waiting_rows"], Value::Null);
    world.stop().start();
    refused(&world, "PRAGMA journal_mode=DELETE");
    sql(&world.path("rows/inbox.db"), "PRAGMA journal_mode=DELETE".to_owned());
    taken_again(&world);
    world.wait_for("delivered", 3);
}

#[test]
fn a_schema_that_would_compute_for_hours_is_named_and_nothing_of_it_runs() {
    let mut world = World::new();
    world.start();
    row_delivered(&world, "before");
    emptied(&world);
    // What a deletion of ours would have to compute; for its author it was quick, on an empty table.
    world.sql(
        "rows/inbox.db",
        "CREATE INDEX slow ON inbox (length(replace(hex(zeroblob(400000000)), '0', payload)))",
    );
    refused(&world, "index slow");
    delivers(&world, "meanwhile");
    assert_eq!(world.status()["waiting_rows"], Value::Null);
    world.stop().start();
    delivers(&world, "after-the-start");
    world.sql("rows/inbox.db", "DROP INDEX slow");
    row_delivered(&world, "mended");
}

#[test]
fn who_opens_the_row_inbox_may_die_or_hang() {
    let mut world = World::new();
    world.start();
    row_delivered(&world, "before");
    let first = clerk(&world);
    signal(first, "KILL");
    row_delivered(&world, "killed");
    let second = clerk(&world);
    assert_ne!(first, second);
    emptied(&world);
    signal(second, "STOP");
    world.insert(&one("hung"));
    refused(&world, "did not answer within 10s");
    delivers(&world, "meanwhile");
    world.wait_for("delivered", 4);
    taken_again(&world);
    emptied(&world);
    // Nor is a stop held up by it, and it does not survive a daemon that is killed.
    signal(clerk(&world), "STOP");
    world.insert(&one("later"));
    world.stop().start();
    world.wait_for("delivered", 5);
    let last = clerk(&world);
    signal(last, "STOP");
    world.kill();
    eventually("its end", || match fs::read_to_string(format!("/proc/{last}/status")) {
        Ok(status) if !status.contains("State:\tZ") => Err(status),
        _ => Ok(()),
    });
}

#[test]
fn who_opens_the_row_inbox_has_nothing_secret_and_reaches_its_directory_alone() {
    let mut world = World::new();
    world.env("RETEN_TEST_OF_THE_ENVIRONMENT", "secret");
    world.start();
    row_delivered(&world, "before");
    let pid = clerk(&world);
    assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let inside = fs::canonicalize(world.path("rows")).unwrap();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        // One that was closed meanwhile holds nothing.
        let Ok(open) = fs::read_link(entry.unwrap().path()) else {
            continue;
        };
        let is_file = open.is_absolute() && open != Path::new("/dev/null");
        assert!(!is_file || open.starts_with(&inside), "{}", open.display());
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    if world.log().contains("has no Landlock") {
        println!("SKIPPED: this kernel has no Landlock");
    }
}

#[test]
fn two_daemons_never_take_from_one_row_inbox() {
    let mut world = World::new();
    world.start();
    row_delivered(&world, "before");
    std::os::unix::fs::symlink(world.path("rows"), world.path("by-another-path")).unwrap();
    for name in ["other", "other/inbox", "other/outbox"] {
        fs::create_dir(world.path(name)).unwrap();
    }
    let mut second = world.command(&["run"]);
    for (key, path) in [
        ("INBOX__DIR", "other/inbox"),
        ("INBOX__DATABASE", "by-another-path/inbox.db"),
        ("OUTBOX__DATABASE", "other/outbox/outbox.db"),
    ] {
        second.env(format!("RETEN_OUTBOX__{key}"), world.path(path));
    }
    let ended = second.output().unwrap();
    let told = both(&ended);
    assert_eq!(ended.status.code(), Some(69), "{told}");
    assert!(
        told.contains(&format!("process {}", world.pid())) && told.contains("inbox.db"),
        "{told}"
    );
}
