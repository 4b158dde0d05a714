//! Drills with the way between a daemon and the server of its shared outbox: it stands still, it is cut, and it is cut at
//! a COMMIT, where nobody knows on which side of it.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{World, both, eventually, result, stderr, stdout};
use crate::nodes::{results, took_over};
use crate::postgres::Server;
use crate::postgres::proxy::{Fate, Proxy};

/// How long the API takes to answer, in milliseconds.
const LATENCY_MS: i64 = 300;

fn member<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// When each request was complete, of which activity it was, and its turn; oldest first.
fn sent(worlds: &[&World]) -> Vec<(i64, String, String)> {
    let requests = worlds.iter().flat_map(|world| world.sandbox.requests());
    let mut sent: Vec<_> = requests
        .map(|request| {
            let body: Value = serde_json::from_str(member(&request, "body")).unwrap();
            (
                request["received_ms"].as_i64().unwrap(),
                member(&body, "provider_activity_id").to_owned(),
                member(&body, "external_status").to_owned(),
            )
        })
        .collect();
    sent.sort();
    sent
}

/// Requests that the daemon has sent and that have no answer yet; one that it gave up is none.
fn in_flight(world: &World) -> u64 {
    world.sandbox.stats()["in_flight"].as_u64().unwrap()
}

fn delivered(world: &World) -> usize {
    world.list(&["--state", "delivered"]).len()
}

fn more_than(world: &World, count: usize) {
    eventually("something is under way", || match delivered(world) {
        delivered if delivered > count => Ok(()),
        delivered => Err(delivered.to_string()),
    });
}

/// So many distinct results for the default policy, which parks what the API has already.
fn distinct(who: &str, count: usize) -> Vec<Value> {
    (0..count).map(|n| result(&format!("{who}-{n}"), &json!({}))).collect()
}

/// All are delivered, and the API saw each exactly once.
fn each_once(world: &World, apis: &[&World], count: usize) {
    world.wait_for("delivered", count);
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for (_, activity, _) in sent(apis) {
        *times.entry(activity).or_default() += 1;
    }
    let repeated: Vec<_> = times.iter().filter(|(_, times)| **times != 1).collect();
    assert_eq!(repeated, [], "{}", world.log());
    assert_eq!(times.len(), count);
}

/// Each daemon has an API of its own here, so that its requests are known.
#[test]
fn a_node_that_is_cut_off_stops_before_another_takes_over_and_comes_back_as_a_new_one() {
    let Some(server) = Server::get() else { return };
    let schema = server.fresh_schema();
    let proxy = Proxy::before(server);
    let mut first = World::through(&proxy, &schema, "alpha");
    let mut second = World::on_server(server, &schema, "beta");
    for world in [&mut first, &mut second] {
        world.set("conflict.policy", "\"override\"");
        world.sandbox.settings(&json!({"latency_ms": LATENCY_MS}));
    }
    first.set("api.timeout", "\"60s\"");
    first.start();
    second.start();
    first.drop_results("x.ndjson", &results("a", 30, 3));
    second.drop_results("y.ndjson", &results("b", 30, 3));
    more_than(&second, 10);
    // What is in flight when the way is cut would last for longer than it may.
    first.sandbox.settings(&json!({"latency_ms": 60_000}));
    // Those before it have their answers.
    sleep(Duration::from_millis(2 * LATENCY_MS.unsigned_abs()));
    eventually("requests that last", || match in_flight(&first) {
        0 => Err(first.log()),
        _ => Ok(()),
    });
    proxy.stall();
    first.drop_results("z.ndjson", &results("c", 3, 3));
    eventually("a take-over", || {
        if took_over(&second) { Ok(()) } else { Err(second.log()) }
    });
    assert_eq!(in_flight(&first), 0, "others send it, and its own request lasts");
    let of_first = sent(&[&first]);
    first.sandbox.settings(&json!({"latency_ms": LATENCY_MS}));
    second.wait_for("delivered", 180);
    // Well past the stall of a switch that fails over.
    sleep(Duration::from_secs(3));
    assert_eq!(sent(&[&first]), of_first, "it is cut off, and sends");
    proxy.flow();
    first.event_where("warning", |event| {
        member(event, "message").contains("goes on as a new one")
    });
    second.wait_for("delivered", 189);
    second.stop();
    first.drop_results("w.ndjson", &results("d", 3, 2));
    first.wait_for("delivered", 195);
    first.stop();

    let mut seen: BTreeMap<String, (i64, Vec<String>)> = BTreeMap::new();
    for (at, activity, turn) in sent(&[&first, &second]) {
        let (last, turns) = seen.entry(activity.clone()).or_insert((i64::MIN / 2, Vec::new()));
        assert!(
            at - *last >= LATENCY_MS - 1,
            "two of {activity} at a time: {at} and {last}"
        );
        *last = at;
        if !turns.contains(&turn) {
            turns.push(turn);
        }
    }
    assert_eq!(seen.len(), 66);
    for (activity, (_, turns)) in seen {
        let expected: Vec<String> = (0..turns.len()).map(|turn| format!("turn {turn}")).collect();
        assert_eq!(turns, expected, "{activity}");
    }
}

