//! Files whose producers are not done with them, and what is known of files across restarts: nothing of them is lost,
//! nothing is taken twice.

use std::fs;
use std::io::Write;

use serde_json::{Value, json};

use crate::harness::{World, eventually, result};

fn line(activity: &str) -> String {
    format!("{}\n", result(activity, &json!({})))
}

fn append(world: &World, name: &str) -> fs::File {
    let path = world.path("inbox").join(name);
    fs::File::options().create(true).append(true).open(path).unwrap()
}

/// Waits until the inbox was looked at anew: what is dropped now is found and taken.
fn looked_at(world: &World, activity: &str) {
    world.drop_results(&format!("{activity}.ndjson"), &[result(activity, &json!({}))]);
    eventually("another file is taken", || {
        let left = world.inbox();
        if left.contains(&format!("{activity}.ndjson")) {
            Err(format!("{left:?}"))
        } else {
            Ok(())
        }
    });
}

fn many(count: usize) -> Vec<Value> {
    (0..count).map(|n| result(&format!("act-{n}"), &json!({}))).collect()
}

#[test]
fn a_file_that_was_open_before_the_start_is_read_and_not_removed_before_it_is_closed() {
    let mut world = World::new();
    let mut log = append(&world, "log.ndjson");
    log.write_all(line("act-1").as_bytes()).unwrap();
    log.flush().unwrap();
    world.start();
    world.wait_for("delivered", 1);
    let told = world.event("file_open");
    assert_eq!(told["file"], "log.ndjson");
    assert!(told["hint"].as_str().unwrap().contains("closed"), "{told}");
    assert_eq!(world.inbox(), ["log.ndjson"]);
    log.write_all(line("act-2").as_bytes()).unwrap();
    drop(log);
    world.wait_for("delivered", 2);
    world.taken();
    assert!(world.rejected().is_empty());
}

#[test]
fn a_json_file_that_was_open_before_the_start_is_taken_when_it_is_closed() {
    let mut world = World::new();
    let mut file = append(&world, "one.json");
    // Whole as it stands, as far as anybody can see.
    write!(file, "[{}]", result("act-1", &json!({}))).unwrap();
    file.flush().unwrap();
    world.start();
    world.event("file_open");
    looked_at(&world, "act-2");
    assert_eq!(world.inbox(), ["one.json"]);
    world.wait_for("delivered", 1);
    drop(file);
    world.wait_for("delivered", 2);
    world.taken();
}

#[test]
fn a_file_opened_for_more_while_it_is_taken_is_not_removed_under_its_writer() {
    let mut world = World::new();
    world.set("inbox.max_pending", "10").start();
    world.ok(&["pause"]);
    world.drop_results("log.ndjson", &many(600));
    world.wait_for("pending", 500);
    let mut log = append(&world, "log.ndjson");
    world.ok(&["resume"]);
    world.wait_for("delivered", 600);
    world.event("file_open");
    assert_eq!(world.inbox(), ["log.ndjson"]);
    log.write_all(line("one more").as_bytes()).unwrap();
    drop(log);
    world.wait_for("delivered", 601);
    world.taken();
}

#[test]
fn lost_events_make_no_open_file_a_closed_one() {
    let mut world = World::new();
    world.start();
    looked_at(&world, "act-1");
    let mut log = append(&world, "log.ndjson");
    log.write_all(line("act-2").as_bytes()).unwrap();
    log.flush().unwrap();
    // More than the kernel queues.
    world.signal("STOP");
    for n in 0..10_000 {
        fs::write(world.path("inbox").join(format!(".{}.tmp", n % 2)), "").unwrap();
    }
    world.signal("CONT");
    world.event("events_lost");
    for activity in ["act-3", "act-4", "act-5"] {
        looked_at(&world, activity);
    }
    // Long enough for one that was only found.
    let before = world.events("accepted").len();
    looked_at(&world, "act-6");
    assert!(world.events("accepted").len() > before);
    assert_eq!(world.inbox(), ["log.ndjson"]);
    log.write_all(line("act-7").as_bytes()).unwrap();
    drop(log);
    world.wait_for("delivered", 7);
    world.taken();
}

#[test]
fn the_limit_of_size_with_which_a_file_was_first_read_is_its_limit_through_reload_and_restart() {
    for restart in [false, true] {
        let mut world = World::new();
        world
            .set("inbox.max_result_size", "\"2KiB\"")
            .set("inbox.max_pending", "10")
            .start();
        world.ok(&["pause"]);
        let mut results = many(600);
        results[0] = result("large", &json!({"raw_payload": {"x": "y".repeat(3000)}}));
        world.drop_results("log.ndjson", &results);
        world.wait_for("pending", 499);
        world
            .set("inbox.max_result_size", "\"1MiB\"")
            .set("inbox.max_pending", "0");
        if restart {
            world.kill().start();
        } else {
            world.signal("HUP");
            world.event("reloaded");
        }
        world.taken();
        world.wait_for("pending", 599);
        let rejected = fs::read_to_string(world.path("inbox/rejected/log.ndjson")).unwrap();
        assert!(
            rejected.contains("\"large\"") && rejected.lines().count() == 1,
            "restart: {restart}"
        );
    }
}

#[test]
fn a_start_before_the_disk_of_the_inbox_is_mounted_forgets_nothing() {
    let mut world = World::new();
    world.set("inbox.max_pending", "10").start();
    world.ok(&["pause"]);
    world.drop_results("log.ndjson", &many(600));
    world.wait_for("pending", 500);
    world.kill();
    fs::rename(world.path("inbox"), world.path("disk")).unwrap();
    fs::create_dir(world.path("inbox")).unwrap();
    world.start();
    let told = world.event_where("warning", |line| {
        line["message"]
            .as_str()
            .unwrap_or_default()
            .contains("another directory")
    });
    assert!(told["hint"].as_str().unwrap().contains("mounted"), "{told}");
    world.stop();
    fs::rename(world.path("inbox"), world.path("beneath")).unwrap();
    fs::rename(world.path("disk"), world.path("inbox")).unwrap();
    world.set("inbox.max_pending", "0").start();
    world.taken();
    assert_eq!(world.list(&[]).len(), 600);
}
