//! The checked configuration (the README, "Configuration"). What is here is in range, and trusted by the rest.
//!
//! [`Config::load`] reads the defaults, the file with what lies in `conf.d/` beside it, and the environment, each over
//! the one before, and names everything that is wrong at once ([`ConfigError`]), with file, line and key. The API key
//! is no part of it: [`ApiKey::load`].

mod check;
mod default_paths;
mod endpoint;
mod environment;
mod keys;
mod layers;
mod load;
mod log;
mod password;
mod path;
mod problem;
mod reader;
mod render;
mod secret;
mod secret_file;
mod server;
#[cfg(test)]
mod tests;
pub mod units;
mod values;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::model::{Address, ConflictPolicy};

pub use environment::Environment;
pub use keys::DEFAULTS;
pub use load::{Home, Loaded};
pub use log::{Level, LogFormat};
pub use problem::{ConfigError, PasswordError};
pub use secret::{ApiKey, KeyError, KeyPlace};

/// Every setting, checked. A field is named as its key in `config/config.toml`, and what it takes is what its function
/// in [`values`] reads: a key is named here and there, and nowhere else.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Config {
    pub api: Api,
    pub inbox: Inbox,
    pub outbox: OutboxSettings,
    pub delivery: Delivery,
    pub retry: RetrySettings,
    pub conflict: ConflictSettings,
    pub auth: Auth,
    pub validation: ValidationSettings,
    pub log: Log,
}

/// `[api]`; the keys that make its two URLs are [`check`]'s.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Api {
    /// `base_url` + `submit_path`: https, or http to a loopback address, or allowed by `allow_insecure_http`.
    #[serde(deserialize_with = "values::url")]
    pub submit_url: Url,
    /// `base_url` + `result_types_path`.
    #[serde(deserialize_with = "values::url")]
    pub result_types_url: Url,
    /// Where the key is looked for after `$CREDENTIALS_DIRECTORY/api-key`; empty for nowhere.
    #[serde(deserialize_with = "values::path_or_empty")]
    pub key_file: PathBuf,
    /// For the connection alone.
    #[serde(deserialize_with = "values::duration_above_zero")]
    pub connect_timeout: Duration,
    /// For the whole exchange, the answer's body included.
    #[serde(deserialize_with = "values::duration_above_zero")]
    pub timeout: Duration,
    /// Extra trust anchors (PEM).
    #[serde(deserialize_with = "values::optional_path")]
    pub ca_file: Option<PathBuf>,
    /// The only proxy that is used.
    #[serde(deserialize_with = "values::proxy")]
    pub proxy: Option<Url>,
    /// Whether a 2xx must have an empty or JSON body to count.
    #[serde(deserialize_with = "values::switch")]
    pub require_json: bool,
    /// How many bytes of an answer's body are kept.
    #[serde(deserialize_with = "values::body_size")]
    pub max_error_body: usize,
}

/// `[inbox]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Inbox {
    /// Where files are dropped.
    #[serde(deserialize_with = "values::path")]
    pub dir: PathBuf,
    /// Where rows are inserted.
    #[serde(deserialize_with = "values::path")]
    pub database: PathBuf,
    /// How long a file that was not seen being closed must stand still.
    #[serde(deserialize_with = "values::duration")]
    pub settle: Duration,
    /// How often everything is looked at besides inotify.
    #[serde(deserialize_with = "values::duration_above_zero")]
    pub rescan: Duration,
    /// The largest result, in bytes.
    #[serde(deserialize_with = "values::body_size")]
    pub max_result_size: usize,
    /// Above this many pending, intake waits; `None` = no limit.
    #[serde(deserialize_with = "values::limit")]
    pub max_pending: Option<u64>,
    /// Below this many free bytes, intake waits.
    #[serde(deserialize_with = "values::size")]
    pub min_free_disk: u64,
}

/// `[outbox]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OutboxSettings {
    /// The SQLite file, or the schema in PostgreSQL; to open it, [`OutboxSettings::address`].
    #[serde(deserialize_with = "values::outbox")]
    pub database: Address,
    /// Where the password for PostgreSQL is looked for after `$CREDENTIALS_DIRECTORY/outbox-password`; empty for
    /// nowhere.
    #[serde(deserialize_with = "values::path_or_empty")]
    pub password_file: PathBuf,
    /// Why there is no password although a place has one.
    #[serde(skip)]
    pub password_error: Option<PasswordError>,
    /// How long delivered ones are kept.
    #[serde(deserialize_with = "values::keep")]
    pub keep_delivered: Keep,
    /// How long dismissed ones are kept.
    #[serde(deserialize_with = "values::keep")]
    pub keep_dismissed: Keep,
}

/// How long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// This long; zero deletes at once.
    For(Duration),
    /// Never deleted.
    Forever,
}

/// `[delivery]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Delivery {
    /// The most requests at one time; at least 1.
    #[serde(deserialize_with = "values::in_flight")]
    pub max_in_flight: u32,
    /// The most requests in any second; `None` = no limit.
    #[serde(deserialize_with = "values::limit")]
    pub max_per_second: Option<u32>,
    /// So many 400s in a row blow the fuse; `None` = never.
    #[serde(deserialize_with = "values::limit")]
    pub reject_fuse: Option<u32>,
    /// How long requests in flight may take to finish at shutdown.
    #[serde(deserialize_with = "values::duration")]
    pub shutdown_timeout: Duration,
}

