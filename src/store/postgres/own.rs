//! What this process is to the others: its incarnation, its key's scope, what it has in flight, and how the server was
//! when it was last met.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::clock::Timestamp;
use crate::store::{NodeEvent, Tenure};

use super::floor::Floor;

/// A daemon that has not beaten for so long sends nothing more: the others may soon send what it had claimed.
pub(super) const STOP_AFTER: Duration = Duration::from_secs(4);
/// What is said of nodes waits here for whoever logs it; beyond this the oldest goes.
const EVENTS_MAX: usize = 64;

/// A claim: the attempt's number, and when it was claimed. After a failover that lost commits the number alone may be that
/// of another submission's claim.
pub(super) type Claim = (u32, Timestamp);

/// Shared by the writers, the readers and the beat of a process.
#[derive(Debug)]
pub(super) struct Own {
    /// 0: a command's process, or no incarnation at present.
    node: AtomicI64,
    is_daemon: bool,
    schema: String,
    pub(super) identity: String,
    is_hurried: AtomicBool,
    scope: Mutex<String>,
    told: Mutex<(u32, &'static str)>,
    /// Claimed by this incarnation and not settled.
    claimed: Mutex<HashMap<i64, Claim>>,
    floor: Mutex<Floor>,
    /// When the last good beat began.
    beaten: Mutex<Option<Instant>>,
    failing_since: Mutex<Option<Instant>>,
    /// A result was delivered since the last beat.
    delivered: AtomicBool,
    sharers: AtomicU32,
    /// Whether what a refused key has dead-lettered is put back when a key works (`auth.requeue`).
    requeues: AtomicBool,
    commits: AtomicU64,
    pub(super) stirred: Notify,
    /// Something of this node that the others go by has changed: told with a beat at once.
    pub(super) news: Notify,
    /// Goes up when others may have written.
    others: watch::Sender<u64>,
    seen: AtomicU64,
    events: Mutex<Vec<NodeEvent>>,
    outgrown: watch::Sender<Option<String>>,
}

impl Own {
    pub(super) fn new(schema: &str, identity: String, is_daemon: bool) -> Self {
        Self {
            node: AtomicI64::new(0),
            is_daemon,
            schema: schema.to_owned(),
            identity,
            is_hurried: AtomicBool::new(false),
            scope: Mutex::default(),
            told: Mutex::new((0, "open")),
            claimed: Mutex::default(),
            floor: Mutex::default(),
            beaten: Mutex::default(),
            failing_since: Mutex::default(),
            delivered: AtomicBool::new(false),
            sharers: AtomicU32::new(1),
            requeues: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            stirred: Notify::new(),
            news: Notify::new(),
            others: watch::channel(0).0,
            seen: AtomicU64::new(0),
            events: Mutex::default(),
            outgrown: watch::channel(None).0,
        }
    }

    pub(super) fn node(&self) -> i64 {
        self.node.load(Ordering::Acquire)
    }

    /// Another incarnation: what the last one had claimed is the others' now.
    pub(super) fn become_node(&self, id: i64, beaten: Instant) {
        lock(&self.claimed).clear();
        *lock(&self.beaten) = Some(beaten);
        self.node.store(id, Ordering::Release);
    }

    /// The name of its connections, by which a take-over ends them.
    pub(super) fn name(&self) -> String {
        match self.node() {
            0 => format!("reten-outbox {}", self.schema),
            id => node_name(&self.schema, id),
        }
    }

    pub(super) fn scope(&self) -> String {
        lock(&self.scope).clone()
    }

    pub(super) fn send_by(&self, scope: &str, requeues: bool) {
        self.requeues.store(requeues, Ordering::Relaxed);
        let mut known = lock(&self.scope);
        if *known != scope {
            scope.clone_into(&mut known);
            self.news.notify_one();
        }
    }

    pub(super) fn tell(&self, in_flight: u32, gate: &'static str) {
        let mut told = lock(&self.told);
        if told.1 != gate {
            self.news.notify_one();
        }
        *told = (in_flight, gate);
    }

    pub(super) fn told(&self) -> (u32, &'static str) {
        *lock(&self.told)
    }

