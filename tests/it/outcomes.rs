//! Every row of the contract's outcome table, from a dropped file to the stored outcome.

use serde_json::{Value, json};

use crate::harness::{World, eventually, result, scripted};

/// Drops one result with a script and waits until it is in this state; what `show --json` says of it then.
fn outcome(world: &mut World, script: &str, state: &str) -> Value {
    world.start();
    world.drop_results("one.ndjson", &[scripted("act-1", script)]);
    let found = world.wait_for(state, 1);
    world.show(found[0]["id"].as_i64().unwrap())
}

#[test]
fn a_2xx_with_a_json_or_an_empty_body_is_delivered_after_one_request() {
    for script in ["empty", "empty204"] {
        let mut world = World::new();
        let shown = outcome(&mut world, script, "delivered");
        assert_eq!(shown["attempts"], 1, "{script}");
        assert_eq!(shown["reason"], Value::Null);
    }
    let mut world = World::new();
    world.start();
    world.drop_results("one.ndjson", &[result("act-1", &json!({}))]);
    let found = world.wait_for("delivered", 1);
    assert_eq!(found[0]["http_status"], 201);
    assert_eq!(world.sandbox.requests().len(), 1);
}

#[test]
fn a_captive_portals_page_is_no_delivery_but_a_lost_response() {
    let mut world = World::new();
    let shown = outcome(&mut world, "html", "delivered");
    assert_eq!(shown["attempts"], 2);
    assert_eq!(world.event("retry_scheduled")["status"], 200);
}

#[test]
fn any_2xx_counts_where_json_is_not_required() {
    let mut world = World::new();
    world.set("api.require_json", "false");
    assert_eq!(outcome(&mut world, "html", "delivered")["attempts"], 1);
}

#[test]
fn a_redirect_is_never_followed_and_its_location_is_logged() {
    let mut world = World::new();
    let shown = outcome(&mut world, "302,307", "delivered");
    assert_eq!(shown["attempts"], 3);
    assert!(
        world
            .log_lines()
            .iter()
            .any(|line| line["level"] == "error" && line["location"].is_string()),
        "{}",
        world.log()
    );
    assert_eq!(world.sandbox.requests().len(), 3);
}

#[test]
fn a_4xx_is_a_dead_letter_with_its_status_error_and_body() {
    for status in [400, 404, 405, 406, 410, 411, 413, 415, 418, 422, 451, 499] {
        let mut world = World::new();
        let shown = outcome(&mut world, &status.to_string(), "dead");
        assert_eq!(shown["reason"], "rejected", "{status}");
        assert_eq!(shown["http_status"], status);
        assert_eq!(shown["error"]["status_code"], status);
        assert!(shown["body"].as_str().unwrap().contains("statusCode"), "{shown}");
        assert!(shown["hint"].is_string() || ![400, 404].contains(&status), "{shown}");
        assert_eq!(shown["attempts"], 1);
        let logged = world.event("dead_lettered");
        assert_eq!(logged["level"], "error");
        assert_eq!(logged["status"], status);
        assert_eq!(world.sandbox.requests().len(), 1, "a 4xx is not retried");
    }
}

#[test]
fn come_back_later_is_retried_and_retry_after_is_honoured() {
    for status in [408, 425, 429] {
        let mut world = World::new();
        let shown = outcome(&mut world, &status.to_string(), "delivered");
        assert_eq!(shown["attempts"], 2, "{status}");
    }
    let mut world = World::new();
    world.set("retry.max_interval", "\"3s\"");
    outcome(&mut world, "429@1", "delivered");
    let logged = world.event("retry_scheduled");
    assert!(logged["delay_ms"].as_u64().unwrap() >= 1000, "{logged}");
    assert!(logged["delay_ms"].as_u64().unwrap() <= 3000, "{logged}");
}

#[test]
fn a_retry_after_beyond_the_longest_wait_is_cut_to_it() {
    let mut world = World::new();
    outcome(&mut world, "503@3600", "delivered");
    let logged = world.event("retry_scheduled");
    assert!(logged["delay_ms"].as_u64().unwrap() <= 400, "{logged}");
}

#[test]
fn server_errors_are_retried_until_they_pass() {
    for script in ["500x3", "502,503,504", "garbage,html502", "599"] {
        let mut world = World::new();
        let shown = outcome(&mut world, script, "delivered");
        assert!(shown["attempts"].as_u64().unwrap() >= 2, "{script}");
        let retries = world.events("retry_scheduled");
        assert_eq!(
            retries.len() as u64,
            shown["attempts"].as_u64().unwrap() - 1,
            "{script}"
        );
        assert_eq!(retries[0]["level"], "warn");
    }
}

