//! Drills with several daemons on one outbox: what becomes of what a lost one had claimed, and of the order within an
//! activity.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{World, both, eventually, result};
use crate::postgres::{Server, Stop};

/// Results a file: so many of each of so many activities, in order. `who` is in their names: a result is known again.
pub fn results(who: &str, activities: usize, of_each: usize) -> Vec<Value> {
    (0..of_each * activities)
        .map(|n| {
            let (activity, turn) = (n % activities, n / activities);
            result(
                &format!("{who}-{activity}"),
                &json!({"external_status": format!("turn {turn}")}),
            )
        })
        .collect()
}

/// Of each activity the turns in the order in which the API saw them first.
fn seen(world: &World) -> BTreeMap<String, Vec<String>> {
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for body in world.sandbox.bodies() {
        let body: Value = serde_json::from_str(&body).unwrap();
        let turns = seen
            .entry(body["provider_activity_id"].as_str().unwrap().to_owned())
            .or_default();
        let turn = body["external_status"].as_str().unwrap().to_owned();
        if !turns.contains(&turn) {
            turns.push(turn);
        }
    }
    seen
}

/// Everything was sent, and of each activity in order. What was in flight on a lost node is sent once more, and so is
/// what overrides the result before it: only the first time counts.
fn all_in_order(world: &World, activities: usize, of_each: usize) {
    let seen = seen(world);
    assert_eq!(seen.len(), activities);
    let expected: Vec<String> = (0..of_each).map(|turn| format!("turn {turn}")).collect();
    for (activity, turns) in &seen {
        assert_eq!(*turns, expected, "{activity}");
    }
}

/// Three hosts before one API that takes corrections: each later result of an activity overrides the one before.
fn three(server: &Server) -> (World, World, World) {
    let mut first = World::on_server(server, &server.fresh_schema(), "alpha");
    first.set("conflict.policy", "\"override\"");
    first.sandbox.settings(&json!({"latency_ms": 30}));
    let mut others = ["beta", "gamma"].map(|node| first.beside(node));
    for other in &mut others {
        other.set("conflict.policy", "\"override\"");
    }
    let [second, third] = others;
    (first, second, third)
}

/// That the daemon took over what another one had claimed.
pub fn took_over(world: &World) -> bool {
    let is_it = |event: &Value| {
        event["message"]
            .as_str()
            .unwrap_or_default()
            .contains("shows no sign of life")
    };
    world.events("warning").iter().any(is_it)
}

#[test]
fn a_killed_node_is_taken_over_and_every_activity_stays_in_order() {
    let Some(server) = Server::get() else { return };
    let (mut first, mut second, mut third) = three(server);
    first.spawn();
    second.spawn();
    third.start();
    first.started();
    second.started();
    for (world, who) in [(&first, "a"), (&second, "b"), (&third, "c")] {
        world.drop_results("x.ndjson", &results(who, 40, 5));
    }
    eventually("something is under way", || {
        let delivered = third.status()["counts"]["delivered"].as_u64().unwrap_or(0);
        if delivered > 50 {
            Ok(())
        } else {
            Err(delivered.to_string())
        }
    });
    first.kill();
    third.wait_for("delivered", 600);
    all_in_order(&first, 120, 5);
    assert!(took_over(&second) || took_over(&third));
    second.stop();
    third.stop();
}

#[test]
fn a_frozen_node_is_taken_over_and_its_late_outcomes_change_nothing() {
    let Some(server) = Server::get() else { return };
    let (mut first, mut second, _third) = three(server);
    first.start();
    second.start();
    first.drop_results("x.ndjson", &results("a", 30, 5));
    eventually("something is under way", || {
        let delivered = second.status()["counts"]["delivered"].as_u64().unwrap_or(0);
        if delivered > 10 {
            Ok(())
        } else {
            Err(delivered.to_string())
        }
    });
    first.signal("STOP");
    second.wait_for("delivered", 150);
    all_in_order(&first, 30, 5);
    assert!(took_over(&second));
    first.signal("CONT");
    first.event_where("warning", |event| {
        event["message"]
            .as_str()
            .unwrap_or_default()
            .contains("goes on as a new one")
    });
    // It goes on.
    second.stop();
    first.drop_results("y.ndjson", &results("b", 3, 2));
    first.wait_for("delivered", 156);
}

