//! The outbox, whichever database keeps it: each method once, with what it promises. How it is kept is below
//! [`super::sqlite`] and [`super::postgres`] alone.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::Either;

use crate::clock::Timestamp;
use crate::model::{Address, Admission, Admitted, Figures, FileReceipt, Payload, Receipt, SubmissionId};

use super::rules::marks::Marks;
use super::{
    ActRequest, Acted, ClaimRequest, Claimed, Content, DeadLetter, Filter, Finished, Leap, Listed, Minute,
    MinuteCursor, Miscount, NodeEvent, NodeView, OpenError, Pace, Producer, Relations, Role, Settled, Settlement,
    SourceCursor, StoreError, Story, Stretch, Sweep, Tally, Tenure, Touch, postgres, sqlite,
};

/// The outbox. Cheap to clone; every clone shares the same connections.
#[derive(Debug, Clone)]
pub struct Outbox(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Sqlite(sqlite::Database),
    Postgres(postgres::Database),
}

/// The same question to whichever it is.
macro_rules! ask {
    ($outbox:expr, $database:ident => $question:expr) => {
        match &$outbox.0 {
            Kind::Sqlite($database) => $question,
            Kind::Postgres($database) => $question,
        }
    };
}

impl Outbox {
    /// Opens the outbox: whether it is ours to use is found out before a byte changes; then it is created or migrated,
    /// and as [`Role::Daemon`] what a crash left in `sending` is recovered (see [`Outbox::recovered`]).
    pub async fn open(address: impl Into<Address>, role: Role, now: Timestamp) -> Result<Self, OpenError> {
        Ok(Self(match address.into() {
            Address::File(path) => Kind::Sqlite(sqlite::Database::open(&path, role, now).await?),
            Address::Server(server) => Kind::Postgres(postgres::Database::open(&server, role, now).await?),
        }))
    }

    /// How many were in `sending` when the daemon opened it, and are pending again.
    pub fn recovered(&self) -> u64 {
        ask!(self, database => database.recovered())
    }

    /// From here on nothing waits for others for longer than a moment: the process is to end.
    pub fn hurry(&self) {
        ask!(self, database => database.hurry());
    }

    /// Ends the writers after what is queued, and closes every connection.
    pub async fn close(&self) {
        ask!(self, database => database.close().await);
    }

    /// Takes results in, with the receipts that prove it, in one transaction; one answer an entry, in order.
    pub async fn admit(&self, admission: Admission, now: Timestamp) -> Result<Vec<Admitted>, StoreError> {
        ask!(self, database => database.admit(admission, now).await)
    }

    /// Forgets receipts whose sources are durably gone.
    pub async fn forget(&self, receipts: Vec<Receipt>) -> Result<(), StoreError> {
        ask!(self, database => database.forget(receipts).await)
    }

    /// Hands out submissions, their attempts counted and durable.
    ///
    /// It is on its way when this returns, before its future is awaited.
    pub fn claim(
        &self,
        request: ClaimRequest,
    ) -> impl Future<Output = Result<Vec<Claimed>, StoreError>> + Send + use<> {
        match &self.0 {
            Kind::Sqlite(database) => Either::Left(database.claim(request)),
            Kind::Postgres(database) => Either::Right(database.claim(request)),
        }
    }

    /// The clock was set forward: no wait that began before counts the leap.
    pub fn leapt(&self, leap: Leap) {
        ask!(self, database => database.leapt(leap));
    }

    /// Records how an attempt ended, and promotes the next of its activity.
    pub async fn settle(&self, settlement: Settlement, now: Timestamp) -> Result<Settled, StoreError> {
        let settled = self.settle_all(vec![(Arc::new(settlement), now)], None).await?;
        settled.into_iter().next().ok_or(StoreError::Closed)
    }

