//! `kill -9` at any moment, restarts, shutdown: nothing accepted is lost, nothing is delivered twice that the API took
//! once.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{World, eventually, result, scripted};

#[test]
fn what_was_on_the_wire_at_a_kill_is_resumed_as_interrupted_and_counts_as_a_lost_response() {
    let mut world = World::new();
    world.start();
    world.drop_results("one.ndjson", &[scripted("act-1", "hold-after-accept")]);
    eventually("the request at the server", || {
        if world.sandbox.requests().len() == 1 {
            Ok(())
        } else {
            Err(String::new())
        }
    });
    assert_eq!(world.list(&[])[0]["state"], "sending");
    world.kill().start();
    let parked = world.wait_for("parked", 1);
    assert_eq!(parked[0]["reason"], "conflict_after_lost_response");
    assert_eq!(parked[0]["attempts"], 2);
    let shown = world.show(parked[0]["id"].as_i64().unwrap());
    assert!(shown["history"].to_string().contains("interrupted"), "{shown}");
    assert_eq!(world.event("started")["recovered"], 1);
}

#[test]
fn kills_at_random_moments_neither_lose_nor_double_a_result() {
    let mut world = World::new();
    world
        .set("conflict.after_lost_response", "\"accept\"")
        .set("inbox.rescan", "\"100ms\"");
    let mut expected = 0;
    let mut roll = fastrand::Rng::with_seed(7);
    world.start();
    for round in 0..12 {
        for file in 0..3 {
            let results: Vec<Value> = (0..40)
                .map(|n| result(&format!("r{round}-f{file}-{n}"), &json!({"raw_payload": {"n": n}})))
                .collect();
            expected += results.len();
            match file {
                0 => world.drop_results(&format!("{round}.ndjson"), &results),
                1 => world.drop_file(&format!("{round}.json"), Value::Array(results).to_string()),
                _ => results.iter().take(40).for_each(|one| world.insert(one)),
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(roll.u64(0..60)));
        world.kill().start();
    }
    eventually("all delivered", || {
        let counts = world.status()["counts"].clone();
        if counts["delivered"] == expected {
            Ok(())
        } else {
            Err(counts.to_string())
        }
    });
    world.taken();
    let mut accepted: BTreeMap<String, u32> = BTreeMap::new();
    for request in world
        .sandbox
        .requests()
        .iter()
        .filter(|request| request["answered"] == 201)
    {
        let body: Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
        *accepted
            .entry(body["provider_activity_id"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    assert_eq!(accepted.len(), expected);
    assert!(accepted.values().all(|times| *times == 1));
    assert_eq!(
        world.sandbox.results().as_array().unwrap().len(),
        expected,
        "one registered result an activity"
    );
    assert_eq!(world.list(&[]).len(), expected, "one submission a result");
    assert!(world.rejected().is_empty());
}

#[test]
fn sigterm_lets_requests_in_flight_finish_and_exits_0() {
    for signal in ["TERM", "INT"] {
        let mut world = World::new();
        world.start();
        world.drop_results("one.ndjson", &[scripted("act-1", "hold")]);
        eventually("the request at the server", || {
            if world.sandbox.requests().len() == 1 {
                Ok(())
            } else {
                Err(String::new())
            }
        });
        world.signal(signal);
        world.event("stopping");
        world.drop_results("late.ndjson", &[result("act-2", &json!({}))]);
        world.sandbox.release();
        assert!(world.wait().success());
        assert_eq!(world.of_activity("act-1")["state"], "delivered");
        assert_eq!(world.inbox(), ["late.ndjson"], "intake has stopped");
        assert_eq!(world.event("stopped")["pending"], 0);
    }
}

#[test]
fn a_request_that_outlasts_the_shutdown_is_resumed_at_the_next_start() {
    let mut world = World::new();
    world.set("delivery.shutdown_timeout", "\"200ms\"").start();
    world.drop_results("one.ndjson", &[scripted("act-1", "hang")]);
    eventually("the request at the server", || {
        if world.sandbox.requests().len() == 1 {
            Ok(())
        } else {
            Err(String::new())
        }
    });
    world.stop().start();
    let delivered = world.wait_for("delivered", 1);
    assert_eq!(delivered[0]["attempts"], 2);
}

#[test]
fn a_second_daemon_on_the_same_outbox_is_refused() {
    let mut world = World::new();
    world.start();
    let output = world.run(&["run"]);
    assert_eq!(output.status.code(), Some(69), "{}", crate::harness::both(&output));
    assert!(
        crate::harness::stderr(&output).contains("outbox.db"),
        "{}",
        crate::harness::both(&output)
    );
}

#[test]
fn a_backlog_survives_a_stop_and_a_start_in_its_order() {
    let mut world = World::new();
    world.sandbox.settings(&json!({"down": true}));
    world.start();
    let results: Vec<Value> = (0..30)
        .map(|n| {
            result(
                &format!("act-{}", n % 3),
                &json!({"occurred_at": format!("2026-11-01T00:00:{n:02}Z"), "hard_override": true}),
            )
        })
        .collect();
    world.drop_results("backlog.ndjson", &results);
    world.wait_for("pending", 30);
    world.stop();
    world.sandbox.settings(&json!({"down": false}));
    world.start();
    world.wait_for("delivered", 30);
    for activity in 0..3 {
        let name = format!("act-{activity}");
        let times: Vec<String> = world
            .sandbox
            .requests()
            .iter()
            .filter(|request| request["answered"] == 201)
            .map(|request| serde_json::from_str::<Value>(request["body"].as_str().unwrap()).unwrap())
            .filter(|body| body["provider_activity_id"] == name.as_str())
            .map(|body| body["occurred_at"].as_str().unwrap().to_owned())
            .collect();
        assert!(times.is_sorted() && times.len() == 10, "{times:?}");
    }
}

#[test]
fn an_outbox_that_cannot_be_used_is_refused_by_name_and_not_a_byte_of_it_changes() {
    let mut world = World::new();
    world.start().stop();
    let path = world.path("outbox/outbox.db");
    let good = std::fs::read(&path).unwrap();
    let newer = {
        world.sql("outbox/outbox.db", "PRAGMA user_version = 9999");
        let bytes = std::fs::read(&path).unwrap();
        for litter in ["outbox.db-wal", "outbox.db-shm"] {
            let _ = std::fs::remove_file(world.path("outbox").join(litter));
        }
        bytes
    };
    let mut torn = good.clone();
    let middle = torn.len() / 2;
    torn[4096..middle].fill(0x5a);
    for (what, bytes) in [
        ("text", b"this is no database, but quite a long text".to_vec()),
        ("truncated", good[..good.len() / 2].to_vec()),
        ("torn", torn),
        ("newer", newer),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let output = world.run(&["run"]);
        assert_eq!(
            output.status.code(),
            Some(78),
            "{what}: {}",
            crate::harness::both(&output)
        );
        assert!(
            crate::harness::stderr(&output).contains("outbox.db"),
            "{what}: {}",
            crate::harness::both(&output)
        );
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{what}");
    }
}
