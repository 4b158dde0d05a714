//! Hosts of a shared outbox whose clocks are an hour off, in either direction: all go by the server's.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::{World, both, eventually, http, result, scripted};
use crate::nodes::took_over;
use crate::postgres::Server;

/// Two hosts before one API, the first an hour ahead, the second an hour behind. `None`, and said, where no C compiler
/// makes what sets a process's clock.
fn hosts(server: &Server) -> Option<(World, World)> {
    let mut first = World::on_server(server, &server.fresh_schema(), "ahead");
    let mut second = first.beside("behind");
    let shim = first.path("wrong_clock.so");
    if !is_compiled(&shim) {
        eprintln!("not tried: no C compiler makes a wrong clock here");
        return None;
    }
    for (world, seconds) in [(&mut first, "3600"), (&mut second, "-3600")] {
        world.env("LD_PRELOAD", &shim.display().to_string());
        world.env("CLOCK_AHEAD_S", seconds);
        // A wait that is an hour too long would be cut off by it.
        world.set("retry.max_interval", "\"2h\"");
        world.set("retry.max_age", "\"30m\"");
    }
    Some((first, second))
}

fn is_compiled(shim: &Path) -> bool {
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(shim);
    compiler
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/wrong_clock.c"))
        .arg("-ldl");
    compiler.status().is_ok_and(|status| status.success())
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

fn written(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).unwrap().to_string()
}

/// It happened within the last ten minutes, by the right clock.
fn is_of_now(shown: &Value) -> bool {
    let at: jiff::Timestamp = shown.as_str().unwrap().parse().unwrap();
    (now_ms() - at.as_millisecond()).abs() < 600_000
}

/// Requests that the API holds.
fn held(api: SocketAddr) -> u64 {
    let stats: Value = serde_json::from_str(&http(api, "GET", "/_sandbox/stats", "").1).unwrap();
    stats["held"].as_u64().unwrap()
}

fn release(api: SocketAddr) {
    http(api, "POST", "/_sandbox/release", "");
}

/// When the API received the first request of this activity, in milliseconds by the right clock.
fn sent_at(api: &World, activity: &str) -> Option<i64> {
    let requests = api.sandbox.requests();
    let of_it = requests
        .iter()
        .find(|request| request["provider_activity_id"] == activity)?;
    of_it["received_ms"].as_i64()
}

#[test]
fn retries_waits_and_commands_go_by_the_servers_clock() {
    let Some(server) = Server::get() else { return };
    let Some((mut first, mut second)) = hosts(server) else {
        return;
    };
    for turn in 0..2 {
        let who = format!("alone-{turn}");
        let due = now_ms() + 3000;
        // Alone: nobody with another clock comes to its help.
        let world = if turn == 0 { &mut first } else { &mut second };
        world.start();
        world.drop_results("x.ndjson", &[scripted(&format!("{who}-retried"), "503x2")]);
        let held = json!({"$outbox": {"not_before": written(due)}});
        world.drop_results("y.ndjson", &[result(&format!("{who}-held"), &held)]);
        world.drop_results("z.ndjson", &[scripted(&format!("{who}-dead"), "400")]);
        let dead = world.wait_for("dead", 1);
        world.ok(&["requeue", &dead[0]["id"].to_string()]);
        let output = world.run_with_input(&["enqueue"], &result(&format!("{who}-given"), &json!({})).to_string());
        assert!(output.status.success(), "{}", both(&output));
        for one in world.wait_for("delivered", 4 * (turn + 1)) {
            assert!(is_of_now(&one["created_at"]) && is_of_now(&one["updated_at"]), "{one}");
            let shown = world.show(one["id"].as_i64().unwrap());
            for line in shown["history"].as_array().unwrap() {
                assert!(is_of_now(&line["at"]), "{shown}");
            }
        }
        let warnings = world.events("warning");
        let is_of_clock = |event: &Value| event["message"].to_string().contains("clock");
        assert!(!warnings.iter().any(is_of_clock), "nobody set it: {warnings:?}");
        world.stop();
        let sent = sent_at(&first, &format!("{who}-held")).unwrap();
        assert!(sent >= due, "{} ms too early", due - sent);
    }
}

#[test]
fn a_clock_that_is_wrong_ends_no_living_node_and_keeps_no_dead_one() {
    let Some(server) = Server::get() else { return };
    let Some((mut first, mut second)) = hosts(server) else {
        return;
    };
    first.start();
    second.start();
    // Longer than anybody may be silent.
    sleep(Duration::from_secs(8));
    assert!(!took_over(&first) && !took_over(&second));
    first.stop();
    second.stop();
    let api = first.sandbox.address();
    for turn in 0..2 {
        let (lost, other) = if turn == 0 {
            (&mut first, &mut second)
        } else {
            (&mut second, &mut first)
        };
        lost.start();
        let who = |n: i32| scripted(&format!("lost-{turn}-{n}"), "hold");
        lost.drop_results("x.ndjson", &(0..20).map(who).collect::<Vec<Value>>());
        eventually("requests of the one that is lost", || match held(api) {
            held if held > 0 => Ok(()),
            held => Err(held.to_string()),
        });
        other.start();
        lost.kill();
        eventually("a take-over", || {
            release(api);
            match other.list(&["--state", "delivered"]).len() {
                delivered if delivered == 20 * (turn + 1) => Ok(()),
                delivered => Err(format!("{delivered}\n{}", other.log())),
            }
        });
        let is_it = |event: &Value| event["message"].to_string().contains("shows no sign of life");
        other.event_where("warning", is_it);
        other.stop();
    }
}
