//! The API's contract for a submitted result, as its public documentation states it.
//!
//! Pure: the body, the list of result types and the time go in; what is registered, or every reason to refuse it, comes
//! out. Written from the documentation alone and sharing no code with the validation of the daemon: a misreading must
//! not be made twice in the same words. Where the documentation is silent, the sandbox accepts.

use std::collections::BTreeMap;

use serde::{
    Deserialize, Serialize,
    de::{self, DeserializeOwned, MapAccess, Visitor},
};
use serde_json::value::RawValue;

const STATUSES: [&str; 3] = ["EFFECTIVE", "NOT_EFFECTIVE", "PENDING"];
const NO_STRING: &str = "must be a string";
const CONTACT_TYPES: [&str; 2] = ["INBOUND", "OUTBOUND"];

/// One entry of the list of result types, spelt as the API does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantResultType {
    /// What `task_result.result` must hold.
    pub code: String,
    pub label: String,
    /// Whether `task_result.future_scheduled_at` must be there, and in the future.
    pub requires_future_scheduled_at: bool,
}

/// The members of a JSON object, each value as it was written. An object with a duplicate member is refused: which one
/// counts would be anybody's guess.
pub struct BodyMembers<'a>(BTreeMap<String, &'a RawValue>);

/// The activity that a result is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Activity {
    /// Its UUID, in lower case: case carries no meaning in one.
    Id(String),
    /// Its id in the caller's own system.
    ProviderId(String),
}

impl Activity {
    pub fn id(&self) -> &str {
        match self {
            Self::Id(id) | Self::ProviderId(id) => id,
        }
    }
}

/// What can be told of a body before it is judged; a member that is absent or of another type is `None`.
#[derive(Debug, Default)]
pub struct BodyFacts {
    pub activity_id: Option<String>,
    pub provider_activity_id: Option<String>,
    pub commerce_external_id: Option<String>,
    pub occurred_at: Option<String>,
    /// As sent; may hold a script.
    pub external_status: Option<String>,
    pub hard_override: Option<bool>,
}

impl BodyFacts {
    /// Takes from the members what is there.
    pub fn of(members: &BodyMembers<'_>) -> Self {
        let text = |name| members.get::<String>(name).ok().flatten();
        Self {
            activity_id: text("activity_id"),
            provider_activity_id: text("provider_activity_id"),
            commerce_external_id: text("commerce_external_id"),
            occurred_at: text("occurred_at"),
            external_status: text("external_status"),
            hard_override: members.get("hard_override").ok().flatten(),
        }
    }

    /// `activity_id` wins when both are sent; an empty id is no id.
    pub fn activity(&self) -> Option<Activity> {
        let filled = |id: &Option<String>| id.clone().filter(|id| !id.is_empty());
        let by_id = filled(&self.activity_id).map(|id| Activity::Id(id.to_ascii_lowercase()));
        by_id.or_else(|| filled(&self.provider_activity_id).map(Activity::ProviderId))
    }
}

