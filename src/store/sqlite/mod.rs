//! The outbox in SQLite.
//!
//! Whatever changes something goes to the one [`writer`] and is committed when the answer comes; whatever only looks
//! goes to a small pool of read-only connections and sees the last commit.
//!
//! Reading order: `migrations/outbox` (the tables and why), [`opening`], [`machine`] (the writer and what it applies),
//! [`operations`] in a submission's order (admit, claim, settle, act, sweep), [`reading`]; [`copying`] makes backups and
//! puts them in place, [`processes`] is what other processes see and leave beside the database.

mod copying;
mod machine;
mod opening;
mod operations;
#[cfg(test)]
mod plans;
mod processes;
mod reading;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqlitePool;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::model::{Admission, Admitted, FileReceipt, Payload, Receipt, SubmissionId};
use crate::store::{
    ActRequest, Acted, ClaimOrder, ClaimRequest, Claimed, Content, Filter, Leap, Listed, Miscount, OpenError, Place,
    Relations, Role, Settled, Settlement, StoreError, Story, Stretch, Sweep, Tally,
};

use machine::maintenance::Errand;
use machine::operation::{Asked, Operation};
use machine::trouble;
use machine::writer::{self, Locked, Order, Seen, Writer};
use opening::{inspect, open};
use operations::{act, claim, gate, marks, notes, receipts, recount};
use processes::note::Notepad;
use processes::quiet::Quiet;
use processes::usage;
use reading::{contents, list, relations, show, sources, tally};

pub use copying::backup::Backup;
pub use copying::restore::{BackupFile, Restored, restore};
pub use opening::location::free_bytes;
pub use operations::marks::Marks;
pub use processes::holders::{Holder, Way, holder};
pub use processes::lock::{Running, daemon_is_running};
pub use processes::note::read_note;
pub use processes::touch::Touch;

/// A look for other processes' commits that came with one of ours serves for so long. Under load each commit brings
/// one, and nobody has to wait for the writer between two of them.
const FRESH: Duration = Duration::from_millis(2);

/// An open database: the way to the writer, and the readers. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// None for who only looks.
    orders: Option<mpsc::Sender<Order>>,
    readers: SqlitePool,
    /// Of who only looks: the share in the outbox, which a writer holds with its connection.
    _looking: Option<usage::Usage>,
    path: PathBuf,
    recovered: u64,
    /// The writing connection's `data_version` when it was last asked.
    version: AtomicI64,
    /// How often it was another one.
    foreign_commits: AtomicU64,
    /// Whether it can be another one.
    quiet: Quiet,
    /// The same, as it came with the last commit.
    seen: Arc<Seen>,
    /// Since when the writer has met nothing but another process's lock.
    locked: Arc<Locked>,
    /// Of the daemon, where there was room for it.
    notepad: Option<Arc<Notepad>>,
    /// Who gets the odd place of the next claim that has one.
    odd_one_to_requeued: AtomicBool,
    /// How the clock was last set forward.
    leap: Mutex<Leap>,
}

