//! The outbox in PostgreSQL, shared by any number of daemons.
//!
//! Whatever changes something goes to one of three writers ([`writer`]) and is committed when the answer comes; whatever
//! only looks goes to a few readers ([`link`]). A daemon is a node ([`node`]): it beats, and takes over what another one
//! had claimed that beats no more.
//!
//! Order of locks, for every transaction: a gate's record, lanes ascending, `delivery` and `settled` by id, submissions by
//! id, keys by hash. A claim waits for nobody. What is refused by another's lock, or met a deadlock all the same, is
//! replayed.
//!
//! Reading order: `migrations/outbox-postgres` (the tables and why), [`connect`], [`schema`], [`writer`] and [`apply`],
//! then a submission's way: [`admit`], [`claim`], [`settle`], [`act`], [`sweep`]; and [`node`] with [`recover`].

mod act;
mod admit;
mod apply;
mod attempts;
pub(crate) mod carry;
mod claim;
mod connect;
mod contents;
mod dead;
mod edit;
mod floor;
mod gate;
mod history;
mod identity;
mod lanes;
mod link;
mod list;
mod minutes;
mod moves;
mod node;
mod notes;
mod own;
#[cfg(test)]
mod plans;
mod receipts;
mod recent;
mod recount;
mod recover;
mod relations;
mod replace;
mod row;
mod schema;
mod settle;
mod show;
mod sources;
#[cfg(test)]
mod stress;
mod sweep;
mod tally;
mod transaction;
mod trouble;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::clock::Timestamp;
use crate::lock::Lock;
use crate::model::{Admission, Admitted, Figures, FileReceipt, Payload, Receipt, Server, SubmissionId, hexadecimal};
use crate::store::beside::lock;
use crate::store::beside::note::Notepad;
use crate::store::operation::{Asked, Note, Opening, Operation, Revival, Turn};
use crate::store::rules::marks::{Marks, SECRET};
use crate::store::{
    ActRequest, Acted, ClaimOrder, ClaimRequest, Claimed, Content, DeadLetter, Filter, Finished, Leap, Listed, Minute,
    MinuteCursor, Miscount, NodeEvent, NodeView, OpenError, Pace, Producer, Relations, Role, Settled, Settlement,
    SourceCursor, StoreError, Story, Stretch, Sweep, Tally, Tenure,
};

use connect::{Connector, Purpose};
use link::{GLANCE_MAX, READ_MAX, Readers, within};
use node::{Beat, Joining};
use own::Own;
use writer::{Order, QUEUE, Writer};

/// How long a closing waits for a server that does not answer.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// The outbox. Cheap to clone; every clone shares the same connections.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    inner: Arc<Inner>,
    recovered: u64,
}

#[derive(Debug)]
struct Inner {
    /// `None` for a [`Role::Reader`].
    writers: Option<Writers>,
    readers: Readers,
    own: Arc<Own>,
    notepad: Option<Arc<Notepad>>,
    /// Who gets the odd place of the next claim that has one.
    odd_one_to_requeued: AtomicBool,
    leap: Mutex<Leap>,
    /// Ends the beat when it goes.
    end: watch::Sender<bool>,
    beating: Mutex<Option<JoinHandle<()>>>,
    connector: Connector,
    /// `outbox.node`.
    label: String,
    lock: Mutex<Option<Lock>>,
}

/// Intake and sending wait for one another no more than they must; what an operator does, and what keeps the house in
/// order, waits for neither.
#[derive(Debug)]
struct Writers {
    intake: mpsc::Sender<Order>,
    sending: mpsc::Sender<Order>,
    keeping: mpsc::Sender<Order>,
}

impl Writers {
    fn start(connector: &Connector, own: &Arc<Own>) -> Self {
        let start = || {
            let (orders, waiting) = mpsc::channel(QUEUE);
            tokio::spawn(Writer::new(connector.clone(), Arc::clone(own), waiting).run());
            orders
        };
        Self {
            intake: start(),
            sending: start(),
            keeping: start(),
        }
    }

    fn of(&self, operation: &Operation) -> &mpsc::Sender<Order> {
        match operation {
            Operation::Admit(_) | Operation::Forget(_) => &self.intake,
            Operation::Settle(_) | Operation::Claim(_) | Operation::OpenGate(_) | Operation::Revive(_) => &self.sending,
            Operation::Recover(_)
            | Operation::Act(_)
            | Operation::Remember(_)
            | Operation::Sweep(_)
            | Operation::Recount(_)
            | Operation::PutInOrder(_)
            | Operation::Record(_) => &self.keeping,
        }
    }
}

