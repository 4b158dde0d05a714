//! A payload against the API's documented contract and the list of result types.
//!
//! What is refused here would be refused there with a 400. Where the docs leave room, the payload gets the benefit of
//! the doubt: a good result held back is worse than a bad one answered with 400.

mod members;
#[cfg(test)]
mod tests;
mod violation;

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::config::{ValidationMode, ValidationSettings};
use crate::model::payload::{HARD_OVERRIDE, Object};

use members::{Members, is_object};
pub use violation::{Rule, Violation, refusal};

/// One result type as the API lists it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultType {
    /// What `task_result.result` must hold.
    pub code: String,
    /// For people.
    #[serde(default)]
    pub label: String,
    /// Whether `future_scheduled_at` must be there and lie in the future.
    #[serde(default)]
    pub requires_future_scheduled_at: bool,
}

/// What results are judged by.
#[derive(Debug, Clone)]
pub struct Criteria {
    pub settings: ValidationSettings,
    /// The tenant's list, where it is known and asked for. An empty one is taken for unknown, because a tenant without
    /// result types could submit nothing at all.
    pub result_types: Option<Arc<[ResultType]>>,
    /// A date that is to lie in the future is compared with it.
    pub now: Timestamp,
}

impl Criteria {
    /// The list counts only where `validation.result_types` says so.
    pub fn new(settings: &ValidationSettings, result_types: Option<Arc<[ResultType]>>, now: Timestamp) -> Self {
        Self {
            result_types: result_types.filter(|_| settings.result_types),
            settings: settings.clone(),
            now,
        }
    }
}

/// Everything by which an object breaks the contract, in the contract's order; nothing where `validation.mode` is
/// `off`. A member that is `null` counts as absent. The `$outbox` member is the caller's to check.
pub fn validate(object: &Object<'_>, criteria: &Criteria) -> Vec<Violation> {
    match criteria.settings.mode {
        ValidationMode::Off => return Vec::new(),
        ValidationMode::Strict | ValidationMode::Warn => {}
    }
    let mut top = Members::at(object, "");
    top.activity();
    top.required_text("commerce_external_id");
    if let Some(text) = top.required_text("occurred_at") {
        top.date("occurred_at", &text);
    }
    if let Some(status) = top.required_text("status") {
        top.one_of("status", &status, &criteria.settings.statuses);
    }
    top.text("external_status");
    top.of_kind(HARD_OVERRIDE, "true or false", |raw| matches!(raw, "true" | "false"));
    top.of_kind("raw_payload", "an object", is_object);
    match top.present("task_result").map(|raw| (raw, Object::parse(raw))) {
        None => top.violated("task_result", Rule::Missing),
        Some((_, Ok(task_result))) => top.violations.extend(validate_task_result(
            &task_result,
            criteria.result_types.as_deref(),
            criteria.now,
        )),
        Some((_, Err(_))) => top.violated("task_result", Rule::NotA("an object")),
    }
    top.violations
}

fn validate_task_result(
    task_result: &Object<'_>,
    result_types: Option<&[ResultType]>,
    now: Timestamp,
) -> Vec<Violation> {
    let mut members = Members::at(task_result, "task_result.");
    let code = members.required_text("result");
    let known = result_types.filter(|types| !types.is_empty());
    let result_type = code.as_ref().zip(known).and_then(|(code, types)| {
        let found = types.iter().find(|known| known.code == *code);
        if found.is_none() {
            members.violated(
                "result",
                Rule::NoResultType(types.iter().map(|known| known.code.clone()).collect()),
            );
        }
        found
    });
    members.text("comment");
    if let Some(contact) = members.text("contact_type") {
        members.one_of("contact_type", &contact, &["INBOUND", "OUTBOUND"]);
    }
    members.text("operator_external_id");
    let scheduling = result_type.filter(|known| known.requires_future_scheduled_at);
    members.schedule(scheduling.map(|known| known.code.as_str()), now);
    members.of_kind("payload", "an object", is_object);
    members.violations
}