/// Judges a body; the error is every violation, in the order of the documentation's table.
pub fn check(members: &BodyMembers<'_>, types: &[TenantResultType], now_ms: i64) -> Result<(), Vec<String>> {
    let mut top = Check {
        members,
        path: "",
        violations: Vec::new(),
    };
    match (top.optional("activity_id"), top.optional("provider_activity_id")) {
        (Some(id), _) if !id.is_empty() => top.expect(is_uuid(&id), "activity_id", "must be a UUID"),
        (_, Some(id)) if !id.is_empty() => {}
        _ => top
            .violations
            .push("activity_id or provider_activity_id is required".to_owned()),
    }
    top.filled("commerce_external_id");
    if let Some(text) = top.filled("occurred_at") {
        top.expect(
            instant_ms(&text).is_some(),
            "occurred_at",
            "must be a valid ISO 8601 date string",
        );
    }
    top.one_of("status", &STATUSES, true);
    top.optional("external_status");
    let has_override = members.get::<bool>("hard_override").is_ok();
    top.expect(has_override, "hard_override", "must be a boolean value");
    top.object("raw_payload");
    let task_result = match members
        .0
        .get("task_result")
        .map(|raw| serde_json::from_str::<Option<BodyMembers<'_>>>(raw.get()))
    {
        Some(Ok(Some(task_result))) => Some(task_result),
        Some(Err(error)) => {
            top.violations.push(format!("task_result must be an object ({error})"));
            None
        }
        Some(Ok(None)) | None => {
            top.violations.push("task_result should not be empty".to_owned());
            None
        }
    };
    let mut violations = top.violations;
    if let Some(members) = task_result {
        violations.append(&mut check_task_result(&members, types, now_ms));
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

fn check_task_result(members: &BodyMembers<'_>, types: &[TenantResultType], now_ms: i64) -> Vec<String> {
    let mut task = Check {
        members,
        path: "task_result.",
        violations: Vec::new(),
    };
    let code = task.filled("result");
    let known = code
        .as_ref()
        .and_then(|code| types.iter().find(|known| known.code == *code));
    if let (Some(code), None) = (&code, known) {
        let codes: Vec<_> = types.iter().map(|known| known.code.as_str()).collect();
        task.violations.push(format!(
            "task_result.result: invalid result code {code}; valid are {}",
            codes.join(", ")
        ));
    }
    task.optional("comment");
    task.one_of("contact_type", &CONTACT_TYPES, false);
    task.optional("operator_external_id");
    let required = known.is_some_and(|known| known.requires_future_scheduled_at);
    let scheduled = if required {
        task.filled("future_scheduled_at")
    } else {
        task.optional("future_scheduled_at")
    };
    if let Some(text) = scheduled {
        match instant_ms(&text) {
            None => task.expect(false, "future_scheduled_at", "must be a valid ISO 8601 date string"),
            Some(scheduled_ms) => task.expect(
                !required || scheduled_ms > now_ms,
                "future_scheduled_at",
                "must be in the future",
            ),
        }
    }
    task.object("payload");
    task.violations
}

struct Check<'a> {
    members: &'a BodyMembers<'a>,
    path: &'static str,
    violations: Vec<String>,
}

impl Check<'_> {
    fn expect(&mut self, holds: bool, name: &str, rule: &str) {
        if !holds {
            self.violations.push(format!("{}{name} {rule}", self.path));
        }
    }

    /// A text, or absent, or null.
    fn optional(&mut self, name: &str) -> Option<String> {
        let found = self.members.get(name);
        self.expect(found.is_ok(), name, NO_STRING);
        found.ok().flatten()
    }

    /// A text that must be there and not be empty.
    fn filled(&mut self, name: &str) -> Option<String> {
        let found = self.members.get::<String>(name);
        match found {
            Err(_) => self.expect(false, name, NO_STRING),
            Ok(Some(text)) if !text.is_empty() => return Some(text),
            Ok(_) => self.expect(false, name, "should not be empty"),
        }
        None
    }

    fn one_of(&mut self, name: &str, values: &[&str], required: bool) {
        let found = if required {
            self.filled(name)
        } else {
            self.optional(name)
        };
        if let Some(text) = found {
            let rule = format!("must be one of the following values: {}", values.join(", "));
            self.expect(values.contains(&text.as_str()), name, &rule);
        }
    }

    fn object(&mut self, name: &str) {
        let found = self.members.0.get(name).map_or("null", |raw| raw.get());
        self.expect(found == "null" || found.starts_with('{'), name, "must be an object");
    }
}

impl<'a> BodyMembers<'a> {
    /// Reads a body; the error says what keeps it from being one JSON object.
    pub fn parse(body: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(body).map_err(|error| format!("the body is not UTF-8: {error}"))?;
        serde_json::from_str(text).map_err(|error| format!("the body is not a JSON object: {error}"))
    }

    /// A member's value; `None` when it is absent or null, an error when it is of another type.
    fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, serde_json::Error> {
        self.0.get(name).map_or(Ok(None), |raw| serde_json::from_str(raw.get()))
    }
}

impl<'de> Deserialize<'de> for BodyMembers<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = BodyMembers<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if members.contains_key(&name) {
                        return Err(de::Error::custom(format_args!("duplicate member {name}")));
                    }
                    members.insert(name, value);
                }
                Ok(BodyMembers(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// Any version: the documentation names none.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The milliseconds since 1970 of `2026-11-23`, `2026-11-23T10:00[:00[.123]]` and these with `Z`, `+03:00` or `+0300`;
/// `None` if it is no such date. What names no offset is taken as UTC.
fn instant_ms(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    // The calendar library also reads what ISO 8601 does not: spaces for the T, names of zones in brackets.
    let iso = bytes.iter().enumerate().all(|(at, byte)| match at {
        0..4 | 5 | 6 | 8 | 9 => byte.is_ascii_digit(),
        4 | 7 => *byte == b'-',
        10 => *byte == b'T',
        _ => matches!(byte, b'0'..=b'9' | b':' | b'.' | b',' | b'+' | b'-' | b'Z'),
    });
    if !iso || bytes.len() < 10 {
        return None;
    }
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_millisecond());
    }
    let local: jiff::civil::DateTime = text.parse().ok()?;
    Some(
        local
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_millisecond(),
    )
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
