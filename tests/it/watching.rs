//! What those see who watch: `status` as fresh as the outbox, also with a wrong configuration; the service manager's
//! line; hints in an outage.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{World, both, eventually, result, scripted, stderr, stdout};
use crate::hindered::Locker;

fn not_found(prefix: &str, count: usize, source: &str) -> Vec<Value> {
    let changes = json!({"external_status": "sim:404x9", "$outbox": {"source": source}});
    (0..count).map(|n| result(&format!("{prefix}-{n}"), &changes)).collect()
}

#[test]
fn status_knows_the_last_error_as_soon_as_the_outbox_does_and_breaks_the_dead_down() {
    let mut world = World::new();
    world.set("delivery.reject_fuse", "0").start();
    let mut broken = result("broken", &json!({}));
    broken.as_object_mut().unwrap().remove("commerce_external_id");
    world.drop_results("invalid.ndjson", &[broken]);
    world.wait_for("dead", 1);
    let status = world.status();
    assert_eq!(status["last_error"]["error"], "invalid", "{status}");
    assert_eq!(status["last_error"]["submission"], 1);
    let mut many = not_found("crm", 30, "crm");
    many.extend(not_found("erp", 10, "erp"));
    world.drop_results("many.ndjson", &many);
    world.wait_for("dead", 41);
    let status = world.status();
    assert_eq!(status["last_error"]["status"], 404, "{status}");
    assert_eq!(status["counts"]["dead"], 41);
    assert_eq!(status["dead_by"]["of_newest"], 41);
    let most = &status["dead_by"]["reasons"][0];
    assert_eq!(
        (most["count"].as_u64(), most["http_status"].as_u64()),
        (Some(40), Some(404)),
        "{status}"
    );
    let text = world.ok(&["status"]);
    assert!(text.contains("by reason     40 rejected 404 ("), "{text}");
    assert!(
        text.contains("by source     30 of crm, 10 of erp, 1 of no source"),
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn the_rate_is_there_within_moments_and_not_when_it_was_last_stored() {
    let mut world = World::new();
    world.start();
    let results: Vec<Value> = (0..50).map(|n| result(&format!("act-{n}"), &json!({}))).collect();
    world.drop_results("many.ndjson", &results);
    world.wait_for("delivered", 50);
    // Nothing can be stored from here on, its next regular word in the outbox neither.
    let locker = Locker::on(&world.path("outbox/outbox.db"), "BEGIN IMMEDIATE");
    eventually("the rate", || {
        let status = world.status();
        if status["delivered_per_minute"] == 50 {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    locker.let_go();
    world.kill();
    assert_eq!(
        world.status()["delivered_per_minute"],
        Value::Null,
        "of a daemon that is gone"
    );
}

#[test]
fn the_service_managers_line_follows_within_a_second_and_says_what_hinders() {
    let mut world = World::new();
    let socket = UnixDatagram::bind(world.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let (lines, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length) = socket.recv(&mut bytes) {
            let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if let Some(line) = message.strip_prefix("STATUS=")
                && lines.send(line.to_owned()).is_err()
            {
                return;
            }
        }
    });
    let notify = world.path("notify").display().to_string();
    world
        .env("NOTIFY_SOCKET", &notify)
        .set("delivery.reject_fuse", "0")
        .set("inbox.max_pending", "3");
    world.start();
    world.drop_results("many.ndjson", &not_found("act", 40, "crm"));
    world.wait_for("dead", 40);
    let await_line = |word: &str| {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        let mut last = String::new();
        while !last.contains(word) {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            last = heard
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("never came: {word}; last: {last}"));
        }
    };
    await_line("dead 40");
    world.ok(&["pause"]);
    world.drop_results("more.ndjson", &not_found("more", 5, "crm"));
    world.wait_for("pending", 5);
    world.drop_results("waits.ndjson", &not_found("waits", 5, "crm"));
    await_line("intake hindered: 5 submissions are pending");
}

#[test]
fn a_wrong_configuration_does_not_hide_the_queue() {
    let mut world = World::new();
    world.start();
    world.drop_results("held.ndjson", &[scripted("held", "404x9")]);
    world.wait_for("dead", 1);
    world.set("retry.max_interval", "\"10 minutes\"");
    let output = world.run(&["status"]);
    assert_eq!(output.status.code(), Some(78), "{}", both(&output));
    let told = stdout(&output);
    assert!(
        told.contains("dead            1,") && told.contains("configuration   wrong: "),
        "{told}"
    );
    assert!(stderr(&output).contains("retry.max_interval"), "{}", both(&output));
    let output = world.run(&["status", "--json"]);
    assert_eq!(output.status.code(), Some(78));
    let status: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(status["counts"]["dead"], 1);
    assert!(
        status["configuration_error"]
            .as_str()
            .unwrap()
            .contains("retry.max_interval"),
        "{status}"
    );
    // Also a line that breaks off, below what says where the outbox is.
    let whole = fs::read_to_string(world.config())
        .unwrap()
        .replace("\"10 minutes\"", "\"10m\"");
    fs::write(world.config(), format!("{whole}\n[nonsense\n")).unwrap();
    let output = world.run(&["status"]);
    assert_eq!(output.status.code(), Some(78), "{}", both(&output));
    assert!(stdout(&output).contains("dead            1,"), "{}", both(&output));
}

#[test]
fn an_outage_does_not_point_at_a_configuration_that_has_worked() {
    let mut world = World::new();
    // Before the API has ever answered the address may well be wrong.
    world.sandbox.settings(&json!({"step_for_all": "reset"}));
    world.start();
    world.drop_results("first.ndjson", &[result("first", &json!({}))]);
    let first = world.event("retry_scheduled");
    assert!(!first["hint"].as_str().unwrap().contains("has answered"), "{first}");
    world.sandbox.settings(&json!({"step_for_all": null}));
    world.wait_for("delivered", 1);
    world.stop();
    // A start in the middle of an outage knows it still.
    world.sandbox.settings(&json!({"step_for_all": "reset"}));
    world.start();
    world.drop_results("second.ndjson", &[result("second", &json!({}))]);
    let second = world.event("retry_scheduled");
    let hint = second["hint"].as_str().unwrap();
    assert!(
        hint.contains("has answered with this configuration before") && hint.contains("nothing is lost"),
        "{hint}"
    );
}