    /// The same of several in one commit, one answer for each. They are on their way when this returns, before its
    /// future is awaited: a claim that is asked for next comes into the same commit, and finds the activities that they
    /// free. `beside`: a name and what is remembered under it in the same commit.
    pub fn settle_all(
        &self,
        settlements: Vec<(Arc<Settlement>, Timestamp)>,
        beside: Option<(&'static str, String)>,
    ) -> impl Future<Output = Result<Vec<Settled>, StoreError>> + Send + use<> {
        match &self.0 {
            Kind::Sqlite(database) => Either::Left(database.settle_all(settlements, beside)),
            Kind::Postgres(database) => Either::Right(database.settle_all(settlements, beside)),
        }
    }

    /// Does an act; one answer an id, in order.
    pub async fn act(&self, request: ActRequest) -> Result<Vec<(SubmissionId, Acted)>, StoreError> {
        ask!(self, database => database.act(request).await)
    }

    /// Remembers a value, or forgets it.
    pub async fn remember(&self, name: &str, value: Option<String>, now: Timestamp) -> Result<(), StoreError> {
        ask!(self, database => database.remember(name, value, now).await)
    }

    /// A value that was remembered.
    pub async fn recall(&self, name: &str) -> Result<Option<String>, StoreError> {
        ask!(self, database => database.recall(name).await)
    }

    /// Stores the gate's state under `name` and, in the same transaction, requeues what this episode dead-lettered as
    /// `unauthorized` (superseded ones excepted), or only forgets the episode (`requeue` false). Returns how many were
    /// requeued.
    pub async fn open_gate(&self, name: &str, value: String, requeue: bool, now: Timestamp) -> Result<u64, StoreError> {
        ask!(self, database => database.open_gate(name, value, requeue, now).await)
    }

    /// Puts the oldest back of what this episode dead-lettered, to be the trial where nothing pending can be it; those
    /// in `refused` only where there is no other, the first of them first. Which one, if there was one.
    pub async fn revive(&self, refused: Vec<SubmissionId>, now: Timestamp) -> Result<Option<SubmissionId>, StoreError> {
        ask!(self, database => database.revive(refused, now).await)
    }

    /// Deletes a batch of what may leave, oldest first; returns how many. None: nothing is left that may.
    pub async fn sweep(&self, sweep: Sweep) -> Result<u64, StoreError> {
        ask!(self, database => database.sweep(sweep).await)
    }

    /// Writes minutes down, and adds them to the totals: each once, also where the answer to an earlier call with the same
    /// ones was lost. Some that are older than [`super::MINUTES_KEPT`] leave with them.
    pub async fn record(&self, minutes: Vec<Minute>) -> Result<(), StoreError> {
        ask!(self, database => database.record(minutes).await)
    }

    /// The minutes behind this place, oldest first, at most `limit`.
    pub async fn minutes(&self, after: &MinuteCursor, limit: u32) -> Result<Vec<Minute>, StoreError> {
        ask!(self, database => database.minutes(after, limit).await)
    }

    /// All that was ever counted, by whichever node, also of minutes that have left.
    pub async fn totals(&self) -> Result<Figures, StoreError> {
        ask!(self, database => database.totals().await)
    }

    /// Waits until a count would have fallen below nothing: they are to be counted again.
    pub async fn found_short(&self) {
        ask!(self, database => database.found_short().await);
    }

    /// Counts again what the counts by state say, and corrects them; those that were wrong. Only another hand makes
    /// them so.
    pub async fn recount(&self) -> Result<Vec<Miscount>, StoreError> {
        ask!(self, database => database.recount().await)
    }

    /// Goes through the next activities in which submissions wait, and puts those in order whose next one another hand
    /// took away. `after` is where the last look ended; how many there were, and where the next look begins (`None`: at
    /// the beginning again).
    pub async fn put_in_order(&self, after: Option<i64>) -> Result<(u64, Option<i64>), StoreError> {
        ask!(self, database => database.put_in_order(after).await)
    }

    /// Gives a bounded amount of room back. Cheap when there is nothing to do; whether there is more to give back.
    pub async fn tidy(&self) -> Result<bool, StoreError> {
        ask!(self, database => database.tidy().await)
    }

    /// What makes the tokens of [`crate::model::Directives::replaces`]. `None` where this outbox never made one and is
    /// opened only to read.
    pub async fn marks(&self, now: Timestamp) -> Result<Option<Marks>, StoreError> {
        ask!(self, database => database.marks(now).await)
    }

    /// Leaves a note for those who look, which they find by [`super::read_note`] also when the outbox can be neither
    /// written nor opened. Only the daemon can; whether it could. Not durable.
    pub async fn note(&self, text: String) -> bool {
        ask!(self, database => database.note(text).await)
    }

    /// For how long nothing but others' locks, or no connection at all, was met, beyond what is waited for anyway.
    pub fn locked_for(&self) -> Option<Duration> {
        ask!(self, database => database.locked_for())
    }

    /// The same as [`Outbox::changed`] without waiting, while a commit of ours is on its way, which brings the next
    /// answer; `None` while none is, or none has brought a version.
    pub fn changed_before_this_commit(&self) -> Option<bool> {
        match &self.0 {
            Kind::Sqlite(database) => database.changed_before_this_commit(),
            Kind::Postgres(database) => Some(database.changed()),
        }
    }

    /// Whether another process has written since the last call.
    pub async fn changed(&self) -> Result<bool, StoreError> {
        match &self.0 {
            Kind::Sqlite(database) => database.changed().await,
            Kind::Postgres(database) => Ok(database.changed()),
        }
    }

    /// How many commits there were, of ours and noticed ones of others: where it is the same, nothing has changed.
    pub fn commits(&self) -> u64 {
        ask!(self, database => database.commits())
    }

    /// Waits for a commit, of ours or a noticed one of others, or for another process's lock to be met or gone. Of what
    /// came while nobody waited the next one hears at once.
    pub async fn stirred(&self) {
        ask!(self, database => database.stirred().await);
    }

    /// What hears of writes, of ours and of others, from outside: for who is at rest, and asks [`Outbox::changed`]
    /// then.
    pub fn touch(&self) -> Touch {
        match &self.0 {
            Kind::Sqlite(database) => Touch::of_file(database.touch()),
            Kind::Postgres(database) => Touch::of_server(database.listen()),
        }
    }

    /// The numbers of what matches, oldest first.
    pub async fn select(&self, filter: &Filter) -> Result<Vec<SubmissionId>, StoreError> {
        ask!(self, database => database.select(filter).await)
    }

    /// What matches, newest first, at most `limit`, with numbers below `before` (to page through any number of them).
    pub async fn list(
        &self,
        filter: &Filter,
        before: Option<SubmissionId>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        ask!(self, database => database.list(filter, before, limit).await)
    }

    /// Everything about one.
    pub async fn show(&self, id: SubmissionId) -> Result<Option<Story>, StoreError> {
        ask!(self, database => database.show(id).await)
    }

    /// What the others of its activity say.
    pub async fn relations(&self, id: SubmissionId) -> Result<Relations, StoreError> {
        ask!(self, database => database.relations(id).await)
    }

    /// Dead letters that are `invalid` by the tenant's list of result types alone, with numbers above `after`, oldest
    /// first, at most `limit`.
    pub async fn refused_by_result_types(
        &self,
        after: SubmissionId,
        limit: u32,
    ) -> Result<Vec<(SubmissionId, Payload)>, StoreError> {
        ask!(self, database => database.refused_by_result_types(after, limit).await)
    }

    /// The file receipts that are still there: what a crash may have left in the inbox although it is taken.
    pub async fn file_receipts(&self) -> Result<Vec<FileReceipt>, StoreError> {
        ask!(self, database => database.file_receipts().await)
    }

    /// Reads on in a database that the start did not read whole; what is wrong with it.
    pub async fn check_further(&self) -> Result<Option<String>, StoreError> {
        ask!(self, database => database.check_further().await)
    }

    /// What it holds, by its contents, with numbers above `after`, at most `limit`: to compare it with another one.
    pub async fn contents(&self, after: SubmissionId, limit: u32) -> Result<Vec<Content>, StoreError> {
        ask!(self, database => database.contents(after, limit).await)
    }

    /// The newest dead letters, newest first, at most `limit`: what they have in common.
    pub async fn newest_dead(&self, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        ask!(self, database => database.newest_dead(limit).await)
    }

    /// What was delivered or became dead from `from` on and before `until`, and when the last came in and went out.
    pub async fn pace(&self, from: Timestamp, until: Timestamp) -> Result<Pace, StoreError> {
        ask!(self, database => database.pace(from, until).await)
    }

    /// Whose the newest submissions are, at most `limit` of them, in no order.
    pub async fn newest_producers(&self, limit: u32) -> Result<Vec<Producer>, StoreError> {
        ask!(self, database => database.newest_producers(limit).await)
    }

    /// What was delivered, became dead or was dismissed at `since` or later, newest first, at most `limit` of each.
    pub async fn newest_finished(&self, since: Timestamp, limit: u32) -> Result<Vec<Finished>, StoreError> {
        ask!(self, database => database.newest_finished(since, limit).await)
    }

    /// What goes next: what is due or was put back, then what a `not_before` holds, then what waits behind an earlier
    /// one of its activity; at most `limit` of each, by its turn.
    pub async fn next_up(&self, limit: u32) -> Result<Vec<Listed>, StoreError> {
        ask!(self, database => database.next_up(limit).await)
    }

    /// Goes through the next pending heads after this place, the least tried first, a bounded number of them: whose
    /// they are.
    pub async fn find_sources(&self, after: SourceCursor) -> Result<Stretch, StoreError> {
        ask!(self, database => database.find_sources(after).await)
    }

    /// The queue in numbers.
    pub async fn tally(&self) -> Result<Tally, StoreError> {
        ask!(self, database => database.tally().await)
    }

    /// When the next claim of [`super::ClaimOrder::Due`] could find something; `None` when nothing is pending. May lie
    /// in the past.
    pub async fn next_due(&self, wait_max: Duration) -> Result<Option<Timestamp>, StoreError> {
        ask!(self, database => database.next_due(wait_max).await)
    }

    /// The daemons that share it, the present ones first; empty where only one can use it.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, StoreError> {
        match &self.0 {
            Kind::Sqlite(_) => Ok(Vec::new()),
            Kind::Postgres(database) => database.nodes().await,
        }
    }

