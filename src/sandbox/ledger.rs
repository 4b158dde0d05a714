//! What the sandbox remembers: the requests, the registered results, the turns of the scripts, and the counts.
//!
//! One lock, never held across an await. All memory is bounded: what no longer fits is forgotten oldest first
//! (requests), or answered without being remembered (results and scripts).

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use serde::{Serialize, Serializer};

use super::rules::{Activity, BodyFacts};

/// The newest requests that are kept.
const REQUESTS_MAX: usize = 100_000;
/// The bodies of all kept requests together, in bytes: with bodies of a megabyte the number alone would not bound the
/// memory.
const REQUEST_BYTES_MAX: usize = 256 << 20;
/// What is kept of one body, in bytes.
const BODY_BYTES_MAX: usize = 64 << 10;
/// The bodies of all registered results together, in bytes; beyond it they are registered without.
const RESULT_BYTES_MAX: usize = 512 << 20;
/// The activities and the scripted results that are kept apart. A rehearsal has thousands; a benchmark turns the rules
/// off.
const ACTIVITIES_MAX: usize = 2_000_000;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answered {
    Waiting,
    /// Answered with that status.
    Status(u16),
    /// The connection was closed instead.
    Dropped,
    /// The connection was reset instead.
    Reset,
    /// No answer, until the client leaves.
    Hanging,
    /// Waits for its release.
    Held,
    /// The client left before there was an answer.
    Gone,
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Status(status) => return write!(f, "{status}"),
            Self::Dropped => "dropped",
            Self::Reset => "reset",
            Self::Hanging => "hanging",
            Self::Held => "held",
            Self::Gone => "gone",
        })
    }
}

impl Serialize for Answered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Status(status) => serializer.serialize_u16(*status),
            other => serializer.collect_str(other),
        }
    }
}

/// One request as it was received.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// Its place in the order of arrival, from 1.
    pub n: u64,
    pub method: String,
    /// Without the query.
    pub path: String,
    /// When its body was complete, in milliseconds by the clock of the options.
    pub received_ms: i64,
    /// Whether it carried the right key.
    pub key_ok: bool,
    /// The body's length in bytes.
    pub body_bytes: usize,
    /// The body as received, up to 64 KiB.
    pub body: String,
    pub activity_id: Option<String>,
    pub provider_activity_id: Option<String>,
    pub hard_override: Option<bool>,
    /// The step of a script that decided the answer.
    pub step: Option<String>,
    /// A status, or a word for what came instead.
    pub answered: Answered,
}

/// The result registered for an activity.
#[derive(Debug, Clone, Serialize)]
pub struct Registered {
    /// The id of the activity: `activity_id` in lower case, else `provider_activity_id`.
    pub activity: String,
    /// How many results were accepted for it; each but the first replaced the one before.
    pub accepted: u64,
    /// The body accepted last, whole and as received; empty where bodies are not kept.
    pub body: String,
    #[serde(skip)]
    order: usize,
}

/// Counts since the start.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Stats {
    /// Requests received, those to the control endpoints excepted.
    pub requests: u64,
    /// Outcomes by status or word.
    pub answers: BTreeMap<Answered, u64>,
    /// Requests whose answer is not wholly sent.
    pub in_flight: usize,
    /// The most there ever were.
    pub max_in_flight: usize,
    /// Requests waiting for their release.
    pub held: usize,
    /// Activities that have a result by a request.
    pub registered: usize,
}

/// What tells two results apart: a later result of the same activity has turns of its own.
type ScriptIdentity = (Option<Activity>, Option<String>, Option<String>);

#[derive(Default)]
struct Memory {
    stats: Stats,
    records: VecDeque<Record>,
    record_bytes: usize,
    results: HashMap<Activity, Registered>,
    result_bytes: usize,
    turns: HashMap<ScriptIdentity, u64>,
}

/// The memory of one sandbox.
pub struct Registry {
    memory: Mutex<Memory>,
    existing: HashSet<String>,
    keeps: bool,
}

/// A request in flight, until it is dropped.
pub struct Ticket {
    /// The request's place in the order of arrival, from 1.
    pub n: u64,
    ledger: Arc<Registry>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut memory = self.ledger.lock();
        memory.stats.in_flight -= 1;
        if let Some(record) = memory.record(self.n)
            && matches!(record.answered, Answered::Waiting | Answered::Held)
        {
            record.answered = Answered::Gone;
        }
    }
}

impl Memory {
    fn record(&mut self, n: u64) -> Option<&mut Record> {
        let first = self.records.front()?.n;
        self.records.get_mut(usize::try_from(n.checked_sub(first)?).ok()?)
    }
}