/// What a turn of the sending writer asks of the server, by name: for the benchmark that asks the same without the
/// program.
pub fn statements_of_a_turn() -> [(&'static str, &'static str); 9] {
    [
        ("lanes_of", settle::LANES_OF),
        ("lock", lanes::LOCK),
        ("end", settle::END),
        ("delivered", lanes::DELIVERED),
        ("record", settle::RECORD),
        ("demote", lanes::DEMOTE),
        ("promote", lanes::PROMOTE),
        ("let_go", claim::LET_GO),
        ("claim", &claim::STATEMENTS.due),
    ]
}

impl Database {
    /// Opens it: who this host is, the tables and their version; a daemon becomes a node, and what its predecessor on this
    /// host had claimed is pending again.
    pub(crate) async fn open(server: &Server, role: Role, now: Timestamp) -> Result<Self, OpenError> {
        let is_daemon = role == Role::Daemon;
        let lock = if is_daemon {
            Some(lock::take(&server.anchor).await?)
        } else {
            None
        };
        let identity = if is_daemon {
            Some(identity::of_host(server.state_directory())?)
        } else {
            None
        };
        connect::check_files(server)?;
        let connector = Connector::to(server);
        let failed = |error: sqlx::Error| trouble::open_error(&connector.place, &error);
        let named = identity
            .as_ref()
            .map_or_else(String::new, |identity| hexadecimal(identity));
        let own = Arc::new(Own::new(&server.schema, named, is_daemon));
        let conn = match role {
            Role::Reader => connector.connect(Purpose::Reading, &own.name()).await,
            Role::Tool | Role::Daemon => connector.connect_first(&own.name()).await,
        };
        let mut conn = conn.map_err(failed)?;
        schema::prepare(&mut conn, &connector, role).await?;
        let now = connect::follow_clock(&mut conn, now).await.map_err(failed)?;
        if is_daemon {
            for event in schema::warnings(&mut conn).await.map_err(failed)? {
                own.note(event);
            }
        }
        let (end, ended) = watch::channel(false);
        let (mut recovered, mut beating) = (0, None);
        if let Some(identity) = identity {
            let boot = identity::boot();
            let joining = Joining {
                server,
                identity,
                boot: boot.clone(),
            };
            recovered = joining.join(&mut conn, &connector, &own, now).await?;
            let beat = Beat {
                connector: connector.clone(),
                own: Arc::clone(&own),
                server: server.clone(),
                identity,
                boot,
                end: ended,
            };
            beating = Some(tokio::spawn(beat.run()));
        }
        drop(conn);
        let readers = Readers::new(connector.clone(), &own.name());
        let inner = Inner {
            writers: (role != Role::Reader).then(|| Writers::start(&connector, &own)),
            readers,
            own,
            notepad: is_daemon
                .then(|| Notepad::prepare(&server.anchor).ok())
                .flatten()
                .map(Arc::new),
            odd_one_to_requeued: AtomicBool::new(false),
            leap: Mutex::default(),
            end,
            beating: Mutex::new(beating),
            connector,
            label: server.node.clone(),
            lock: Mutex::new(lock),
        };
        let database = Self {
            inner: Arc::new(inner),
            recovered,
        };
        if is_daemon {
            // So that a reader can export.
            drop(database.marks(now).await);
        }
        Ok(database)
    }

    pub(crate) fn recovered(&self) -> u64 {
        self.recovered
    }

    pub(crate) fn hurry(&self) {
        self.inner.own.hurry();
    }

