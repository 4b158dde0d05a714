//! `retry.max_age`: age is time that passed.

use serde_json::{Value, json};

use crate::harness::{World, eventually, scripted};

#[test]
fn a_wait_that_was_cut_short_is_not_counted_as_served() {
    let mut world = World::new();
    world
        .set("retry.max_interval", "\"10m\"")
        .set("retry.max_age", "\"10m\"");
    world.start();
    // Each answer asks for the whole of `max_age`.
    let results: Vec<Value> = (0..5).map(|n| scripted(&format!("act-{n}"), "503@600x99")).collect();
    world.drop_results("outage.ndjson", &results);
    eventually("an outage", || {
        let status = world.status();
        if status["gate"] == "probing" {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    for _ in 0..8 {
        let before = world.sandbox.requests().len();
        // A person cuts the wait short.
        world.ok(&["resume"]);
        eventually("a probe", || {
            let requests = world.sandbox.requests().len();
            if requests > before { Ok(()) } else { Err(world.log()) }
        });
    }
    world.wait_for("pending", 5);
    assert_eq!(world.status()["counts"]["dead"], json!(0));
}