#[test]
fn every_way_to_get_no_answer_is_retried() {
    for script in ["drop", "reset", "cut", "drop-after-accept"] {
        let mut world = World::new();
        world.set("conflict.after_lost_response", "\"accept\"");
        let shown = outcome(&mut world, script, "delivered");
        assert_eq!(shown["attempts"], 2, "{script}");
    }
}

#[test]
fn an_answer_that_never_ends_holds_its_slot_no_longer_than_the_timeout() {
    for script in ["hang", "endless", "drip"] {
        let mut world = World::new();
        world
            .set("api.timeout", "\"300ms\"")
            .set("conflict.after_lost_response", "\"accept\"");
        let shown = outcome(&mut world, script, "delivered");
        assert_eq!(shown["attempts"], 2, "{script}");
        assert!(world.event("retry_scheduled")["error"].is_string());
    }
}

#[test]
fn a_large_error_body_is_kept_up_to_the_limit_with_its_true_length() {
    let mut world = World::new();
    world.set("api.max_error_body", "\"2KiB\"");
    let shown = outcome(&mut world, "big=100KiB", "dead");
    assert_eq!(shown["body"].as_str().unwrap().len(), 2048);
    assert!(
        shown["body_length"].as_u64().unwrap() > 100_000,
        "the true length is told: {}",
        shown["body_length"]
    );
}

#[test]
fn an_echo_of_the_key_is_hidden_in_what_is_stored() {
    let mut world = World::new();
    let shown = outcome(&mut world, "echo-key", "dead");
    assert!(shown["body"].as_str().unwrap().contains("[api key]"), "{shown}");
}

#[test]
fn retries_end_as_dead_letters_when_their_number_or_their_age_is_reached() {
    let mut world = World::new();
    world.set("retry.max_attempts", "3");
    let shown = outcome(&mut world, "503x50", "dead");
    assert_eq!(
        (shown["reason"].as_str(), shown["attempts"].as_u64()),
        (Some("retries_exhausted"), Some(3))
    );
    let mut world = World::new();
    world.set("retry.max_age", "\"600ms\"");
    let shown = outcome(&mut world, "503x50", "dead");
    assert_eq!(shown["reason"], "retries_exhausted");
    assert!(shown["attempts"].as_u64().unwrap() > 2);
}

#[test]
fn an_unreachable_api_costs_retries_and_nothing_else() {
    let mut world = World::new();
    world.set("api.base_url", "\"http://127.0.0.1:9\"");
    world.start();
    world.drop_results("one.ndjson", &[result("act-1", &json!({}))]);
    let logged = world.event("retry_scheduled");
    assert_eq!(logged["error"], "connect");
    assert!(["pending", "sending"].contains(&world.list(&[])[0]["state"].as_str().unwrap()));
    let address = world.sandbox.address();
    world.set("api.base_url", &format!("\"http://{address}\""));
    world.signal("HUP");
    world.wait_for("delivered", 1);
}