    /// The names of the present daemons that do not remember this under this name for themselves; none where only one
    /// daemon can use the outbox.
    pub async fn nodes_without(&self, name: &str, value: Option<&str>) -> Result<Vec<String>, StoreError> {
        match &self.0 {
            Kind::Sqlite(_) => Ok(Vec::new()),
            Kind::Postgres(database) => database.nodes_without(name, value).await,
        }
    }

    /// By which key this process sends: whose gate it remembers (16 hexadecimal digits of a hash). Where only one daemon
    /// can use the outbox there is only one gate. `requeues`: what another key has dead-lettered is put back while this
    /// one works.
    pub fn sends_by(&self, scope: &str, requeues: bool) {
        match &self.0 {
            Kind::Sqlite(_) => {}
            Kind::Postgres(database) => database.sends_by(scope, requeues),
        }
    }

    /// What the others are told of this node with its next sign of life: requests in flight, and the gate's name.
    pub fn tell(&self, in_flight: u32, gate: &'static str) {
        match &self.0 {
            Kind::Sqlite(_) => {}
            Kind::Postgres(database) => database.tell(in_flight, gate),
        }
    }

    /// Whether this daemon may send.
    pub fn tenure(&self) -> Tenure {
        match &self.0 {
            Kind::Sqlite(_) => Tenure::Held(0),
            Kind::Postgres(database) => database.tenure(),
        }
    }

