//! The outbox: the one durable thing of the house, and the only seam between intake and delivery.
//!
//! [`Outbox`] speaks in the domain's verbs and in `model` types only; that it is SQLite is known below `sqlite` alone.
//! One task owns the one write connection of this process; whatever a method promises is committed (WAL,
//! `synchronous=FULL`) before the method returns.
//!
//! A second kind of store makes [`Outbox`] an enum in this file; nobody who calls it changes.

mod acts;
mod error;
mod sending;
mod sqlite;
mod views;
pub mod wreck;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::{Admission, Admitted, FileReceipt, Payload, Receipt, SubmissionId};

pub use acts::{ACT_IDS_MAX, ActRequest, Acted, Still, Sweep};
pub use error::{OpenError, StoreError};
pub use sending::{ClaimOrder, ClaimRequest, Claimed, Leap, Place, Relations, Settled, Settlement, Stretch};
pub use sqlite::{
    Backup, BackupFile, Holder, Marks, Restored, Running, Touch, Way, daemon_is_running, free_bytes, holder, read_note,
    restore,
};
pub use views::{Content, DeadLetter, Event, Filter, Listed, Miscount, Story, Tally};
pub use wreck::{Found, Wreck};

/// Who opens the outbox, and so what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one daemon: takes the lock, creates and migrates, checks, recovers what a crash left.
    Daemon,
    /// A command that changes something, beside the daemon or without it. Creates and migrates too (`enqueue` before
    /// the first start).
    Tool,
    /// A command that only looks. Never writes a byte; a missing database is [`OpenError::Missing`].
    Reader,
}

/// The outbox. Cheap to clone; every clone shares one writer and one small pool of readers.
#[derive(Debug, Clone)]
pub struct Outbox {
    database: sqlite::Database,
}

impl Outbox {
    /// Opens the outbox: lock, schema version, integrity, write test, in this order, before a byte changes; then
    /// migrates, and as [`Role::Daemon`] recovers what a crash left in `sending` (see [`Outbox::recovered`]).
    pub async fn open(path: &Path, role: Role, now: Timestamp) -> Result<Self, OpenError> {
        let database = sqlite::Database::open(path, role, now).await?;
        Ok(Self { database })
    }

    /// How many were in `sending` when the daemon opened it, and are pending again.
    pub fn recovered(&self) -> u64 {
        self.database.recovered()
    }

    /// Takes results in, with the receipts that prove it, in one transaction; one answer an entry, in order.
    pub async fn admit(&self, admission: Admission, now: Timestamp) -> Result<Vec<Admitted>, StoreError> {
        self.database.admit(admission, now).await
    }

    /// The file receipts that are still there: what a crash may have left in the inbox although it is taken.
    pub async fn file_receipts(&self) -> Result<Vec<FileReceipt>, StoreError> {
        self.database.file_receipts().await
    }

    /// Forgets receipts whose sources are durably gone.
    pub async fn forget(&self, receipts: Vec<Receipt>) -> Result<(), StoreError> {
        self.database.forget(receipts).await
    }

    /// Hands out submissions, their attempts counted and durable.
    ///
    /// It is on its way when this returns, before its future is awaited.
    pub fn claim(
        &self,
        request: ClaimRequest,
    ) -> impl Future<Output = Result<Vec<Claimed>, StoreError>> + Send + use<> {
        self.database.claim(request)
    }

    /// The clock was set forward: no wait that began before counts the leap.
    pub fn leapt(&self, leap: Leap) {
        self.database.leapt(leap);
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
        self.database.settle(settlements, beside)
    }

    /// When the next claim of [`ClaimOrder::Due`] could find something; `None` when nothing is pending. May lie in the
    /// past.
    pub async fn next_due(&self, wait_max: Duration) -> Result<Option<Timestamp>, StoreError> {
        self.database.next_due(wait_max).await
    }

    /// Goes through the next pending heads behind this place, the least tried first, a bounded number of them: whose
    /// they are.
    pub async fn look_for_sources(&self, after: Place) -> Result<Stretch, StoreError> {
        self.database.look_for_sources(after).await
    }

    /// The same as [`Outbox::changed`] without waiting, while a commit of ours is on its way, which brings the next
    /// answer; `None` while none is.
    pub fn changed_before_this_commit(&self) -> Option<bool> {
        self.database.changed_before_this_commit()
    }

    /// Whether another process has written since the last call (`PRAGMA data_version` on the writing connection), as of
    /// now or of a commit of ours two milliseconds ago.
    pub async fn changed(&self) -> Result<bool, StoreError> {
        self.database.changed().await
    }

    /// What the others of its activity say.
    pub async fn relations(&self, id: SubmissionId) -> Result<Relations, StoreError> {
        self.database.relations(id).await
    }

    /// Does an act; one answer an id, in order.
    pub async fn act(&self, request: ActRequest) -> Result<Vec<(SubmissionId, Acted)>, StoreError> {
        self.database.act(request).await
    }

    /// The numbers of what matches, oldest first.
    pub async fn select(&self, filter: &Filter) -> Result<Vec<SubmissionId>, StoreError> {
        self.database.select(filter).await
    }

