//! Settings laid over the defaults, and what the whole says once it is read.

use std::collections::HashMap;

use config::Value;
use serde::Deserialize;

use super::keys::{KEYS, Key, RULES};
use super::problem::SetBy;
use super::{Config, values};

/// A key that a source sets.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// As `section.key`.
    pub key: String,
    pub value: Value,
    /// The value as it was written, fit to be shown.
    pub found: String,
    pub by: SetBy,
}

impl Setting {
    /// What is in force where nobody sets it.
    pub fn default(key: &Key) -> Self {
        Self {
            key: key.path(),
            value: key.example.clone(),
            found: values::toml_of(&key.example),
            by: SetBy::Default,
        }
    }
}

/// What the API's two URLs are made of; none of it is needed by itself.
#[derive(Deserialize)]
pub(super) struct Address {
    #[serde(deserialize_with = "values::text")]
    pub base_url: String,
    #[serde(deserialize_with = "values::text")]
    pub submit_path: String,
    #[serde(deserialize_with = "values::text")]
    pub result_types_path: String,
    #[serde(deserialize_with = "values::switch")]
    pub allow_insecure_http: bool,
}

/// Stands for the API's two URLs until [`super::check`] has put them together.
const NO_URL: &str = "https://localhost/";

/// The defaults with these values over them, each with its key. The configuration's two URLs are [`NO_URL`] as yet. The
/// error is that of a value, in words that follow `key = value`.
pub(super) fn overlay<'a>(over: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Result<(Address, Config), String> {
    let mut sections: HashMap<&str, HashMap<&str, Value>> = HashMap::new();
    for key in KEYS.iter().filter(|key| key.section != RULES && key.path() != RULES) {
        let section = sections.entry(&key.section).or_default();
        section.insert(&key.name, key.example.clone());
    }
    for (section, name, value) in over.into_iter().filter_map(|(key, value)| {
        let (section, name) = key.split_once('.')?;
        Some((section, name, value))
    }) {
        sections.entry(section).or_default().insert(name, value.clone());
    }
    let api = sections.entry("api").or_default();
    let address = Address::deserialize(table(api.clone())).map_err(words)?;
    api.extend(["submit_url", "result_types_url"].map(|name| (name, Value::new(None, NO_URL))));
    let sections = sections.into_iter().map(|(name, members)| (name, table(members)));
    let config = Config::deserialize(table(sections)).map_err(words)?;
    Ok((address, config))
}

/// What is wrong with this value of this key, by itself.
pub(super) fn check_value(key: &Key, value: &Value) -> Result<(), String> {
    if key.section != RULES {
        return overlay([(key.path().as_str(), value)]).map(drop);
    }
    // A rule needs a policy, whatever else it has.
    let policy = KEYS
        .iter()
        .find(|known| known.section == RULES && known.name == "policy");
    let mut rule: HashMap<&str, Value> = policy.map(|key| ("policy", key.example.clone())).into_iter().collect();
    rule.insert(&key.name, value.clone());
    overlay([(RULES, &Value::new(None, vec![table(rule)]))]).map(drop)
}

/// A table of these members.
pub(super) fn table<N: Into<String>>(members: impl IntoIterator<Item = (N, Value)>) -> Value {
    let members = members.into_iter().map(|(name, value)| (name.into(), value));
    Value::new(None, members.collect::<config::Map<String, Value>>())
}

/// The error's own words, without the place that the crate adds.
fn words(error: config::ConfigError) -> String {
    match error {
        config::ConfigError::At { error, .. } => words(*error),
        other => other.to_string(),
    }
}
