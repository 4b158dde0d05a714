//! What all connections share: how the sandbox starts, what can be changed while it runs, and what it remembers.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use super::{
    faults::ScriptTurn,
    ledger::{Answered, Registry, Stats},
    rules::TenantResultType,
};

/// Outages ordered but not begun. One more is refused silently: it would begin when the others are over.
const OUTAGES_MAX: usize = 4;

/// Where results are submitted.
pub const SUBMIT_PATH: &str = "/api/integration/activity-results/tasks";
/// Where the result types are listed.
pub const RESULT_TYPES_PATH: &str = "/api/integration/task-result-type-configs";
/// The key that a sandbox asks for unless told otherwise.
pub const DEFAULT_API_KEY: &str = "rtn_sk_sandbox";

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Permission {
    SubmitActivityResult,
    /// List the result types.
    ViewActivities,
}

/// What can be changed while the sandbox runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The one valid key.
    pub api_key: String,
    /// What the key may do.
    pub permissions: Vec<Permission>,
    /// The result types of the tenant.
    pub result_types: Vec<TenantResultType>,
    /// The share of requests that fail with a 5xx, 0 to 1.
    pub fail_share: f64,
    /// Every answer takes at least so long.
    pub latency: Duration,
    /// And up to this much longer.
    pub latency_jitter: Duration,
    /// Answers every request with this step, an outage for instance.
    pub step_for_all: Option<ScriptTurn>,
}

/// Called once an outcome, and once more where a held request is answered at last. It must not block.
pub type OnRequest = Arc<dyn Fn(&RequestLine<'_>) + Send + Sync>;

/// How a sandbox starts.
#[derive(Clone)]
pub struct Options {
    /// For `Sandbox::start`; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What can be changed later.
    pub settings: Settings,
    /// Ids of activities that have a result already (409).
    pub existing: Vec<String>,
    /// Ids of activities and commerces that are not in the tenant (404).
    pub unknown: Vec<String>,
    /// The only activities of the tenant; `None`: all but the `unknown`.
    pub known_activities: Option<Vec<String>>,
    /// The only commerces of the tenant; `None`: all but the `unknown`.
    pub known_commerces: Option<Vec<String>>,
    /// Decides the requests that fail by chance: the same seed fails the same ones.
    pub seed: u64,
    /// The longest body that is read, in bytes; a longer one gets a 413.
    pub body_bytes_max: usize,
    /// Keeps the requests for `/_sandbox/requests`, and the bodies of the results. Off for benchmarks.
    pub record: bool,
    /// Applies rules and scripts. Without, every POST with the right key is a success that registers nothing: for
    /// benchmarks.
    pub validate: bool,
    /// The time in milliseconds since 1970, for dates that must be in the future. The default stands still at 0: every
    /// date is.
    pub now: fn() -> i64,
    /// Told of every request.
    pub report: Option<OnRequest>,
}

impl Default for Settings {
    fn default() -> Self {
        let types = [
            ("SALE_COMPLETED", "Venta realizada", false),
            ("NOT_INTERESTED", "No interesado", false),
            ("RESCHEDULE", "Reprogramar visita", true),
            ("NO_CONTACT", "Sin contacto", false),
        ];
        Self {
            api_key: DEFAULT_API_KEY.to_owned(),
            permissions: vec![Permission::SubmitActivityResult, Permission::ViewActivities],
            result_types: types
                .map(|(code, label, requires_future_scheduled_at)| TenantResultType {
                    code: code.to_owned(),
                    label: label.to_owned(),
                    requires_future_scheduled_at,
                })
                .to_vec(),
            fail_share: 0.0,
            latency: Duration::ZERO,
            latency_jitter: Duration::ZERO,
            step_for_all: None,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            settings: Settings::default(),
            existing: Vec::new(),
            unknown: Vec::new(),
            known_activities: None,
            known_commerces: None,
            seed: 0,
            body_bytes_max: 16 << 20,
            record: true,
            validate: true,
            now: || 0,
            report: None,
        }
    }
}

/// One request and what became of it, for an operator who watches.
#[derive(Debug)]
pub struct RequestLine<'a> {
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// What became of it.
    pub answered: Answered,
    /// The id of its activity.
    pub activity: Option<&'a str>,
    /// The step of a script that decided.
    pub step: Option<&'a str>,
}

impl fmt::Display for RequestLine<'_> {
    /// `POST /api/integration/activity-results/tasks 503 crm-1 (sim: 503)`. What came from outside is escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {}",
            self.method.escape_debug(),
            self.path.escape_debug(),
            self.answered
        )?;
        if let Some(activity) = self.activity {
            write!(f, " {}", activity.escape_debug())?;
        }
        match self.step {
            Some(step) => write!(f, " (sim: {step})"),
            None => Ok(()),
        }
    }
}

/// What all connections share.
pub struct SandboxState {
    pub(super) ledger: Arc<Registry>,
    pub(super) options: Options,
    settings: RwLock<Arc<Settings>>,
    /// Its receivers are the held requests.
    pub(super) releases: watch::Sender<()>,
    outages: mpsc::Sender<Duration>,
}

impl SandboxState {
    pub(super) fn new(options: Options) -> (Arc<Self>, mpsc::Receiver<Duration>) {
        let (outages, ordered) = mpsc::channel(OUTAGES_MAX);
        let shared = Self {
            ledger: Arc::new(Registry::new(&options.existing, options.record)),
            settings: RwLock::new(Arc::new(options.settings.clone())),
            options,
            releases: watch::Sender::new(()),
            outages,
        };
        (Arc::new(shared), ordered)
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    pub(super) fn stats(&self) -> Stats {
        self.ledger.stats(self.releases.receiver_count())
    }

    pub(super) fn release(&self) -> usize {
        let held = self.releases.receiver_count();
        self.releases.send_replace(());
        held
    }

    pub(super) fn refuse_connections(&self, span: Duration) {
        self.outages.try_send(span).ok();
    }
}
