//! The gate: paused by a person, unauthorized by the API, and what a restart makes of it.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{KEY, World, eventually, result};

#[test]
fn a_pause_stops_the_sending_not_the_taking_in_and_outlives_a_restart() {
    let mut world = World::new();
    world.start();
    world.ok(&["pause"]);
    world.event_where("gate", |line| line["to"] == "paused");
    world.drop_results("one.ndjson", &[result("act-1", &json!({}))]);
    world.wait_for("pending", 1);
    world.stop().start();
    assert_eq!(world.status()["gate"], "paused");
    assert!(world.sandbox.requests().is_empty());
    world.ok(&["resume"]);
    world.wait_for("delivered", 1);
    assert_eq!(world.status()["gate"], "open");
}

#[test]
fn a_pause_of_a_stopped_daemon_holds_at_its_start() {
    let mut world = World::new();
    world.start().stop();
    world.ok(&["pause"]);
    world.drop_results("one.ndjson", &[result("act-1", &json!({}))]);
    world.start();
    world.wait_for("pending", 1);
    assert!(world.sandbox.requests().is_empty());
}

#[test]
fn a_new_key_in_the_key_file_opens_the_gate() {
    let mut world = World::new();
    fs::write(world.path("api-key"), "rtn_sk_an_old_one").unwrap();
    world.set("auth.probe_interval", "\"1h\"").start();
    world.drop_results("one.ndjson", &[result("act-1", &json!({})), result("act-2", &json!({}))]);
    world.event_where("gate", |line| line["to"] == "unauthorized");
    fs::write(world.path("api-key"), KEY).unwrap();
    world.signal("HUP");
    world.wait_for("delivered", 2);
    world.event_where("gate", |line| line["to"] == "open");
}

#[test]
fn a_closed_gate_survives_a_restart_and_asks_at_once() {
    let mut world = World::new();
    fs::write(world.path("api-key"), "rtn_sk_an_old_one").unwrap();
    world.set("auth.probe_interval", "\"1h\"").start();
    world.drop_results("one.ndjson", &[result("act-1", &json!({})), result("act-2", &json!({}))]);
    world.event_where("gate", |line| line["to"] == "unauthorized");
    world.wait_for("dead", 2);
    world.stop();
    assert_eq!(world.status()["gate"], "unauthorized");
    fs::write(world.path("api-key"), KEY).unwrap();
    world.start();
    world.wait_for("delivered", 2);
}

#[test]
fn without_auth_requeue_the_dead_ones_wait_for_a_person() {
    let mut world = World::new();
    world.set("auth.requeue", "false");
    world.sandbox.settings(&json!({"api_key": "another"}));
    world.start();
    world.drop_results("one.ndjson", &[result("act-1", &json!({}))]);
    let id = world.wait_for("dead", 1)[0]["id"].to_string();
    world.sandbox.settings(&json!({"api_key": KEY}));
    world.event_where("gate", |line| line["to"] == "open");
    world.drop_results("two.ndjson", &[result("act-2", &json!({}))]);
    world.wait_for("delivered", 1);
    world.wait_for("dead", 1);
    world.ok(&["requeue", &id]);
    world.wait_for("delivered", 2);
}

#[test]
fn a_403_is_tried_with_one_submission_an_interval_that_stays_uncharged() {
    let mut world = World::new();
    world.set("delivery.max_in_flight", "1");
    world.sandbox.settings(&json!({"permissions": ["VIEW_ACTIVITIES"]}));
    world.start();
    let results: Vec<Value> = (0..5).map(|n| result(&format!("act-{n}"), &json!({}))).collect();
    world.drop_results("five.ndjson", &results);
    world.event_where("gate", |line| line["to"] == "unauthorized");
    eventually("some trials", || {
        let seen = world.sandbox.requests().len();
        if seen >= 3 { Ok(()) } else { Err(seen.to_string()) }
    });
    assert_eq!(world.list(&["--state", "dead"]).len(), 1);
    assert!(world.list(&["--state", "pending"]).iter().all(|one| one["attempts"] == 0));
    world.sandbox.settings(&json!({"permissions": ["SUBMIT_ACTIVITY_RESULT"]}));
    world.wait_for("delivered", 5);
}

#[test]
fn one_that_is_refused_again_while_others_are_delivered_stays_dead() {
    let mut world = World::new();
    world.start();
    world.drop_results(
        "one.ndjson",
        &[
            crate::harness::scripted("poison", "403x50"),
            result("act-1", &json!({})),
            result("act-2", &json!({})),
        ],
    );
    world.wait_for("delivered", 2);
    // It may have closed the gate, and be what finds out whether the key works again; the next one proves that the key does.
    world.drop_results("two.ndjson", &[result("act-3", &json!({}))]);
    world.wait_for("delivered", 3);
    let dead = world.wait_for("dead", 1);
    assert_eq!(
        (dead[0]["provider_activity_id"].as_str(), dead[0]["reason"].as_str()),
        (Some("poison"), Some("unauthorized"))
    );
    eventually("an open gate", || {
        let gate = world.status()["gate"].clone();
        if gate == "open" { Ok(()) } else { Err(gate.to_string()) }
    });
}
