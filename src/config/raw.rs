//! The configuration as it is written: one field a key, in the contract's order. Values are of the right kind
//! ([`super::keys`] saw to that, with better words than serde has); whether they fit together is [`super::check`]'s
//! question.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::model::ConflictPolicy;
use crate::policy::conflict::AfterLostResponse;
use crate::policy::validate::ValidationMode;

use super::units::{parse_duration, parse_size};
use super::{Keep, Level, LogFormat};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub api: RawApi,
    pub inbox: RawInbox,
    pub outbox: RawOutbox,
    pub delivery: RawDelivery,
    pub retry: RawRetry,
    pub conflict: RawConflict,
    pub auth: RawAuth,
    pub validation: RawValidation,
    pub log: RawLog,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawApi {
    pub base_url: String,
    pub submit_path: String,
    pub result_types_path: String,
    pub key_file: PathBuf,
    pub allow_insecure_http: bool,
    #[serde(deserialize_with = "duration")]
    pub connect_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    pub ca_file: PathBuf,
    pub proxy: String,
    pub require_json: bool,
    #[serde(deserialize_with = "size")]
    pub max_error_body: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInbox {
    pub dir: PathBuf,
    pub database: PathBuf,
    #[serde(deserialize_with = "duration")]
    pub settle: Duration,
    #[serde(deserialize_with = "duration")]
    pub rescan: Duration,
    #[serde(deserialize_with = "size")]
    pub max_result_size: usize,
    pub max_pending: u64,
    #[serde(deserialize_with = "size")]
    pub min_free_disk: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutbox {
    pub database: PathBuf,
    #[serde(deserialize_with = "keep")]
    pub keep_delivered: Keep,
    #[serde(deserialize_with = "keep")]
    pub keep_dismissed: Keep,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDelivery {
    pub max_in_flight: u32,
    pub max_per_second: u32,
    pub reject_fuse: u32,
    #[serde(deserialize_with = "duration")]
    pub shutdown_timeout: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRetry {
    #[serde(deserialize_with = "duration")]
    pub initial_interval: Duration,
    pub multiplier: f64,
    pub randomization_factor: f64,
    #[serde(deserialize_with = "duration")]
    pub max_interval: Duration,
    #[serde(deserialize_with = "duration")]
    pub max_age: Duration,
    pub max_attempts: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConflict {
    pub policy: ConflictPolicy,
    #[serde(deserialize_with = "duration")]
    pub override_within: Duration,
    pub after_lost_response: AfterLostResponse,
    /// The one key that the file of defaults shows in a comment only.
    #[serde(default)]
    pub rules: Vec<RawRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    pub registered_by_us: Option<bool>,
    pub source: Option<String>,
    pub result: Option<Vec<String>>,
    pub status: Option<Vec<String>>,
    pub policy: ConflictPolicy,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAuth {
    #[serde(deserialize_with = "duration")]
    pub probe_interval: Duration,
    pub requeue: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawValidation {
    pub mode: ValidationMode,
    pub result_types: bool,
    #[serde(deserialize_with = "duration")]
    pub refresh: Duration,
    pub statuses: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    pub level: Level,
    pub format: LogFormat,
    #[serde(deserialize_with = "duration")]
    pub summary_interval: Duration,
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| de::Error::custom(format!("`{text}` is not a duration")))
}

fn keep<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Keep, D::Error> {
    let text = String::deserialize(deserializer)?;
    Keep::parse(&text).ok_or_else(|| de::Error::custom(format!("`{text}` is not a duration")))
}

fn size<'de, D: Deserializer<'de>, N: TryFrom<u64>>(deserializer: D) -> Result<N, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_size(&text)
        .and_then(|bytes| N::try_from(bytes).ok())
        .ok_or_else(|| de::Error::custom(format!("`{text}` is not a size")))
}
