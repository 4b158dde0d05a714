//! Order within an activity, and what *superseded* means.

use serde_json::{Value, json};

use crate::harness::{World, eventually, result, stderr};

fn correction(activity: &str, n: u32, script: &str) -> Value {
    result(
        activity,
        &json!({"occurred_at": format!("2026-11-0{n}T00:00:00Z"), "hard_override": true, "external_status": format!("sim:{script}")}),
    )
}

fn day(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    body["occurred_at"].as_str().unwrap()[..10].to_owned()
}

#[test]
fn a_later_one_waits_while_an_earlier_one_is_retried_and_others_do_not() {
    let mut world = World::new();
    world.start();
    world.drop_results(
        "one.ndjson",
        &[
            correction("act-1", 1, "503x4"),
            correction("act-1", 2, "empty"),
            result("act-2", &json!({"occurred_at": "2026-11-09T00:00:00Z"})),
        ],
    );
    world.wait_for("delivered", 3);
    let order: Vec<String> = world.sandbox.bodies().iter().map(|body| day(body)).collect();
    let own: Vec<&str> = order
        .iter()
        .map(String::as_str)
        .filter(|day| *day != "2026-11-09")
        .collect();
    assert_eq!(
        own,
        [
            "2026-11-01",
            "2026-11-01",
            "2026-11-01",
            "2026-11-01",
            "2026-11-01",
            "2026-11-02"
        ]
    );
    assert!(
        order.iter().position(|day| day == "2026-11-09").unwrap() <= 2,
        "another activity never waits: {order:?}"
    );
}

#[test]
fn a_later_one_does_not_wait_for_a_dead_or_a_parked_one() {
    let mut world = World::new();
    world.start();
    world.drop_results(
        "one.ndjson",
        &[
            correction("act-1", 1, "400"),
            correction("act-1", 2, "409x9"),
            correction("act-1", 3, "empty"),
        ],
    );
    world.wait_for("delivered", 1);
    world.wait_for("dead", 1);
    world.wait_for("parked", 1);
}

#[test]
fn the_case_of_an_activity_id_does_not_matter() {
    let mut world = World::new();
    world.start();
    let lower = "7e57d004-2b97-4e7a-b45f-5387367791cd";
    let first = result(
        "x",
        &json!({"activity_id": lower, "external_status": "sim:503x3", "hard_override": true, "occurred_at": "2026-11-01T00:00:00Z"}),
    );
    let second = result(
        "y",
        &json!({"activity_id": lower.to_uppercase(), "hard_override": true, "occurred_at": "2026-11-02T00:00:00Z"}),
    );
    world.drop_results("one.ndjson", &[first, second]);
    world.wait_for("delivered", 2);
    assert_eq!(day(world.sandbox.bodies().last().unwrap()), "2026-11-02");
    assert_eq!(world.list(&["--activity", &lower.to_uppercase()]).len(), 2);
}

#[test]
fn a_superseded_one_is_left_alone_unless_forced() {
    let mut world = World::new();
    world.start();
    world.drop_results(
        "one.ndjson",
        &[correction("act-1", 1, "400"), correction("act-1", 2, "empty")],
    );
    let later = world.wait_for("delivered", 1)[0]["id"].to_string();
    let earlier = world.wait_for("dead", 1)[0]["id"].to_string();
    let output = world.run(&["requeue", &earlier]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains(&later) || String::from_utf8_lossy(&output.stdout).contains(&later),
        "it names the later one"
    );
    // In bulk it is skipped and counted.
    let said = world.run(&["requeue", "--state", "dead", "--yes"]);
    assert!(
        crate::harness::both(&said).contains('1'),
        "{}",
        crate::harness::both(&said)
    );
    assert_eq!(world.list(&["--state", "dead"]).len(), 1);
    world.ok(&["requeue", &earlier, "--force"]);
    world.wait_for("delivered", 2);
}

#[test]
fn a_requeued_earlier_one_goes_before_a_later_one_that_waits() {
    let mut world = World::new();
    world.start();
    world.drop_results("one.ndjson", &[correction("act-1", 1, "400")]);
    let first = world.wait_for("dead", 1)[0]["id"].to_string();
    world.ok(&["pause"]);
    world.drop_results("two.ndjson", &[correction("act-1", 2, "empty")]);
    world.wait_for("pending", 1);
    world.ok(&["requeue", &first]);
    world.ok(&["resume"]);
    world.wait_for("delivered", 2);
    let order: Vec<String> = world.sandbox.bodies().iter().map(|body| day(body)).collect();
    assert_eq!(order, ["2026-11-01", "2026-11-01", "2026-11-02"]);
}

#[test]
fn many_activities_with_many_results_each_stay_in_order_under_faults() {
    let mut world = World::with_sandbox(&["--fail-share", "0.3", "--seed", "3"]);
    world
        .set("retry.initial_interval", "\"5ms\"")
        .set("retry.max_interval", "\"30ms\"")
        .start();
    let results: Vec<Value> = (0..300)
        .map(|n| {
            let second = n / 20;
            result(
                &format!("act-{}", n % 20),
                &json!({"hard_override": true, "occurred_at": format!("2026-11-01T00:00:{second:02}Z")}),
            )
        })
        .collect();
    world.drop_results("many.ndjson", &results);
    eventually("all delivered", || {
        let counts = world.status()["counts"].clone();
        if counts["delivered"] == 300 {
            Ok(())
        } else {
            Err(counts.to_string())
        }
    });
    let mut last: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    for body in world.sandbox.bodies() {
        let body: Value = serde_json::from_str(&body).unwrap();
        let (activity, at) = (
            body["provider_activity_id"].to_string(),
            body["occurred_at"].to_string(),
        );
        let before = last.insert(activity.clone(), at.clone()).unwrap_or_default();
        assert!(before <= at, "{activity}: {before} then {at}");
    }
}
