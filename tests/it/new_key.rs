//! A new key: one way that always works, a restart, and nobody is left to believe that a key is in force which the
//! daemon does not hold.

use std::fs;

use serde_json::json;

use crate::harness::{KEY, World, eventually, result};

/// A daemon whose key is a credential, as systemd hands it over, and is refused; a good one lies in `api.key_file`
/// already.
fn refused_credential() -> World {
    let mut world = World::new();
    let credentials = world.path("credentials/reten-outbox@acme.service");
    fs::create_dir_all(&credentials).unwrap();
    fs::write(credentials.join("api-key"), "rtn_sk_an_old_one").unwrap();
    world.env("CREDENTIALS_DIRECTORY", &credentials.display().to_string());
    world.set("auth.probe_interval", "\"1h\"").start();
    world.drop_results("one.ndjson", &[result("act-1", &json!({}))]);
    world.event_where("gate", |line| line["to"] == "unauthorized");
    world.wait_for("dead", 1);
    world
}

#[test]
fn resume_says_that_the_daemon_still_holds_the_key_of_its_start() {
    let mut world = refused_credential();
    let said = world.ok(&["resume"]);
    for words in [
        "still holds the key of its start",
        "`systemctl restart reten-outbox@acme`",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // With that one in place as well, there is nothing that a restart would bring.
    fs::write(world.path("api-key"), "rtn_sk_an_old_one\n").unwrap();
    let said = world.ok(&["resume"]);
    assert!(said.contains("the very key that is in"), "{said}");
    fs::write(world.path("credentials/reten-outbox@acme.service/api-key"), KEY).unwrap();
    fs::write(world.path("api-key"), KEY).unwrap();
    world.stop().start();
    world.wait_for("delivered", 1);
    let said = world.ok(&["resume"]);
    assert!(!said.contains("holds"), "{said}");
}

#[test]
fn a_key_file_that_changes_behind_a_credential_is_told_in_the_log() {
    let world = refused_credential();
    fs::write(world.path("api-key"), format!("{KEY} \n")).unwrap();
    let warning = world.event_where("warning", |line| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.contains("api-key changed"))
    });
    assert!(
        warning["hint"]
            .as_str()
            .unwrap()
            .contains("systemctl restart reten-outbox@acme"),
        "{warning}"
    );
}

#[test]
fn a_key_that_only_root_may_read_is_not_compared_but_the_way_is_told() {
    let world = refused_credential();
    fs::remove_file(world.path("api-key")).unwrap();
    let said = world.ok(&["resume"]);
    assert!(
        said.contains("one that was put in place since needs `systemctl restart reten-outbox@acme`"),
        "{said}"
    );
}

#[test]
fn the_outbox_keeps_no_key_to_compare_with() {
    let world = refused_credential();
    let held = eventually("a held key", || {
        let found = world.column("outbox/outbox.db", "SELECT value FROM memory WHERE name = 'held_key'");
        found.first().cloned().ok_or_else(|| "none".to_owned())
    });
    assert!(!held.contains("rtn_sk"), "{held}");
}

#[test]
fn the_way_to_a_new_key_is_the_same_wherever_it_is_told() {
    const WAY: &str = "a good key in place, then `systemctl restart reten-outbox`";
    let world = refused_credential();
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let readme = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(readme.matches(WAY).count() >= 2, "install part and table");
    let gate = world.event_where("gate", |line| line["to"] == "unauthorized");
    let dead = world.event("dead_lettered");
    for line in [gate, dead] {
        assert!(line["hint"].as_str().unwrap().contains(WAY), "{line}");
    }
    assert!(world.status()["gate_hint"].as_str().unwrap().contains(WAY));
    assert!(world.ok(&["man"]).contains("systemctl restart reten"), "manual");
}
