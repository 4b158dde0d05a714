//! What is wrong with a configuration is named: file, line, key, what was found, what would be right. Exit 78.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::harness::{KEY, World, both, stderr, stdout};

fn problem(world: &World, arguments: &[&str]) -> String {
    let output = world.run(arguments);
    assert_eq!(output.status.code(), Some(78), "{}", both(&output));
    stderr(&output)
}

#[test]
fn wrong_values_and_unknown_keys_are_named_with_their_line() {
    let cases = [
        ("retry.max_interval", "\"10 minutes\"", "retry.max_interval"),
        ("retry.max_intervall", "\"10m\"", "max_interval"),
        ("delivery.max_in_flight", "1.7", "max_in_flight"),
        ("delivery.max_in_flight", "\"7\"", "max_in_flight"),
        ("delivery.max_in_flight", "0", "max_in_flight"),
        ("api.base_url", "\"http://example.com\"", "base_url"),
        ("api.base_url", "\"api.reten.ai\"", "base_url"),
        ("conflict.policy", "\"overwrite\"", "override"),
        ("log.level", "\"loud\"", "info"),
        ("outbox.database", "\"postgres://localhost/x\"", "outbox.database"),
        ("inbox.max_result_size", "\"1 potato\"", "max_result_size"),
        ("nonsense.key", "1", "nonsense"),
    ];
    for (key, value, expected) in cases {
        let mut world = World::new();
        world.set(key, value);
        for verb in ["check-config", "run"] {
            let said = problem(&world, &[verb]);
            assert!(
                said.contains(expected) && said.contains("config.toml:"),
                "{key} = {value}: {said}"
            );
        }
    }
}

#[test]
fn in_the_journal_every_line_of_a_failure_has_the_priority_of_an_error() {
    let mut world = World::new();
    world.set("retry.multiplier", "0.5").set("log.level", "\"loud\"");
    let path = world.path("stderr");
    let told = |stream: &str| {
        let to = fs::File::create(&path).unwrap();
        let meta = to.metadata().unwrap();
        let of_file = format!("{}:{}", meta.dev(), meta.ino());
        let stream = if stream.is_empty() { of_file } else { stream.to_owned() };
        let status = world
            .command(&["run"])
            .env("JOURNAL_STREAM", stream)
            .stderr(to)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(78));
        fs::read_to_string(&path).unwrap()
    };
    let entries = told("");
    assert!(
        entries.lines().count() > 1 && entries.lines().all(|line| line.starts_with("<3>")),
        "{entries}"
    );
    // A shell in the service has the variable, too, and sends its standard error elsewhere.
    assert!(!told("1:1").contains("<3>"));
}

#[test]
fn every_problem_is_told_in_one_go() {
    let mut world = World::new();
    world
        .set("retry.multiplier", "0.5")
        .set("log.level", "\"loud\"")
        .set("auth.prob_interval", "\"1s\"");
    let said = problem(&world, &["check-config"]);
    for key in ["multiplier", "log.level", "prob_interval"] {
        assert!(said.contains(key), "{key}: {said}");
    }
}

#[test]
fn check_config_prints_what_is_in_force_and_hides_the_secrets() {
    let mut world = World::new();
    world.env("RETEN_OUTBOX__RETRY__MAX_INTERVAL", "5m");
    let text = world.ok(&["check-config"]);
    assert!(text.contains("max_interval = \"5m\""), "{text}");
    assert!(!text.contains(KEY));
    fs::write(world.path("again.toml"), &text).unwrap();
    let output = crate::harness::program()
        .arg("--config")
        .arg(world.path("again.toml"))
        .arg("check-config")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "what it prints is a configuration: {}",
        both(&output)
    );
}

#[test]
fn an_unknown_variable_and_a_wrong_one_are_errors_that_name_it() {
    let mut world = World::new();
    world.env("RETEN_OUTBOX__RETRY__MAX_INTERVALL", "5m");
    assert!(problem(&world, &["check-config"]).contains("RETEN_OUTBOX__RETRY__MAX_INTERVALL"));
    let mut world = World::new();
    world.env("RETEN_OUTBOX__DELIVERY__MAX_IN_FLIGHT", "many");
    assert!(problem(&world, &["check-config"]).contains("RETEN_OUTBOX__DELIVERY__MAX_IN_FLIGHT"));
}

