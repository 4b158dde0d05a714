//! Settings laid over the defaults, and what the whole says once it is read.

use std::collections::HashMap;

use config::{File, FileFormat, Value};
use serde::Deserialize;

use super::keys::{DEFAULTS, KEYS, Key, RULES};
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

/// Keys that are no settings by themselves: parts of the addresses of the API and of the outbox.
#[derive(Deserialize)]
pub(super) struct Parts {
    pub api: ApiParts,
    pub outbox: OutboxParts,
}

/// What an outbox in PostgreSQL has besides its URL.
#[derive(Deserialize)]
pub(super) struct OutboxParts {
    #[serde(deserialize_with = "values::schema")]
    pub schema: String,
    #[serde(deserialize_with = "values::node")]
    pub node: String,
    #[serde(deserialize_with = "values::switch")]
    pub allow_insecure: bool,
}

/// What the API's two URLs are made of.
#[derive(Deserialize)]
pub(super) struct ApiParts {
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

/// The file of defaults as the lowest layer, and these values over it, each with its key. The configuration's two URLs
/// are [`NO_URL`] as yet. The error is that of a value, in words that follow `key = value`.
pub(super) fn overlay<'a>(over: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Result<(Parts, Config), String> {
    let urls = ["api.submit_url", "api.result_types_url"].map(|key| (key, Value::new(None, NO_URL)));
    let over = over.into_iter().map(|(key, value)| (key, value.clone()));
    let mut layers = config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
    for (key, value) in over.chain(urls) {
        layers = layers.set_override(key, value).map_err(words)?;
    }
    let whole = layers.build().map_err(words)?;
    let parts = whole.clone().try_deserialize().map_err(words)?;
    Ok((parts, whole.try_deserialize().map_err(words)?))
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