    /// Ends the writers after what is queued; a node leaves, so that the others need not wait for its silence.
    pub(crate) async fn close(&self) {
        if let Some(writers) = &self.inner.writers {
            for orders in [&writers.intake, &writers.keeping, &writers.sending] {
                let (done, closed) = oneshot::channel();
                if orders.send(Order::Close(done)).await.is_ok() {
                    drop(closed.await);
                }
            }
        }
        self.inner.end.send_replace(true);
        self.end_beat().await;
        self.leave().await;
        self.inner.readers.close();
        drop(self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The last beat has to be over before the node leaves: one that came after would find it fenced, and begin anew.
    async fn end_beat(&self) {
        let beating = self.inner.beating.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut beating) = beating
            && tokio::time::timeout(LEAVE_MAX, &mut beating).await.is_err()
        {
            beating.abort();
        }
    }

    /// What is still `sending` (its outcome could not be stored) is the others' at once.
    async fn leave(&self) {
        let own = &self.inner.own;
        let node = own.node();
        if node == 0 {
            return;
        }
        let leaving = async {
            let mut conn = self.inner.connector.connect(Purpose::Writing, &own.name()).await?;
            sqlx::query(recover::LEAVE).bind(node).execute(&mut conn).await
        };
        drop(within(LEAVE_MAX, "leaving", leaving).await);
    }

    async fn ask<Q, A>(&self, question: Q, operation: fn(Asked<Q, A>) -> Operation) -> Result<A, StoreError> {
        let (reply, answer) = oneshot::channel();
        let operation = operation(Asked::new(question, reply));
        let writers = self.inner.writers.as_ref().ok_or_else(looks_only)?;
        let orders = writers.of(&operation);
        orders
            .send(Order::Operation(operation))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The same, but that the question is with the writer when this returns, before anything is awaited.
    fn ask_at_once<Q: Send, A: Send>(
        &self,
        question: Q,
        operation: fn(Asked<Q, A>) -> Operation,
    ) -> impl Future<Output = Result<A, StoreError>> + Send + use<Q, A> {
        let (reply, answer) = oneshot::channel();
        let operation = operation(Asked::new(question, reply));
        let sent = match &self.inner.writers {
            Some(writers) => {
                let orders = writers.of(&operation).clone();
                orders
                    .try_send(Order::Operation(operation))
                    .map_err(|refused| match refused {
                        TrySendError::Full(order) => Ok((orders, order)),
                        TrySendError::Closed(_) => Err(StoreError::Closed),
                    })
            }
            None => Err(Err(looks_only())),
        };
        async move {
            if let Err(late) = sent {
                let (orders, order) = late?;
                orders.send(order).await.map_err(|_| StoreError::Closed)?;
            }
            answer.await.map_err(|_| StoreError::Closed)?
        }
    }

    pub(crate) async fn admit(&self, admission: Admission, now: Timestamp) -> Result<Vec<Admitted>, StoreError> {
        self.ask((admission, now), Operation::Admit).await
    }

    pub(crate) async fn forget(&self, receipts: Vec<Receipt>) -> Result<(), StoreError> {
        self.ask(receipts, Operation::Forget).await
    }

    pub(crate) fn claim(
        &self,
        request: ClaimRequest,
    ) -> impl Future<Output = Result<Vec<Claimed>, StoreError>> + Send + use<> {
        let has_odd_one = request.order == ClaimOrder::Due && request.limit % 2 == 1;
        let turn = Turn {
            request,
            odd_one_to_requeued: self.inner.odd_one_to_requeued.fetch_xor(has_odd_one, Ordering::Relaxed),
            leap: *self.inner.leap.lock().unwrap_or_else(PoisonError::into_inner),
        };
        self.ask_at_once(turn, Operation::Claim)
    }

    pub(crate) fn leapt(&self, leap: Leap) {
        *self.inner.leap.lock().unwrap_or_else(PoisonError::into_inner) = leap;
    }

    pub(crate) fn settle_all(
        &self,
        settlements: Vec<(Arc<Settlement>, Timestamp)>,
        beside: Option<(&'static str, String)>,
    ) -> impl Future<Output = Result<Vec<Settled>, StoreError>> + Send + use<> {
        let now = settlements.last().map_or_else(Timestamp::default, |(_, now)| *now);
        let note = beside.map(|(name, value)| Note {
            name: name.to_owned(),
            value: Some(value),
            now,
        });
        self.ask_at_once((settlements, note), Operation::Settle)
    }

    pub(crate) async fn act(&self, request: ActRequest) -> Result<Vec<(SubmissionId, Acted)>, StoreError> {
        if request.dry_run {
            let mut reader = self.inner.readers.take().await?;
            let answers = within(READ_MAX, "a rehearsal", act::rehearse(&mut reader, &request)).await;
            return reader.done(answers);
        }
        self.ask(request, Operation::Act).await
    }

    pub(crate) async fn remember(&self, name: &str, value: Option<String>, now: Timestamp) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.ask(Note { name, value, now }, Operation::Remember).await
    }

    pub(crate) async fn recall(&self, name: &str) -> Result<Option<String>, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let value = within(
            GLANCE_MAX,
            "recalling",
            notes::recall(&mut reader, &self.inner.own, name),
        )
        .await;
        reader.done(value)
    }

    pub(crate) async fn open_gate(
        &self,
        name: &str,
        value: String,
        requeue: bool,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let opening = Opening {
            name: name.to_owned(),
            value,
            requeue,
            now,
        };
        self.ask(opening, Operation::OpenGate).await
    }

    pub(crate) async fn revive(
        &self,
        refused: Vec<SubmissionId>,
        now: Timestamp,
    ) -> Result<Option<SubmissionId>, StoreError> {
        self.ask(Revival { refused, now }, Operation::Revive).await
    }

    pub(crate) async fn sweep(&self, sweep: Sweep) -> Result<u64, StoreError> {
        self.ask(sweep, Operation::Sweep).await
    }

    pub(crate) async fn record(&self, mut all: Vec<Minute>) -> Result<(), StoreError> {
        for minute in all.iter_mut().filter(|minute| !minute.adds_up()) {
            minute.node.clone_from(&self.inner.own.identity);
            minute.name.clone_from(&self.inner.label);
        }
        self.ask(all, Operation::Record).await
    }

    /// Never: counts are sums of what was added here, and no CHECK can refuse one.
    pub(crate) async fn found_short(&self) {
        std::future::pending::<()>().await;
    }

    pub(crate) async fn recount(&self) -> Result<Vec<Miscount>, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let wrong = within(READ_MAX, "counting", recount::miscounts(&mut reader)).await;
        let wrong = reader.done(wrong)?;
        if !wrong.is_empty() {
            self.ask(wrong.clone(), Operation::Recount).await?;
        }
        Ok(wrong)
    }

