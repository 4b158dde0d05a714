//! The outbox carried from SQLite into PostgreSQL and back, between the runs of a real daemon.

use serde_json::{Value, json};

use crate::harness::{World, both, result, scripted, stderr};
use crate::postgres::{self, Server};

/// A host with a SQLite outbox, which has the schema to move into in its configuration, and that place's URL.
fn host(server: &Server, node: &str) -> (World, String) {
    let mut world = World::on_server(server, &server.fresh_schema(), node);
    let file = world.path("outbox/outbox.db");
    lies_at(&mut world, &file.display().to_string());
    (world, url(server))
}

fn url(server: &Server) -> String {
    format!(
        "postgres://{}@/postgres?host={}",
        postgres::USER,
        server.socket_dir().display()
    )
}

fn lies_at(world: &mut World, place: &str) {
    world.set("outbox.database", &format!("{place:?}"));
}

/// Of one activity, so that their order shows.
fn turns(activity: &str, turns: std::ops::Range<usize>) -> Vec<Value> {
    turns
        .map(|turn| result(activity, &json!({"external_status": format!("turn {turn}")})))
        .collect()
}

/// The turns of an activity in the order in which the API saw them first: an override sends one twice.
fn seen(world: &World, activity: &str) -> Vec<String> {
    let mut seen = Vec::new();
    for body in world.sandbox.bodies() {
        let body: Value = serde_json::from_str(&body).unwrap();
        let turn = body["external_status"].as_str().unwrap_or_default().to_owned();
        if body["provider_activity_id"] == activity && !seen.contains(&turn) {
            seen.push(turn);
        }
    }
    seen
}

/// One in every final state, and behind a pause two activities with several each. The daemon has ended.
fn fill(world: &mut World) {
    world.start();
    world.drop_results(
        "done.ndjson",
        &[
            result("delivered", &json!({})),
            scripted("dead", "400"),
            scripted("parked", "409"),
            scripted("dismissed", "400"),
        ],
    );
    world.settled();
    let dismissed = world.of_activity("dismissed")["id"].to_string();
    world.ok(&["dismiss", &dismissed]);
    world.ok(&["pause"]);
    let mut waiting = turns("queue", 0..4);
    waiting.extend(turns("other", 0..2));
    world.drop_results("waiting.ndjson", &waiting);
    world.wait_for("pending", 6);
    world.stop();
    for state in ["delivered", "dead", "parked", "dismissed"] {
        world.wait_for(state, 1);
    }
}

/// What `show` says of each, without who made the attempts: a file does not know.
fn stories(world: &World) -> Vec<Value> {
    let ids = world.list(&[]).into_iter().map(|one| one["id"].as_i64().unwrap());
    let mut stories: Vec<Value> = ids.map(|id| world.show(id)).collect();
    for story in &mut stories {
        for step in story["history"].as_array_mut().unwrap() {
            step.as_object_mut().unwrap().remove("node");
        }
    }
    stories
}

fn refused(world: &World, to: &str, code: i32, words: &str) {
    let output = world.run(&["move", "--to", to]);
    assert_eq!(output.status.code(), Some(code), "{}", both(&output));
    assert!(stderr(&output).contains(words), "{words}: {}", both(&output));
}

