//! The one writer: a task that owns the one write connection of this process.
//!
//! It takes what waits, applies it in one transaction, commits, and only then answers. While one commit syncs, the next
//! group gathers by itself: groups grow with the load, and a slow disk costs latency and not rate. A group that fails
//! is rolled back and replayed one by one, so that one bad operation does not fail its neighbours.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::store::StoreError;
use crate::store::operation::Operation;
use crate::store::sqlite::opening::open::Held;
use crate::store::sqlite::opening::pragma;
use crate::store::sqlite::processes::holders::{self, Way};

use super::transaction::{self, Committed, Transaction};
use super::trouble::Trouble;
use super::{apply, hot, maintenance};

/// Operations that may wait: far more than are ever in flight. Whoever comes when it is full waits at the door.
pub(crate) const QUEUE: usize = 1024;
/// The most rows of one group, so that the write lock is free for other processes within tens of milliseconds. One
/// operation may bring more.
const GROUP_ROWS: usize = 4096;
/// The most payload bytes of one group: twice that is memory in use and growth of the WAL. One operation may bring
/// more.
const GROUP_BYTES: usize = 8 << 20;
/// How long another process's lock is waited out, in rounds of [`pragma::BUSY_ROUND`], before whoever asked is told;
/// what they asked can be asked again. A process that is to end waits for one round only: an operator's forgotten
/// transaction must not hold up a stop.
const BUSY_MAX: Duration = Duration::from_secs(15);

/// What comes to the writer.
pub(crate) enum Order {
    /// Into a transaction, with others.
    Operation(Operation),
    /// Outside of any: what [`maintenance::data_version`] says.
    Version(oneshot::Sender<Result<i64, StoreError>>),
    /// Outside of any: checkpoint, and give free pages back; whether there are more.
    Tidy(oneshot::Sender<Result<bool, StoreError>>),
    /// Finish what is queued, close, and say so.
    Close(oneshot::Sender<()>),
}

/// The writer's belongings. The locks are here since they must outlive the connection: another daemon may come once the
/// file is closed.
pub(crate) struct Writer {
    conn: SqliteConnection,
    orders: mpsc::Receiver<Order>,
    held: Option<Held>,
    seen: Arc<Seen>,
    locked: Arc<Locked>,
}

/// Since when the writer has met nothing but another process's lock: who waits for it hears of it much later.
#[derive(Debug)]
pub(crate) struct Locked {
    path: PathBuf,
    since: Mutex<Option<Instant>>,
}

impl Locked {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            since: Mutex::default(),
        }
    }

    /// It was met, after SQLite itself has waited for it.
    fn met(&self) {
        self.since().get_or_insert_with(|| {
            let now = Instant::now();
            now.checked_sub(pragma::BUSY_ROUND_WAIT).unwrap_or(now)
        });
    }

    /// Whether it had been met.
    fn over(&self) -> bool {
        self.since().take().is_some()
    }

    /// For how long, where that is longer than a command's own work takes.
    pub(crate) fn so_long(&self) -> Option<Duration> {
        let span = self.since().map(|since| since.elapsed());
        span.filter(|span| *span >= pragma::BUSY_WAIT)
    }

    /// The error, with who is in the way.
    fn name_holder(&self, error: sqlx::Error) -> StoreError {
        match (error.into(), holders::holder(&self.path, Way::Writing, None)) {
            (StoreError::Busy(what), Some(holder)) => StoreError::Busy(format!("{what}; {holder} holds it")),
            (error, _) => error,
        }
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came with the commits: the last `data_version` and when (whoever asks right afterwards needs not go to the
/// writer), and counts that are wrong. And what the writer is told beside the questions.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    version: Mutex<Option<(i64, Instant)>>,
    /// How many there were.
    commits: AtomicU64,
    /// Told when a count would have fallen below nothing.
    pub(crate) short: Notify,
    /// Told at each commit, of ours and noticed ones of others, and while another process's lock is met.
    pub(crate) stirred: Notify,
    /// Whether the process is to end, and waits for no lock any more.
    pub(crate) is_hurried: AtomicBool,
    busy: AtomicBool,
}

impl Seen {
    /// How many commits there were.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Whether the writer is at work: its commit will bring a version.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    fn note(&self, committed: Committed) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.stirred.notify_one();
        let version = committed.version.map(|version| (version, Instant::now()));
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = version;
        if committed.is_short {
            self.short.notify_one();
        }
    }

    /// It, if it is so young.
    pub(crate) fn within(&self, age: Duration) -> Option<i64> {
        let seen = *self.version.lock().unwrap_or_else(PoisonError::into_inner);
        seen.filter(|(_, at)| at.elapsed() <= age).map(|(version, _)| version)
    }
}

impl Writer {
    pub(crate) fn new(
        conn: SqliteConnection,
        orders: mpsc::Receiver<Order>,
        held: Option<Held>,
        seen: Arc<Seen>,
        locked: Arc<Locked>,
    ) -> Self {
        Self {
            conn,
            orders,
            held,
            seen,
            locked,
        }
    }

