//! The outbox in SQLite.
//!
//! Whatever changes something goes to the one [`writer`] and is committed when the answer comes; whatever only looks
//! goes to a small pool of read-only connections and sees the last commit.
//!
//! Reading order: `migrations/outbox` (the tables and why), [`opening`], [`machine`] (the writer and what it applies),
//! [`operations`] in a submission's order (admit, claim, settle, act, sweep), [`reading`]; [`copying`] makes backups
//! and puts them in place, [`processes`] is what other processes see and leave beside the database.

mod copying;
mod machine;
mod opening;
mod operations;
#[cfg(test)]
mod plans;
mod processes;
mod reading;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqlitePool;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Timestamp;
use crate::store::operation::{Asked, Operation};
use crate::store::{Leap, OpenError, Role, StoreError};

use crate::store::beside::note::Notepad;
use machine::writer::{self, Locked, Order, Seen, Writer};
use opening::open;
use processes::quiet::Quiet;
use processes::usage;

pub use copying::backup::Backup;
pub(crate) use copying::carry;
pub use copying::restore::{BackupFile, Restored, restore};
pub use opening::location::free_bytes;
pub use processes::holders::{Holder, Way, holder};
pub(crate) use processes::touch::Touch;

/// The outbox. Cheap to clone; every clone shares one writer and one small pool of readers. Its methods are beside the
/// operations that they serve.
#[derive(Debug, Clone)]
pub struct Database {
    inner: Arc<Inner>,
    recovered: u64,
}

#[derive(Debug)]
struct Inner {
    /// `None` for a [`Role::Reader`].
    orders: Option<mpsc::Sender<Order>>,
    readers: SqlitePool,
    /// Of a [`Role::Reader`]: the share in the outbox, which a writer holds with its connection.
    _looking: Option<usage::Usage>,
    path: PathBuf,
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
    /// Opens the outbox: lock, schema version, integrity, write test, in this order, before a byte changes; then
    /// migrates, and as [`Role::Daemon`] recovers what a crash left in `sending` (see [`Database::recovered`]).
    pub async fn open(path: &Path, role: Role, now: Timestamp) -> Result<Self, OpenError> {
        let opened = open::open(path, role).await?;
        let seen = Arc::new(Seen::default());
        let locked = Arc::new(Locked::new(path));
        let notepad = (role == Role::Daemon).then(|| Notepad::prepare(path).ok()).flatten();
        let orders = opened.writing.map(|(conn, held)| {
            let (orders, waiting) = mpsc::channel(writer::QUEUE);
            tokio::spawn(Writer::new(conn, waiting, Some(held), Arc::clone(&seen), Arc::clone(&locked)).run());
            orders
        });
        let inner = Inner {
            orders,
            readers: opened.readers,
            _looking: opened.looking,
            path: path.to_owned(),
            version: AtomicI64::new(0),
            foreign_commits: AtomicU64::new(0),
            quiet: Quiet::of(path),
            seen,
            locked,
            notepad: notepad.map(Arc::new),
            odd_one_to_requeued: AtomicBool::new(false),
            leap: Mutex::default(),
        };
        let mut outbox = Self {
            inner: Arc::new(inner),
            recovered: 0,
        };
        outbox
            .begin(role, now)
            .await
            .map_err(|error| open::failed_after(path, &error))?;
        Ok(outbox)
    }

    /// What a role does first.
    async fn begin(&mut self, role: Role, now: Timestamp) -> Result<(), StoreError> {
        match role {
            Role::Reader => return Ok(()),
            Role::Tool => {}
            Role::Daemon => {
                self.recovered = self.ask(now, Operation::Recover).await?;
                // So that a reader can export. On a full disk it is made another time: a daemon starts without it.
                drop(self.marks(now).await);
            }
        }
        self.changed().await.map(drop)
    }

    /// How many were in `sending` when the daemon opened it, and are pending again.
    pub fn recovered(&self) -> u64 {
        self.recovered
    }

    /// From here on nothing waits for another process's lock for longer than a moment: the process is to end.
    pub fn hurry(&self) {
        self.inner.seen.is_hurried.store(true, Ordering::Relaxed);
    }

    /// Ends the writer after what is queued, checkpoints and closes every connection.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        if let Some(orders) = &self.inner.orders {
            let (done, closed) = oneshot::channel();
            if orders.send(Order::Close(done)).await.is_ok() {
                drop(closed.await);
            }
        }
    }

    async fn reader(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        Ok(self.inner.readers.acquire().await?)
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
        let sent = match &self.inner.orders {
            Some(orders) => orders.try_send(order).map_err(|refused| match refused {
                TrySendError::Full(order) => Ok((orders.clone(), order)),
                TrySendError::Closed(_) => Err(StoreError::Closed),
            }),
            None => Err(Err(reads_only())),
        };
        async move {
            if let Err(late) = sent {
                // The queue is full: it waits like everybody.
                let (orders, order) = late?;
                orders.send(order).await.map_err(|_| StoreError::Closed)?;
            }
            answer.await.map_err(|_| StoreError::Closed)?
        }
    }

    /// Asks the writer for something outside of any transaction.
    async fn send<A>(&self, order: fn(oneshot::Sender<Result<A, StoreError>>) -> Order) -> Result<A, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.order(order(reply)).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    async fn order(&self, order: Order) -> Result<(), StoreError> {
        let Some(orders) = &self.inner.orders else {
            return Err(reads_only());
        };
        orders.send(order).await.map_err(|_| StoreError::Closed)
    }
}

fn reads_only() -> StoreError {
    StoreError::Broken("it was opened to look only".to_owned())
}
