//! What was delivered or dismissed leaves after its time, its room comes back, and what a person still has to look at
//! stays.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{World, eventually, result, scripted};

/// The size of the outbox's file, or of its write-ahead log.
fn size(world: &World, name: &str) -> u64 {
    fs::metadata(world.path("outbox").join(name)).map_or(0, |found| found.len())
}

fn large(activity: &str) -> Value {
    result(activity, &json!({"raw_payload": {"text": "x".repeat(700 << 10)}}))
}

/// `result` with a key.
fn keyed(activity: &str, key: &str) -> Value {
    let mut one = result(activity, &json!({}));
    one["$outbox"] = json!({"key": key});
    one
}

#[test]
fn what_leaves_gives_its_room_back_while_deliveries_go_on() {
    let mut world = World::new();
    world.set("validation.result_types", "false").start();
    for part in 0..4 {
        let results: Vec<Value> = (0..15).map(|n| large(&format!("act-{part}-{n}"))).collect();
        world.drop_results(&format!("{part}.ndjson"), &results);
    }
    world.wait_for("delivered", 60);
    world.stop();
    let before = size(&world, "outbox.db");
    assert!(before > 40 << 20, "{before}");
    world.set("outbox.keep_delivered", "\"0\"").start();
    world.drop_results("beside.ndjson", &[scripted("beside", "503x2")]);
    world.event_where("delivered", |line| line["activity"] == "beside");
    eventually("a small file again", || {
        let now = size(&world, "outbox.db");
        if now <= 20 << 20 {
            Ok(())
        } else {
            Err(format!("{now} of {before}"))
        }
    });
    assert!(size(&world, "outbox.db-wal") <= 64 << 20);
    world.wait_for("delivered", 0);
    assert!(world.events("storage_error").is_empty(), "{}", world.log());
}

#[test]
fn a_reload_is_heard_at_once_and_dead_and_parked_stay_whatever_their_age() {
    let mut world = World::new();
    world.start();
    world.drop_results(
        "four.ndjson",
        &[
            scripted("dead", "404"),
            scripted("parked", "409"),
            scripted("dismissed", "404"),
            result("delivered", &json!({})),
        ],
    );
    world.wait_for("dead", 2);
    world.wait_for("parked", 1);
    world.wait_for("delivered", 1);
    world.ok(&["dismiss", "--activity", "dismissed", "--yes"]);
    world
        .set("outbox.keep_delivered", "\"1ms\"")
        .set("outbox.keep_dismissed", "\"1ms\"");
    world.signal("HUP");
    eventually("two that have left", || {
        let left = world.list(&[]);
        if left.len() == 2 {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    assert_eq!(world.of_activity("dead")["state"], "dead");
    assert_eq!(world.of_activity("parked")["state"], "parked");
    let counts = world.status()["counts"].clone();
    assert_eq!(
        (counts["delivered"].as_u64(), counts["dismissed"].as_u64()),
        (Some(0), Some(0))
    );
}

#[test]
fn a_key_is_remembered_as_long_as_its_submission_is_kept() {
    let mut world = World::new();
    world.start();
    world.drop_results("first.ndjson", &[keyed("act-1", "k-1")]);
    let first = world.wait_for("delivered", 1)[0]["id"].clone();
    world.drop_results("again.ndjson", &[keyed("act-1", "k-1")]);
    assert_eq!(world.event("duplicate")["submission"], first);
    assert_eq!(world.sandbox.requests().len(), 1);
    world.ok(&["purge", "--state", "delivered", "--older-than", "0"]);
    world.drop_results("anew.ndjson", &[keyed("act-1", "k-1")]);
    eventually("a second request", || {
        let requests = world.sandbox.requests().len();
        if requests >= 2 {
            Ok(())
        } else {
            Err(requests.to_string())
        }
    });
}