#[test]
fn a_409_is_parked_by_default_and_every_policy_does_what_it_says() {
    let mut world = World::new();
    let shown = outcome(&mut world, "409x9", "parked");
    assert_eq!(shown["reason"], "conflict");
    assert_eq!(shown["error"]["message"], "Activity already has a result");

    let mut world = World::new();
    world.set("conflict.policy", "\"dead_letter\"");
    assert_eq!(outcome(&mut world, "409x9", "dead")["reason"], "conflict");

    let mut world = World::new();
    world.set("conflict.policy", "\"override\"");
    let shown = outcome(&mut world, "409", "delivered");
    assert_eq!(shown["attempts"], 2);
    assert_eq!(world.event("conflict_overridden")["level"], "warn");
    let bodies = world.sandbox.bodies();
    assert!(
        !bodies[0].contains("hard_override") && bodies[1].starts_with(r#"{"hard_override":true,"#),
        "{bodies:?}"
    );
}

#[test]
fn a_409_to_an_override_is_parked_whatever_the_policy() {
    let mut world = World::new();
    world.set("conflict.policy", "\"override\"");
    let shown = outcome(&mut world, "409x5", "parked");
    assert_eq!(shown["attempts"], 2);
    let mut world = World::new();
    world.set("conflict.policy", "\"override\"").start();
    world.drop_results(
        "own.ndjson",
        &[result(
            "act-1",
            &json!({"hard_override": true, "external_status": "sim:409x5"}),
        )],
    );
    assert_eq!(world.wait_for("parked", 1)[0]["attempts"], 1);
}

#[test]
fn a_submissions_own_word_goes_before_the_rules_and_the_rules_before_the_policy() {
    let mut world = World::new();
    world.set("conflict.policy", "\"dead_letter\"");
    world
        .set("[[conflict.rules]].source", "\"crm\"")
        .set("[[conflict.rules]].policy", "\"override\"");
    world.start();
    let own = |provider: &str, directives: Value| {
        let mut own = scripted(provider, "409");
        own["$outbox"] = directives;
        own
    };
    world.drop_results(
        "three.ndjson",
        &[
            own("by-itself", json!({"source": "crm", "on_conflict": "park"})),
            own("by-rule", json!({"source": "crm"})),
            own("by-policy", json!({"source": "erp"})),
        ],
    );
    world.settled();
    let state = |activity: &str| world.of_activity(activity)["state"].as_str().unwrap().to_owned();
    assert_eq!(
        (state("by-itself"), state("by-rule"), state("by-policy")),
        ("parked".into(), "delivered".into(), "dead".into())
    );
}

#[test]
fn an_old_result_is_not_overridden() {
    let mut world = World::new();
    world
        .set("conflict.policy", "\"override\"")
        .set("conflict.override_within", "\"1h\"")
        .start();
    world.drop_results("old.ndjson", &[scripted("act-1", "409")]);
    world.wait_for("parked", 1);
}

#[test]
fn a_409_after_a_lost_response_is_told_apart_and_can_be_accepted() {
    let mut world = World::new();
    let shown = outcome(&mut world, "drop-after-accept", "parked");
    assert_eq!(shown["reason"], "conflict_after_lost_response");
    let mut world = World::new();
    world
        .set("conflict.after_lost_response", "\"accept\"")
        .set("conflict.policy", "\"dead_letter\"");
    outcome(&mut world, "drop-after-accept", "delivered");
}

#[test]
fn a_correction_of_our_own_is_overridden_by_its_rule() {
    let mut world = World::new();
    world
        .set("[[conflict.rules]].registered_by_us", "true")
        .set("[[conflict.rules]].policy", "\"override\"");
    world.start();
    world.drop_results("first.ndjson", &[result("act-1", &json!({"status": "PENDING"}))]);
    world.wait_for("delivered", 1);
    world.drop_results("second.ndjson", &[result("act-1", &json!({"status": "EFFECTIVE"}))]);
    world.wait_for("delivered", 2);
    let bodies = world.sandbox.bodies();
    assert_eq!(bodies.len(), 3);
    assert!(bodies[2].contains(r#""hard_override":true"#));
}

#[test]
fn a_bad_key_costs_at_most_what_is_in_flight_and_everything_comes_back() {
    let mut world = World::new();
    world.set("delivery.max_in_flight", "4");
    world.sandbox.settings(&json!({"api_key": "another"}));
    world.start();
    let results: Vec<Value> = (0..60).map(|n| result(&format!("act-{n}"), &json!({}))).collect();
    world.drop_results("many.ndjson", &results);
    let closed = world.event_where("gate", |line| line["to"] == "unauthorized");
    assert_eq!(closed["level"], "error");
    eventually("the dead ones", || {
        let dead = world.list(&["--state", "dead", "--reason", "unauthorized"]).len();
        if (1..=4).contains(&dead) {
            Ok(())
        } else {
            Err(dead.to_string())
        }
    });
    assert_eq!(world.status()["gate"], "unauthorized");
    assert!(world.sandbox.requests().len() <= 4);
    world.sandbox.settings(&json!({"api_key": crate::harness::KEY}));
    world.wait_for("delivered", 60);
    assert_eq!(world.status()["gate"], "open");
    assert!(
        world.sandbox.stats()["max_in_flight"].as_u64().unwrap() <= 5,
        "four submissions and the key question"
    );
}

#[test]
fn an_outcome_that_cannot_be_stored_keeps_no_other_from_it() {
    let mut world = World::new();
    world.start();
    // Something is wrong with one row, as a damaged page would be.
    world.sql(
        "outbox/outbox.db",
        "CREATE TRIGGER refuse BEFORE INSERT ON attempt WHEN new.submission = 2 BEGIN SELECT RAISE(ABORT, 'refused'); END",
    );
    let results: Vec<Value> = (0..8).map(|n| result(&format!("act-{n}"), &json!({}))).collect();
    world.drop_results("many.ndjson", &results);
    world.wait_for("delivered", 7);
    let sending = world.wait_for("sending", 1);
    assert_eq!(sending[0]["id"], 2);
    world.event("storage_error");
    world.sql("outbox/outbox.db", "DROP TRIGGER refuse");
    world.wait_for("delivered", 8);
    assert_eq!(
        world.sandbox.bodies().len(),
        8,
        "what could not be stored was not sent again"
    );
}
