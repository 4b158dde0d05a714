//! What delivery lives on.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::config::{ApiKey, Config};
use crate::policy::validate::ResultType;
use crate::store::Outbox;

use super::meters::Meters;

/// Cheap to clone; all parts are shared with those who hold the other ends.
#[derive(Debug, Clone)]
pub struct Links {
    /// Where submissions come from and outcomes go to.
    pub outbox: Outbox,
    /// The configuration in force. A new value is a reload, even if it is equal.
    pub config: watch::Receiver<Arc<Config>>,
    /// The key in force. A new value is a change of it.
    pub key: watch::Receiver<Arc<ApiKey>>,
    /// Told when something was taken in.
    pub arrivals: Arc<Notify>,
    /// True when the daemon ends.
    pub shutdown: watch::Receiver<bool>,
    pub meters: Arc<Meters>,
    /// For the jitter of waits.
    pub seed: u64,
    /// The tenant's result types, `None` while they are not known.
    pub result_types: watch::Sender<Option<Arc<[ResultType]>>>,
    /// Told when a result's code is not in the list: it is fetched again.
    pub unknown_code: Arc<Notify>,
    /// Counters the dispatcher's steps: a watchdog sees it alive.
    pub progress: Arc<AtomicU64>,
    /// It turns at least this often, however little there is to do: as often as whoever watches expects a sign.
    pub turn_max: Duration,
}
