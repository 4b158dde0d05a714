//! The gate: paused by a person, unauthorized by the API, and what a restart makes of it.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{KEY, World, eventually, result, scripted};

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
    world.drop_results(
        "one.ndjson",
        &[result("act-1", &json!({})), result("act-2", &json!({}))],
    );
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
    world.drop_results(
        "one.ndjson",
        &[result("act-1", &json!({})), result("act-2", &json!({}))],
    );
    world.event_where("gate", |line| line["to"] == "unauthorized");
    world.wait_for("dead", 2);
    world.stop();
    assert_eq!(world.status()["gate"], "unauthorized");
    world.start();
    assert_eq!(world.event("summary")["gate"], "unauthorized", "as it was left");
    fs::write(world.path("api-key"), KEY).unwrap();
    world.stop().start();
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
    assert!(
        world
            .list(&["--state", "pending"])
            .iter()
            .all(|one| one["attempts"] == 0)
    );
    world
        .sandbox
        .settings(&json!({"permissions": ["SUBMIT_ACTIVITY_RESULT"]}));
    world.wait_for("delivered", 5);
}

#[test]
fn one_that_is_refused_again_while_others_are_delivered_stays_dead() {
    let mut world = World::new();
    world.start();
    world.drop_results(
        "one.ndjson",
        &[
            scripted("poison", "403x50"),
            result("act-1", &json!({})),
            result("act-2", &json!({})),
        ],
    );
    world.wait_for("delivered", 2);
    // It may have closed the gate, and be what finds out whether the key works again; the next one proves that the key
    // does.
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

#[test]
fn whatever_the_answer_to_the_question_looks_like_a_key_that_is_not_refused_opens_the_gate() {
    let mut world = World::new();
    world.set("api.result_types_path", "\"/api/nowhere\"");
    world.sandbox.settings(&json!({"api_key": "another"}));
    world.start();
    world.drop_results(
        "one.ndjson",
        &[result("act-1", &json!({})), result("act-2", &json!({}))],
    );
    world.event_where("gate", |line| line["to"] == "unauthorized");
    world.sandbox.settings(&json!({"api_key": KEY}));
    world.wait_for("delivered", 2);
}

#[test]
fn one_that_always_gets_401_does_not_go_first_and_closes_nothing_a_second_time() {
    let mut world = World::new();
    world.set("delivery.max_in_flight", "1");
    world.start();
    let mut results = vec![scripted("poison", "401x1000")];
    results.extend((1..=5).map(|n| result(&format!("act-{n}"), &json!({}))));
    world.drop_results("six.ndjson", &results);
    world.wait_for("delivered", 5);
    world.settled();
    let dead = world.wait_for("dead", 1);
    assert_eq!(dead[0]["provider_activity_id"], "poison");
    assert_eq!(world.status()["gate"], "open");
    let closings = world
        .events("gate")
        .iter()
        .filter(|line| line["to"] == "unauthorized")
        .count();
    assert_eq!(closings, 1, "{}", world.log());
}

#[test]
fn a_trial_overtakes_no_dead_letter_of_its_activity_however_many_there_are() {
    let mut world = World::new();
    world
        .set("delivery.max_in_flight", "256")
        .set("conflict.policy", "\"override\"")
        .set("auth.probe_interval", "\"50ms\"");
    world.sandbox.settings(&json!({"permissions": ["VIEW_ACTIVITIES"]}));
    world.start();
    world.ok(&["pause"]);
    let mut results: Vec<Value> = (0..230)
        .map(|n| result(&format!("act-{n}"), &json!({"raw_payload": {"step": 0}})))
        .collect();
    results.push(result("act-0", &json!({"raw_payload": {"step": 1}})));
    world.drop_results("many.ndjson", &results);
    world.wait_for("pending", 231);
    world.ok(&["resume"]);
    eventually("some trials", || {
        let seen = world.sandbox.requests().len();
        if seen >= 233 { Ok(()) } else { Err(seen.to_string()) }
    });
    let of_act_0 = |body: &String| body.contains("\"act-0\"");
    assert!(
        world
            .sandbox
            .bodies()
            .iter()
            .filter(|body| of_act_0(body))
            .all(|body| body.contains("\"step\":0")),
        "the later one waits"
    );
    world
        .sandbox
        .settings(&json!({"permissions": ["SUBMIT_ACTIVITY_RESULT"]}));
    world.wait_for("delivered", 231);
    let last = world.sandbox.bodies().into_iter().rfind(of_act_0).unwrap();
    assert!(last.contains("\"step\":1"), "{last}");
    // A claim for each request, and no more: a crash between the two would mark what was never sent.
    let claims = world.column("outbox/outbox.db", "SELECT CAST(sum(attempts) AS TEXT) FROM delivery");
    assert_eq!(claims, [world.sandbox.requests().len().to_string()]);
}

#[test]
fn what_a_person_says_is_heeded_although_the_outbox_fails_behind_the_notice() {
    let mut world = World::new();
    world
        .set("delivery.reject_fuse", "5")
        .set("delivery.max_in_flight", "1");
    world.sandbox.settings(&json!({"step_for_all": "400"}));
    world.start();
    let results: Vec<Value> = (0..8).map(|n| result(&format!("act-{n}"), &json!({}))).collect();
    world.drop_results("eight.ndjson", &results);
    world.event_where("gate", |line| line["to"] == "rejecting");
    world.wait_for("dead", 5);
    let said = "INSERT INTO memory (name, value, at) VALUES ('ask', '{\"by\":\"ana\",\"at\":0}', 0), ('pause', '{\"by\":\"ana\",\"at\":0}', 0)";
    let reason = |world: &World| world.status()["gate_reason"].as_str().unwrap_or_default().to_owned();
    locked_behind(&world, said, || {
        world.event_where("gate", |line| line["to"] == "paused");
        world.event("storage_error");
        assert_eq!(world.status()["gate"], "paused");
        assert!(
            reason(&world).contains("has not taken notice yet"),
            "{}",
            reason(&world)
        );
    });
    eventually("the daemon's notice", || {
        let reason = reason(&world);
        if reason.contains("notice") { Err(reason) } else { Ok(()) }
    });
    world.sandbox.settings(&json!({"step_for_all": null}));
    assert!(world.ok(&["resume"]).starts_with("resumed"));
    assert_eq!(world.status()["gate"], "open");
    world.wait_for("delivered", 3);
}

/// Runs SQL on the outbox as a foreign process does, and then holds its lock while something else is done.
fn locked_behind(world: &World, statement: &'static str, meanwhile: impl FnOnce()) {
    use sqlx::{ConnectOptions, Connection};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.path("outbox/outbox.db"));
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        meanwhile();
        sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}