    /// Waits until this incarnation of the daemon may not send any more; for ever where there is only one.
    pub async fn cut_off(&self, incarnation: i64) {
        match &self.0 {
            Kind::Sqlite(_) => std::future::pending().await,
            Kind::Postgres(database) => database.cut_off(incarnation).await,
        }
    }

    /// Whether other daemons may use it too.
    pub fn is_shared(&self) -> bool {
        matches!(self.0, Kind::Postgres(_))
    }

    /// Waits until its tables have moved beyond this program, as a newer one on another host may move them: why nothing
    /// may be done with them any more.
    pub async fn outgrown(&self) -> OpenError {
        match &self.0 {
            Kind::Sqlite(_) => std::future::pending().await,
            Kind::Postgres(database) => OpenError::Unusable(database.outgrown().await),
        }
    }

    /// How many daemons share it at present, this one included.
    pub fn sharers(&self) -> u32 {
        match &self.0 {
            Kind::Sqlite(_) => 1,
            Kind::Postgres(database) => database.sharers(),
        }
    }

    /// What happened among the nodes since this was last asked.
    pub fn node_events(&self) -> Vec<NodeEvent> {
        match &self.0 {
            Kind::Sqlite(_) => Vec::new(),
            Kind::Postgres(database) => database.node_events(),
        }
    }
}