#[test]
fn connections_that_are_cut_again_and_again_cost_nothing_and_double_nothing() {
    let Some(server) = Server::get() else { return };
    let schema = server.fresh_schema();
    let proxy = Proxy::before(server);
    let mut first = World::through(&proxy, &schema, "alpha");
    let mut second = World::through(&proxy, &schema, "beta");
    for world in [&mut first, &mut second] {
        world.sandbox.settings(&json!({"latency_ms": 30}));
        world.start();
    }
    let mut cut = 0;
    for turn in 0..10 {
        first.drop_results(&format!("x{turn}.ndjson"), &distinct(&format!("a{turn}"), 40));
        second.drop_results(&format!("y{turn}.ndjson"), &distinct(&format!("b{turn}"), 40));
        sleep(Duration::from_millis(90 + 37 * turn));
        cut += proxy.reset();
    }
    assert!(cut > 20, "{cut} connections were cut");
    first.taken();
    second.taken();
    each_once(&second, &[&first, &second], 800);
    assert!(!took_over(&first) && !took_over(&second), "a connection is not a node");
    first.stop();
    second.stop();
}

#[test]
fn an_admission_whose_commit_is_lost_on_the_way_or_on_the_way_back_is_taken_once() {
    let Some(server) = Server::get() else { return };
    let schema = server.fresh_schema();
    let proxy = Proxy::before(server);
    let mut world = World::through(&proxy, &schema, "alpha");
    world.start();
    for (turn, fate) in [Fate::AnswerLost, Fate::Lost].into_iter().enumerate() {
        proxy.trap("INSERT INTO submission ", fate, 1);
        world.drop_results(&format!("x{turn}.ndjson"), &distinct(&format!("a{turn}"), 30));
        each_once(&world, &[&world], 35 * turn + 30);
        assert_eq!(proxy.sprung(), 1);
        world.taken();
        proxy.trap("INSERT INTO submission ", fate, 1);
        for one in distinct(&format!("b{turn}"), 5) {
            world.insert(&one);
        }
        each_once(&world, &[&world], 35 * (turn + 1));
        assert_eq!(proxy.sprung(), 1);
    }
    assert_eq!(world.column("rows/inbox.db", "SELECT count(*) || '' FROM inbox"), ["0"]);
    world.stop();
}

#[test]
fn an_enqueue_whose_commit_is_lost_says_what_is_true() {
    let Some(server) = Server::get() else { return };
    let schema = server.fresh_schema();
    let proxy = Proxy::before(server);
    let world = World::through(&proxy, &schema, "alpha");
    assert!(
        world
            .run_with_input(&["enqueue"], &distinct("first", 1)[0].to_string())
            .status
            .success()
    );
    for (turn, fate) in [Fate::AnswerLost, Fate::Lost].into_iter().enumerate() {
        proxy.trap("INSERT INTO submission ", fate, 1);
        let lines: Vec<String> = distinct(&format!("a{turn}"), 700)
            .iter()
            .map(Value::to_string)
            .collect();
        let output = world.run_with_input(&["enqueue"], &lines.join("\n"));
        assert!(output.status.success(), "{}", both(&output));
        assert_eq!(proxy.sprung(), 1);
        assert_eq!(world.list(&[]).len(), 1 + 700 * (turn + 1), "{}", both(&output));
        assert_eq!(stdout(&output).lines().count(), 700);
        let is_told = stderr(&output).contains("its answer was lost");
        assert_eq!(is_told, fate == Fate::AnswerLost, "{}", both(&output));
    }
    server.sql(&format!(
        "DO $$ BEGIN ASSERT (SELECT count(*) FROM {schema}.receipt_file) = 0; END $$"
    ));
    // No way is left: what is not known is said.
    proxy.trap("", Fate::AnswerLost, 100);
    let output = world.run_with_input(&["enqueue"], &distinct("last", 3)[0].to_string());
    assert_eq!(output.status.code(), Some(69), "{}", both(&output));
    assert!(
        stderr(&output).contains("whether the next 1 are is not known"),
        "{}",
        both(&output)
    );
}

#[test]
fn an_outcome_whose_commit_is_lost_on_the_way_or_on_the_way_back_is_stored_once() {
    let Some(server) = Server::get() else { return };
    let schema = server.fresh_schema();
    let proxy = Proxy::before(server);
    let mut world = World::through(&proxy, &schema, "alpha");
    world.sandbox.settings(&json!({"latency_ms": 20}));
    world.start();
    let mut count = 0;
    for words in ["DELETE FROM delivery", "SET state = 'sending'"] {
        for fate in [Fate::AnswerLost, Fate::Lost] {
            proxy.trap(words, fate, 3);
            world.drop_results(&format!("x{count}.ndjson"), &distinct(&format!("a{count}"), 100));
            count += 100;
            each_once(&world, &[&world], count);
            assert_eq!(proxy.sprung(), 3);
        }
    }
    server.sql(&format!(
        "DO $$ BEGIN ASSERT NOT EXISTS (SELECT 1 FROM {schema}.settled AS s WHERE 1 <> \
           (SELECT count(*) FROM {schema}.attempt AS a WHERE a.submission = s.id AND a.outcome = 'delivered')); END $$"
    ));
    world.stop();
}

#[test]
fn a_commit_whose_answer_stands_still_is_given_up_and_stored_once() {
    let Some(server) = Server::get() else { return };
    let schema = server.fresh_schema();
    let proxy = Proxy::before(server);
    let mut first = World::through(&proxy, &schema, "alpha");
    let mut second = World::on_server(server, &schema, "beta");
    first.start();
    proxy.trap("INSERT INTO submission ", Fate::AnswerHeld, 1);
    first.drop_results("x.ndjson", &distinct("a", 40));
    each_once(&first, &[&first], 40);
    proxy.release();
    proxy.trap("DELETE FROM delivery", Fate::AnswerHeld, 1);
    first.drop_results("y.ndjson", &distinct("b", 40));
    second.start();
    each_once(&second, &[&first, &second], 80);
    proxy.release();
    assert_eq!(proxy.sprung(), 1);
    assert!(!took_over(&second), "a connection is not a node");
    first.stop();
    second.stop();
}
