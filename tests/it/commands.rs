//! Every command, as an operator types it.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{World, both, eventually, result, scripted, stderr, stdout};

/// One of every kind, with the daemon running: 1 delivered, 2 dead (rejected), 3 parked, 4 invalid.
fn assorted(world: &mut World) {
    world.start();
    let mut invalid = result("act-invalid", &json!({}));
    invalid["status"] = json!("DONE");
    let mut keyed = result("act-ok", &json!({}));
    keyed["$outbox"] = json!({"key": "k-1", "source": "crm"});
    world.drop_results(
        "four.ndjson",
        &[
            keyed,
            scripted("act-dead", "404"),
            scripted("act-parked", "409"),
            invalid,
        ],
    );
    world.settled();
    world.wait_for("dead", 2);
}

fn id(world: &World, activity: &str) -> String {
    world.of_activity(activity)["id"].to_string()
}

#[test]
fn list_has_every_field_of_the_contract_and_its_filters_filter() {
    let mut world = World::new();
    assorted(&mut world);
    let all = world.list(&[]);
    assert_eq!(all.len(), 4);
    for field in [
        "id",
        "key",
        "activity_id",
        "provider_activity_id",
        "commerce_external_id",
        "source",
        "state",
        "reason",
        "attempts",
        "next_attempt_at",
        "created_at",
        "updated_at",
        "http_status",
        "error",
        "body",
        "hint",
        "origin",
    ] {
        assert!(all.iter().all(|one| one.get(field).is_some()), "{field}: {all:?}");
    }
    let ids: Vec<i64> = all.iter().map(|one| one["id"].as_i64().unwrap()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] > pair[1]), "newest first: {ids:?}");
    let count = |arguments: &[&str]| world.list(arguments).len();
    assert_eq!(count(&["--state", "dead"]), 2);
    assert_eq!(count(&["--state", "dead", "--reason", "rejected"]), 1);
    assert_eq!(count(&["--http-status", "409"]), 1);
    assert_eq!(count(&["--activity", "act-ok"]), 1);
    assert_eq!(count(&["--source", "crm"]), 1);
    assert_eq!(count(&["--since", "1h"]), 4);
    assert_eq!(count(&["--since", "2099-01-01T00:00:00Z"]), 0);
    let dead = &world.list(&["--reason", "rejected"])[0];
    assert_eq!(
        dead["error"],
        json!({"status_code": 404, "error": "Not Found", "message": dead["error"]["message"]})
    );
    assert_eq!(world.ok(&["list", "--json", "--limit", "2"]).lines().count(), 2);
}

#[test]
fn tables_fit_80_columns_and_carry_no_colour_off_a_terminal() {
    let mut world = World::new();
    assorted(&mut world);
    for arguments in [&["list"][..], &["status"], &["show", "2"]] {
        let text = world.ok(arguments);
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(!text.is_empty());
    }
    let table = stdout(&world.command(&["list"]).env("COLUMNS", "80").output().unwrap());
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    for word in ["delivered", "dead", "parked"] {
        assert!(table.contains(word), "{table}");
    }
}

#[test]
fn show_tells_the_story_and_names_the_commands_that_apply() {
    let mut world = World::new();
    assorted(&mut world);
    let dead = id(&world, "act-dead");
    let text = world.ok(&["show", &dead]);
    for word in ["404", "Not Found", "requeue", "edit", "dismiss", "act-dead"] {
        assert!(text.contains(word), "{word} in {text}");
    }
    let shown = world.show(dead.parse().unwrap());
    assert_eq!(shown["payload"]["provider_activity_id"], "act-dead");
    assert!(!shown["history"].as_array().unwrap().is_empty());
    assert_eq!(world.run(&["show", "99999"]).status.code(), Some(3));
    assert_eq!(world.run(&["show", "x"]).status.code(), Some(2));
}

