//! What hinders intake or storage is seen where people and monitoring look: a full disk, a foreign lock, a backlog; and
//! its end is said once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::harness::{World, both, eventually, result, stdout};

/// Another program that holds a lock on a database, in this process.
pub struct Locker {
    runtime: tokio::runtime::Runtime,
    connection: Option<SqliteConnection>,
}

impl Locker {
    pub fn on(path: &Path, begin: &'static str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let connection = runtime.block_on(async {
            let options = SqliteConnectOptions::new()
                .filename(path)
                .busy_timeout(std::time::Duration::from_secs(30));
            let mut connection = options.connect().await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(begin))
                .execute(&mut connection)
                .await
                .unwrap();
            connection
        });
        Self {
            runtime,
            connection: Some(connection),
        }
    }

    pub fn let_go(mut self) {
        let connection = self.connection.take().unwrap();
        self.runtime.block_on(connection.close()).unwrap();
    }
}

/// A small disk of its own, which only root can mount.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("not tried: only root can mount a small disk");
            return None;
        }
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=6m,mode=0700", "tmpfs"])
            .arg(at)
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("not tried: no small disk can be mounted here");
            return None;
        }
        Some(Self(at.to_owned()))
    }

    fn fill(&self) {
        let filler = fs::File::create(self.0.join("filler")).unwrap();
        let mut filler = std::io::BufWriter::with_capacity(1, filler);
        // To the last byte: until it refuses.
        while std::io::Write::write_all(&mut filler, &[0; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn hindrances(world: &World) -> Vec<Value> {
    world.status()["hindrances"].as_array().unwrap().clone()
}

/// Waits until one of them names this; it.
fn hindrance(world: &World, naming: &str) -> Value {
    eventually(&format!("a hindrance with {naming:?}"), || {
        let found = hindrances(world);
        let named = found.iter().find(|one| one.to_string().contains(naming)).cloned();
        named.ok_or_else(|| format!("{found:?}"))
    })
}

fn none_is_left(world: &World) {
    eventually("no hindrance", || {
        let found = hindrances(world);
        if found.is_empty() {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
}

/// `status --check` with more arguments must fail and say so.
fn check_fails(world: &World, arguments: &[&str], says: &str) {
    let output = world.run(&[&["status", "--check"], arguments].concat());
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    assert!(stdout(&output).contains(says), "{says}: {}", both(&output));
}

fn results(prefix: &str, count: usize) -> Vec<Value> {
    (0..count)
        .map(|n| result(&format!("{prefix}-{n}"), &json!({})))
        .collect()
}

#[test]
fn a_foreign_lock_on_the_outbox_is_seen_at_once_with_the_process_that_holds_it() {
    let mut world = World::new();
    world.start();
    assert_eq!(world.run(&["status", "--check"]).status.code(), Some(0));
    let locker = Locker::on(&world.path("outbox/outbox.db"), "BEGIN IMMEDIATE");
    for n in 0..20 {
        world.drop_results(&format!("{n}.ndjson"), &results(&format!("act-{n}"), 1));
    }
    let name = format!("process {}", std::process::id());
    let seen = hindrance(&world, &name);
    assert!(seen["hint"].as_str().unwrap().contains("end that process"), "{seen}");
    check_fails(&world, &[], &name);
    let text = world.ok(&["status"]);
    assert!(text.contains("hindered") && !text.contains("Nothing waits"), "{text}");
    // What the daemon itself has to say comes later, when it has given up once, and is not lost meanwhile.
    let told = world.event_where("intake_waiting", |line| line["error"].to_string().contains("locked"));
    assert!(told["hint"].as_str().unwrap().contains("end the process"), "{told}");
    eventually("files that have waited for a second", || {
        let output = world.run(&["status", "--check", "--max-waiting-age", "1s"]);
        let told = stdout(&output);
        if told.contains("oldest file in the inbox") {
            Ok(())
        } else {
            Err(told)
        }
    });
    locker.let_go();
    world.wait_for("delivered", 20);
    world.event("intake_resumed");
    none_is_left(&world);
    assert_eq!(world.events("intake_resumed").len(), 1, "{}", world.log());
    let output = world.run(&["status", "--check", "--max-waiting-age", "1m"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
}

#[test]
fn a_disk_without_a_free_byte_is_seen_its_hints_are_true_and_its_end_is_said_once() {
    let mut world = World::new();
    let Some(disk) = Disk::mount(&world.path("outbox")) else {
        return;
    };
    world.sandbox.settings(&json!({"step_for_all": "hold"}));
    world.start();
    world.drop_results("first.ndjson", &results("act", 40));
    // Sixteen are on the wire, and the others claimed ahead of them.
    world.wait_for("sending", 40);
    disk.fill();
    world.drop_results("second.ndjson", &results("later", 200));
    world.sandbox.settings(&json!({"step_for_all": null}));
    world.sandbox.release();
    let told = world.event_where("storage_error", |line| line["operation"] == "settle");
    assert!(told["hint"].as_str().unwrap().contains("deliveries wait"), "{told}");
    let waits = world.event("intake_waiting");
    assert!(!waits["hint"].as_str().unwrap().contains("deliveries go on"), "{waits}");
    let seen = hindrance(&world, "\"storage\"");
    assert!(
        seen["since"].is_string() && seen["hint"].as_str().unwrap().contains("room"),
        "{seen}"
    );
    check_fails(&world, &[], "disk");
    let text = world.ok(&["status"]);
    assert!(
        text.contains("Nothing is sent until the outbox can be written again"),
        "{text}"
    );
    disk.make_room();
    world.wait_for("delivered", 240);
    none_is_left(&world);
    // A checkpoint may find some room in between: then it is over, and begins again. Each end is said once, and the
    // last word is an end.
    for (begins, ends) in [
        ("storage_error", "storage_resumed"),
        ("intake_waiting", "intake_resumed"),
    ] {
        world.event(ends);
        // What has no end of its own is tried again with the next file.
        let lines = world
            .log_lines()
            .into_iter()
            .filter(|line| line["operation"] != "forget receipts");
        let said: Vec<Value> = lines.map(|line| line["event"].clone()).collect();
        let said: Vec<&Value> = said
            .iter()
            .filter(|event| **event == begins || **event == ends)
            .collect();
        assert!(said.last().is_some_and(|last| **last == ends), "{}", world.log());
        assert!(
            said.windows(2).all(|pair| !(*pair[0] == ends && *pair[1] == ends)),
            "{}",
            world.log()
        );
    }
    assert_eq!(world.sandbox.bodies().len(), 240, "nothing was sent twice");
    world.stop();
}

#[test]
fn too_little_room_for_intake_is_seen_without_the_daemon_saying_so() {
    let mut world = World::new();
    world.set("inbox.min_free_disk", "\"1000000GiB\"");
    world.start();
    world.drop_results("one.ndjson", &results("act", 3));
    world.insert(&result("row", &json!({})));
    let waits = world.event("intake_waiting");
    assert!(waits["hint"].as_str().unwrap().contains("deliveries go on"), "{waits}");
    assert_eq!(hindrance(&world, "min_free_disk")["what"], "intake");
    check_fails(&world, &[], "min_free_disk");
    for what in ["file", "row"] {
        eventually(&format!("a {what} that has waited for a second"), || {
            let output = world.run(&["status", "--check", "--max-waiting-age", "1s"]);
            let told = stdout(&output);
            if told.contains(&format!("oldest {what} in the inbox")) {
                Ok(())
            } else {
                Err(told)
            }
        });
    }
    // Nothing is left that wants to be taken: its end is said all the same.
    fs::remove_file(world.path("inbox/one.ndjson")).unwrap();
    world.sql("rows/inbox.db", "DELETE FROM inbox");
    world.set("inbox.min_free_disk", "\"0\"").signal("HUP");
    world.event("intake_resumed");
    none_is_left(&world);
}

#[test]
fn a_producer_that_keeps_the_row_inbox_locked_is_named() {
    let mut world = World::new();
    world.start();
    world.insert(&result("before", &json!({})));
    world.wait_for("delivered", 1);
    eventually("a row inbox in which nothing is left to do", || {
        match world.column("rows/inbox.db", "SELECT CAST(count(*) AS TEXT) FROM inbox") {
            left if left == ["0"] => Ok(()),
            left => Err(format!("{left:?}")),
        }
    });
    let inbox = world.path("rows/inbox.db");
    let locker = Locker::on(&inbox, "BEGIN EXCLUSIVE");
    // By another process: to close the file here would drop this one's lock. A file that lies still is looked into once
    // a minute.
    assert!(Command::new("touch").arg(&inbox).status().unwrap().success());
    let seen = hindrance(&world, "intake of rows");
    assert!(
        seen["why"]
            .as_str()
            .unwrap()
            .contains(&format!("process {}", std::process::id())),
        "{seen}"
    );
    check_fails(&world, &[], "intake of rows");
    locker.let_go();
    world.event_where("intake_resumed", |line| line["message"] == "rows are taken again");
    none_is_left(&world);
}

#[test]
fn a_backlog_above_the_limit_is_a_hindrance_until_it_is_below() {
    let mut world = World::new();
    world.set("inbox.max_pending", "5").start();
    world.ok(&["pause"]);
    world.drop_results("one.ndjson", &results("act", 8));
    world.wait_for("pending", 8);
    assert_eq!(hindrance(&world, "max_pending")["what"], "intake");
    world.ok(&["resume"]);
    world.wait_for("delivered", 8);
    none_is_left(&world);
}