    /// Dead letters that are `invalid` by the tenant's list of result types alone, with numbers above `after`, oldest
    /// first, at most `limit`.
    pub async fn refused_by_result_types(
        &self,
        after: SubmissionId,
        limit: u32,
    ) -> Result<Vec<(SubmissionId, Payload)>, StoreError> {
        self.database.refused_by_result_types(after, limit).await
    }

    /// What matches, newest first, at most `limit`, with numbers below `before` (to page through any number of them).
    pub async fn list(
        &self,
        filter: &Filter,
        before: Option<SubmissionId>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        self.database.list(filter, before, limit).await
    }

    /// Everything about one.
    pub async fn show(&self, id: SubmissionId) -> Result<Option<Story>, StoreError> {
        self.database.show(id).await
    }

    /// What it holds, by its contents, with numbers above `after`, at most `limit`: to compare it with another one.
    pub async fn contents(&self, after: SubmissionId, limit: u32) -> Result<Vec<Content>, StoreError> {
        self.database.contents(after, limit).await
    }

    /// The newest dead letters, newest first, at most `limit`: what they have in common.
    pub async fn newest_dead(&self, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        self.database.newest_dead(limit).await
    }

    /// The queue in numbers.
    pub async fn tally(&self) -> Result<Tally, StoreError> {
        self.database.tally().await
    }

    /// Counts again what the counts by state say, and corrects them; those that were wrong. Only another hand makes
    /// them so.
    pub async fn recount(&self) -> Result<Vec<Miscount>, StoreError> {
        self.database.recount().await
    }

    /// Reads the pages of a database of middling size that the start did not wait for; what is wrong with them.
    pub async fn check_further(&self) -> Result<Option<String>, StoreError> {
        self.database.check_further().await
    }

    /// Waits until a count would have fallen below nothing: they are to be counted again.
    pub async fn found_short(&self) {
        self.database.found_short().await;
    }

    /// What hears of writes, of ours and of others, from outside: for who is at rest, and asks [`Outbox::changed`]
    /// then.
    pub fn touch(&self) -> Touch {
        self.database.touch()
    }

    /// Waits for a commit, of ours or a noticed one of others, or for another process's lock to be met or gone. Of what
    /// came while nobody waited the next one hears at once.
    pub async fn stirred(&self) {
        self.database.stirred().await;
    }

    /// Goes through the next activities in which submissions wait, and puts those in order whose next one another hand
    /// took away. `after` is where the last look ended; how many there were, and where the next look begins (`None`: at
    /// the beginning again).
    pub async fn put_in_order(&self, after: Option<i64>) -> Result<(u64, Option<i64>), StoreError> {
        self.database.put_in_order(after).await
    }

    /// A value that was remembered.
    pub async fn recall(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.database.recall(name).await
    }

    /// Remembers a value, or forgets it.
    pub async fn remember(&self, name: &str, value: Option<String>, now: Timestamp) -> Result<(), StoreError> {
        self.database.remember(name, value, now).await
    }

    /// What makes the tokens of [`crate::model::Directives::replaces`]. `None` where this outbox never made one and is
    /// opened only to look.
    pub async fn marks(&self, now: Timestamp) -> Result<Option<Marks>, StoreError> {
        self.database.marks(now).await
    }

    /// Stores the gate's state under `name` and, in the same transaction, requeues what this episode dead-lettered as
    /// `unauthorized` (superseded ones excepted), or only forgets the episode (`requeue` false). Returns how many were
    /// requeued.
    pub async fn open_gate(&self, name: &str, value: String, requeue: bool, now: Timestamp) -> Result<u64, StoreError> {
        self.database.open_gate(name, value, requeue, now).await
    }

    /// Puts the oldest back of what this episode dead-lettered, to be the trial where nothing pending can be it; those
    /// in `refused` only where there is no other, the first of them first. Which one, if there was one.
    pub async fn revive(&self, refused: Vec<SubmissionId>, now: Timestamp) -> Result<Option<SubmissionId>, StoreError> {
        self.database.revive(refused, now).await
    }

    /// Deletes a batch of what may leave, oldest first; returns how many. None: nothing is left that may.
    pub async fn sweep(&self, sweep: Sweep) -> Result<u64, StoreError> {
        self.database.sweep(sweep).await
    }

    /// Checkpoints, gives a bounded number of free pages back, and keeps the WAL bounded. Cheap when there is nothing
    /// to do; whether there is more to give back.
    pub async fn tidy(&self) -> Result<bool, StoreError> {
        self.database.tidy().await
    }

    /// How many commits there were, of ours and noticed ones of others: where it is the same, nothing has changed.
    pub fn commits(&self) -> u64 {
        self.database.commits()
    }

    /// For how long the writer has met nothing but another process's lock, beyond what it waits for anyway.
    pub fn locked_for(&self) -> Option<Duration> {
        self.database.locked_for()
    }

    /// Leaves a note for those who look, which they find by [`read_note`] also when the database can be neither written
    /// nor opened. Only the daemon can; whether it could. Not durable.
    pub async fn note(&self, text: String) -> bool {
        self.database.note(text).await
    }

    /// From here on nothing waits for another process's lock for longer than a moment: the process is to end.
    pub fn hurry(&self) {
        self.database.hurry();
    }

    /// Ends the writer after what is queued, checkpoints and closes every connection.
    pub async fn close(&self) {
        self.database.close().await;
    }
}