#[test]
fn status_counts_and_check_exits_1_with_a_reason() {
    let mut world = World::new();
    assorted(&mut world);
    let status = world.status();
    assert_eq!(
        status["counts"],
        json!({"pending": 0, "sending": 0, "delivered": 1, "dead": 2, "parked": 1, "dismissed": 0})
    );
    assert_eq!(
        (status["daemon"].as_str(), status["gate"].as_str()),
        (Some("running"), Some("open"))
    );
    for field in ["oldest_pending_seconds", "gate_reason", "rejected_files"] {
        assert!(status.get(field).is_some(), "{field}: {status}");
    }
    assert!(world.run(&["status", "--check"]).status.success());
    let output = world.run(&["status", "--check", "--max-dead", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("dead"), "{}", both(&output));
    assert_eq!(
        world.run(&["status", "--check", "--max-parked", "0"]).status.code(),
        Some(1)
    );
    world.ok(&["pause"]);
    assert_eq!(world.run(&["status", "--check"]).status.code(), Some(1));
    world.ok(&["resume"]);
    world.stop();
    assert_eq!(world.status()["daemon"], "stopped");
    assert_eq!(world.run(&["status", "--check"]).status.code(), Some(1));
}

#[test]
fn status_shows_the_rest_where_the_rejected_files_cannot_be_read() {
    let mut world = World::new();
    assorted(&mut world);
    world.stop();
    // No directory: it cannot be read, whoever runs this.
    let rejected = world.path("inbox/rejected");
    if rejected.exists() {
        fs::remove_dir_all(&rejected).unwrap();
    }
    fs::write(&rejected, "").unwrap();
    let status = world.status();
    assert_eq!(
        (&status["rejected_files"], &status["counts"]["dead"]),
        (&json!(null), &json!(2))
    );
    let output = world.run(&["status"]);
    assert!(output.status.success(), "{}", both(&output));
    assert!(
        stdout(&output).contains("rejected files  not known, since "),
        "{}",
        both(&output)
    );
}

#[test]
fn override_accept_and_dismiss_settle_what_is_parked() {
    let mut world = World::new();
    world.start();
    world.drop_results(
        "three.ndjson",
        &[
            scripted("act-1", "409"),
            scripted("act-2", "409"),
            scripted("act-3", "409"),
        ],
    );
    world.wait_for("parked", 3);
    world.ok(&["override", &id(&world, "act-1")]);
    world.wait_for("delivered", 1);
    assert!(
        world
            .sandbox
            .bodies()
            .last()
            .unwrap()
            .contains(r#""hard_override":true"#)
    );
    world.ok(&["accept", &id(&world, "act-2")]);
    world.ok(&["dismiss", &id(&world, "act-3")]);
    assert_eq!(world.of_activity("act-2")["state"], "delivered");
    assert_eq!(world.of_activity("act-3")["state"], "dismissed");
    assert_eq!(world.sandbox.requests().len(), 4, "accept and dismiss send nothing");
    let story = world.show(id(&world, "act-3").parse().unwrap());
    assert!(story["history"].to_string().contains("user"), "who did it: {story}");
}

#[test]
fn an_act_from_the_wrong_state_is_refused_with_its_reason() {
    let mut world = World::new();
    assorted(&mut world);
    for verb in ["requeue", "override", "accept", "dismiss"] {
        let output = world.run(&[verb, &id(&world, "act-ok")]);
        assert_eq!(output.status.code(), Some(1), "{verb}");
        assert!(both(&output).contains("delivered"), "{verb}: {}", both(&output));
        assert_eq!(world.run(&[verb, "99999"]).status.code(), Some(3), "{verb}");
        assert_eq!(
            world.run(&[verb]).status.code(),
            Some(2),
            "{verb} without ids or filter"
        );
    }
}

#[test]
fn bulk_acts_ask_or_want_yes_and_a_dry_run_changes_nothing() {
    let mut world = World::new();
    world.start();
    let results: Vec<Value> = (0..30).map(|n| scripted(&format!("act-{n}"), "400")).collect();
    world.drop_results("bad.ndjson", &results);
    world.wait_for("dead", 30);
    let refused = world.run(&["requeue", "--state", "dead"]);
    assert!(
        !refused.status.success(),
        "without a terminal and --yes: {}",
        both(&refused)
    );
    let dry = world.run(&["requeue", "--state", "dead", "--dry-run"]);
    assert!(dry.status.success() && both(&dry).contains("30"), "{}", both(&dry));
    assert_eq!(world.list(&["--state", "dead"]).len(), 30);
    world.ok(&["requeue", "--state", "dead", "--reason", "rejected", "--yes"]);
    world.wait_for("delivered", 30);
}

#[test]
fn ids_come_from_standard_input_too() {
    let mut world = World::new();
    world.start();
    world.drop_results("bad.ndjson", &[scripted("act-1", "400"), scripted("act-2", "400")]);
    let ids: Vec<String> = world
        .wait_for("dead", 2)
        .iter()
        .map(|one| one["id"].to_string())
        .collect();
    let ids = ids.join("\n");
    let output = world.run_with_input(&["requeue", "-"], &ids);
    assert!(output.status.success(), "{}", both(&output));
    world.wait_for("delivered", 2);
}

#[test]
fn edit_corrects_validates_and_keeps_the_old_payload() {
    let mut world = World::new();
    world.start();
    world.drop_results("bad.ndjson", &[scripted("act-1", "400x9")]);
    let id = world.wait_for("dead", 1)[0]["id"].to_string();
    fs::write(
        world.path("wrong.json"),
        result("act-1", &json!({"status": "DONE"})).to_string(),
    )
    .unwrap();
    let output = world.run(&["edit", &id, "--payload", world.path("wrong.json").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("status"), "{}", both(&output));
    fs::write(world.path("right.json"), result("act-1", &json!({})).to_string()).unwrap();
    world.ok(&["edit", &id, "--payload", world.path("right.json").to_str().unwrap()]);
    world.wait_for("delivered", 1);
    let story = world.show(id.parse().unwrap());
    assert!(
        story["history"].to_string().contains("sim:400x9"),
        "the old payload is in the history: {story}"
    );
    assert!(!story["payload"].to_string().contains("sim:"), "{story}");
}

#[test]
fn edit_opens_the_editor() {
    let mut world = World::new();
    world.start();
    world.drop_results("bad.ndjson", &[scripted("act-1", "400x9")]);
    let id = world.wait_for("dead", 1)[0]["id"].to_string();
    world.env("EDITOR", "sed -i s/sim:400x9/fine/").env("VISUAL", "");
    world.ok(&["edit", &id]);
    world.wait_for("delivered", 1);
}

#[test]
fn export_mend_drop_replaces_the_dead_one() {
    let mut world = World::new();
    world.start();
    let mut bad = scripted("act-1", "400x9");
    bad["$outbox"] = json!({"key": "k-1", "source": "crm"});
    world.drop_results("bad.ndjson", &[bad]);
    world.wait_for("dead", 1);
    let exported = world.ok(&["export", "--state", "dead"]);
    assert_eq!(exported.lines().count(), 1);
    world.drop_file("mended.ndjson", exported.replace("sim:400x9", "mended"));
    let delivered = world.wait_for("delivered", 1);
    assert_eq!(delivered[0]["key"], "k-1");
    let replaced = world.wait_for("dismissed", 1);
    assert!(
        world.show(replaced[0]["id"].as_i64().unwrap())["history"]
            .to_string()
            .contains("replaced")
    );
}

#[test]
fn enqueue_works_with_the_daemon_running_or_stopped_and_from_standard_input() {
    let mut world = World::new();
    fs::write(
        world.path("two.ndjson"),
        format!("{}\n{}\n", result("act-1", &json!({})), result("act-2", &json!({}))),
    )
    .unwrap();
    let path = world.path("two.ndjson");
    let said = world.ok(&["enqueue", path.to_str().unwrap()]);
    assert_eq!(said.lines().count(), 2, "{said}");
    world.start();
    world.wait_for("delivered", 2);
    let output = world.run_with_input(&["enqueue"], &result("act-3", &json!({})).to_string());
    assert!(output.status.success(), "{}", both(&output));
    world.wait_for("delivered", 3);
    assert!(path.exists(), "enqueue copies");
}

#[test]
fn enqueue_and_validate_name_what_is_wrong_and_where() {
    let world = World::new();
    let mut bad = result("act-2", &json!({}));
    bad["occurred_at"] = json!("yesterday");
    fs::write(
        world.path("bad.ndjson"),
        format!("{}\n{bad}\nnot json\n", result("act-1", &json!({}))),
    )
    .unwrap();
    let path = world.path("bad.ndjson");
    for verb in ["validate", "enqueue"] {
        let output = world.run(&[verb, path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{verb}: {}", both(&output));
        let said = both(&output);
        assert!(
            said.contains("bad.ndjson:2") && said.contains("occurred_at") && said.contains("bad.ndjson:3"),
            "{verb}: {said}"
        );
    }
    fs::write(world.path("good.json"), result("act-1", &json!({})).to_string()).unwrap();
    assert!(
        world
            .run(&["validate", world.path("good.json").to_str().unwrap()])
            .status
            .success()
    );
    assert_ne!(world.run(&["enqueue", "/nonexistent.json"]).status.code(), Some(0));
}

#[test]
fn purge_deletes_what_is_final_and_old_enough() {
    let mut world = World::new();
    assorted(&mut world);
    assert_eq!(
        world
            .run(&["purge", "--state", "pending", "--older-than", "0"])
            .status
            .code(),
        Some(2)
    );
    world.ok(&["purge", "--state", "delivered", "--older-than", "1h", "--yes"]);
    assert_eq!(world.list(&[]).len(), 4);
    world.ok(&["purge", "--state", "delivered", "--older-than", "0", "--yes"]);
    assert_eq!(world.list(&[]).len(), 3);
}

#[test]
fn delivered_ones_leave_at_once_where_they_are_not_kept() {
    let mut world = World::new();
    world.set("outbox.keep_delivered", "\"0\"").start();
    world.drop_results("one.ndjson", &[result("act-1", &json!({})), scripted("act-2", "400")]);
    eventually("only the dead one is left", || {
        let left = world.list(&[]);
        if left.len() == 1 && left[0]["state"] == "dead" {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

#[test]
fn every_verb_has_a_help_with_an_example() {
    let world = World::new();
    let verbs = [
        "run",
        "demo",
        "sandbox",
        "enqueue",
        "validate",
        "status",
        "list",
        "show",
        "requeue",
        "override",
        "accept",
        "dismiss",
        "edit",
        "export",
        "pause",
        "resume",
        "purge",
        "check-config",
        "completions",
        "man",
    ];
    let overview = world.ok(&["--help"]);
    for verb in verbs {
        assert!(overview.contains(verb), "{verb}");
        let help = world.ok(&[verb, "--help"]);
        assert!(
            help.contains(&format!("reten-outbox {verb}")) && help.to_lowercase().contains("example"),
            "{verb}: {help}"
        );
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(world.ok(&["completions", shell]).contains("reten-outbox"));
    }
    assert!(world.ok(&["man"]).contains(".TH"));
    assert!(world.ok(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
    assert_eq!(world.run(&["frobnicate"]).status.code(), Some(2));
}

#[test]
fn commands_work_before_the_first_start() {
    let world = World::new();
    assert!(world.list(&[]).is_empty());
    assert_eq!(world.status()["daemon"], "stopped");
    assert_eq!(world.run(&["show", "1"]).status.code(), Some(3));
    assert!(!world.path("outbox/outbox.db").exists(), "looking creates nothing");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut world = World::new();
    world.start();
    let results: Vec<Value> = (0..2000).map(|n| result(&format!("act-{n}"), &json!({}))).collect();
    world.ok(&["pause"]);
    world.drop_results("many.ndjson", &results);
    world.wait_for("pending", 2000);
    let mut child = world.command(&["list", "--json", "--limit", "0"]);
    let mut child = child
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!stderr(&output).contains("panic"), "{}", both(&output));
}
