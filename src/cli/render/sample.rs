//! A submission to try the rendering on.

use crate::clock::Timestamp;
use crate::model::payload::Object;
use crate::model::{
    Answer, Attempt, AttemptNumber, DeadReason, EndingName, Facts, Origin, Payload, State, SubmissionId,
};
use crate::store::{Event, Listed, Story};

/// A dead one with one attempt, and this payload.
pub fn story(payload: &str) -> Story {
    Story {
        listed: listed(Object::parse(payload).map(|object| object.facts()).unwrap_or_default()),
        payload: Payload::from_text(payload),
        attempts: vec![attempt()],
        history: vec![Event {
            at: Timestamp::from_millis(1_795_428_060_000),
            actor: "user ana".into(),
            what: "requeued".into(),
            detail: None,
            old_payload: None,
        }],
        superseded_by: None,
        registered_by_us: false,
        delivered_last: None,
    }
}

/// Number 12: dead, refused with a documented 400.
pub fn listed(facts: Facts) -> Listed {
    Listed {
        id: SubmissionId(12),
        key: None,
        facts,
        source: None,
        on_conflict: None,
        not_before: None,
        state: State::Dead(DeadReason::Rejected),
        attempts: 1,
        created_at: Timestamp::from_millis(1_795_428_000_000),
        updated_at: Timestamp::from_millis(1_795_428_001_000),
        origin: Origin::File {
            name: "batch.ndjson".into(),
            line: Some(3),
            item: None,
        },
        invalid: None,
        waits_behind: None,
        lost_response: false,
        node: None,
        last: Some(attempt()),
    }
}

/// Answered with a documented 400 that holds a terminal's escape.
pub fn attempt() -> Attempt {
    let body = "{\"statusCode\":400,\"error\":\"Bad Request\",\"message\":\"commerce \u{202e}unknown\"}";
    Attempt {
        number: AttemptNumber(1),
        node: None,
        started_at: Timestamp::from_millis(1_795_428_000_500),
        elapsed_ms: 412,
        hard_override: false,
        outcome: EndingName::Dead,
        lost_response: false,
        answer: Some(Answer {
            status: 400,
            headers: vec![("content-type".into(), "application/json".into())],
            body: body.as_bytes().to_vec().into(),
            body_length: body.len() as u64,
        }),
        fault: None,
    }
}