    /// Works until everyone who could ask has gone, or one of them closes.
    pub(crate) async fn run(mut self) {
        // Where it fails the rounds are longer, and a stop behind a lock with them.
        drop(pragma::for_rounds(&mut self.conn).await);
        let mut arrived = Vec::new();
        let mut waiting = VecDeque::new();
        let mut closing = Vec::new();
        while self.orders.recv_many(&mut arrived, QUEUE).await > 0 {
            for order in arrived.drain(..) {
                match order {
                    Order::Operation(operation) => waiting.push_back(operation),
                    Order::Version(reply) => {
                        let version = maintenance::data_version(&mut self.conn).await;
                        drop(reply.send(version.map_err(StoreError::from)));
                    }
                    Order::Tidy(reply) => {
                        let has_more = maintenance::tidy(&mut self.conn).await;
                        drop(reply.send(has_more.map_err(StoreError::from)));
                    }
                    Order::Close(done) => {
                        self.orders.close();
                        closing.push(done);
                    }
                }
            }
            while let Some(group) = next_group(&mut waiting) {
                self.seen.busy.store(true, Ordering::Relaxed);
                self.serve(group).await;
            }
            self.seen.busy.store(false, Ordering::Relaxed);
        }
        drop(maintenance::truncate(&mut self.conn).await);
        drop(self.conn.close().await);
        drop(self.held);
        for done in closing {
            // Whoever closed may have gone.
            let _ = done.send(());
        }
    }

    /// One group, to its answers.
    async fn serve(&mut self, mut group: Vec<Operation>) {
        let outcome = self.attempt(&mut group).await;
        if group.len() == 1 || !matches!(outcome, Err(StoreError::Broken(_))) {
            for operation in group {
                operation.reply(outcome.clone());
            }
            return;
        }
        for mut operation in group {
            let outcome = self.attempt(std::slice::from_mut(&mut operation)).await;
            operation.reply(outcome);
        }
    }

    /// Applies and commits, waiting where waiting helps.
    async fn attempt(&mut self, group: &mut [Operation]) -> Result<(), StoreError> {
        let outcome = self.wait_out(group).await;
        if self.locked.over() {
            self.seen.stirred.notify_one();
        }
        outcome
    }

    async fn wait_out(&mut self, group: &mut [Operation]) -> Result<(), StoreError> {
        let began = Instant::now();
        let mut rounds = 0;
        loop {
            let Err(error) = self.commit(group).await else {
                return Ok(());
            };
            rounds += 1;
            match Trouble::of(&error) {
                Trouble::Busy if began.elapsed() < BUSY_MAX && !self.seen.is_hurried.load(Ordering::Relaxed) => {
                    self.locked.met();
                    self.seen.stirred.notify_one();
                }
                // The WAL may hold what only waits to be copied: a checkpoint gives that room back.
                Trouble::Full if rounds == 1 => drop(maintenance::truncate(&mut self.conn).await),
                Trouble::Busy
                | Trouble::Full
                | Trouble::ReadOnly
                | Trouble::Damaged
                | Trouble::CannotOpen
                | Trouble::Other => {
                    return Err(self.locked.name_holder(error));
                }
            }
        }
    }

    /// One transaction. Crash before the commit: nothing happened, and nobody was told otherwise.
    async fn commit(&mut self, group: &mut [Operation]) -> Result<(), sqlx::Error> {
        let applied = match apply::as_hot(group) {
            Some(hot) => match hot::run(&mut self.conn, &hot).await {
                Ok(done) => {
                    let committed = done.committed;
                    apply::answer_hot(group, done);
                    Ok(committed)
                }
                Err(error) => Err(error),
            },
            None => self.apply(group).await,
        };
        match applied {
            Ok(committed) => {
                self.seen.note(committed);
                Ok(())
            }
            Err(error) => {
                transaction::roll_back(&mut self.conn).await;
                Err(error)
            }
        }
    }
}

impl Writer {
    async fn apply(&mut self, group: &mut [Operation]) -> Result<Committed, sqlx::Error> {
        let mut transaction = Transaction::begin(&mut self.conn).await?;
        apply::apply(group, &mut transaction).await?;
        transaction.commit().await
    }
}

/// The next operations that go together: at least one, as many as the bounds allow.
fn next_group(waiting: &mut VecDeque<Operation>) -> Option<Vec<Operation>> {
    let mut group = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    while let Some(next) = waiting.front() {
        let (more_rows, more_bytes) = next.weight();
        if !group.is_empty() && (rows + more_rows > GROUP_ROWS || bytes + more_bytes > GROUP_BYTES) {
            break;
        }
        rows += more_rows;
        bytes += more_bytes;
        group.extend(waiting.pop_front());
    }
    (!group.is_empty()).then_some(group)
}

#[cfg(test)]
mod tests;
