//! Export, mend, drop: each twin takes the place of its original, whatever way it comes, and nobody else can make one.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{World, both, eventually, result, scripted};

/// More than one chunk of intake.
const MANY: usize = 1200;

fn counts(world: &World, expected: &Value) {
    eventually(&format!("{expected}"), || {
        let counts = world.status()["counts"].clone();
        let wanted = expected.as_object().unwrap();
        if wanted.iter().all(|(state, count)| counts[state] == *count) {
            Ok(())
        } else {
            Err(counts.to_string())
        }
    });
}

/// `$outbox.replaces` of the only line of an export.
fn token(world: &World, id: &Value) -> String {
    let exported = world.ok(&["export", "--activity", id.as_str().unwrap()]);
    let line: Value = serde_json::from_str(exported.lines().next().unwrap()).unwrap();
    line["$outbox"]["replaces"].as_str().unwrap().to_owned()
}

/// A result that claims to replace.
fn claiming(activity: &str, token: &str) -> Value {
    let mut one = result(activity, &json!({}));
    one["$outbox"] = json!({"replaces": token});
    one
}

#[test]
fn many_without_keys_are_exported_mended_and_dropped_and_no_original_stays_dead() {
    let mut world = World::new();
    world.start();
    let wrong: Vec<Value> = (0..MANY)
        .map(|n| {
            let mut one = result(&format!("act-{n}"), &json!({}));
            one["status"] = json!("DONE");
            one
        })
        .collect();
    world.drop_results("wrong.ndjson", &wrong);
    counts(&world, &json!({"dead": MANY}));
    let exported = world.ok(&["export", "--state", "dead"]);
    assert_eq!(exported.lines().count(), MANY);
    let mended = exported.replace("DONE", "EFFECTIVE");
    world.drop_file("mended.ndjson", &mended);
    counts(&world, &json!({"delivered": MANY, "dismissed": MANY, "dead": 0}));
    // The same file once more, by mistake.
    world.drop_file("again.ndjson", &mended);
    world.taken();
    counts(
        &world,
        &json!({"delivered": MANY, "dismissed": MANY, "dead": 0, "pending": 0}),
    );
    assert_eq!(world.sandbox.requests().len(), MANY);
    assert_eq!(world.events("duplicate").len(), MANY);
}

#[test]
fn by_file_row_and_enqueue_a_twin_replaces_what_is_dead_parked_or_dismissed() {
    let mut world = World::new();
    world.start();
    world.drop_results(
        "three.ndjson",
        &[
            scripted("act-dead", "400"),
            scripted("act-parked", "409x9"),
            scripted("act-dismissed", "400"),
        ],
    );
    counts(&world, &json!({"dead": 2, "parked": 1}));
    let dismissed = world.of_activity("act-dismissed")["id"].to_string();
    world.ok(&["dismiss", &dismissed]);
    let tokens = ["act-dead", "act-parked", "act-dismissed"].map(|name| token(&world, &json!(name)));
    world.insert(&claiming("act-dead", &tokens[0]));
    world.drop_results("twin.ndjson", &[claiming("act-parked", &tokens[1])]);
    let output = world.run_with_input(&["enqueue"], &claiming("act-dismissed", &tokens[2]).to_string());
    assert!(output.status.success(), "{}", both(&output));
    counts(&world, &json!({"delivered": 3, "dismissed": 3}));
    for name in ["act-dead", "act-parked", "act-dismissed"] {
        let both = world.list(&["--activity", name]);
        let (new, old) = (&both[0]["id"], &both[1]["id"]);
        let of_old = world.show(old.as_i64().unwrap())["history"].to_string();
        let of_new = world.show(new.as_i64().unwrap())["history"].to_string();
        assert!(
            of_old.contains("\"replaced\"") && of_old.contains(&format!("submission {new} took its place")),
            "{of_old}"
        );
        assert!(
            of_new.contains("\"replaces\"") && of_new.contains(&format!("submission {old}")),
            "{of_new}"
        );
        let told = world.ok(&["show", &old.to_string()]);
        assert!(
            told.contains(&format!("Nothing: submission {new} took its place")),
            "{told}"
        );
    }
    assert!(
        !world.sandbox.bodies().iter().any(|body| body.contains("replaces")),
        "it is taken out before sending"
    );
}

#[test]
fn a_producer_cannot_close_what_is_others() {
    let mut world = World::new();
    world.start();
    world.drop_results("bad.ndjson", &[scripted("act-1", "400x9"), scripted("act-2", "400x9")]);
    counts(&world, &json!({"dead": 2}));
    let id = world.of_activity("act-1")["id"].to_string();
    let other = token(&world, &json!("act-2"));
    let mark = other.split_once('-').unwrap().1;
    let forged = [
        format!("{id}-{mark}"),
        format!("{id}-{}", "A".repeat(43)),
        format!("999-{mark}"),
        id.clone(),
        format!("{id}-"),
    ];
    let twins: Vec<Value> = forged
        .iter()
        .enumerate()
        .map(|(n, token)| claiming(&format!("evil-{n}"), token))
        .collect();
    world.drop_results("evil.ndjson", &twins);
    world.insert(&claiming("evil-row", &forged[0]));
    counts(
        &world,
        &json!({"dead": 2 + forged.len() + 1, "dismissed": 0, "delivered": 0}),
    );
    let said = |name: &str| world.of_activity(name)["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(said("evil-0"), said("evil-2"), "nobody learns which numbers there are");
    assert!(
        said("evil-0").contains("$outbox.replaces: no submission of this outbox has this token"),
        "{}",
        said("evil-0")
    );
    assert!(said("evil-3").contains("is no token"), "{}", said("evil-3"));
    assert!(!world.log().contains(mark), "a mark in the log is a key under the mat");
    // In any other state it is left alone, and the twin says so.
    let right = token(&world, &json!("act-1"));
    world.ok(&["requeue", &id]);
    counts(&world, &json!({"dead": 2 + forged.len() + 1}));
    world.ok(&["pause"]);
    world.ok(&["requeue", &id]);
    world.drop_results("late.ndjson", &[claiming("late", &right)]);
    eventually("the late twin", || {
        let found = world.list(&["--activity", "late"]);
        if found.is_empty() { Err(String::new()) } else { Ok(()) }
    });
    assert!(
        said("late").contains(&format!("submission {id} is pending")),
        "{}",
        said("late")
    );
}

#[test]
fn validate_knows_the_directive_and_an_edit_ignores_its_own_token() {
    let mut world = World::new();
    world.start();
    world.drop_results("bad.ndjson", &[scripted("act-1", "400x9"), scripted("act-2", "400x9")]);
    counts(&world, &json!({"dead": 2}));
    let (own, other) = (token(&world, &json!("act-1")), token(&world, &json!("act-2")));
    let id = world.of_activity("act-1")["id"].to_string();
    let file = |token: &str| {
        fs::write(world.path("line.json"), claiming("act-1", token).to_string()).unwrap();
        world.path("line.json").display().to_string()
    };
    world.ok(&["validate", &file(&own)]);
    assert_eq!(world.run(&["validate", &file("4711")]).status.code(), Some(1));
    let refused = world.run(&["edit", &id, "--payload", &file(&other)]);
    assert!(
        refused.status.code() == Some(1) && both(&refused).contains("names submission"),
        "{}",
        both(&refused)
    );
    world.ok(&["edit", &id, "--payload", &file(&own)]);
    counts(&world, &json!({"delivered": 1, "dead": 1, "dismissed": 0}));
}
