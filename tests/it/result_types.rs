//! The tenant's list of result types: how it is kept, what happens without it, and what a change of it does to what was
//! `invalid`.

use serde_json::{Value, json};

use crate::harness::{World, eventually, result};

/// A result of this code, with more members in its `task_result`.
fn of_code(activity: &str, code: &str, members: &Value) -> Value {
    let mut task_result = json!({"result": code});
    for (name, value) in members.as_object().unwrap() {
        task_result[name] = value.clone();
    }
    result(activity, &json!({"task_result": task_result}))
}

/// A daemon that looks at the list again and again, and knows it.
fn looking_often() -> World {
    let mut world = World::new();
    world.set("validation.refresh", "\"150ms\"").start();
    knows_the_list(&world);
    world
}

/// Waits until the list is in the outbox.
fn knows_the_list(world: &World) {
    eventually("the list of result types", || {
        let known = world.column(
            "outbox/outbox.db",
            "SELECT value FROM memory WHERE name = 'result_types'",
        );
        if known.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(())
        }
    });
}

fn types(world: &World, types: &Value) {
    world.sandbox.settings(&json!({"result_types": types}));
}

fn listed(code: &str, requires: bool) -> Value {
    json!({"code": code, "label": code, "requiresFutureScheduledAt": requires})
}

#[test]
fn an_unknown_code_is_invalid_before_any_request() {
    let mut world = World::new();
    world.start();
    knows_the_list(&world);
    world.drop_results("one.ndjson", &[of_code("act-1", "NO_SUCH", &json!({}))]);
    let dead = world.wait_for("dead", 1);
    assert_eq!(
        (dead[0]["reason"].as_str(), dead[0]["attempts"].as_u64()),
        (Some("invalid"), Some(0))
    );
    assert!(
        dead[0]["error"]["message"].as_str().unwrap().contains("NO_SUCH"),
        "{}",
        dead[0]
    );
    assert!(world.sandbox.requests().is_empty());
}

#[test]
fn what_a_changed_list_makes_valid_is_sent_by_itself_and_logged() {
    let world = looking_often();
    world.drop_results(
        "two.ndjson",
        &[
            of_code("act-1", "NEW_CODE", &json!({})),
            of_code("act-2", "OTHER", &json!({})),
        ],
    );
    let dead = world.wait_for("dead", 2);
    types(
        &world,
        &json!([listed("SALE_COMPLETED", false), listed("NEW_CODE", false)]),
    );
    let delivered = world.wait_for("delivered", 1);
    assert_eq!(delivered[0]["provider_activity_id"], "act-1");
    assert_eq!(world.wait_for("dead", 1)[0]["provider_activity_id"], "act-2");
    let logged = world.event("requeued");
    assert_eq!(
        (logged["count"].as_u64(), logged["level"].as_str()),
        (Some(1), Some("info"))
    );
    assert_eq!(world.sandbox.requests().len(), 1);
    let id = dead.iter().find(|one| one["provider_activity_id"] == "act-1").unwrap()["id"]
        .as_i64()
        .unwrap();
    let told = world.ok(&["show", &id.to_string()]);
    assert!(told.contains("requeued by daemon (result types)"), "{told}");
}

#[test]
fn what_is_wrong_in_any_other_way_stays_where_it_is() {
    let world = looking_often();
    let mut wrong_directive = of_code("directive", "NEW_CODE", &json!({}));
    wrong_directive["$outbox"] = json!({"on_conflict": "whatever"});
    let mut incomplete = of_code("incomplete", "NEW_CODE", &json!({}));
    incomplete["commerce_external_id"] = json!("");
    let mut keyed = of_code("key-1", "SALE_COMPLETED", &json!({}));
    keyed["$outbox"] = json!({"key": "k"});
    let mut other_of_key = of_code("key-2", "NEW_CODE", &json!({}));
    other_of_key["$outbox"] = json!({"key": "k"});
    let good = of_code("good", "NEW_CODE", &json!({}));
    world.drop_results("five.ndjson", &[wrong_directive, incomplete, keyed, other_of_key, good]);
    world.wait_for("dead", 4);
    types(
        &world,
        &json!([listed("SALE_COMPLETED", false), listed("NEW_CODE", false)]),
    );
    world.wait_for("delivered", 2);
    let mut stayed: Vec<Value> = world
        .wait_for("dead", 3)
        .iter()
        .map(|one| one["provider_activity_id"].clone())
        .collect();
    stayed.sort_by_key(ToString::to_string);
    assert_eq!(stayed, ["directive", "incomplete", "key-2"]);
}

