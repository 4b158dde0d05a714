//! The writers: tasks that own a connection each. Intake and sending need not queue after one another here, as they must
//! in SQLite.
//!
//! Each takes what waits, applies it in one transaction, commits, and only then answers; groups grow with the load. A
//! group that fails is rolled back and replayed, where it is worth it together, else one by one. A connection that broke,
//! or took too long, is never used again: nobody knows what its transaction came to, and each operation is safe to
//! repeat.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::store::StoreError;
use crate::store::operation::Operation;

use super::apply;
use super::connect::{Connector, Purpose};
use super::link::within;
use super::own::Own;
use super::transaction::{self, Transaction};
use super::trouble;

/// Operations that may wait for a writer.
pub(super) const QUEUE: usize = 1024;
/// What one transaction carries at most: rows, and bytes of payloads and answers.
const GROUP_ROWS: usize = 512;
const GROUP_BYTES: usize = 8 << 20;
/// How often a group is replayed that met another node's.
const REPLAYS: u32 = 5;
/// How long outcomes may be asked for again after a commit whose answer was lost: far longer than who asks rests.
const ASKED_AGAIN_WITHIN: Duration = Duration::from_mins(5);
/// Ends the session of the transaction before, and waits until it has ended; none where it has already. By its name too:
/// after a failover the number is another's.
pub(super) const END_LAST: &str = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
     WHERE pid = $1 AND application_name = $2 AND usename = current_user AND pid <> pg_backend_pid()";
/// How long one transaction may take before its connection is given up.
const WRITE_MAX: Duration = Duration::from_secs(15);
/// The same while the process ends.
const HURRIED_MAX: Duration = Duration::from_secs(2);

/// The session whose transaction is open for longest, and is none of a daemon's.
pub(super) const HOLDER: &str = "SELECT 'the session ' || pid || ' of ' || coalesce(usename, '?') || ' (' || coalesce(application_name, '') || ') has a transaction open since ' \
        || to_char(xact_start, 'HH24:MI:SS') || ' UTC: end it, or SELECT pg_terminate_backend(' || pid || ')' FROM pg_stat_activity \
     WHERE datname = current_database() AND xact_start < now() - interval '4 s' AND application_name NOT LIKE 'reten-outbox%' ORDER BY xact_start LIMIT 1";

/// What a writer is asked.
pub(super) enum Order {
    Operation(Operation),
    Close(oneshot::Sender<()>),
}

/// A writer.
pub(super) struct Writer {
    connector: Connector,
    own: Arc<Own>,
    orders: mpsc::Receiver<Order>,
    conn: Option<PgConnection>,
    /// Under which name it was made (a new incarnation has another), and the server's process that serves it.
    name: String,
    pid: i32,
    /// The outcome of the last transaction is not known.
    is_unsure: bool,
    /// What it claimed may be ours, and nobody sends it.
    may_have_claimed: bool,
    /// Since when outcomes are asked for once more that may have been stored.
    unsure_since: Option<Instant>,
}

impl Writer {
    pub(super) fn new(connector: Connector, own: Arc<Own>, orders: mpsc::Receiver<Order>) -> Self {
        Self {
            connector,
            own,
            orders,
            conn: None,
            name: String::new(),
            pid: 0,
            is_unsure: false,
            may_have_claimed: false,
            unsure_since: None,
        }
    }

    /// Works until everyone who could ask has gone, or one of them closes.
    pub(super) async fn run(mut self) {
        let (mut arrived, mut waiting, mut closing) = (Vec::new(), VecDeque::new(), Vec::new());
        while self.orders.recv_many(&mut arrived, QUEUE).await > 0 {
            for order in arrived.drain(..) {
                match order {
                    Order::Operation(operation) => waiting.push_back(operation),
                    Order::Close(done) => {
                        self.orders.close();
                        closing.push(done);
                    }
                }
            }
            while let Some(group) = next_group(&mut waiting) {
                self.serve(group).await;
            }
        }
        if let Some(conn) = self.conn.take() {
            drop(within(HURRIED_MAX, "closing", conn.close()).await);
        }
        for done in closing {
            // Whoever closed may have gone.
            let _ = done.send(());
        }
    }

    /// One group, to its answers.
    async fn serve(&mut self, mut group: Vec<Operation>) {
        let outcome = self.replay(&mut group).await;
        if group.len() == 1 || !matches!(outcome, Err(StoreError::Broken(_))) {
            for operation in group {
                operation.reply(outcome.clone());
            }
            return;
        }
        for mut operation in group {
            let outcome = self.replay(std::slice::from_mut(&mut operation)).await;
            operation.reply(outcome);
        }
    }

    /// The same once more, while that may help.
    async fn replay(&mut self, group: &mut [Operation]) -> Result<(), StoreError> {
        let mut replays = 0;
        loop {
            match self.attempt(group).await {
                Ok(()) => {
                    self.own.worked();
                    return Ok(());
                }
                Err(error) if trouble::is_worth_a_replay(&error) && replays < REPLAYS => replays += 1,
                Err(error) => {
                    if trouble::is_of_connection(&error) || trouble::is_of_lock(&error) {
                        self.own.failed();
                    }
                    return Err(self.name_holder(&error).await);
                }
            }
        }
    }