    pub(crate) async fn put_in_order(&self, after: Option<i64>) -> Result<(u64, Option<i64>), StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let after = after.unwrap_or(i64::MIN);
        let found = within(
            READ_MAX,
            "a look at the lanes",
            recount::wrong_lanes(&mut reader, after),
        )
        .await;
        let (wrong, end) = reader.done(found)?;
        let count = wrong.len() as u64;
        if count > 0 {
            self.ask(wrong, Operation::PutInOrder).await?;
        }
        Ok((count, end))
    }

    /// Nothing: the server's autovacuum gives room back.
    pub(crate) async fn tidy(&self) -> Result<bool, StoreError> {
        std::future::ready(Ok(false)).await
    }

    pub(crate) async fn marks(&self, now: Timestamp) -> Result<Option<Marks>, StoreError> {
        let known = self.secret().await?;
        if known.is_some() || self.inner.writers.is_none() {
            return Ok(known);
        }
        let Some(secret) = Marks::new_secret() else {
            return Ok(None);
        };
        self.remember(SECRET, Some(secret), now).await?;
        self.secret().await
    }

    async fn secret(&self) -> Result<Option<Marks>, StoreError> {
        Ok(self.recall(SECRET).await?.as_deref().and_then(Marks::of))
    }

    pub(crate) async fn note(&self, text: String) -> bool {
        let Some(notepad) = self.inner.notepad.clone() else {
            return false;
        };
        let written = tokio::task::spawn_blocking(move || notepad.write(&text).is_ok());
        written.await.unwrap_or(false)
    }

    pub(crate) fn locked_for(&self) -> Option<Duration> {
        self.inner.own.failing_for()
    }

    /// As the beat has seen: nothing is asked for it.
    pub(crate) fn changed(&self) -> bool {
        self.inner.own.changed()
    }

    pub(crate) fn commits(&self) -> u64 {
        self.inner.own.commits()
    }

    pub(crate) async fn stirred(&self) {
        self.inner.own.stirred.notified().await;
    }

    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.inner.own.listen()
    }

    pub(crate) fn sends_by(&self, scope: &str, requeues: bool) {
        self.inner.own.send_by(scope, requeues);
    }

    pub(crate) fn tell(&self, in_flight: u32, gate: &'static str) {
        self.inner.own.tell(in_flight, gate);
    }

    pub(crate) fn tenure(&self) -> Tenure {
        self.inner.own.tenure()
    }

    pub(crate) async fn cut_off(&self, incarnation: i64) {
        self.inner.own.cut_off(incarnation).await;
    }

    /// Why this program may not go on: the tables have moved beyond it. Not before they have.
    pub(crate) async fn outgrown(&self) -> String {
        self.inner.own.outgrown().await
    }

    pub(crate) fn sharers(&self) -> u32 {
        self.inner.own.sharers()
    }

    pub(crate) fn node_events(&self) -> Vec<NodeEvent> {
        self.inner.own.events()
    }
}

