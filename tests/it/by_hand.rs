//! Rows of the outbox that another program changes in SQL: whatever state they are put into, everything else goes on,
//! and the counts become true again.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{World, eventually, result};

const OUTBOX: &str = "outbox/outbox.db";

fn counts_are(world: &World, expected: &Value) {
    eventually(&format!("the counts {expected}"), || {
        let status = world.status();
        let counts = &status["counts"];
        let agree = expected
            .as_object()
            .unwrap()
            .iter()
            .all(|(state, count)| counts[state] == *count);
        if agree {
            Ok(())
        } else {
            Err(format!("{counts}\n{}", world.log()))
        }
    });
}

#[test]
fn a_state_changed_by_hand_while_the_daemon_runs_stops_nothing() {
    let mut world = World::new();
    world.start();
    world.drop_results("one.ndjson", &[result("act-1", &json!({}))]);
    world.wait_for("delivered", 1);
    // No count knows of this one: that of the pending ones falls below nothing when it is claimed.
    world.sql(OUTBOX, "UPDATE delivery SET state = 'head' WHERE id = 1");
    world.drop_results("two.ndjson", &[result("act-2", &json!({}))]);
    world.wait_for("delivered", 1);
    let parked = world.wait_for("parked", 1);
    assert_eq!(parked[0]["id"], 1, "it was sent again, and answered by a conflict");
    world.event_where("storage_error", |line| line["operation"] == "counts");
    counts_are(
        &world,
        &json!({"pending": 0, "sending": 0, "delivered": 1, "dead": 0, "parked": 1, "dismissed": 0}),
    );
}

#[test]
fn counts_and_orders_that_were_changed_by_hand_are_put_right_at_the_next_start() {
    let mut world = World::new();
    world.sandbox.settings(&json!({"down": true}));
    world.start();
    let results: Vec<Value> = (0..4)
        .map(|n| result(&format!("act-{}", n % 2), &json!({"hard_override": true})))
        .collect();
    world.drop_results("four.ndjson", &results);
    world.wait_for("pending", 4);
    world.stop();
    // Whoever is next in the first activity, while another waits for it; and one that nobody sends is said to be on its
    // way.
    world.sql(OUTBOX, "UPDATE delivery SET state = 'dismissed' WHERE id = 1");
    world.sql(
        OUTBOX,
        "INSERT INTO flight (id, attempt, claimed_at, waited_ms) VALUES (2, 99, 0, 0)",
    );
    world.sql(OUTBOX, "UPDATE tally SET n = 70 WHERE state = 'dead'");
    world.sql(OUTBOX, "DELETE FROM tally WHERE state = 'parked'");
    world.sandbox.settings(&json!({"down": false}));
    world.start();
    world.wait_for("delivered", 3);
    counts_are(
        &world,
        &json!({"pending": 0, "sending": 0, "delivered": 3, "dead": 0, "parked": 0, "dismissed": 1}),
    );
    assert_eq!(
        world.column(OUTBOX, "SELECT state FROM tally WHERE state = 'parked'"),
        ["parked"]
    );
    let order = world.event_where("storage_error", |line| line["operation"] == "order");
    assert_eq!(order["level"], "error");
    assert!(order["hint"].as_str().unwrap().contains("`dismiss`"), "{order}");
}

#[test]
fn who_waited_for_one_that_was_taken_away_by_hand_is_sent_though_nothing_else_happens() {
    let mut world = World::new();
    world.start();
    let held = result("act-1", &json!({"$outbox": {"not_before": "2099-01-01T00:00:00Z"}}));
    world.drop_results("two.ndjson", &[held, result("act-1", &json!({}))]);
    world.wait_for("pending", 2);
    world.sql(OUTBOX, "UPDATE delivery SET state = 'dismissed' WHERE id = 1");
    // What is put in order is a commit of the daemon's own, half a minute later, when everything is at rest.
    assert_eq!(world.wait_for("delivered", 1)[0]["id"], 2);
}

#[test]
fn attempts_that_were_set_back_by_hand_are_settled_like_others() {
    let mut world = World::new();
    world.sandbox.settings(&json!({"down": true}));
    world.start();
    world.drop_results("one.ndjson", &[result("act-1", &json!({}))]);
    eventually("some attempts", || {
        let attempts = world
            .list(&[])
            .first()
            .map_or(0, |one| one["attempts"].as_u64().unwrap());
        if attempts >= 3 {
            Ok(())
        } else {
            Err(attempts.to_string())
        }
    });
    world.stop();
    world.sql(OUTBOX, "UPDATE delivery SET attempts = 0");
    world.sandbox.settings(&json!({"down": false}));
    world.start();
    world.wait_for("delivered", 1);
}

#[test]
fn a_row_with_bytes_that_are_no_text_or_numbers_beyond_all_is_sent_like_others_and_keeps_none_of_them() {
    let mut world = World::new();
    world.sandbox.settings(&json!({"down": true}));
    world.start();
    let results: Vec<Value> = (0..3).map(|n| result(&format!("act-{n}"), &json!({}))).collect();
    world.drop_results("three.ndjson", &results);
    world.wait_for("pending", 3);
    world.stop();
    world.sql(
        OUTBOX,
        "UPDATE submission SET source = CAST(x'ff' AS TEXT), submission_key = CAST(x'fe' AS TEXT) WHERE id = 2",
    );
    // One more than these is no whole number.
    world.sql(
        OUTBOX,
        "UPDATE delivery SET attempts = 9223372036854775807, tries = 9223372036854775807, waited_ms = 9223372036854775807 WHERE id = 3",
    );
    world.sandbox.settings(&json!({"down": false}));
    world.start();
    world.wait_for("delivered", 3);
    counts_are(&world, &json!({"pending": 0, "sending": 0, "delivered": 3}));
}

#[test]
fn a_larger_outbox_with_a_torn_page_in_its_middle_is_said_to_be_damaged_while_what_can_be_sent_is() {
    let mut world = World::new();
    world.start();
    let text = "x".repeat(900_000);
    let results: Vec<Value> = (0..12)
        .map(|n| result(&format!("act-{n}"), &json!({"raw_payload": {"text": text}})))
        .collect();
    world.drop_results("large.ndjson", &results);
    world.wait_for("delivered", 12);
    world.stop();
    let path = world.path(OUTBOX);
    let mut bytes = fs::read(&path).unwrap();
    // In the middle of a payload, to which no look at a table's first and last row comes.
    let page = bytes.len() / 4096 / 2 * 4096;
    bytes[page..page + 4096].fill(0);
    fs::write(&path, &bytes).unwrap();
    world.start();
    let damaged = world.event_where("storage_error", |line| line["operation"] == "check");
    assert!(damaged["error"].as_str().unwrap().contains("damaged"), "{damaged}");
    assert!(
        damaged["hint"].as_str().unwrap().contains("reten-outbox restore"),
        "{damaged}"
    );
    world.drop_results("small.ndjson", &[result("act-small", &json!({}))]);
    world.wait_for("delivered", 13);
}