#[test]
fn a_clean_stop_hands_over_at_once() {
    let Some(server) = Server::get() else { return };
    let (mut first, mut second, _third) = three(server);
    first.start();
    second.start();
    first.drop_results("x.ndjson", &results("a", 50, 4));
    first.taken();
    first.stop();
    second.wait_for("delivered", 200);
    assert!(!took_over(&second), "nobody had to find out");
    all_in_order(&first, 50, 4);
    second.stop();
}

#[test]
fn a_server_that_is_restarted_costs_no_result_and_no_daemon() {
    let Some(mut server) = Server::own() else { return };
    let (mut first, mut second, _third) = three(&server);
    first.start();
    second.start();
    for (turn, how) in [Stop::Fast, Stop::Immediate].into_iter().enumerate() {
        first.drop_results(&format!("x{turn}.ndjson"), &results(&format!("a{turn}"), 30, 4));
        second.drop_results(&format!("y{turn}.ndjson"), &results(&format!("b{turn}"), 30, 4));
        sleep(Duration::from_millis(700));
        server.stop(how);
        sleep(Duration::from_secs(6));
        server.start();
        first.wait_for("delivered", 240 * (turn + 1));
    }
    assert!(
        !took_over(&first) && !took_over(&second),
        "an outage that all have ends nobody"
    );
    for world in [&first, &second] {
        world.event("storage_error");
        world.event("storage_resumed");
    }
    assert_eq!(seen(&first).len(), 120);
    first.stop();
    second.stop();
}

#[test]
fn a_node_with_a_revoked_key_burns_nothing_while_another_key_works() {
    let Some(server) = Server::get() else { return };
    let (mut first, mut second, _third) = three(server);
    std::fs::write(second.path("old-key"), "rtn_sk_revoked\n").unwrap();
    let old = format!("{:?}", second.path("old-key").display().to_string());
    second.set("api.key_file", &old);
    first.start();
    second.start();
    first.drop_results("x.ndjson", &results("a", 60, 3));
    second.drop_results("y.ndjson", &results("b", 60, 3));
    first.wait_for("delivered", 360);
    assert_eq!(first.list(&["--state", "dead"]), [Value::Null; 0]);
    second.event_where("gate", |event| event["to"] == "unauthorized");
    first.stop();
    second.stop();
}

#[test]
fn tables_of_a_newer_program_are_refused_with_both_versions() {
    let Some(server) = Server::get() else { return };
    let schema = server.fresh_schema();
    let mut world = World::on_server(server, &schema, "alpha");
    world.start();
    world.stop();
    server.sql(&format!(
        "UPDATE {schema}.schema_version SET version = 7, oldest_version = 7"
    ));
    let output = world.run(&["run"]);
    assert_eq!(output.status.code(), Some(78), "{}", both(&output));
    let said = both(&output);
    assert!(
        said.contains("version 7") && said.contains("this program knows version "),
        "{said}"
    );
}

#[test]
fn a_pause_from_a_host_without_a_daemon_stops_all_and_a_resume_starts_them() {
    let Some(server) = Server::get() else { return };
    let (mut first, mut second, third) = three(server);
    first.start();
    second.start();
    let said = third.ok(&["pause", "--why", "maintenance"]);
    assert!(said.contains("nothing is sent"), "{said}");
    let sent = first.sandbox.requests().len();
    first.drop_results("x.ndjson", &results("a", 10, 1));
    second.drop_results("y.ndjson", &results("b", 10, 1));
    first.wait_for("pending", 20);
    assert_eq!(first.sandbox.requests().len(), sent);
    third.ok(&["resume"]);
    third.wait_for("delivered", 20);
    first.stop();
    second.stop();
    let output = third.run(&["pause"]);
    assert!(output.status.success(), "{}", both(&output));
}

#[test]
fn a_transaction_that_somebody_forgot_is_named_and_waited_out() {
    let Some(server) = Server::get() else { return };
    let schema = server.fresh_schema();
    let mut world = World::on_server(server, &schema, "alpha");
    world.start();
    let held = format!("BEGIN; LOCK TABLE {schema}.delivery IN EXCLUSIVE MODE; SELECT pg_sleep(9); ROLLBACK");
    let forgotten = std::thread::spawn(move || server.sql(&held));
    sleep(Duration::from_millis(500));
    world.drop_results("x.ndjson", &results("a", 5, 1));
    let names = |event: &Value| {
        event["error"]
            .as_str()
            .unwrap_or_default()
            .contains("pg_terminate_backend(")
    };
    world.event_where("intake_waiting", names);
    world.wait_for("delivered", 5);
    forgotten.join().unwrap();
    world.stop();
}
