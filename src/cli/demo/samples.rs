//! The results that the demo drops: what a CRM might send after a day of visits and calls.

use serde_json::{Value, json};

use crate::clock::Timestamp;

/// The activity that has a result already: submitting another one is answered with 409.
pub(super) const TAKEN_ACTIVITY: &str = "visit-1005";

/// The commerce that the tenant does not have: answered with 404.
pub(super) const UNKNOWN_COMMERCE: &str = "COM-404";

/// A result that the API takes, for an activity, handled just now.
pub(super) fn result(activity: &str, now: Timestamp) -> Value {
    json!({
        "provider_activity_id": activity,
        "commerce_external_id": "COM-1",
        "occurred_at": now.to_string(),
        "status": "EFFECTIVE",
        "task_result": {"result": "SALE_COMPLETED", "comment": "Two boxes for Tuesday"},
    })
}

/// The same with one member set to something else.
pub(super) fn with(mut result: Value, member: &str, value: Value) -> Value {
    result[member] = value;
    result
}

/// The same without a member.
pub(super) fn without(mut result: Value, member: &str) -> Value {
    if let Some(members) = result.as_object_mut() {
        members.remove(member);
    }
    result
}

/// The same with a script for the sandbox.
pub(super) fn scripted(result: Value, script: &str) -> Value {
    with(result, "external_status", json!(format!("sim:{script}")))
}