    pub(super) fn requeues(&self) -> bool {
        self.requeues.load(Ordering::Relaxed)
    }

    /// How many nodes there are, this one included.
    pub(super) fn sharers(&self) -> u32 {
        self.sharers.load(Ordering::Relaxed)
    }

    pub(super) fn shared_by(&self, nodes: usize) {
        self.sharers
            .store(u32::try_from(nodes).unwrap_or(u32::MAX).max(1), Ordering::Relaxed);
    }

    /// A result was delivered since this was last asked.
    pub(super) fn has_delivered(&self) -> bool {
        self.delivered.swap(false, Ordering::Relaxed)
    }

    pub(super) fn delivered(&self) {
        self.delivered.store(true, Ordering::Relaxed);
    }

    pub(super) fn hurry(&self) {
        self.is_hurried.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_hurried(&self) -> bool {
        self.is_hurried.load(Ordering::Relaxed)
    }

    pub(super) fn claimed(&self) -> MutexGuard<'_, HashMap<i64, Claim>> {
        lock(&self.claimed)
    }

    pub(super) fn floor(&self) -> MutexGuard<'_, Floor> {
        lock(&self.floor)
    }

    /// A good beat, by when it began: the answer may have been on its way for long.
    pub(super) fn beaten(&self, began: Instant) {
        *lock(&self.beaten) = Some(began);
    }

    pub(super) fn tenure(&self) -> Tenure {
        let is_held = lock(&self.beaten).is_some_and(|beaten| beaten.elapsed() < STOP_AFTER);
        if is_held && self.node() != 0 || !self.is_daemon {
            Tenure::Held(self.node())
        } else {
            Tenure::CutOff
        }
    }

    /// Waits until this incarnation may not send any more.
    pub(super) async fn cut_off(&self, incarnation: i64) {
        while self.tenure() == Tenure::Held(incarnation) {
            let beaten = lock(&self.beaten).unwrap_or_else(Instant::now);
            sleep_until(beaten + STOP_AFTER).await;
        }
    }

    /// A commit of ours.
    pub(super) fn worked(&self) {
        *lock(&self.failing_since) = None;
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.stirred.notify_one();
    }

    /// The server is there. A sign of life is no news for who shows the counts: it comes once a second.
    pub(super) fn met(&self) {
        if lock(&self.failing_since).take().is_some() {
            self.stirred.notify_one();
        }
    }

    pub(super) fn failed(&self) {
        lock(&self.failing_since).get_or_insert_with(Instant::now);
        self.stirred.notify_one();
    }

    /// For how long the server was not met.
    pub(super) fn failing_for(&self) -> Option<Duration> {
        lock(&self.failing_since).map(|since| since.elapsed())
    }

    /// Others may have written, and put something back to any place of the queue.
    pub(super) fn others_wrote(&self) {
        self.floor().forget();
        self.others.send_modify(|version| *version += 1);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.stirred.notify_one();
    }

    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Whether others may have written since this was last asked.
    pub(super) fn changed(&self) -> bool {
        let version = *self.others.borrow();
        self.seen.swap(version, Ordering::Relaxed) != version
    }

    pub(super) fn listen(&self) -> watch::Receiver<u64> {
        self.others.subscribe()
    }

    /// The tables have moved beyond this program, in these words.
    pub(super) fn outgrow(&self, why: String) {
        self.outgrown.send_replace(Some(why));
    }

    pub(super) async fn outgrown(&self) -> String {
        let mut outgrown = self.outgrown.subscribe();
        let why = outgrown.wait_for(Option::is_some).await;
        // The sender lives as long as we do.
        why.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    pub(super) fn note(&self, event: NodeEvent) {
        let mut events = lock(&self.events);
        if events.len() == EVENTS_MAX {
            events.remove(0);
        }
        events.push(event);
    }

    pub(super) fn events(&self) -> Vec<NodeEvent> {
        std::mem::take(&mut lock(&self.events))
    }
}

/// The name of a node's connections.
pub(super) fn node_name(schema: &str, id: i64) -> String {
    format!("reten-outbox {schema} node {id}")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
