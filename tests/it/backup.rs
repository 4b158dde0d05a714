//! `backup` and `restore`: a copy beside the running daemon, and back in its place, whoever does it and whatever lies
//! there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{World, both, column, eventually, result, stderr, stdout};

/// Words of a text, as they stand whichever way it was broken into lines.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn path(world: &World, name: &str) -> String {
    world.path(name).display().to_string()
}

fn results(name: &str, count: usize) -> Vec<Value> {
    (0..count).map(|n| result(&format!("{name}-{n}"), &json!({}))).collect()
}

/// Names that begin so in the outbox's directory.
fn beside(world: &World, start: &str) -> Vec<String> {
    let names = fs::read_dir(world.path("outbox")).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(start))
        .collect();
    names.sort_unstable();
    names
}

/// So many pending, and a backup of them, the daemon running.
fn backed_up(world: &mut World, count: usize) -> String {
    world.sandbox.settings(&json!({"down": true}));
    world.start();
    world.drop_results("some.ndjson", &results("act", count));
    world.taken();
    eventually("all taken in", || {
        let found = world.list(&[]).len();
        if found == count { Ok(()) } else { Err(found.to_string()) }
    });
    let file = path(world, "backup.db");
    world.ok(&["backup", &file]);
    file
}

#[test]
fn a_backup_is_whole_its_owners_alone_and_made_beside_a_daemon_under_load() {
    let mut world = World::new();
    world.start();
    world.drop_results("first.ndjson", &results("first", 300));
    world.taken();
    for round in 0..5 {
        world.drop_results(&format!("{round}.ndjson"), &results(&round.to_string(), 200));
        let file = path(&world, &format!("{round}.db"));
        let told = world.ok(&["backup", &file]);
        assert!(told.contains("read and whole") && told.contains("sha256 "), "{told}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let file = Path::new(&file);
        assert_eq!(column(file, "PRAGMA integrity_check"), ["ok"]);
        let count: usize = column(file, "SELECT CAST(count(*) AS TEXT) FROM delivery")[0]
            .parse()
            .unwrap();
        assert!(count >= 300 && told.contains(&format!("{count} submissions")), "{told}");
        let sum = Command::new("sha256sum").arg(file).output().unwrap();
        // Reading it by SQL changed nothing of it.
        assert!(told.contains(stdout(&sum).split(' ').next().unwrap()), "{told}");
    }
    let drafts = fs::read_dir(world.dir.path()).unwrap();
    assert!(
        drafts
            .filter_map(Result::ok)
            .all(|entry| !entry.file_name().to_string_lossy().contains("tmp"))
    );
}

#[test]
fn a_backup_never_replaces_what_is_there_unless_it_is_told_to_and_never_the_outbox() {
    let mut world = World::new();
    let file = backed_up(&mut world, 2);
    let before = fs::read(&file).unwrap();
    let refused = world.run(&["backup", &file]);
    assert_eq!(refused.status.code(), Some(1), "{}", both(&refused));
    assert!(stderr(&refused).contains("--overwrite"), "{}", both(&refused));
    assert_eq!(fs::read(&file).unwrap(), before);
    world.ok(&["backup", "--overwrite", &file]);
    for part in ["", "-wal", "-journal", ".lock"] {
        let part = path(&world, &format!("outbox/outbox.db{part}"));
        let refused = world.run(&["backup", "--overwrite", &part]);
        assert_eq!(refused.status.code(), Some(2), "{part}: {}", both(&refused));
    }
    fs::write(format!("{file}-wal"), "of another one").unwrap();
    let refused = world.run(&["backup", "--overwrite", &file]);
    assert!(
        !refused.status.success() && stderr(&refused).contains("backup.db-wal"),
        "{}",
        both(&refused)
    );
    let nowhere = world.run(&["backup", &path(&world, "no/such/backup.db")]);
    assert!(
        !nowhere.status.success() && stderr(&nowhere).contains("no/such"),
        "{}",
        both(&nowhere)
    );
    assert_eq!(world.list(&[]).len(), 2);
}

#[test]
fn without_an_outbox_there_is_no_backup_and_no_success() {
    let world = World::new();
    let output = world.run(&["backup", &path(&world, "backup.db")]);
    assert_eq!(output.status.code(), Some(78), "{}", both(&output));
    assert!(!world.path("backup.db").exists());
}

#[test]
fn what_was_delivered_since_the_backup_comes_back_as_maybe_ours_and_show_says_so() {
    let mut world = World::new();
    let file = backed_up(&mut world, 3);
    world.sandbox.settings(&json!({"down": false}));
    world.wait_for("delivered", 3);
    world.sandbox.settings(&json!({"down": true}));
    world.drop_results("later.ndjson", &results("later", 2));
    world.taken();
    let refused = world.run(&["restore", &file]);
    assert_eq!(
        refused.status.code(),
        Some(69),
        "while the daemon runs: {}",
        both(&refused)
    );
    world.stop();
    let told = world.ok(&["restore", &file]);
    assert!(
        told.contains("3 of them are marked") && told.contains("systemctl start"),
        "{told}"
    );
    let aside = beside(&world, "outbox.db.replaced-");
    assert!(told.contains(&aside[0]), "{told}\n{aside:?}");
    assert_eq!(
        fs::metadata(world.path("outbox/outbox.db"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    // What came in since is in the old one alone.
    let old = path(&world, &format!("outbox/{}", aside[0]));
    let before = fs::read(&old).unwrap();
    let salvaged = world.ok(&["salvage", &old]);
    assert_eq!(fs::read(&old).unwrap(), before);
    assert_eq!(salvaged.lines().count(), 2, "{salvaged}");
    assert!(
        salvaged
            .lines()
            .all(|line| line.contains("\"provider_activity_id\":\"later-")),
        "{salvaged}"
    );
    world.sandbox.settings(&json!({"down": false}));
    world.start();
    let parked = world.wait_for("parked", 3);
    for one in &parked {
        assert_eq!(one["reason"], "conflict_after_lost_response", "{one}");
        assert!(one["id"].as_i64().unwrap() <= 3);
        let shown = flat(&world.ok(&["show", &one["id"].to_string()]));
        assert!(
            shown.contains("likely this very one: it was restored from a backup of 20"),
            "{shown}"
        );
        assert!(
            shown.contains("restored by user") && shown.contains("reten-outbox accept"),
            "{shown}"
        );
    }
    world.ok(&["accept", "--reason", "conflict_after_lost_response", "--yes"]);
    // Twice by mistake: taken once.
    world.drop_file("rest.ndjson", &salvaged);
    world.drop_file("rest-again.ndjson", &salvaged);
    world.settled();
    let later = world.list(&["--state", "delivered"]);
    assert_eq!(later.len(), 5, "{later:#?}");
    let ids: Vec<i64> = later.iter().map(|one| one["id"].as_i64().unwrap()).collect();
    assert!(ids[0] > 5 && ids[1] > 5, "a number is never given twice: {ids:?}");
    assert_eq!(world.sandbox.results().as_array().unwrap().len(), 5);
    assert!(
        world.ok(&["salvage", &old]).is_empty(),
        "nothing is left to be salvaged"
    );
}

#[test]
fn a_restored_outbox_can_wait_for_a_person() {
    let mut world = World::new();
    let file = backed_up(&mut world, 1);
    world.stop();
    world.sandbox.settings(&json!({"down": false}));
    world.set("conflict.policy", "\"override\"");
    let told = world.ok(&["restore", "--pause", &file]);
    assert!(
        told.contains("resume") && told.contains("after_lost_response"),
        "{told}"
    );
    world.start();
    assert_eq!(world.status()["gate"], "paused");
    world.ok(&["resume"]);
    world.wait_for("delivered", 1);
}

#[test]
fn what_is_no_whole_backup_of_ours_is_refused_and_nothing_changes() {
    let mut world = World::new();
    let file = backed_up(&mut world, 40);
    world.stop();
    let good = fs::read(&file).unwrap();
    let outbox = fs::read(world.path("outbox/outbox.db")).unwrap();
    let mut torn = good.clone();
    let middle = torn.len() / 2;
    torn[middle..middle + 8192].fill(0x5a);
    let foreign = world.path("foreign.db");
    crate::harness::sql(&foreign_made(&foreign), "CREATE TABLE song (title TEXT)");
    let newer = world.path("newer.db");
    fs::write(&newer, &good).unwrap();
    crate::harness::sql(&newer, "PRAGMA user_version = 9999");
    for (what, bytes, words) in [
        (
            "text",
            b"this is no database, but quite a long text".to_vec(),
            "damaged",
        ),
        ("truncated", good[..good.len() / 2].to_vec(), "damaged"),
        ("torn", torn, "damaged"),
        ("empty", Vec::new(), "empty"),
        ("foreign", fs::read(&foreign).unwrap(), "not an outbox"),
        ("newer", fs::read(&newer).unwrap(), "newer"),
    ] {
        let bad = path(&world, "bad.db");
        fs::write(&bad, &bytes).unwrap();
        let output = world.run(&["restore", &bad]);
        assert_eq!(output.status.code(), Some(78), "{what}: {}", both(&output));
        let told = stderr(&output);
        assert!(
            told.contains("bad.db") && told.contains(words) && told.contains("Nothing was changed"),
            "{what}: {told}"
        );
        assert_eq!(fs::read(world.path("outbox/outbox.db")).unwrap(), outbox, "{what}");
        assert_eq!(fs::read(&bad).unwrap(), bytes, "{what}");
    }
    assert!(beside(&world, "outbox.db.re").is_empty() && beside(&world, ".outbox").is_empty());
    for (wrong, code) in [
        (path(&world, "outbox/outbox.db"), 2),
        (path(&world, "outbox"), 2),
        (path(&world, "none.db"), 1),
    ] {
        let output = world.run(&["restore", &wrong]);
        assert_eq!(output.status.code(), Some(code), "{wrong}: {}", both(&output));
    }
    world.start();
}

/// An empty file, which SQLite takes for an empty database.
fn foreign_made(path: &Path) -> std::path::PathBuf {
    fs::write(path, "").unwrap();
    path.to_owned()
}

#[test]
fn a_copy_made_file_by_file_is_read_with_its_wal_and_leftovers_are_put_aside() {
    let mut world = World::new();
    backed_up(&mut world, 20);
    world.kill();
    let copy = path(&world, "copy.db");
    for end in ["", "-wal"] {
        fs::copy(world.path(&format!("outbox/outbox.db{end}")), format!("{copy}{end}")).unwrap();
    }
    assert!(fs::metadata(format!("{copy}-wal")).unwrap().len() > 0);
    let output = world.run(&["restore", &copy]);
    assert!(output.status.success(), "{}", both(&output));
    assert!(stderr(&output).contains("-wal"), "{}", both(&output));
    let aside = beside(&world, "outbox.db.replaced-");
    assert!(aside.iter().any(|name| name.ends_with("-wal")), "{aside:?}");
    assert_eq!(world.status()["counts"]["pending"], 20);
    // A WAL that is not its own: with it the copy is another one, or none.
    fs::write(format!("{copy}-journal"), "torn").unwrap();
    let output = world.run(&["restore", &copy]);
    assert!(
        !output.status.success() && stderr(&output).contains("-journal"),
        "{}",
        both(&output)
    );
    world.sandbox.settings(&json!({"down": false}));
    world.start();
    world.wait_for("delivered", 20);
}

#[test]
fn a_restore_waits_for_nobody_who_has_the_outbox_open_and_names_them() {
    let mut world = World::new();
    let file = backed_up(&mut world, 1);
    world.stop();
    let mut shell = Command::new("sqlite3")
        .arg(world.path("outbox/outbox.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut asked = shell.stdin.take().unwrap();
    std::io::Write::write_all(&mut asked, b"SELECT count(*) FROM submission;\n").unwrap();
    let mut answer = [0; 1];
    std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut answer).unwrap();
    let output = world.run(&["restore", &file]);
    assert_eq!(output.status.code(), Some(69), "{}", both(&output));
    assert!(stderr(&output).contains(&shell.id().to_string()), "{}", both(&output));
    drop(asked);
    shell.wait().unwrap();
    world.ok(&["restore", &file]);
}

#[test]
fn a_restore_that_is_killed_leaves_the_old_outbox_or_the_new_one() {
    let mut world = World::new();
    let file = backed_up(&mut world, 30);
    let mut roll = fastrand::Rng::with_seed(9);
    for _ in 0..8 {
        if world.list(&[]).len() == 30 {
            world.drop_results("more.ndjson", &results(&roll.u32(..).to_string(), 5));
            eventually("five more", || {
                if world.list(&[]).len() == 35 {
                    Ok(())
                } else {
                    Err(String::new())
                }
            });
        }
        world.stop();
        let mut restore = world
            .command(&["restore", &file])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(roll.u64(0..120)));
        restore.kill().unwrap();
        restore.wait().unwrap();
        world.start();
        let count = world.list(&[]).len();
        assert!(count == 30 || count == 35, "{count}");
        assert!(beside(&world, "outbox.db.restoring").is_empty());
    }
}

#[test]
fn the_backup_of_an_older_version_is_brought_up_to_date() {
    const FIRST: &str = include_str!("../../migrations/outbox/0001_outbox.sql");
    let mut world = World::new();
    world.start().stop();
    let old = world.path("old.db");
    fs::write(&old, "").unwrap();
    let payload = result("act-1", &json!({})).to_string();
    crate::harness::sql(
        &old,
        &format!(
            "PRAGMA auto_vacuum = INCREMENTAL; {FIRST}; PRAGMA application_id = 1383354210; PRAGMA user_version = 1; \
             INSERT INTO submission (id, created_at, provider_activity_id, origin, payload) VALUES (1, 1, 'act-1', '{{\"row\":1}}', '{payload}'); \
             INSERT INTO delivery (id, state, next_at, updated_at) VALUES (1, 'head', 1, 1); \
             UPDATE tally SET n = 1 WHERE state = 'pending'"
        ),
    );
    let told = world.ok(&["restore", &path(&world, "old.db")]);
    assert!(told.contains("1 of them are marked"), "{told}");
    world.start();
    world.wait_for("delivered", 1);
}
