//! Acts and corrections of many, and what happens to one of them meanwhile.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{World, both, result, scripted, stderr};

/// Dead letters `act-0`, …: the API refuses each as it is and takes it when its script is gone.
fn dead(world: &World, count: usize) -> Vec<Value> {
    let results: Vec<Value> = (0..count).map(|n| scripted(&format!("act-{n}"), "400x99")).collect();
    world.drop_results("bad.ndjson", &results);
    let mut dead = world.wait_for("dead", count);
    dead.reverse();
    dead
}

#[test]
fn an_answer_that_comes_late_closes_only_what_is_still_what_was_asked_about() {
    if Command::new("script").arg("--version").output().is_err() {
        println!("skipped: no script(1) to make a terminal");
        return;
    }
    let mut world = World::new();
    world.start();
    let ids: Vec<String> = dead(&world, 3).iter().map(|one| one["id"].to_string()).collect();
    world.ok(&["pause"]);
    let command = format!(
        "{} --config {} dismiss --state dead",
        env!("CARGO_BIN_EXE_reten-outbox"),
        world.config().display()
    );
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut screen = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("[y/N]") {
        let mut byte = [0];
        assert_eq!(screen.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
    // The person thinks; another one corrects the second of them.
    fs::write(world.path("right.json"), result("act-1", &json!({})).to_string()).unwrap();
    world.ok(&["edit", &ids[1], "--payload", world.path("right.json").to_str().unwrap()]);
    child.stdin.take().unwrap().write_all(b"y\n").unwrap();
    screen.read_to_end(&mut seen).unwrap();
    assert!(child.wait().unwrap().success());
    let said = String::from_utf8_lossy(&seen);
    assert!(
        said.contains("2 submissions dismissed, 1 skipped (1 changed meanwhile)"),
        "{said}"
    );
    assert_eq!(world.of_activity("act-1")["state"], "pending");
    world.ok(&["resume"]);
    world.wait_for("delivered", 1);
}

#[test]
fn edit_gives_many_payloads_to_a_command_and_sends_what_it_changes() {
    let mut world = World::new();
    world.start();
    dead(&world, 5);
    // Mends the first two and the last, leaves the third as it is in other words, breaks the fourth.
    let command = r#"sed -e '/act-3"/s/.*/no result/' -e '/act-[014]"/s/sim:400x99/mended/' -e '/act-2"/s/:/ : /'"#;
    let arguments = ["edit", "--state", "dead", "--http-status", "400", "--with", command];
    let asked = world.run(&arguments);
    assert_eq!(asked.status.code(), Some(2), "it asks first: {}", both(&asked));
    let dry = world.run(&[&arguments[..], &["--dry-run"]].concat());
    let said = both(&dry);
    assert!(
        said.contains("-   \"external_status\": \"sim:400x99\"")
            && said.contains("+   \"external_status\": \"mended\""),
        "{said}"
    );
    let counted = |would: &str| format!("3 submissions {would}edited and requeued, 1 unchanged, 1 left alone");
    assert!(said.contains(&counted("would be ")), "{said}");
    assert_eq!(world.list(&["--state", "dead"]).len(), 5, "a dry run changes nothing");
    let output = world.run(&[&arguments[..], &["--yes"]].concat());
    let said = both(&output);
    assert_eq!(output.status.code(), Some(1), "one of them failed: {said}");
    assert!(said.contains(&counted("")) && said.contains("not JSON"), "{said}");
    let delivered = world.wait_for("delivered", 3);
    let story = world.show(delivered[0]["id"].as_i64().unwrap());
    assert!(
        story["history"].to_string().contains("sim:400x99"),
        "the old payload is kept: {story}"
    );
    assert_eq!(world.list(&["--state", "dead"]).len(), 2);
}

#[test]
fn a_command_that_fails_leaves_its_submission_alone_and_one_that_is_not_there_ends_it() {
    let mut world = World::new();
    world.start();
    let ids: Vec<String> = dead(&world, 2).iter().map(|one| one["id"].to_string()).collect();
    let output = world.run(&[
        "edit",
        &ids[0],
        &ids[1],
        "--with",
        "grep act-1 && exit 0; exit 7",
        "--dry-run",
    ]);
    let said = both(&output);
    assert!(
        output.status.code() == Some(1) && said.contains("exit status: 7"),
        "{said}"
    );
    let output = world.run(&["edit", "--state", "dead", "--with", "no-such-command-at-all", "--yes"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot be run"), "{}", both(&output));
    assert_eq!(
        world.run(&["edit", "--with", "cat"]).status.code(),
        Some(2),
        "never all of them by accident"
    );
    assert_eq!(
        world.run(&["edit", "--state", "dead"]).status.code(),
        Some(2),
        "an editor takes one"
    );
    assert_eq!(world.list(&["--state", "dead"]).len(), 2);
}

#[test]
fn a_thousand_corrections_are_all_made() {
    let mut world = World::new();
    world.start();
    let results: Vec<Value> = (0..1000)
        .map(|n| {
            let mut one = result(&format!("act-{n}"), &json!({}));
            one["status"] = json!("DONE");
            one
        })
        .collect();
    world.drop_results("bad.ndjson", &results);
    world.taken();
    let said = world.ok(&[
        "edit",
        "--reason",
        "invalid",
        "--with",
        "sed s/DONE/EFFECTIVE/",
        "--yes",
    ]);
    assert!(said.contains("1000 submissions edited and requeued"), "{said}");
    world.settled();
    assert_eq!(world.status()["counts"]["delivered"], 1000);
}

#[test]
fn what_not_before_holds_is_counted_and_left_to_it() {
    let mut world = World::new();
    world.start();
    world.ok(&["pause"]);
    let mut results: Vec<Value> = (0..5).map(|n| result(&format!("act-{n}"), &json!({}))).collect();
    for one in &mut results[..3] {
        one["$outbox"] = json!({"not_before": "2099-01-01T00:00:00Z"});
    }
    world.drop_results("five.ndjson", &results);
    world.wait_for("pending", 5);
    let told = world.ok(&["requeue", "--state", "pending", "--yes"]);
    assert!(
        told.contains("2 submissions requeued, 3 skipped (3 held by not_before"),
        "{told}"
    );
    assert!(
        world.ok(&["list"]).contains("on 2099-01-01"),
        "a date, and not so many thousand days"
    );
    world.ok(&["resume"]);
    world.wait_for("delivered", 2);
    world.ok(&["requeue", "--state", "pending", "--yes", "--force"]);
    world.wait_for("delivered", 5);
}

#[test]
fn as_root_the_command_of_an_edit_runs_as_the_outboxs_owner() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root becomes another user");
        return;
    }
    let mut world = World::new();
    world.start();
    dead(&world, 1);
    world.stop();
    let owned = Command::new("chown")
        .args(["-R", "65534:65534"])
        .arg(world.path("outbox"))
        .status()
        .unwrap();
    assert!(owned.success());
    fs::set_permissions(world.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = world.run(&[
        "edit",
        "--state",
        "dead",
        "--dry-run",
        "--with",
        "sed s/sim:400x99/$(id -u)/",
    ]);
    assert!(
        both(&output).contains("+   \"external_status\": \"65534\""),
        "{}",
        both(&output)
    );
}

#[test]
fn pause_asks_for_a_reason_and_shows_it_or_that_there_is_none() {
    let mut world = World::new();
    world.start();
    world.ok(&["pause"]);
    assert!(world.ok(&["status"]).contains("no reason"), "{}", world.ok(&["status"]));
    world.ok(&["resume"]);
    if Command::new("script").arg("--version").output().is_err() {
        println!("skipped: no script(1) to make a terminal");
        return;
    }
    let command = format!(
        "{} --config {} pause",
        env!("CARGO_BIN_EXE_reten-outbox"),
        world.config().display()
    );
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"the CRM sends rubbish\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
    assert!(world.ok(&["pause"]).contains(": the CRM sends rubbish"));
}
