//! A local simulator of the Reten integration API: for the demo, for rehearsals, and for every end-to-end test.
//!
//! It keeps the documented contract (key, permissions, validation, result types, 409), and it can be told to fail: by a
//! script that a result carries in its `external_status` (`sim:503x2,drop-after-accept`), by chance, or for all
//! requests through the endpoints under `/_sandbox/`. It uses nothing of the daemon: a misreading of the API must not
//! be made twice in the same words.
//!
//! - `rules`: the contract, pure. `faults`: scripts and chance, pure.
//! - `server`: connections. `exchange`: one request from arrival to answer. `contract`: the API when all is well.
//!   `answer`: bodies, the broken ones too. `ledger`: what is remembered.
//! - `control`: the endpoints under `/_sandbox/`.
//!
//! It remembers in memory only: a restarted sandbox has registered nothing. No failure of a client stops it.

mod answer;
mod contract;
mod control;
mod exchange;
mod faults;
mod ledger;
mod rules;
mod server;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use self::server::Shared;
pub use self::{
    faults::Turn,
    ledger::{Answered, Registered, Stats},
    rules::ResultType,
};
#[cfg(test)]
pub use ledger::Record;

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
    /// Submit results.
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
    pub result_types: Vec<ResultType>,
    /// The share of requests that fail with a 5xx, 0 to 1.
    pub fail_share: f64,
    /// Every answer takes at least so long.
    pub latency: Duration,
    /// And up to this much longer.
    pub latency_jitter: Duration,
    /// Answers every request with this step, an outage for instance.
    pub step_for_all: Option<Turn>,
}

/// Called once an outcome, and once more where a held request is answered at last. It must not block.
pub type Report = Arc<dyn Fn(&RequestLine<'_>) + Send + Sync>;

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
    pub report: Option<Report>,
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
                .map(|(code, label, requires_future_scheduled_at)| ResultType {
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

/// One request and what became of it, for a person who watches.
#[derive(Debug)]
pub struct RequestLine<'a> {
    /// `POST`, …
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

/// A sandbox running on the current tokio runtime. Dropping it stops it.
pub struct Sandbox {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl Sandbox {
    /// Binds `options.listen` and starts serving.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let addr = listener.local_addr()?;
        let (shared, outages) = Shared::new(options);
        let (stop, stopped) = oneshot::channel();
        let serving = server::run(Arc::clone(&shared), outages, listener, async {
            // An error is the handle that was dropped: a stop too.
            stopped.await.ok();
        });
        Ok(Self {
            addr,
            shared,
            stop,
            task: tokio::spawn(serving),
        })
    }

    /// For `api.base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The registered results, in order of their first registration.
    pub fn results(&self) -> Vec<Registered> {
        self.shared.ledger.results()
    }

    /// The counts.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Stops listening, closes every connection, and returns when that is done.
    pub async fn stop(self) -> io::Result<()> {
        // An error is a server that ended by itself; the task knows why.
        self.stop.send(()).ok();
        self.task.await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
impl Sandbox {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The kept requests, in order of arrival.
    pub fn requests(&self) -> Vec<Record> {
        self.shared.ledger.requests()
    }

    /// Replaces the settings, for the requests that come from now on.
    pub fn set(&self, settings: Settings) {
        self.shared.set(settings);
    }

    /// Lets every held request go on; returns how many there were.
    pub fn release(&self) -> usize {
        self.shared.release()
    }
}

/// Serves on `listener` until `stop` is ready; then closes every connection and returns.
pub async fn serve(options: Options, listener: TcpListener, stop: impl Future<Output = ()>) -> io::Result<()> {
    let (shared, outages) = Shared::new(options);
    server::run(shared, outages, listener, stop).await
}