impl Database {
    pub(crate) async fn open(path: &Path, role: Role, now: Timestamp) -> Result<Self, OpenError> {
        let opened = open::open(path, role).await?;
        let seen = Arc::new(Seen::default());
        let locked = Arc::new(Locked::new(path));
        let notepad = (role == Role::Daemon).then(|| Notepad::prepare(path).ok()).flatten();
        let orders = opened.writing.map(|(conn, held)| {
            let (orders, waiting) = mpsc::channel(writer::QUEUE);
            tokio::spawn(Writer::new(conn, waiting, Some(held), Arc::clone(&seen), Arc::clone(&locked)).run());
            orders
        });
        let mut shared = Shared {
            orders,
            readers: opened.readers,
            _looking: opened.looking,
            path: path.to_owned(),
            recovered: 0,
            version: AtomicI64::new(0),
            foreign_commits: AtomicU64::new(0),
            quiet: Quiet::of(path),
            seen,
            locked,
            notepad: notepad.map(Arc::new),
            odd_one_to_requeued: AtomicBool::new(false),
            leap: Mutex::default(),
        };
        shared
            .begin(role, now)
            .await
            .map_err(|error| open::told(path, &error))?;
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    pub(crate) fn recovered(&self) -> u64 {
        self.shared.recovered
    }

    pub(crate) async fn admit(&self, admission: Admission, now: Timestamp) -> Result<Vec<Admitted>, StoreError> {
        self.shared.ask((admission, now), Operation::Admit).await
    }

    pub(crate) async fn forget(&self, receipts: Vec<Receipt>) -> Result<(), StoreError> {
        self.shared.ask(receipts, Operation::Forget).await
    }

    pub(crate) fn claim(
        &self,
        request: ClaimRequest,
    ) -> impl Future<Output = Result<Vec<Claimed>, StoreError>> + Send + use<> {
        let has_odd_one = request.order == ClaimOrder::Due && request.limit % 2 == 1;
        let odd_one_to_requeued = self
            .shared
            .odd_one_to_requeued
            .fetch_xor(has_odd_one, Ordering::Relaxed);
        let turn = claim::Turn {
            request,
            odd_one_to_requeued,
            leap: *self.shared.leap.lock().unwrap_or_else(PoisonError::into_inner),
        };
        self.shared.ask_at_once(turn, Operation::Claim)
    }

    pub(crate) fn leapt(&self, leap: Leap) {
        *self.shared.leap.lock().unwrap_or_else(PoisonError::into_inner) = leap;
    }

    pub(crate) fn settle(
        &self,
        settlements: Vec<(Arc<Settlement>, Timestamp)>,
        beside: Option<(&'static str, String)>,
    ) -> impl Future<Output = Result<Vec<Settled>, StoreError>> + Send + use<> {
        let now = settlements.last().map_or_else(Timestamp::default, |(_, now)| *now);
        let note = beside.map(|(name, value)| notes::Note {
            name: name.to_owned(),
            value: Some(value),
            now,
        });
        self.shared.ask_at_once((settlements, note), Operation::Settle)
    }

    pub(crate) async fn act(&self, request: ActRequest) -> Result<Vec<(SubmissionId, Acted)>, StoreError> {
        if request.dry_run {
            return told(act::rehearse(&mut *self.reader().await?, &request).await);
        }
        self.shared.ask(request, Operation::Act).await
    }

    pub(crate) async fn remember(&self, name: &str, value: Option<String>, now: Timestamp) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.shared
            .ask(notes::Note { name, value, now }, Operation::Remember)
            .await
    }

    pub(crate) async fn open_gate(
        &self,
        name: &str,
        value: String,
        requeue: bool,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let name = name.to_owned();
        let opening = gate::Opening {
            name,
            value,
            requeue,
            now,
        };
        self.shared.ask(opening, Operation::OpenGate).await
    }

    pub(crate) async fn revive(
        &self,
        refused: Vec<SubmissionId>,
        now: Timestamp,
    ) -> Result<Option<SubmissionId>, StoreError> {
        self.shared.ask(gate::Revival { refused, now }, Operation::Revive).await
    }

    pub(crate) async fn sweep(&self, sweep: Sweep) -> Result<u64, StoreError> {
        self.shared.ask(sweep, Operation::Sweep).await
    }

    pub(crate) fn changed_before_this_commit(&self) -> Option<bool> {
        self.shared.changed_before_this_commit()
    }

    pub(crate) async fn changed(&self) -> Result<bool, StoreError> {
        self.shared.changed().await
    }

    pub(crate) async fn tidy(&self) -> Result<bool, StoreError> {
        self.shared.send(Errand::Tidy).await
    }

    pub(crate) async fn file_receipts(&self) -> Result<Vec<FileReceipt>, StoreError> {
        told(receipts::all_files(&mut *self.reader().await?).await)
    }

    pub(crate) async fn next_due(&self, wait_max: Duration) -> Result<Option<Timestamp>, StoreError> {
        let dues = told(tally::Dues::look(&mut *self.reader().await?).await)?;
        Ok(dues.next(wait_max))
    }

    pub(crate) async fn look_for_sources(&self, after: Place) -> Result<Stretch, StoreError> {
        told(sources::look(&mut *self.reader().await?, after).await)
    }

    pub(crate) async fn relations(&self, id: SubmissionId) -> Result<Relations, StoreError> {
        told(relations::relations(&mut *self.reader().await?, id).await)
    }

    pub(crate) async fn select(&self, filter: &Filter) -> Result<Vec<SubmissionId>, StoreError> {
        told(list::select(&mut *self.reader().await?, filter).await)
    }

    pub(crate) async fn refused_by_result_types(
        &self,
        after: SubmissionId,
        limit: u32,
    ) -> Result<Vec<(SubmissionId, Payload)>, StoreError> {
        told(list::refused_by_result_types(&mut *self.reader().await?, after, limit).await)
    }

    pub(crate) async fn list(
        &self,
        filter: &Filter,
        before: Option<SubmissionId>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        told(list::list(&mut *self.reader().await?, filter, before, limit).await)
    }

    pub(crate) async fn show(&self, id: SubmissionId) -> Result<Option<Story>, StoreError> {
        told(show::show(&mut *self.reader().await?, id).await)
    }

    pub(crate) async fn contents(&self, after: SubmissionId, limit: u32) -> Result<Vec<Content>, StoreError> {
        told(contents::contents(&mut *self.reader().await?, after, limit).await)
    }

    pub(crate) async fn tally(&self) -> Result<Tally, StoreError> {
        told(tally::tally(&mut *self.reader().await?).await)
    }

    pub(crate) async fn recount(&self) -> Result<Vec<Miscount>, StoreError> {
        let wrong = told(recount::miscounts(&mut *self.reader().await?).await)?;
        if !wrong.is_empty() {
            self.shared.ask(wrong.clone(), Operation::Recount).await?;
        }
        Ok(wrong)
    }

    pub(crate) async fn check_further(&self) -> Result<Option<String>, StoreError> {
        let bytes = std::fs::metadata(&self.shared.path).map_or(0, |file| file.len());
        told(inspect::check_further(&mut *self.reader().await?, bytes).await)
    }

    pub(crate) async fn found_short(&self) {
        self.shared.seen.short.notified().await;
    }

    pub(crate) fn touch(&self) -> Touch {
        Touch::of(&self.shared.path)
    }

    pub(crate) async fn stirred(&self) {
        self.shared.seen.stirred.notified().await;
    }

    pub(crate) async fn put_in_order(&self, after: Option<i64>) -> Result<(u64, Option<i64>), StoreError> {
        let found = recount::wrong_lanes(&mut *self.reader().await?, after.unwrap_or(i64::MIN)).await;
        let (wrong, end) = told(found)?;
        let count = wrong.len() as u64;
        if count > 0 {
            self.shared.ask(wrong, Operation::PutInOrder).await?;
        }
        Ok((count, end))
    }

    pub(crate) async fn recall(&self, name: &str) -> Result<Option<String>, StoreError> {
        told(notes::recall(&mut *self.reader().await?, name).await)
    }

    /// Makes the secret of marks where there is none and this role may; `None` where there is still none.
    pub(crate) async fn marks(&self, now: Timestamp) -> Result<Option<Marks>, StoreError> {
        self.shared.marks(now).await
    }

    pub(crate) fn hurry(&self) {
        self.shared.seen.is_hurried.store(true, Ordering::Relaxed);
    }

    pub(crate) async fn close(&self) {
        self.shared.readers.close().await;
        if let Some(orders) = &self.shared.orders {
            let (done, closed) = oneshot::channel();
            if orders.send(Order::Close(done)).await.is_ok() {
                drop(closed.await);
            }
        }
    }

    async fn reader(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        told(self.shared.readers.acquire().await)
    }
}

impl Shared {
    /// What a role does first.
    async fn begin(&mut self, role: Role, now: Timestamp) -> Result<(), StoreError> {
        match role {
            Role::Reader => return Ok(()),
            Role::Tool => {}
            Role::Daemon => {
                self.recovered = self.ask(now, Operation::Recover).await?;
                // So that who only looks can export. On a full disk it is made another time: a daemon starts without
                // it.
                drop(self.marks(now).await);
            }
        }
        self.changed().await.map(drop)
    }

