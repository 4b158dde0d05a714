//! The API when all is well: who may ask, what is known, and what is registered. The judgement of a body is in `rules`.

use bytes::Bytes;
use hyper::{
    Method, Response,
    header::{CONTENT_TYPE, HeaderMap},
};
use serde_json::json;

use super::{
    answer::{self, AnswerBody},
    rules::{self, BodyFacts, BodyMembers},
    shared::{Permission, RESULT_TYPES_PATH, SUBMIT_PATH, SandboxState, Settings},
};

/// One request, its body read.
pub(super) struct Call<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a Bytes,
    pub(super) members: Result<BodyMembers<'a>, String>,
    pub(super) glance: BodyFacts,
}

/// The answer of a sandbox that may not validate: the same bytes always, so that a benchmark measures its client.
const UNJUDGED: &[u8] = br#"{"id":"00000000-0000-4000-8000-000000000000","status":"REGISTERED"}"#;

/// What comes before any look at the body: route, key, permission.
pub(super) fn refuse(settings: &Settings, call: &Call<'_>) -> Option<Response<AnswerBody>> {
    let needed = match (call.method, call.path) {
        (&Method::POST, SUBMIT_PATH) => Permission::SubmitActivityResult,
        (&Method::GET, RESULT_TYPES_PATH) => Permission::ViewActivities,
        _ => return Some(answer::error(404, format!("Cannot {} {}", call.method, call.path))),
    };
    if !key_is_good(call.headers, settings) {
        return Some(answer::documented(401));
    }
    (!settings.permissions.contains(&needed)).then(|| answer::documented(403))
}

/// Exactly one header with exactly the key: with spaces or twice it is malformed.
pub(super) fn key_is_good(headers: &HeaderMap, settings: &Settings) -> bool {
    let mut keys = headers.get_all("x-api-key").iter();
    keys.next()
        .is_some_and(|key| key.as_bytes() == settings.api_key.as_bytes())
        && keys.next().is_none()
}

/// The API as it is documented.
pub(super) fn answer(shared: &SandboxState, settings: &Settings, call: &Call<'_>) -> Response<AnswerBody> {
    if let Some(refusal) = refuse(settings, call) {
        return refusal;
    }
    if call.method == Method::GET {
        return answer::json(200, &json!(settings.result_types));
    }
    if !shared.options.validate {
        return answer::raw(201, "application/json", UNJUDGED);
    }
    let content_type = call
        .headers
        .get(CONTENT_TYPE)
        .map_or(&b""[..], |value| value.as_bytes());
    if !content_type.starts_with(b"application/json") {
        return answer::error(400, "Content-Type must be application/json");
    }
    let members = match &call.members {
        Ok(members) => members,
        Err(message) => return answer::error(400, message.as_str()),
    };
    if let Err(violations) = rules::check(members, &settings.result_types, (shared.options.now)()) {
        return answer::violations(violations);
    }
    register(shared, call)
}

fn register(shared: &SandboxState, call: &Call<'_>) -> Response<AnswerBody> {
    let options = &shared.options;
    let Some(activity) = call.glance.activity() else {
        return answer::documented(400);
    };
    let commerce = call.glance.commerce_external_id.as_deref().unwrap_or_default();
    if !is_known(activity.id(), options.known_activities.as_deref(), &options.unknown) {
        return answer::documented(404);
    }
    if !is_known(commerce, options.known_commerces.as_deref(), &options.unknown) {
        return answer::error(404, "Commerce not found in this tenant");
    }
    match shared
        .ledger
        .register(activity, call.body, call.glance.hard_override == Some(true))
    {
        Some(place) => answer::json(
            201,
            &json!({"id": format!("00000000-0000-4000-8000-{place:012x}"), "status": "REGISTERED"}),
        ),
        None => answer::documented(409),
    }
}

fn is_known(id: &str, known: Option<&[String]>, unknown: &[String]) -> bool {
    let listed = |ids: &[String]| ids.iter().any(|listed| listed.eq_ignore_ascii_case(id));
    known.is_none_or(listed) && !listed(unknown)
}