/// `[retry]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RetrySettings {
    /// The wait after the first fault.
    #[serde(deserialize_with = "values::duration_above_zero")]
    pub initial_interval: Duration,
    /// Each wait is this many times the one before; at least 1.
    #[serde(deserialize_with = "values::multiplier")]
    pub multiplier: f64,
    /// The share by which a wait is shortened or lengthened at random; 0 to 1.
    #[serde(deserialize_with = "values::share")]
    pub randomization_factor: f64,
    /// No wait is longer.
    #[serde(deserialize_with = "values::duration_above_zero")]
    pub max_interval: Duration,
    /// Then dead, `retries_exhausted`; `None` = never. Counted in waits served.
    #[serde(deserialize_with = "values::optional_duration")]
    pub max_age: Option<Duration>,
    /// Then dead, `retries_exhausted`; `None` = no limit.
    #[serde(deserialize_with = "values::limit")]
    pub max_attempts: Option<u32>,
}

/// `[conflict]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct ConflictSettings {
    /// What to do when no rule matches.
    #[serde(deserialize_with = "values::one_of")]
    pub policy: ConflictPolicy,
    /// Override only results whose `occurred_at` is at most this old, else park; `None` = any age.
    #[serde(deserialize_with = "values::optional_duration")]
    pub override_within: Option<Duration>,
    /// What to do after a lost response; decides before every other rule.
    #[serde(deserialize_with = "values::one_of")]
    pub after_lost_response: AfterLostResponse,
    /// The first that matches wins. The one key that the file of defaults shows in a comment only.
    #[serde(default)]
    pub rules: Vec<ConflictRule>,
}

/// `conflict.after_lost_response`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterLostResponse {
    /// The ordinary rules decide.
    #[default]
    Policy,
    /// The registered result is taken for ours: delivered.
    Accept,
}

/// One `[[conflict.rules]]`: every condition that is named must hold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ConflictRule {
    /// The last delivered result of this activity was ours and older (or was not).
    #[serde(default, deserialize_with = "values::optional_switch")]
    pub registered_by_us: Option<bool>,
    #[serde(default, deserialize_with = "values::optional_text")]
    pub source: Option<String>,
    /// `task_result.result` is one of these.
    #[serde(default, deserialize_with = "values::optional_texts")]
    pub result: Option<Vec<String>>,
    /// `status` is one of these.
    #[serde(default, deserialize_with = "values::optional_texts")]
    pub status: Option<Vec<String>>,
    /// What to do then.
    #[serde(deserialize_with = "values::one_of")]
    pub policy: ConflictPolicy,
}

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Auth {
    /// How often a closed gate asks whether the key works again.
    #[serde(deserialize_with = "values::duration_above_zero")]
    pub probe_interval: Duration,
    /// Whether what an episode dead-lettered is requeued when the gate opens.
    #[serde(deserialize_with = "values::switch")]
    pub requeue: bool,
}

/// `[validation]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ValidationSettings {
    /// What a violation leads to.
    #[serde(deserialize_with = "values::one_of")]
    pub mode: ValidationMode,
    /// Whether the list of result types is fetched and used.
    #[serde(deserialize_with = "values::switch")]
    pub result_types: bool,
    /// How often the list is fetched again.
    #[serde(deserialize_with = "values::duration_above_zero")]
    pub refresh: Duration,
    /// The values that `status` may have.
    #[serde(deserialize_with = "values::texts")]
    pub statuses: Vec<String>,
}

/// `validation.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValidationMode {
    /// A violation makes a dead letter, `invalid`.
    #[default]
    Strict,
    /// A violation is logged, and the result is sent; but for a member that is there twice, of which nobody knows which
    /// one counts.
    Warn,
    /// Nothing is looked at, beyond that the payload is a JSON object.
    Off,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Log {
    /// The least level that is written.
    #[serde(deserialize_with = "values::one_of")]
    pub level: Level,
    /// How it is written.
    #[serde(deserialize_with = "values::one_of")]
    pub format: LogFormat,
    /// How often the summary comes, when something changed; longer than zero.
    #[serde(deserialize_with = "values::duration_above_zero")]
    pub summary_interval: Duration,
}

impl Config {
    /// Every place that is named, by its key, as it is used; of those that may be empty, only where they are not.
    fn places(&self) -> Vec<(&'static str, String)> {
        let mut paths = vec![
            ("api.key_file", self.api.key_file.as_path()),
            ("inbox.dir", &self.inbox.dir),
            ("inbox.database", &self.inbox.database),
            ("outbox.password_file", &self.outbox.password_file),
        ];
        paths.extend(self.api.ca_file.as_deref().map(|path| ("api.ca_file", path)));
        let shown = |(key, path): (&'static str, &Path)| (key, path.to_string_lossy().into_owned());
        let mut places: Vec<_> = paths.into_iter().map(shown).collect();
        places.push(match &self.outbox.database {
            Address::File(path) => shown(("outbox.database", path)),
            Address::Server(server) => {
                let url = server.uri();
                // Of a password only that there is one.
                let is_hidden = server.password.is_some();
                let url = if is_hidden {
                    url.replacen('@', ":[hidden]@", 1)
                } else {
                    url
                };
                ("outbox.database", url)
            }
        });
        places
    }
}

impl Config {
    /// The directory whose disk fills as results come in: the outbox's, or the inbox's where a server has the outbox.
    pub fn disk(&self) -> &Path {
        match &self.outbox.database {
            Address::File(path) => path.parent().unwrap_or_else(|| Path::new(".")),
            Address::Server(_) => &self.inbox.dir,
        }
    }
}

impl OutboxSettings {
    /// Where the outbox is, to open it. The error is why there is no password for it.
    pub fn address(&self) -> Result<&Address, PasswordError> {
        match &self.password_error {
            None => Ok(&self.database),
            Some(error) => Err(error.clone()),
        }
    }
}