#[test]
fn what_is_moved_is_delivered_from_there_in_order_and_comes_back() {
    let Some(server) = Server::get() else { return };
    let (mut world, url) = host(server, "alpha");
    fill(&mut world);
    let before = (world.list(&[]), stories(&world));

    let told = world.ok(&["move", "--to", &url]);
    assert!(
        told.contains("was carried over") && told.contains("10 submissions"),
        "{told}"
    );
    let again = world.ok(&["move", "--to", &url]);
    assert!(again.contains("is there already, from an earlier move"), "{again}");
    assert_eq!(world.list(&[]), before.0, "the old one stays as it is");
    lies_at(&mut world, &url);
    assert_eq!((world.list(&[]), stories(&world)), before);

    // The API has no result of these yet: each later one corrects the one before.
    world.set("conflict.policy", "\"override\"").start();
    assert_eq!(world.status()["gate"], "paused", "what a person asked for came along");
    world.ok(&["resume"]);
    world.wait_for("delivered", 7);
    assert_eq!(seen(&world, "queue"), ["turn 0", "turn 1", "turn 2", "turn 3"]);
    assert_eq!(seen(&world, "other"), ["turn 0", "turn 1"]);
    for activity in ["delivered", "dead", "parked", "dismissed"] {
        assert_eq!(seen(&world, activity).len(), 1, "{activity} was not sent again");
    }
    names_who_sent(&world);
    world.stop();

    let on_server = (world.list(&[]), stories(&world));
    let back = world.path("outbox/back.db").display().to_string();
    let told = world.ok(&["move", "--to", &back]);
    assert!(
        told.contains("was carried over") && told.contains("10 submissions"),
        "{told}"
    );
    let again = world.ok(&["move", "--to", &back]);
    assert!(again.contains("is there already, from an earlier move"), "{again}");
    lies_at(&mut world, &back);
    assert_eq!((world.list(&[]), stories(&world)), on_server);
    world.start();
    world.drop_results("more.ndjson", &turns("queue", 4..6));
    world.wait_for("delivered", 9);
    assert_eq!(seen(&world, "queue")[4..], ["turn 4", "turn 5"]);
    world.stop();
}

/// The attempts that were made since the move, and no others, have a node.
fn names_who_sent(world: &World) {
    let attempt = |activity: &str| {
        let id = world.list(&["--activity", activity])[0]["id"].as_i64().unwrap();
        let steps = world.show(id)["history"].as_array().unwrap().clone();
        let attempt = steps.into_iter().find(|step| step["what"] == "attempt").unwrap();
        (attempt, world.ok(&["show", &id.to_string()]))
    };
    let (earlier, text) = attempt("delivered");
    assert!(earlier.get("node").is_none(), "{earlier}");
    assert!(text.contains("attempt 1: "), "{text}");
    let (later, text) = attempt("queue");
    assert_eq!(later["node"], "alpha", "{later}");
    assert!(text.contains("attempt 1 on alpha: "), "{text}");
}

#[test]
fn one_that_is_sent_names_its_node() {
    let Some(server) = Server::get() else { return };
    let mut world = World::on_server(server, &server.fresh_schema(), "alpha");
    world.start();
    world.drop_results("held.ndjson", &[scripted("held", "hang")]);
    assert_eq!(world.wait_for("sending", 1)[0]["node"], "alpha");
    world.kill();
}

#[test]
fn a_daemon_on_either_side_and_a_place_that_is_taken_refuse_a_move_and_stay_as_they_were() {
    let Some(server) = Server::get() else { return };
    let (mut world, url) = host(server, "alpha");
    fill(&mut world);
    let before = world.list(&[]);
    world.start();
    refused(&world, &url, 69, "stop");
    world.stop();

    // A daemon of another host, in the schema to move into.
    let mut other = world.beside("beta");
    lies_at(&mut other, &url);
    other.start();
    refused(&world, &url, 69, "the daemon beta runs on it");
    other.drop_results("theirs.ndjson", &[result("theirs", &json!({}))]);
    other.settled();
    // From there it is refused as well, and makes no file.
    let back = other.path("outbox/back.db");
    refused(&other, &back.display().to_string(), 69, "stop");
    assert!(!back.exists());
    other.stop();

    let theirs = other.list(&[]);
    refused(&world, &url, 78, "It was not touched");
    assert_eq!(theirs.len(), 1);
    assert_eq!(other.list(&[]), theirs);
    // Nor is a file that is another outbox.
    refused(
        &other,
        &world.path("outbox/outbox.db").display().to_string(),
        78,
        "It was not touched",
    );
    assert_eq!(world.list(&[]), before);
}
