//! Acts on very many at once: new results go out beside them, the API is not hammered, and nothing of a submission's
//! past is lost.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{World, eventually, result, scripted, stderr};

/// So many are put back at once: more than are sent while a test looks.
const MANY: usize = 4000;

/// Puts `MANY` dead letters in that cost no request: their directive is wrong, and what would be sent is right.
fn many_dead(world: &mut World) {
    world.start();
    let results: Vec<Value> = (0..MANY)
        .map(|n| {
            let mut one = result(&format!("old-{n}"), &json!({}));
            one["$outbox"] = json!({"on_conflict": "whatever"});
            one
        })
        .collect();
    world.drop_results("many.ndjson", &results);
    eventually("all of them dead", || {
        let dead = world.status()["counts"]["dead"].clone();
        if dead == MANY { Ok(()) } else { Err(dead.to_string()) }
    });
}

fn fresh(count: usize) -> Vec<Value> {
    (0..count).map(|n| result(&format!("new-{n}"), &json!({}))).collect()
}

fn is_fresh(body: &str) -> bool {
    body.contains("\"new-")
}

/// Waits until `count` fresh ones have reached the API; every body up to then.
fn until_fresh_are_sent(world: &World, count: usize) -> Vec<String> {
    eventually("the fresh ones at the API", || {
        let bodies = world.sandbox.bodies();
        let found = bodies.iter().filter(|body| is_fresh(body)).count();
        if found == count {
            Ok(bodies)
        } else {
            Err(format!("{found} of {}", bodies.len()))
        }
    })
}

#[test]
fn what_is_new_goes_out_beside_thousands_that_were_requeued_and_they_beside_it() {
    let mut world = World::new();
    world.set("delivery.max_in_flight", "3");
    many_dead(&mut world);
    world.sandbox.settings(&json!({"latency_ms": 20}));
    let told = world.ok(&["requeue", "--state", "dead", "--yes"]);
    assert!(told.contains(&format!("{MANY} submissions requeued")), "{told}");
    world.drop_results("fresh.ndjson", &fresh(40));
    let bodies = until_fresh_are_sent(&world, 40);
    let first = bodies.iter().position(|body| is_fresh(body)).unwrap();
    let since = &bodies[first..];
    let requeued = since.iter().filter(|body| !is_fresh(body)).count();
    // Half each, but for what was in flight and for the ends: of what is claimed at once, the fresh ones go first.
    assert!(
        (20..=60).contains(&requeued),
        "{requeued} requeued ones went out beside 40 fresh ones"
    );
    assert!(world.status()["counts"]["pending"].as_u64().unwrap() > 1000);
    assert!(world.sandbox.stats()["max_in_flight"].as_u64().unwrap() <= 3);
}

#[test]
fn the_daemon_goes_on_while_a_bulk_act_is_written() {
    let mut world = World::new();
    many_dead(&mut world);
    world.sandbox.settings(&json!({"latency_ms": 5}));
    let act = world
        .command(&["requeue", "--state", "dead", "--yes"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    world.drop_results("fresh.ndjson", &fresh(10));
    until_fresh_are_sent(&world, 10);
    let ended = act.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", stderr(&ended));
    assert!(world.events("storage_error").is_empty(), "{}", world.log());
    assert_eq!(world.status()["counts"]["dead"], 0);
}

#[test]
fn attempts_and_age_start_anew_and_the_history_stays() {
    let mut world = World::new();
    world.set("retry.max_attempts", "2").start();
    world.drop_results("one.ndjson", &[scripted("act-1", "503x3")]);
    let id = world.wait_for("dead", 1)[0]["id"].as_i64().unwrap();
    world.ok(&["requeue", "--reason", "retries_exhausted", "--yes"]);
    world.wait_for("delivered", 1);
    let shown = world.show(id);
    assert_eq!(shown["attempts"], 4, "two of the first life, and two of the second");
    let what: Vec<&str> = shown["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["outcome"].as_str().or(step["what"].as_str()).unwrap())
        .collect();
    assert_eq!(what, ["taken in", "retry", "dead", "requeued", "retry", "delivered"]);
}

#[test]
fn an_override_of_all_that_is_parked_replaces_each_of_them() {
    let mut world = World::new();
    world.start();
    let results: Vec<Value> = (0..60).map(|n| scripted(&format!("act-{n}"), "409")).collect();
    world.drop_results("many.ndjson", &results);
    world.wait_for("parked", 60);
    world.ok(&["override", "--state", "parked", "--yes"]);
    world.wait_for("delivered", 60);
    let overriding = world
        .sandbox
        .bodies()
        .iter()
        .filter(|body| body.contains(r#""hard_override":true"#))
        .count();
    assert_eq!(overriding, 60);
}

#[test]
fn an_act_on_what_is_being_sent_is_refused_with_its_reason() {
    let mut world = World::new();
    world.start();
    world.drop_results("one.ndjson", &[scripted("act-1", "hold,503")]);
    let id = world.wait_for("sending", 1)[0]["id"].to_string();
    for act in ["requeue", "override", "accept", "dismiss"] {
        let refused = world.run(&[act, &id]);
        assert_eq!(refused.status.code(), Some(1), "{act}");
        assert!(
            stderr(&refused).contains("is being sent just now"),
            "{act}: {}",
            stderr(&refused)
        );
    }
    world.sandbox.release();
    world.wait_for("delivered", 1);
}