    /// Asks the writer for an operation, and waits until its answer is committed.
    async fn ask<Q, A>(&self, question: Q, operation: fn(Asked<Q, A>) -> Operation) -> Result<A, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Operation(operation(Asked::new(question, reply))))
            .await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The same, but that the question is with the writer when this returns, before anything is awaited.
    fn ask_at_once<Q: Send, A: Send>(
        &self,
        question: Q,
        operation: fn(Asked<Q, A>) -> Operation,
    ) -> impl Future<Output = Result<A, StoreError>> + Send + use<Q, A> {
        let (reply, answer) = oneshot::channel();
        let order = Order::Operation(operation(Asked::new(question, reply)));
        let sent = match &self.orders {
            Some(orders) => orders.try_send(order).map_err(|refused| match refused {
                TrySendError::Full(order) => Ok((orders.clone(), order)),
                TrySendError::Closed(_) => Err(StoreError::Closed),
            }),
            None => Err(Err(looks_only())),
        };
        async move {
            if let Err(late) = sent {
                // The queue is full: it waits at the door like everybody.
                let (orders, order) = late?;
                orders.send(order).await.map_err(|_| StoreError::Closed)?;
            }
            answer.await.map_err(|_| StoreError::Closed)?
        }
    }

    /// Sends the writer on an errand.
    async fn send<A>(&self, errand: fn(oneshot::Sender<Result<A, StoreError>>) -> Errand) -> Result<A, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Errand(errand(reply))).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    async fn order(&self, order: Order) -> Result<(), StoreError> {
        let Some(orders) = &self.orders else {
            return Err(looks_only());
        };
        orders.send(order).await.map_err(|_| StoreError::Closed)
    }

    async fn marks(&self, now: Timestamp) -> Result<Option<Marks>, StoreError> {
        let known = self.secret().await?;
        if known.is_some() || self.orders.is_none() {
            return Ok(known);
        }
        let Some(secret) = Marks::new_secret() else {
            return Ok(None);
        };
        let note = notes::Note {
            name: marks::SECRET.to_owned(),
            value: Some(secret),
            now,
        };
        self.ask(note, Operation::Remember).await?;
        self.secret().await
    }

    async fn secret(&self) -> Result<Option<Marks>, StoreError> {
        let mut reader = told(self.readers.acquire().await)?;
        let secret = told(notes::recall(&mut reader, marks::SECRET).await)?;
        Ok(secret.as_deref().and_then(Marks::of))
    }

    /// As of the last commit, which another will follow; `None` where none is on its way, or none has brought a
    /// version.
    fn changed_before_this_commit(&self) -> Option<bool> {
        let version = self.seen.within(Duration::MAX).filter(|_| self.seen.is_busy())?;
        Some(self.is_new(version))
    }

    async fn changed(&self) -> Result<bool, StoreError> {
        if let Some(version) = self.seen.within(FRESH) {
            return Ok(self.is_new(version));
        }
        let (sight, now) = (self.quiet.look(), Instant::now());
        if self.quiet.holds(sight, now) {
            return Ok(false);
        }
        let version = self.send(Errand::Version).await;
        self.quiet.asked(sight.filter(|_| version.is_ok()), now);
        Ok(self.is_new(version?))
    }

    fn is_new(&self, version: i64) -> bool {
        let is_new = self.version.swap(version, Ordering::Relaxed) != version;
        if is_new {
            self.foreign_commits.fetch_add(1, Ordering::Relaxed);
            self.seen.stirred.notify_one();
        }
        is_new
    }
}

fn looks_only() -> StoreError {
    StoreError::Broken("it was opened to look only".to_owned())
}

fn told<T>(result: Result<T, sqlx::Error>) -> Result<T, StoreError> {
    result.map_err(|error| trouble::told(&error))
}
