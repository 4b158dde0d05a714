//! The `[conflict]` rules: what to do about a 409 (the README, "Configuration", `[conflict]`).
//!
//! The order is the contract's: `accept` after a lost response, then a request that carried `hard_override` already,
//! then the submission's own word, the first rule that matches, the policy. What would override is then held against
//! the two limits that no rule lifts: a superseded submission, and `override_within`.

use crate::clock::Timestamp;
use crate::config::{AfterLostResponse, ConflictRule, ConflictSettings};
use crate::model::{ConflictPolicy, DeadReason, Ending, ParkReason};

/// What is known of a submission whose request was answered with 409. A member of the payload that is missing or cannot
/// be read is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each named where it is used"
)]
pub struct Past<'a> {
    /// An earlier attempt may have reached the API without our seeing the answer.
    pub lost_response: bool,
    /// This request carried `"hard_override": true`, ours or the producer's.
    pub carried_override: bool,
    /// The submission's own word on a 409.
    pub on_conflict: Option<ConflictPolicy>,
    pub source: Option<&'a str>,
    /// `task_result.result`
    pub result: Option<&'a str>,
    pub status: Option<&'a str>,
    pub occurred_at: Option<Timestamp>,
    /// The last delivered result of this activity was ours and older.
    pub registered_by_us: bool,
    /// A later one of its activity has been delivered.
    pub superseded: bool,
    pub now: Timestamp,
}

/// What to do about a 409, and which rule decided: by the name that the configuration or the producer gave it, in words
/// for an operator.
pub fn decide(settings: &ConflictSettings, past: &Past<'_>) -> (Ending, String) {
    let park = Ending::Parked(if past.lost_response {
        ParkReason::ConflictAfterLostResponse
    } else {
        ParkReason::Conflict
    });
    if past.lost_response && settings.after_lost_response == AfterLostResponse::Accept {
        return (Ending::Accepted, "conflict.after_lost_response = \"accept\"".to_owned());
    }
    if past.carried_override {
        return (park, "409 although the request carried hard_override".to_owned());
    }
    let (policy, rule) = wanted(settings, past);
    match policy {
        ConflictPolicy::Park => (park, rule),
        ConflictPolicy::DeadLetter => (Ending::dead(DeadReason::Conflict), rule),
        ConflictPolicy::Override => match forbids_override(settings, past) {
            Some(limit) => (park, format!("{rule}, but {limit}")),
            None => (Ending::Override, rule),
        },
    }
}

/// What the first of those who may speak wants, and who that is.
fn wanted(settings: &ConflictSettings, past: &Past<'_>) -> (ConflictPolicy, String) {
    if let Some(policy) = past.on_conflict {
        return (policy, "the submission's on_conflict".to_owned());
    }
    match settings.rules.iter().position(|rule| matches(rule, past)) {
        Some(place) => (
            settings.rules[place].policy,
            format!("conflict.rules, number {}", place + 1),
        ),
        None => (settings.policy, "conflict.policy".to_owned()),
    }
}

/// Why this one must not be overridden by anything automatic, if so.
fn forbids_override(settings: &ConflictSettings, past: &Past<'_>) -> Option<&'static str> {
    if past.superseded {
        return Some("a later result of this activity is delivered");
    }
    let within = settings.override_within?;
    match past.occurred_at {
        Some(at) if past.now.since(at) <= within => None,
        Some(_) => Some("occurred_at is older than conflict.override_within"),
        None => Some("occurred_at cannot be read, and conflict.override_within needs it"),
    }
}

/// Whether every condition that the rule names holds.
fn matches(rule: &ConflictRule, past: &Past<'_>) -> bool {
    let is_one_of = |wanted: &Option<Vec<String>>, found: Option<&str>| {
        wanted
            .as_ref()
            .is_none_or(|wanted| found.is_some_and(|found| wanted.iter().any(|one| one == found)))
    };
    rule.registered_by_us
        .is_none_or(|wanted| wanted == past.registered_by_us)
        && rule.source.as_deref().is_none_or(|wanted| past.source == Some(wanted))
        && is_one_of(&rule.result, past.result)
        && is_one_of(&rule.status, past.status)
}

#[cfg(test)]
mod tests;