#[test]
fn what_a_person_closed_and_what_is_superseded_is_left_alone() {
    let world = looking_often();
    world.drop_results(
        "older.ndjson",
        &[
            of_code("old", "NEW_CODE", &json!({})),
            of_code("closed", "NEW_CODE", &json!({})),
        ],
    );
    world.wait_for("dead", 2);
    world.ok(&["dismiss", "--activity", "closed", "--yes"]);
    world.drop_results(
        "newer.ndjson",
        &[
            of_code("old", "SALE_COMPLETED", &json!({})),
            of_code("last", "NEW_CODE", &json!({})),
        ],
    );
    world.wait_for("delivered", 1);
    world.wait_for("dead", 2);
    types(
        &world,
        &json!([listed("SALE_COMPLETED", false), listed("NEW_CODE", false)]),
    );
    world.wait_for("delivered", 2);
    assert_eq!(world.of_activity("closed")["state"], "dismissed");
    let dead = world.wait_for("dead", 1);
    assert_eq!(dead[0]["provider_activity_id"], "old");
    assert_eq!(world.sandbox.requests().len(), 2);
}

#[test]
fn a_date_that_is_required_no_more_makes_valid_and_one_that_has_passed_does_not() {
    let world = looking_often();
    let past = json!({"future_scheduled_at": "2026-01-01T00:00:00Z"});
    world.drop_results(
        "three.ndjson",
        &[
            of_code("without", "RESCHEDULE", &json!({})),
            of_code("past", "RESCHEDULE", &past),
            of_code("past-unknown", "CALL_BACK", &past),
        ],
    );
    world.wait_for("dead", 3);
    types(&world, &json!([listed("RESCHEDULE", false), listed("CALL_BACK", true)]));
    world.wait_for("delivered", 2);
    let dead = world.wait_for("dead", 1);
    assert_eq!(
        dead[0]["provider_activity_id"], "past-unknown",
        "its code is known now, but its date has passed"
    );
}

#[test]
fn a_list_that_changed_while_the_daemon_was_down_is_noticed_at_the_next_start() {
    let mut world = looking_often();
    world.drop_results("one.ndjson", &[of_code("act-1", "NEW_CODE", &json!({}))]);
    world.wait_for("dead", 1);
    world.stop();
    types(&world, &json!([listed("NEW_CODE", false)]));
    world.set("validation.refresh", "\"1h\"").start();
    world.wait_for("delivered", 1);
}

#[test]
fn more_than_a_page_comes_back_in_the_order_of_intake() {
    let world = looking_often();
    let results: Vec<Value> = (0..150)
        .map(|n| of_code("one-activity", "NEW_CODE", &json!({"comment": format!("{n:03}")})))
        .collect();
    world.drop_results("many.ndjson", &results);
    world.wait_for("dead", 150);
    types(&world, &json!([listed("NEW_CODE", false)]));
    assert_eq!(world.event("requeued")["count"].as_u64(), Some(150));
    world.settled();
    let comments: Vec<String> = world
        .sandbox
        .bodies()
        .iter()
        .map(|body| {
            serde_json::from_str::<Value>(body).unwrap()["task_result"]["comment"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let first: Vec<&String> = comments.iter().take(1).collect();
    assert_eq!(first, ["000"], "the oldest of an activity goes first");
}

#[test]
fn without_a_list_results_are_sent_and_one_warning_says_so() {
    let mut world = World::new();
    world.set("validation.refresh", "\"100ms\"");
    world
        .sandbox
        .settings(&json!({"permissions": ["SUBMIT_ACTIVITY_RESULT"]}));
    world.start();
    world.event_where("warning", |line| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.contains("result types"))
    });
    world.drop_results("one.ndjson", &[of_code("act-1", "SALE_COMPLETED", &json!({}))]);
    world.wait_for("delivered", 1);
    let asked = || world.sandbox.stats()["requests"].as_u64().unwrap_or(0);
    let before = asked();
    eventually("more questions for the list", || {
        let now = asked();
        if now >= before + 3 {
            Ok(())
        } else {
            Err(format!("{now}, {}", world.sandbox.stats()))
        }
    });
    assert_eq!(world.events("warning").len(), 1, "{}", world.log());
    assert_eq!(world.status()["gate"], "open");
}