    /// The error; of a lock with who is likely to hold it: as a rule somebody's forgotten transaction.
    async fn name_holder(&mut self, error: &sqlx::Error) -> StoreError {
        let named = match &mut self.conn {
            Some(conn) if trouble::is_of_lock(error) => {
                let looking = sqlx::query(HOLDER).fetch_optional(conn);
                within(HURRIED_MAX, "a look for who holds it", looking)
                    .await
                    .ok()
                    .flatten()
            }
            Some(_) | None => None,
        };
        let holder: Option<String> = named.and_then(|row| row.try_get(0).ok());
        match (trouble::store_error(error), holder) {
            (StoreError::Busy(what), Some(holder)) => StoreError::Busy(format!("{what}; {holder}")),
            (error, _) => error,
        }
    }

    /// One transaction. Crash before the commit: nothing happened, and nobody was told otherwise.
    async fn attempt(&mut self, group: &mut [Operation]) -> Result<(), sqlx::Error> {
        let limit = if self.own.is_hurried() { HURRIED_MAX } else { WRITE_MAX };
        let mut conn = self.connected(limit).await?;
        let may_be_stored = self
            .unsure_since
            .is_some_and(|since| since.elapsed() < ASKED_AGAIN_WITHIN);
        let (node, scope) = (self.own.node(), self.own.scope());
        let work = async {
            let mut transaction = Transaction::begin(&mut conn, node, scope).await?;
            transaction.may_be_stored = may_be_stored;
            apply::apply(group, &mut transaction, &self.own).await?;
            transaction.commit().await
        };
        match within(limit, "a transaction", work).await {
            Ok(()) => {
                apply::take_note(group, &self.own);
                self.conn = Some(conn);
                Ok(())
            }
            Err(error) if trouble::is_of_connection(&error) => {
                self.own.floor().forget();
                self.is_unsure = true;
                self.may_have_claimed |= group.iter().any(|operation| matches!(operation, Operation::Claim(_)));
                self.unsure_since = Some(Instant::now());
                Err(error)
            }
            Err(error) => {
                self.own.floor().forget();
                if within(limit, "a rollback", transaction::roll_back(&mut conn))
                    .await
                    .is_ok()
                {
                    self.conn = Some(conn);
                }
                Err(error)
            }
        }
    }

    /// The connection, made anew where it is gone or another incarnation's. After a transaction whose outcome is not
    /// known, that one is ended first: it might still be about to commit, and whatever is asked for again would be done
    /// twice. Then what it may have claimed is given back: nobody would send it.
    async fn connected(&mut self, limit: Duration) -> Result<PgConnection, sqlx::Error> {
        let name = self.own.name();
        let kept = self.conn.take().filter(|_| self.name == name && !self.is_unsure);
        let Some(conn) = kept else {
            return within(limit, "connecting", self.connect(name)).await;
        };
        Ok(conn)
    }

    async fn connect(&mut self, name: String) -> Result<PgConnection, sqlx::Error> {
        let mut conn = self.connector.connect(Purpose::Writing, &name).await?;
        if self.is_unsure {
            let last = sqlx::query(END_LAST).bind(self.pid).bind(&self.name);
            if let Some(row) = last.fetch_optional(&mut conn).await?
                && !row.try_get(0)?
            {
                return Err(sqlx::Error::Io(std::io::Error::other(
                    "the session of the last transaction has not ended yet",
                )));
            }
        }
        if self.may_have_claimed && self.own.node() != 0 {
            apply::give_back_unknown(&mut conn, &self.own).await?;
        }
        self.pid = sqlx::query("SELECT pg_backend_pid()")
            .fetch_one(&mut conn)
            .await?
            .try_get(0)?;
        (self.name, self.is_unsure, self.may_have_claimed) = (name, false, false);
        Ok(conn)
    }
}

/// Who locks the lanes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Locks {
    /// It needs none.
    Nothing,
    /// One statement for all outcomes of a group.
    WithOutcomes,
    /// By statements of its own.
    Alone,
}

/// A transaction may lock lanes by one statement only: by two it would lock them in no order, and meet another node's in
/// a circle.
fn locks(operation: &Operation) -> Locks {
    match operation {
        Operation::Settle(_) => Locks::WithOutcomes,
        Operation::Admit(_)
        | Operation::Act(_)
        | Operation::OpenGate(_)
        | Operation::Revive(_)
        | Operation::Sweep(_)
        | Operation::PutInOrder(_)
        // No lanes, but rows that all nodes add to.
        | Operation::Record(_) => Locks::Alone,
        Operation::Claim(_)
        | Operation::Forget(_)
        | Operation::Remember(_)
        | Operation::Recount(_)
        | Operation::Recover(_) => Locks::Nothing,
    }
}

/// The next operations that go together: at least one, as many as the bounds allow.
fn next_group(waiting: &mut VecDeque<Operation>) -> Option<Vec<Operation>> {
    let mut group = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    let mut locked = Locks::Nothing;
    while let Some(next) = waiting.front() {
        let (more_rows, more_bytes) = next.weight();
        let is_much = rows + more_rows > GROUP_ROWS || bytes + more_bytes > GROUP_BYTES;
        let may_join = match (locked, locks(next)) {
            (Locks::Nothing, _) | (_, Locks::Nothing) | (Locks::WithOutcomes, Locks::WithOutcomes) => true,
            (Locks::Alone, _) | (_, Locks::Alone) => false,
        };
        if !group.is_empty() && (is_much || !may_join) {
            break;
        }
        if locked == Locks::Nothing {
            locked = locks(next);
        }
        rows += more_rows;
        bytes += more_bytes;
        group.extend(waiting.pop_front());
    }
    (!group.is_empty()).then_some(group)
}
