//! The endpoints under `/_sandbox/`, for rehearsals and tests: to see what came, and to change how the sandbox behaves.
//! No key is needed, so the sandbox belongs on a loopback address.

use std::{collections::BTreeMap, time::Duration};

use hyper::{Method, Response};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{
    answer::{self, AnswerBody},
    faults::ScriptTurn,
    rules::TenantResultType,
    shared::{Permission, SandboxState, Settings},
};

/// What the path of every control endpoint begins with.
pub const PREFIX: &str = "/_sandbox/";

/// A change of the settings; what is absent stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    api_key: Option<String>,
    permissions: Option<Vec<Permission>>,
    result_types: Option<Vec<TenantResultType>>,
    fail_share: Option<f64>,
    latency_ms: Option<u64>,
    latency_jitter_ms: Option<u64>,
    /// Every request gets a 503.
    down: Option<bool>,
    /// Every request gets that step (a text, or a status as a number); null ends it.
    #[serde(default, deserialize_with = "null_counts", alias = "status_for_all")]
    step_for_all: Option<Value>,
    /// The listener is closed for so long, and every connection with it.
    refuse_connections_ms: Option<u64>,
}

/// Tells a member that is null from one that is absent.
fn null_counts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Change {
    /// The settings after the change; all of it or nothing.
    fn apply(self, now: &Settings) -> Result<Settings, String> {
        let step = match (self.step_for_all, self.down) {
            (Some(Value::Null), _) | (None, Some(false)) => None,
            (Some(Value::String(step)), _) => Some(step),
            (Some(status), _) => Some(status.to_string()),
            (None, Some(true)) => Some("503".to_owned()),
            (None, None) => now.step_for_all.as_ref().map(|turn| turn.text.clone()),
        };
        let step = step.map(|step| ScriptTurn::parse(&step)).transpose()?;
        let fail_share = self.fail_share.unwrap_or(now.fail_share);
        if !(0.0..=1.0).contains(&fail_share) {
            return Err(format!("fail_share = {fail_share} is not between 0 and 1"));
        }
        Ok(Settings {
            api_key: self.api_key.unwrap_or_else(|| now.api_key.clone()),
            permissions: self.permissions.unwrap_or_else(|| now.permissions.clone()),
            result_types: self.result_types.unwrap_or_else(|| now.result_types.clone()),
            fail_share,
            latency: self.latency_ms.map_or(now.latency, Duration::from_millis),
            latency_jitter: self.latency_jitter_ms.map_or(now.latency_jitter, Duration::from_millis),
            step_for_all: step,
        })
    }
}

/// Answers a request to a control endpoint; `path` is without the prefix.
pub fn answer(shared: &SandboxState, method: &Method, path: &str, body: &[u8]) -> Response<AnswerBody> {
    let ledger = &shared.ledger;
    match (method, path) {
        (&Method::GET, "requests") => list(&ledger.requests()),
        (&Method::DELETE, "requests") => {
            ledger.forget_requests();
            answer::json(200, &json!({}))
        }
        (&Method::GET, "results") => list(&ledger.results()),
        (&Method::GET, "stats") => list(&shared.stats()),
        (&Method::GET, "settings") => answer::json(200, &shown(&shared.settings())),
        (&Method::POST, "settings") => match change(shared, body) {
            Ok(settings) => answer::json(200, &shown(&settings)),
            Err(message) => answer::error(400, message),
        },
        (&Method::POST, "release") => answer::json(200, &json!({"released": shared.release()})),
        _ => answer::error(404, format!("Cannot {method} {PREFIX}{path}")),
    }
}

fn change(shared: &SandboxState, body: &[u8]) -> Result<Settings, String> {
    let change: Change = serde_json::from_slice(body).map_err(|error| format!("settings: {error}"))?;
    let refuse_for = change.refuse_connections_ms;
    let settings = change.apply(&shared.settings())?;
    shared.set(settings.clone());
    if let Some(span_ms) = refuse_for {
        shared.refuse_connections(Duration::from_millis(span_ms));
    }
    Ok(settings)
}

fn list(value: &impl serde::Serialize) -> Response<AnswerBody> {
    match serde_json::to_vec(value) {
        Ok(body) => answer::raw(200, "application/json", body),
        Err(error) => answer::error(500, error.to_string()),
    }
}

fn shown(settings: &Settings) -> Value {
    let shown: BTreeMap<&str, Value> = BTreeMap::from([
        ("api_key", json!(settings.api_key)),
        ("permissions", json!(settings.permissions)),
        ("result_types", json!(settings.result_types)),
        ("fail_share", json!(settings.fail_share)),
        ("latency_ms", json!(u64::try_from(settings.latency.as_millis()).ok())),
        (
            "latency_jitter_ms",
            json!(u64::try_from(settings.latency_jitter.as_millis()).ok()),
        ),
        (
            "step_for_all",
            json!(settings.step_for_all.as_ref().map(|turn| &turn.text)),
        ),
    ]);
    json!(shown)
}
