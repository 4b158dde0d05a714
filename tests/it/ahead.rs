//! What is claimed ahead of the slots.

use serde_json::{Value, json};

use crate::harness::{World, eventually, result};

fn results(count: usize) -> Vec<Value> {
    (0..count).map(|n| result(&format!("act-{n}"), &json!({}))).collect()
}

/// Pending and sending, of now.
fn counts(world: &World) -> (u64, u64) {
    let counts = world.status()["counts"].clone();
    (counts["pending"].as_u64().unwrap(), counts["sending"].as_u64().unwrap())
}

#[test]
fn what_is_claimed_ahead_is_bounded_and_goes_back_uncharged_at_a_pause() {
    let mut world = World::new();
    world.set("delivery.max_in_flight", "2").set("api.timeout", "\"60s\"");
    world.sandbox.settings(&json!({"step_for_all": "hold"}));
    world.start();
    world.drop_results("many.ndjson", &results(100));
    eventually("two on the wire and 64 claimed ahead", || match counts(&world) {
        (34, 66) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    world.ok(&["pause", "--why", "a look"]);
    eventually("those ahead given back", || match counts(&world) {
        (98, 2) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let waiting = world.list(&["--state", "pending"]);
    assert!(
        waiting.iter().all(|one| one["attempts"] == 0),
        "nothing of them was charged"
    );
    world.sandbox.settings(&json!({"step_for_all": null}));
    world.sandbox.release();
    world.ok(&["resume"]);
    world.wait_for("delivered", 100);
    assert_eq!(world.sandbox.bodies().len(), 100, "each was sent once");
}

#[test]
fn what_was_claimed_ahead_of_a_crash_is_delivered_once() {
    let mut world = World::new();
    world.set("delivery.max_in_flight", "2").set("api.timeout", "\"60s\"");
    world.sandbox.settings(&json!({"step_for_all": "hold"}));
    world.start();
    world.drop_results("many.ndjson", &results(100));
    eventually("claims ahead", || match counts(&world) {
        (34, 66) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    world.kill();
    world.sandbox.settings(&json!({"step_for_all": null}));
    world.sandbox.release();
    world.start();
    // The two on the wire may be registered although their answers were lost; the others never left.
    eventually("everything settled", || match counts(&world) {
        (0, 0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let parked = world.list(&["--state", "parked"]);
    assert!(parked.len() <= 2, "{parked:?}");
    assert!(
        parked.iter().all(|one| one["reason"] == "conflict_after_lost_response"),
        "{parked:?}"
    );
    assert_eq!(world.list(&["--state", "delivered"]).len() + parked.len(), 100);
}
