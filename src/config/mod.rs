//! The checked configuration (the README, "Configuration"). What is here is in range: the rest of the house trusts it.
//!
//! [`Config::load`] reads the defaults, the file with what lies in `conf.d/` beside it, and the environment, each over
//! the one before, and names everything that is wrong at once ([`ConfigError`]), with file, line and key. The API key
//! is no part of it: [`ApiKey::load`].

mod check;
mod endpoint;
mod environment;
mod keys;
mod kind;
mod load;
mod log;
mod places;
mod problem;
mod raw;
mod reader;
mod render;
mod secret;
#[cfg(test)]
mod tests;
pub mod units;

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::policy::conflict::ConflictSettings;
use crate::policy::schedule::RetrySettings;
use crate::policy::validate::ValidationSettings;

pub use environment::Environment;
pub use load::{DEFAULTS, Home, Loaded, Salvaged};
pub use log::{Level, Log, LogFormat};
pub use problem::ConfigError;
pub use secret::{ApiKey, KeyError, KeyPlace};

/// Every setting, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[api]`
    pub api: Api,
    /// `[inbox]`
    pub inbox: Inbox,
    /// `[outbox]`
    pub outbox: OutboxSettings,
    /// `[delivery]`
    pub delivery: Delivery,
    /// `[retry]`
    pub retry: RetrySettings,
    /// `[conflict]`
    pub conflict: ConflictSettings,
    /// `[auth]`
    pub auth: Auth,
    /// `[validation]`
    pub validation: ValidationSettings,
    /// `[log]`
    pub log: Log,
}

/// `[api]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// `base_url` + `submit_path`: https, or http to a loopback address, or allowed by `allow_insecure_http`.
    pub submit_url: Url,
    /// `base_url` + `result_types_path`.
    pub result_types_url: Url,
    /// Where the key is looked for after `$CREDENTIALS_DIRECTORY/api-key`; empty for nowhere.
    pub key_file: PathBuf,
    /// For the connection alone.
    pub connect_timeout: Duration,
    /// For the whole exchange, the answer's body included.
    pub timeout: Duration,
    /// Extra trust anchors (PEM).
    pub ca_file: Option<PathBuf>,
    /// The only proxy that is used.
    pub proxy: Option<Url>,
    /// Whether a 2xx must have an empty or JSON body to count.
    pub require_json: bool,
    /// How many bytes of an answer's body are kept.
    pub max_error_body: usize,
}

/// `[inbox]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbox {
    /// Where files are dropped.
    pub dir: PathBuf,
    /// Where rows are inserted.
    pub database: PathBuf,
    /// How long a file that was not seen being closed must stand still.
    pub settle: Duration,
    /// How often everything is looked at besides inotify.
    pub rescan: Duration,
    /// The largest result, in bytes.
    pub max_result_size: usize,
    /// Above this many pending, intake waits; `None` = no limit.
    pub max_pending: Option<u64>,
    /// Below this many free bytes, intake waits.
    pub min_free_disk: u64,
}

/// `[outbox]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxSettings {
    /// The SQLite file.
    pub database: PathBuf,
    /// How long delivered ones are kept.
    pub keep_delivered: Keep,
    /// How long dismissed ones are kept.
    pub keep_dismissed: Keep,
}

/// How long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// This long; zero deletes at once.
    For(Duration),
    /// For ever.
    Forever,
}

impl Keep {
    /// Reads a duration or `forever`.
    fn parse(text: &str) -> Option<Self> {
        match text {
            "forever" => Some(Self::Forever),
            _ => units::parse_duration(text).map(Self::For),
        }
    }
}

/// `[delivery]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The most requests at one time; at least 1.
    pub max_in_flight: u32,
    /// The most requests in any second; `None` = no limit.
    pub max_per_second: Option<u32>,
    /// So many 400s in a row blow the fuse; `None` = never.
    pub reject_fuse: Option<u32>,
    /// How long requests in flight may take to finish at shutdown.
    pub shutdown_timeout: Duration,
}

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// How often a closed gate asks whether the key works again.
    pub probe_interval: Duration,
    /// Whether what an episode dead-lettered is requeued when the gate opens.
    pub requeue: bool,
}
