//! `not_before`: it holds until it has passed, whatever is done to a submission meanwhile, and is shown as it is.

use serde_json::json;

use crate::harness::{World, both, result};

const FAR: &str = "2099-01-01T00:00:00.000Z";

#[test]
fn what_not_before_holds_is_held_through_a_correction_and_sent_by_a_forced_requeue_only() {
    let mut world = World::new();
    world.start();
    let wrong = json!({"status": "WRONG", "$outbox": {"not_before": FAR}});
    world.drop_results("one.ndjson", &[result("held", &wrong)]);
    let id = world.wait_for("dead", 1)[0]["id"].as_i64().unwrap();
    let corrected = world.path("corrected.json");
    std::fs::write(&corrected, result("held", &json!({})).to_string()).unwrap();
    let payload = ["--payload", corrected.to_str().unwrap()];
    // Twice: of a dead letter, and of a pending one.
    for _ in 0..2 {
        world.ok(&["edit", &id.to_string(), payload[0], payload[1]]);
        let held = world.of_activity("held");
        assert_eq!(
            (&held["state"], &held["next_attempt_at"]),
            (&json!("pending"), &json!(FAR))
        );
        assert_eq!(world.show(id)["not_before"], FAR);
    }
    let refused = world.run(&["requeue", &id.to_string()]);
    assert_eq!(refused.status.code(), Some(1), "{}", both(&refused));
    assert!(
        both(&refused).contains("is held until 2099-01-01"),
        "{}",
        both(&refused)
    );
    // One of another activity that is delivered: the daemon had its chance.
    world.drop_results("two.ndjson", &[result("other", &json!({}))]);
    world.wait_for("delivered", 1);
    assert_eq!(world.sandbox.requests().len(), 1);
    world.ok(&["requeue", &id.to_string(), "--force"]);
    world.wait_for("delivered", 2);
    let shown = world.show(id);
    assert!(shown["not_before"].is_null(), "{shown}");
    assert!(
        shown["history"]
            .to_string()
            .contains("not_before held it until 2099-01-01"),
        "{shown}"
    );
}