/// What only reads, each on a reader of its own.
impl Database {
    pub(crate) async fn select(&self, filter: &Filter) -> Result<Vec<SubmissionId>, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(READ_MAX, "a selection", list::select(&mut reader, filter)).await;
        reader.done(found)
    }

    pub(crate) async fn list(
        &self,
        filter: &Filter,
        before: Option<SubmissionId>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(READ_MAX, "a list", list::list(&mut reader, filter, before, limit)).await;
        reader.done(found)
    }

    pub(crate) async fn show(&self, id: SubmissionId) -> Result<Option<Story>, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(READ_MAX, "a look", show::show(&mut reader, id)).await;
        reader.done(found)
    }

    pub(crate) async fn relations(&self, id: SubmissionId) -> Result<Relations, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(GLANCE_MAX, "a look", relations::relations(&mut reader, id)).await;
        reader.done(found)
    }

    pub(crate) async fn refused_by_result_types(
        &self,
        after: SubmissionId,
        limit: u32,
    ) -> Result<Vec<(SubmissionId, Payload)>, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = list::refused_by_result_types(&mut reader, after, limit);
        let found = within(READ_MAX, "a list", found).await;
        reader.done(found)
    }

    pub(crate) async fn file_receipts(&self) -> Result<Vec<FileReceipt>, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(READ_MAX, "a look at receipts", receipts::all_files(&mut reader)).await;
        reader.done(found)
    }

    /// The server looks after its own pages (`data_checksums`).
    pub(crate) async fn check_further(&self) -> Result<Option<String>, StoreError> {
        std::future::ready(Ok(None)).await
    }

    pub(crate) async fn contents(&self, after: SubmissionId, limit: u32) -> Result<Vec<Content>, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(READ_MAX, "a look", contents::contents(&mut reader, after, limit)).await;
        reader.done(found)
    }

    pub(crate) async fn newest_dead(&self, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(READ_MAX, "a look", dead::newest(&mut reader, limit)).await;
        reader.done(found)
    }

    pub(crate) async fn pace(&self, from: Timestamp, until: Timestamp) -> Result<Pace, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(GLANCE_MAX, "counting", recent::pace(&mut reader, from, until)).await;
        reader.done(found)
    }

    pub(crate) async fn newest_producers(&self, limit: u32) -> Result<Vec<Producer>, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(READ_MAX, "a look", recent::producers(&mut reader, limit)).await;
        reader.done(found)
    }

    pub(crate) async fn newest_finished(&self, since: Timestamp, limit: u32) -> Result<Vec<Finished>, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(READ_MAX, "a look", recent::finished(&mut reader, since, limit)).await;
        reader.done(found)
    }

    pub(crate) async fn next_up(&self, limit: u32) -> Result<Vec<Listed>, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(READ_MAX, "a look", list::next_up(&mut reader, limit)).await;
        reader.done(found)
    }

    pub(crate) async fn find_sources(&self, after: SourceCursor) -> Result<Stretch, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(READ_MAX, "a look", sources::look(&mut reader, after)).await;
        reader.done(found)
    }

    pub(crate) async fn tally(&self) -> Result<Tally, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(GLANCE_MAX, "counting", tally::tally(&mut reader)).await;
        reader.done(found)
    }

    pub(crate) async fn next_due(&self, wait_max: Duration) -> Result<Option<Timestamp>, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let dues = within(GLANCE_MAX, "a look", tally::dues(&mut reader)).await;
        Ok(reader.done(dues)?.next(wait_max))
    }

    pub(crate) async fn nodes_without(&self, name: &str, value: Option<&str>) -> Result<Vec<String>, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(GLANCE_MAX, "a look", notes::nodes_without(&mut reader, name, value)).await;
        reader.done(found)
    }

    pub(crate) async fn minutes(&self, after: &MinuteCursor, limit: u32) -> Result<Vec<Minute>, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(READ_MAX, "a look", minutes::behind(&mut reader, after, limit)).await;
        reader.done(found)
    }

    pub(crate) async fn totals(&self) -> Result<Figures, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(GLANCE_MAX, "a look", minutes::totals(&mut reader)).await;
        reader.done(found)
    }

    pub(crate) async fn nodes(&self) -> Result<Vec<NodeView>, StoreError> {
        let mut reader = self.inner.readers.take().await?;
        let found = within(READ_MAX, "a look", node::all(&mut reader)).await;
        reader.done(found)
    }
}

fn looks_only() -> StoreError {
    StoreError::Broken("it was opened to look only".to_owned())
}
