//! Every way to lose an answer that may have been a success: the next 409 is told apart from a foreign result, `accept`
//! takes it for ours, and `show` says why.

use serde_json::{Value, json};

use crate::harness::{World, eventually, result, scripted};

/// The ways to lose an answer on the wire (each before a 409), and a word of how `show` tells them.
const LOST: [(&str, &str); 11] = [
    ("drop-after-accept", "connection ended before its answer"),
    ("reset-after-accept", "connection ended before its answer"),
    ("hang-after-accept", "within api.timeout"),
    ("cut,409", "broke off"),
    ("drip,409", "within api.timeout"),
    ("endless,409", "within api.timeout"),
    ("html,409", "a page that is not the API's"),
    ("500,409", "a 500 came back"),
    ("502,409", "a 502 came back"),
    ("503,409", "a 503 came back"),
    ("599,409", "a 599 came back"),
];

/// Words of a text, as they stand whichever way it was broken into lines.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn dropped(world: &mut World) {
    world
        .set("api.timeout", "\"700ms\"")
        .set("delivery.max_in_flight", "16");
    world.start();
    let results: Vec<Value> = LOST.iter().map(|(script, _)| scripted(script, script)).collect();
    world.drop_results("lost.ndjson", &results);
}

#[test]
fn a_409_after_any_lost_answer_is_parked_as_likely_ours_and_show_says_why() {
    let mut world = World::new();
    dropped(&mut world);
    for found in world.wait_for("parked", LOST.len()) {
        assert_eq!(found["reason"], "conflict_after_lost_response", "{found}");
        let script = found["provider_activity_id"].as_str().unwrap();
        let words = LOST.iter().find(|(known, _)| *known == script).unwrap().1;
        let told = world.ok(&["show", &found["id"].to_string()]);
        assert!(
            flat(&told).contains("likely this very one: the request of attempt 1 went out"),
            "{told}"
        );
        assert!(flat(&told).contains(words), "{script}: {told}");
        assert!(told.contains("reten-outbox accept"), "{told}");
    }
    let logged = world.event("parked");
    assert!(
        logged["hint"]
            .as_str()
            .unwrap()
            .contains("without our seeing the answer"),
        "{logged}"
    );
}

#[test]
fn where_it_is_accepted_every_one_of_them_is_delivered() {
    let mut world = World::new();
    world
        .set("conflict.after_lost_response", "\"accept\"")
        .set("conflict.policy", "\"override\"");
    dropped(&mut world);
    let delivered = world.wait_for("delivered", LOST.len());
    assert!(
        world
            .sandbox
            .bodies()
            .iter()
            .all(|body| !body.contains("hard_override")),
        "what is ours is not overridden"
    );
    let told = world.ok(&["show", &delivered[0]["id"].to_string()]);
    assert!(flat(&told).contains("takes that for ours"), "{told}");
}

#[test]
fn what_was_never_sent_or_was_plainly_answered_is_no_lost_answer() {
    let mut world = World::new();
    world.set("conflict.after_lost_response", "\"accept\"").start();
    let plain = ["409", "429,409", "408,409", "302,409"];
    let results: Vec<Value> = plain.iter().map(|script| scripted(script, script)).collect();
    world.drop_results("plain.ndjson", &results);
    for found in world.wait_for("parked", plain.len()) {
        assert_eq!(found["reason"], "conflict", "{found}");
    }
}

#[test]
fn a_refused_connection_carried_no_request() {
    let mut world = World::new();
    let there = format!("\"http://{}\"", world.sandbox.address());
    world
        .set("conflict.after_lost_response", "\"accept\"")
        .set("api.base_url", "\"http://127.0.0.1:9\"")
        .start();
    world.drop_results("one.ndjson", &[scripted("act-1", "409")]);
    assert_eq!(world.event("retry_scheduled")["error"], "connect");
    world.set("api.base_url", &there);
    world.signal("HUP");
    assert_eq!(world.wait_for("parked", 1)[0]["reason"], "conflict");
}

/// Waits until the sandbox holds the answer to a result that it has registered.
fn held(world: &World) {
    eventually("a held answer", || {
        let registered = world.sandbox.results();
        let requests = world.sandbox.requests();
        if registered.as_array().is_some_and(|all| !all.is_empty()) && !requests.is_empty() {
            Ok(())
        } else {
            Err(registered.to_string())
        }
    });
}

#[test]
fn a_crash_while_the_answer_is_awaited_is_a_lost_answer() {
    let mut world = World::new();
    world.start();
    world.drop_results("one.ndjson", &[scripted("act-1", "hold-after-accept,409")]);
    held(&world);
    world.kill().start();
    let found = world.wait_for("parked", 1);
    assert_eq!(found[0]["reason"], "conflict_after_lost_response");
    let told = world.ok(&["show", &found[0]["id"].to_string()]);
    assert!(
        flat(&told).contains("the daemon ended before its answer came"),
        "{told}"
    );
    assert!(flat(&told).contains("taken up again by daemon (recovery)"), "{told}");
}

#[test]
fn a_shutdown_that_cannot_wait_for_the_answer_is_one_too() {
    let mut world = World::new();
    world
        .set("delivery.shutdown_timeout", "\"100ms\"")
        .set("conflict.after_lost_response", "\"accept\"");
    world.start();
    world.drop_results("one.ndjson", &[scripted("act-1", "hold-after-accept,409")]);
    held(&world);
    world.stop().start();
    let found = world.wait_for("delivered", 1);
    assert_eq!(found[0]["attempts"], 2);
    assert_eq!(world.sandbox.results().as_array().unwrap().len(), 1);
}

#[test]
fn a_lost_answer_is_remembered_by_a_requeue_and_forgotten_by_an_edit() {
    let mut world = World::new();
    world.set("retry.max_attempts", "1").start();
    world.drop_results(
        "two.ndjson",
        &[scripted("requeued", "503,409"), scripted("edited", "503,409")],
    );
    world.wait_for("dead", 2);
    let id = |activity: &str| world.of_activity(activity)["id"].to_string();
    let told = world.ok(&["show", &id("requeued")]);
    assert!(flat(&told).contains("it is likely this very one"), "{told}");
    world.ok(&["requeue", &id("requeued")]);
    let other = result("edited", &json!({"external_status": "sim:503,409", "raw_payload": {}}));
    let edited = world.run_with_input(&["edit", &id("edited"), "--payload", "-"], &other.to_string());
    assert!(edited.status.success());
    world.wait_for("parked", 2);
    assert_eq!(world.of_activity("requeued")["reason"], "conflict_after_lost_response");
    assert_eq!(
        world.of_activity("edited")["reason"],
        "conflict",
        "the payload is another one"
    );
}

#[test]
fn a_person_accepts_what_is_likely_ours_and_nothing_is_sent_again() {
    let mut world = World::new();
    world.start();
    world.drop_results("one.ndjson", &[scripted("act-1", "drop-after-accept")]);
    let id = world.wait_for("parked", 1)[0]["id"].to_string();
    let before = world.sandbox.requests().len();
    world.ok(&["accept", &id]);
    world.wait_for("delivered", 1);
    assert_eq!(world.sandbox.requests().len(), before);
}
