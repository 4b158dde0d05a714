//! The `history` of `show --json`: attempts and every other change, in their order.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::cli::render::outcome::{error_of_attempt, status_of};
use crate::cli::render::story::{StoryStep, TAKEN, origin};
use crate::clock::Timestamp;
use crate::model::{Answer, Attempt, Origin, Payload, SubmissionId};
use crate::policy::hint::{self, ApiError};
use crate::store::{Event, Listed};

/// A step of `history`.
#[derive(Serialize)]
#[serde(untagged)]
pub enum StepView<'a> {
    Attempt(Box<AttemptView<'a>>),
    Event(EventView<'a>),
}

/// A request that ended.
#[derive(Serialize)]
pub struct AttemptView<'a> {
    at: Timestamp,
    actor: &'static str,
    what: &'static str,
    detail: &'static str,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    outcome: &'static str,
    elapsed_ms: u64,
    hard_override: bool,
    lost_response: bool,
    http_status: Option<u16>,
    headers: Option<BTreeMap<&'a str, &'a str>>,
    error: Option<ApiError>,
    body: Option<String>,
    body_length: Option<u64>,
    hint: Option<String>,
}

#[derive(Serialize)]
pub struct EventView<'a> {
    at: Timestamp,
    actor: &'a str,
    what: &'a str,
    detail: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_payload: Option<PayloadView<'a>>,
}

impl<'a> StepView<'a> {
    /// With the submission's number, which hints name.
    pub fn of(step: &StoryStep<'a>, id: SubmissionId) -> Self {
        match step {
            StoryStep::Taken(listed) => Self::Event(EventView::taken(listed)),
            StoryStep::Attempt(attempt) => Self::Attempt(Box::new(AttemptView::of(attempt, id))),
            StoryStep::Event(event) => Self::Event(EventView::of(event)),
        }
    }
}

impl<'a> AttemptView<'a> {
    fn of(attempt: &'a Attempt, id: SubmissionId) -> Self {
        let headers = |answer: &'a Answer| {
            let pairs = answer.headers.iter();
            pairs.map(|(name, value)| (name.as_str(), value.as_str())).collect()
        };
        Self {
            at: attempt.started_at,
            actor: "daemon",
            what: "attempt",
            detail: attempt.outcome.into_str(),
            attempt: attempt.number.0,
            node: attempt.node.as_deref(),
            outcome: attempt.outcome.into_str(),
            elapsed_ms: attempt.elapsed_ms,
            hard_override: attempt.hard_override,
            lost_response: attempt.lost_response,
            http_status: status_of(attempt),
            headers: attempt.answer.as_ref().map(headers),
            error: error_of_attempt(attempt),
            body: attempt.answer.as_ref().map(body_text),
            body_length: attempt.answer.as_ref().map(|answer| answer.body_length),
            hint: hint::of_attempt(attempt, Some(id)),
        }
    }
}

impl<'a> EventView<'a> {
    /// How it came in.
    fn taken(listed: &'a Listed) -> Self {
        Self {
            at: listed.created_at,
            actor: match &listed.origin {
                Origin::File { .. } | Origin::Row { .. } => "daemon (intake)",
                Origin::User { name, .. } => name,
            },
            what: TAKEN,
            detail: Some(Cow::Owned(origin(&listed.origin))),
            old_payload: None,
        }
    }

    fn of(event: &'a Event) -> Self {
        Self {
            at: event.at,
            actor: &event.actor,
            what: &event.what,
            detail: event.detail.as_deref().map(Cow::Borrowed),
            old_payload: event.old_payload.as_ref().map(PayloadView),
        }
    }
}

/// A payload as the JSON value it is, digit for digit; as a string where it is no JSON.
pub struct PayloadView<'a>(pub &'a Payload);

impl Serialize for PayloadView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<Box<RawValue>>(&self.0.in_one_line()) {
            Ok(raw) => raw.serialize(serializer),
            Err(_) => serializer.serialize_str(&self.0.text()),
        }
    }
}

pub fn body_text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}
