//! The contract's events with their levels and fields, and a log that never holds the queue up.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{World, result, scripted};

#[test]
fn every_event_has_its_name_level_and_fields() {
    let mut world = World::new();
    world
        .set("log.summary_interval", "\"200ms\"")
        .set("conflict.policy", "\"override\"")
        .start();
    let mut keyed = result("act-1", &json!({}));
    keyed["$outbox"] = json!({"key": "k-1"});
    world.drop_results(
        "a.ndjson",
        &[
            keyed.clone(),
            scripted("act-2", "503"),
            scripted("act-3", "404"),
            scripted("act-4", "409x3"),
        ],
    );
    world.drop_file("bad.json", "nonsense");
    world.settled();
    world.drop_results("b.ndjson", &[keyed]);
    let expected = [
        ("started", "info", &["version"][..]),
        ("accepted", "info", &["count"]),
        ("file_rejected", "error", &["file", "error"]),
        ("duplicate", "warn", &["key"]),
        (
            "delivered",
            "info",
            &["submission", "activity", "attempt", "status", "elapsed_ms"],
        ),
        ("retry_scheduled", "warn", &["submission", "attempt", "status"]),
        (
            "dead_lettered",
            "error",
            &["submission", "status", "error", "message", "hint"],
        ),
        ("conflict_overridden", "warn", &["submission"]),
        ("parked", "warn", &["submission", "reason"]),
        (
            "summary",
            "info",
            &["pending", "dead", "parked", "delivered", "failed", "gate"],
        ),
    ];
    for (event, level, fields) in expected {
        let line = world.event_where(event, |line| line["level"] == level);
        for field in fields {
            assert!(line.get(*field).is_some(), "{event}.{field}: {line}");
        }
    }
    assert!(world.events("accepted").iter().any(|line| line["level"] == "debug"));
    world.signal("HUP");
    assert_eq!(world.event("reloaded")["level"], "info");
    world.stop();
    assert_eq!(world.event("stopped")["level"], "info");
    assert!(!world.log().contains("SALE_COMPLETED"), "no result's body in the log");
}

#[test]
fn what_comes_from_outside_cannot_forge_a_line() {
    for format in ["json", "text"] {
        let mut world = World::new();
        world.set("log.format", &format!("{format:?}"));
        world.spawn();
        let mut evil = scripted("act\n2026-11-23T00:00:00Z ERROR forged\u{202e}x\u{1b}[31m", "404");
        evil["$outbox"] = json!({"key": "k\r\n\u{2066}forged"});
        world.drop_results("evil.ndjson", &[evil]);
        world.wait_for("dead", 1);
        world.stop();
        let log = world.log();
        assert!(
            !log.lines()
                .any(|line| line.starts_with("2026-11-23T00:00:00Z ERROR forged") || line.starts_with("forged")),
            "{log}"
        );
        for sign in ['\u{202e}', '\u{1b}', '\r', '\u{2066}'] {
            assert!(!log.contains(sign), "{format}: {sign:?}");
        }
    }
}

#[test]
fn text_lines_read_from_left_to_right() {
    let mut world = World::new();
    world.set("log.format", "\"text\"").spawn();
    world.drop_results("one.ndjson", &[scripted("act-1", "404")]);
    world.wait_for("dead", 1);
    world.stop();
    let log = world.log();
    let line = log.lines().find(|line| line.contains("dead_lettered")).unwrap();
    assert!(
        line.contains("ERROR") && line.contains("submission=1") && line.contains("status=404"),
        "{line}"
    );
    assert!(!log.contains('\u{1b}'), "no colour off a terminal");
}

#[test]
fn a_log_that_nobody_reads_does_not_hold_the_queue_up() {
    let mut world = World::new();
    world.set("log.level", "\"debug\"");
    let mut command = world.command(&["run"]);
    let mut daemon = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let results: Vec<Value> = (0..1500).map(|n| result(&format!("act-{n}"), &json!({}))).collect();
    world.drop_results("many.ndjson", &results);
    world.wait_for("delivered", 1500);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}
