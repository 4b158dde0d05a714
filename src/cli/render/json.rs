//! The JSON of `list` and `show` (the README, "Commands"): one object a line, safe on a terminal, the fields of the
//! contract and more.

mod steps;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::model::Origin;
use crate::policy::hint::ApiError;
use crate::store::{Listed, Story};

use super::escape;
use super::outcome::{error_of, hint_of, next_attempt_at, status_of};
use super::story::steps;
use steps::{PayloadView, StepView, body_text};

/// A line of `list --json`.
pub fn listed(listed: &Listed) -> serde_json::Result<String> {
    let text = serde_json::to_string(&ListedView::of(listed))?;
    Ok(escape::json(&text).into_owned())
}

/// The object of `show --json`.
pub fn story(story: &Story) -> serde_json::Result<String> {
    let view = StoryView {
        listed: ListedView::of(&story.listed),
        superseded_by: story.superseded_by.map(|id| id.0),
        payload: PayloadView(&story.payload),
        history: steps(story)
            .iter()
            .map(|step| StepView::of(step, story.listed.id))
            .collect(),
    };
    let text = serde_json::to_string(&view)?;
    Ok(escape::json(&text).into_owned())
}

#[derive(Serialize)]
struct ListedView<'a> {
    id: i64,
    key: Option<&'a str>,
    activity_id: Option<&'a str>,
    provider_activity_id: Option<&'a str>,
    commerce_external_id: Option<&'a str>,
    source: Option<&'a str>,
    state: &'static str,
    reason: Option<&'static str>,
    attempts: u32,
    next_attempt_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
    http_status: Option<u16>,
    error: Option<ApiError>,
    body: Option<String>,
    /// The true length in bytes, where `body` is only the beginning.
    body_length: Option<u64>,
    hint: Option<String>,
    origin: &'a Origin,
    on_conflict: Option<&'static str>,
    not_before: Option<Timestamp>,
    waits_behind: Option<i64>,
    lost_response: bool,
    /// Who sends it at present, where several daemons may share the outbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
}

impl<'a> ListedView<'a> {
    fn of(listed: &'a Listed) -> Self {
        let answer = listed.last.as_ref().and_then(|last| last.answer.as_ref());
        Self {
            id: listed.id.0,
            key: listed.key.as_ref().map(|key| key.0.as_str()),
            activity_id: listed.facts.activity_id.as_deref(),
            provider_activity_id: listed.facts.provider_activity_id.as_deref(),
            commerce_external_id: listed.facts.commerce_external_id.as_deref(),
            source: listed.source.as_deref(),
            state: listed.state.name().into_str(),
            reason: listed.state.reason(),
            attempts: listed.attempts,
            next_attempt_at: next_attempt_at(listed),
            created_at: listed.created_at,
            updated_at: listed.updated_at,
            http_status: listed.last.as_ref().and_then(status_of),
            error: error_of(listed),
            body: answer.map(body_text),
            body_length: answer.map(|answer| answer.body_length),
            hint: hint_of(listed),
            origin: &listed.origin,
            on_conflict: listed.on_conflict.map(|one| one.into_str()),
            not_before: listed.not_before,
            waits_behind: listed.waits_behind.map(|id| id.0),
            lost_response: listed.lost_response,
            node: listed.node.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct StoryView<'a> {
    #[serde(flatten)]
    listed: ListedView<'a>,
    superseded_by: Option<i64>,
    payload: PayloadView<'a>,
    history: Vec<StepView<'a>>,
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cli::render::sample;
    use crate::model::{DeadReason, State};

    /// The fields that programs may rely on.
    const CONTRACT: [&str; 17] = [
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
    ];

    fn value(text: &str) -> Value {
        assert!(!text.contains(['\n', '\u{202e}']), "one line, and safe: {text}");
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_field_of_the_contract_is_there() {
        let sample = sample::story(r#"{"provider_activity_id":"act-1"}"#);
        let (listed, shown) = (value(&listed(&sample.listed).unwrap()), value(&story(&sample).unwrap()));
        for field in CONTRACT {
            assert!(listed.get(field).is_some(), "{field}: {listed}");
            assert_eq!(listed[field], shown[field]);
        }
        assert_eq!(listed["origin"], serde_json::json!({"file": "batch.ndjson", "line": 3}));
        assert_eq!(
            (&listed["state"], &listed["reason"]),
            (&Value::from("dead"), &Value::from("rejected"))
        );
        assert_eq!(listed["http_status"], 400);
        assert!(
            shown["body"].as_str().unwrap().contains("commerce \u{202e}unknown"),
            "the very same text: {shown}"
        );
    }

    #[test]
    fn a_node_is_named_where_there_is_one() {
        let mut sample = sample::story("{}");
        let alone = value(&story(&sample).unwrap());
        assert!(alone.get("node").is_none() && alone["history"][1].get("node").is_none());
        sample.listed.node = Some("beta".into());
        sample.attempts[0].node = Some("alpha".into());
        let shown = value(&story(&sample).unwrap());
        assert_eq!(
            (&shown["node"], &shown["history"][1]["node"]),
            (&"beta".into(), &"alpha".into())
        );
        assert_eq!(value(&listed(&sample.listed).unwrap())["node"], "beta");
    }

    #[test]
    fn a_payload_is_the_json_it_is_and_else_a_text() {
        let digits = r#"{"n":12345678901234567890123.4500,"n":[]}"#;
        assert!(story(&sample::story(digits)).unwrap().contains(digits));
        let broken = value(&story(&sample::story("{\"a\":\n")).unwrap());
        assert_eq!(broken["payload"], "{\"a\":\n");
        let several_lines = value(&story(&sample::story("{\"a\":\n1}")).unwrap());
        assert_eq!(several_lines["payload"]["a"], 1);
    }

    #[test]
    fn history_holds_attempts_and_changes_in_their_order() {
        let shown = value(&story(&sample::story("{}")).unwrap());
        let history = shown["history"].as_array().unwrap();
        assert_eq!(history[0]["detail"], "file batch.ndjson, line 3");
        assert_eq!(history[1]["what"], "attempt");
        assert_eq!(
            (&history[1]["outcome"], &history[1]["elapsed_ms"]),
            (&Value::from("dead"), &Value::from(412))
        );
        assert_eq!(
            (&history[2]["what"], &history[2]["actor"]),
            (&Value::from("requeued"), &Value::from("user ana"))
        );
    }

    #[test]
    fn what_is_invalid_says_so_whatever_came_before() {
        let mut sample = sample::story("{}");
        sample.listed.state = State::Dead(DeadReason::Invalid);
        sample.listed.invalid = Some("status: missing".into());
        let listed = value(&listed(&sample.listed).unwrap());
        assert_eq!(
            listed["error"],
            serde_json::json!({"status_code": null, "error": "invalid", "message": "status: missing"})
        );
    }
}