#[test]
fn a_missing_file_that_was_named_is_an_error() {
    let world = World::new();
    let output = crate::harness::program()
        .args(["--config", "/nonexistent/x.toml", "check-config"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("/nonexistent/x.toml"));
    drop(world);
}

#[test]
fn a_malformed_key_is_refused_without_being_shown_and_blanks_at_its_ends_are_cut() {
    for key in ["rtn_sk_two words", "rtn_sk_two\nlines", "rtn_sk_ü", "", "  \n"] {
        let world = World::new();
        fs::write(world.path("api-key"), key).unwrap();
        for verb in ["run", "check-config"] {
            let output = world.run(&[verb]);
            assert_eq!(output.status.code(), Some(78), "{verb} {key:?}: {}", both(&output));
            assert!(stderr(&output).contains("api-key"), "{}", both(&output));
            assert!(
                !both(&output).contains("rtn_sk_two"),
                "the key is never shown: {}",
                both(&output)
            );
        }
    }
    let mut world = World::new();
    fs::write(world.path("api-key"), format!(" \t{KEY}\r\n\n")).unwrap();
    world.start();
    world.drop_results("one.ndjson", &[crate::harness::result("act-1", &serde_json::json!({}))]);
    world.wait_for("delivered", 1);
}

#[test]
fn no_key_is_a_warning_for_check_config_and_78_for_run() {
    let world = World::new();
    fs::remove_file(world.path("api-key")).unwrap();
    let output = world.run(&["check-config"]);
    assert!(output.status.success(), "{}", both(&output));
    assert!(stderr(&output).contains("key"), "{}", both(&output));
    assert!(problem(&world, &["run"]).contains("api-key"));
}

#[test]
fn the_key_comes_from_the_credentials_first_and_the_environment_last() {
    let mut world = World::new();
    fs::write(world.path("api-key"), "rtn_sk_wrong").unwrap();
    fs::create_dir(world.path("credentials")).unwrap();
    fs::write(world.path("credentials/api-key"), KEY).unwrap();
    let credentials = world.path("credentials").display().to_string();
    world.env("CREDENTIALS_DIRECTORY", &credentials).start();
    world.drop_results("one.ndjson", &[crate::harness::result("act-1", &serde_json::json!({}))]);
    world.wait_for("delivered", 1);

    let mut world = World::new();
    fs::remove_file(world.path("api-key")).unwrap();
    world.env("RETEN_API_KEY", KEY).start();
    world.drop_results("one.ndjson", &[crate::harness::result("act-1", &serde_json::json!({}))]);
    world.wait_for("delivered", 1);
}

#[test]
fn missing_and_unwritable_directories_are_named() {
    let mut world = World::new();
    let missing = world.path("nowhere/inbox");
    world.set("inbox.dir", &format!("{:?}", missing.display().to_string()));
    assert!(problem(&world, &["run"]).contains("nowhere/inbox"));
    let mut world = World::new();
    let file = world.path("config.toml");
    world.set("inbox.dir", &format!("{:?}", file.display().to_string()));
    assert!(problem(&world, &["run"]).contains("config.toml"));
    let mut world = World::new();
    let outbox = world.path("no/such/place/outbox.db");
    world.set("outbox.database", &format!("{:?}", outbox.display().to_string()));
    assert!(problem(&world, &["run"]).contains("no/such/place"));
}

#[test]
fn a_reload_is_all_or_nothing() {
    let mut world = World::new();
    world.set("conflict.policy", "\"park\"").start();
    world.set("conflict.policy", "\"overwrite\"");
    world.signal("HUP");
    assert!(
        world.event("reload_failed")["error"]
            .as_str()
            .unwrap()
            .contains("conflict.policy")
    );
    world.set("conflict.policy", "\"park\"");
    world.drop_results("one.ndjson", &[crate::harness::scripted("act-1", "409")]);
    world.wait_for("parked", 1);
    world.set("conflict.policy", "\"dead_letter\"");
    world.signal("HUP");
    world.event("reloaded");
    world.drop_results("two.ndjson", &[crate::harness::scripted("act-2", "409")]);
    world.wait_for("dead", 1);
    assert!(stdout(&world.run(&["status"])).contains("running"));
}

#[test]
fn the_manual_shows_every_key_with_its_default() {
    let manual = include_str!("../../README.md");
    let settings = include_str!("../../config/config.toml")
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains(" = "));
    let missing: Vec<&str> = settings
        .filter(|line| !manual.lines().any(|shown| shown == *line))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