impl Registry {
    /// `existing` are ids of activities that have a result already; without `keeps` no request and no body is kept.
    pub fn new(existing: &[String], keeps: bool) -> Self {
        // A UUID is looked up in lower case; another id as it is.
        let existing = existing
            .iter()
            .flat_map(|id| [id.clone(), id.to_ascii_lowercase()])
            .collect();
        Self {
            memory: Mutex::default(),
            existing,
            keeps,
        }
    }

    /// A panic elsewhere leaves at worst a count that is off by one: no reason to stop answering.
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request arrived; `record` makes what is kept of it.
    pub fn arrive(self: &Arc<Self>, body: &Bytes, record: impl FnOnce() -> Record) -> Ticket {
        let record = self.keeps.then(record);
        let mut memory = self.lock();
        let stats = &mut memory.stats;
        stats.requests += 1;
        stats.in_flight += 1;
        stats.max_in_flight = stats.max_in_flight.max(stats.in_flight);
        let n = stats.requests;
        if let Some(record) = record {
            let body = String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES_MAX)]).into_owned();
            memory.record_bytes += body.len();
            memory.records.push_back(Record { n, body, ..record });
            while memory.records.len() > REQUESTS_MAX || memory.record_bytes > REQUEST_BYTES_MAX {
                let Some(oldest) = memory.records.pop_front() else {
                    break;
                };
                memory.record_bytes -= oldest.body.len();
            }
        }
        Ticket {
            n,
            ledger: Arc::clone(self),
        }
    }

    /// The request's outcome, or that it waits for one.
    pub fn mark(&self, n: u64, answered: Answered, step: Option<&str>) {
        let mut memory = self.lock();
        if let Some(record) = memory.record(n) {
            record.answered = answered;
            record.step = step.map(str::to_owned);
        }
        match answered {
            Answered::Waiting | Answered::Held | Answered::Gone => {}
            Answered::Status(_) | Answered::Dropped | Answered::Reset | Answered::Hanging => {
                *memory.stats.answers.entry(answered).or_default() += 1;
            }
        }
    }

    /// How many requests for this very result there were before; counts this one.
    pub fn count_turn(&self, glance: &BodyFacts) -> u64 {
        let identity = (
            glance.activity(),
            glance.commerce_external_id.clone(),
            glance.occurred_at.clone(),
        );
        let mut memory = self.lock();
        if memory.turns.len() >= ACTIVITIES_MAX && !memory.turns.contains_key(&identity) {
            return 0;
        }
        let count = memory.turns.entry(identity).or_default();
        *count += 1;
        *count - 1
    }

    /// Registers a result and returns the activity's place among the registered ones; `None` if it has one that is not
    /// to be overridden.
    pub fn register(&self, activity: Activity, body: &Bytes, hard_override: bool) -> Option<usize> {
        let mut guard = self.lock();
        let memory = &mut *guard;
        let order = memory.results.len();
        let found = memory.results.get_mut(&activity);
        if !hard_override && (found.is_some() || self.existing.contains(activity.id())) {
            return None;
        }
        memory.result_bytes -= found.as_ref().map_or(0, |registered| registered.body.len());
        let kept = self.keeps && memory.result_bytes + body.len() <= RESULT_BYTES_MAX;
        let text = if kept {
            String::from_utf8_lossy(body).into_owned()
        } else {
            String::new()
        };
        memory.result_bytes += text.len();
        if let Some(registered) = found {
            registered.accepted += 1;
            registered.body = text;
            return Some(registered.order);
        }
        if order < ACTIVITIES_MAX {
            let registered = Registered {
                activity: activity.id().to_owned(),
                accepted: 1,
                body: text,
                order,
            };
            memory.results.insert(activity, registered);
        }
        Some(order)
    }

    /// The kept requests, in order of arrival.
    pub fn requests(&self) -> Vec<Record> {
        self.lock().records.iter().cloned().collect()
    }

    /// The registered results, in the order in which their activities got their first.
    pub fn results(&self) -> Vec<Registered> {
        let mut results: Vec<_> = self.lock().results.values().cloned().collect();
        results.sort_unstable_by_key(|registered| registered.order);
        results
    }

    /// The counts; `held` is known elsewhere.
    pub fn stats(&self, held: usize) -> Stats {
        let memory = self.lock();
        Stats {
            held,
            registered: memory.results.len(),
            ..memory.stats.clone()
        }
    }

    /// Forgets the kept requests; counts and results stay.
    pub fn forget_requests(&self) {
        let mut memory = self.lock();
        memory.records.clear();
        memory.record_bytes = 0;
    }
}
