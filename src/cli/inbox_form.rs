//! A submission as the inbox takes it: its payload in one line, with its directives as the first member.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::model::Payload;
use crate::model::payload::{DIRECTIVES, Object};

/// The directives as a producer writes them.
#[derive(Serialize, Default)]
pub struct DirectivesView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_conflict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

/// `None` where the payload is no object.
pub fn line(payload: &Payload, directives: &DirectivesView<'_>) -> serde_json::Result<Option<String>> {
    let directives = serde_json::to_string(directives)?;
    let payload = payload.in_one_line();
    let Ok(object) = Object::parse(&payload) else {
        return Ok(None);
    };
    let Some((before, members)) = payload.split_once('{') else {
        return Ok(None);
    };
    if directives == "{}" {
        return Ok(Some(payload));
    }
    let comma = if object.members().is_empty() { "" } else { "," };
    Ok(Some(format!("{before}{{\"{DIRECTIVES}\":{directives}{comma}{members}")))
}
