//! What is asked of the one writer: whatever a method promises is committed before it returns. And what it tells of
//! itself and of other processes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::model::{Admission, Admitted, Receipt, SubmissionId};
use crate::store::sqlite::Database;
use crate::store::{
    ActRequest, Acted, ClaimOrder, ClaimRequest, Claimed, Leap, Minute, Miscount, Settled, Settlement, StoreError,
    Sweep,
};

use super::machine::writer::Order;
use super::operations::{act, recount};
use super::processes::touch::Touch;
use crate::store::operation::{Note, Opening, Operation, Revival, Turn};
use crate::store::rules::marks::{Marks, SECRET};

impl Database {
    /// Takes results in, with the receipts that prove it, in one transaction; one answer an entry, in order.
    pub async fn admit(&self, admission: Admission, now: Timestamp) -> Result<Vec<Admitted>, StoreError> {
        self.ask((admission, now), Operation::Admit).await
    }

    /// Forgets receipts whose sources are durably gone.
    pub async fn forget(&self, receipts: Vec<Receipt>) -> Result<(), StoreError> {
        self.ask(receipts, Operation::Forget).await
    }

    /// Hands out submissions, their attempts counted and durable.
    ///
    /// It is on its way when this returns, before its future is awaited.
    pub fn claim(
        &self,
        request: ClaimRequest,
    ) -> impl Future<Output = Result<Vec<Claimed>, StoreError>> + Send + use<> {
        let has_odd_one = request.order == ClaimOrder::Due && request.limit % 2 == 1;
        let odd_one_to_requeued = self.inner.odd_one_to_requeued.fetch_xor(has_odd_one, Ordering::Relaxed);
        let turn = Turn {
            request,
            odd_one_to_requeued,
            leap: *self.inner.leap.lock().unwrap_or_else(PoisonError::into_inner),
        };
        self.ask_at_once(turn, Operation::Claim)
    }

    /// The clock was set forward: no wait that began before counts the leap.
    pub fn leapt(&self, leap: Leap) {
        *self.inner.leap.lock().unwrap_or_else(PoisonError::into_inner) = leap;
    }

    /// Records how attempts ended, in one commit, one answer for each. They are on their way when this returns, before its
    /// future is awaited: a claim that is asked for next comes into the same commit, and finds the activities that they
    /// free. `beside`: a name and what is remembered under it in the same commit.
    pub fn settle_all(
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

    /// Does an act; one answer an id, in order.
    pub async fn act(&self, request: ActRequest) -> Result<Vec<(SubmissionId, Acted)>, StoreError> {
        if request.dry_run {
            return Ok(act::rehearse(&mut *self.reader().await?, &request).await?);
        }
        self.ask(request, Operation::Act).await
    }

    /// Remembers a value, or forgets it.
    pub async fn remember(&self, name: &str, value: Option<String>, now: Timestamp) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.ask(Note { name, value, now }, Operation::Remember).await
    }

    /// Stores the gate's state under `name` and, in the same transaction, requeues what this episode dead-lettered as
    /// `unauthorized` (superseded ones excepted), or only forgets the episode (`requeue` false). Returns how many were
    /// requeued.
    pub async fn open_gate(&self, name: &str, value: String, requeue: bool, now: Timestamp) -> Result<u64, StoreError> {
        let name = name.to_owned();
        let opening = Opening {
            name,
            value,
            requeue,
            now,
        };
        self.ask(opening, Operation::OpenGate).await
    }

    /// Puts the oldest back of what this episode dead-lettered, to be the trial where nothing pending can be it; those
    /// in `refused` only where there is no other, the first of them first. Which one, if there was one.
    pub async fn revive(&self, refused: Vec<SubmissionId>, now: Timestamp) -> Result<Option<SubmissionId>, StoreError> {
        self.ask(Revival { refused, now }, Operation::Revive).await
    }

    /// Deletes a batch of what may leave, oldest first; returns how many. None: nothing is left that may.
    pub async fn sweep(&self, sweep: Sweep) -> Result<u64, StoreError> {
        self.ask(sweep, Operation::Sweep).await
    }

    /// Waits until a count would have fallen below nothing: they are to be counted again.
    pub async fn found_short(&self) {
        self.inner.seen.short.notified().await;
    }

    /// Counts again what the counts by state say, and corrects them; those that were wrong. Only another hand makes
    /// them so.
    pub async fn recount(&self) -> Result<Vec<Miscount>, StoreError> {
        let wrong = recount::miscounts(&mut *self.reader().await?).await?;
        if !wrong.is_empty() {
            self.ask(wrong.clone(), Operation::Recount).await?;
        }
        Ok(wrong)
    }

    /// Goes through the next activities in which submissions wait, and puts those in order whose next one another hand
    /// took away. `after` is where the last look ended; how many there were, and where the next look begins (`None`: at
    /// the beginning again).
    pub async fn put_in_order(&self, after: Option<i64>) -> Result<(u64, Option<i64>), StoreError> {
        let (wrong, end) = recount::wrong_lanes(&mut *self.reader().await?, after.unwrap_or(i64::MIN)).await?;
        let count = wrong.len() as u64;
        if count > 0 {
            self.ask(wrong, Operation::PutInOrder).await?;
        }
        Ok((count, end))
    }

    /// Writes minutes down, and adds them to the totals, each once.
    pub async fn record(&self, minutes: Vec<Minute>) -> Result<(), StoreError> {
        self.ask(minutes, Operation::Record).await
    }

    /// Checkpoints, gives a bounded number of free pages back, and keeps the WAL bounded. Cheap when there is nothing
    /// to do; whether there is more to give back.
    pub async fn tidy(&self) -> Result<bool, StoreError> {
        self.send(Order::Tidy).await
    }

    /// What makes the tokens of [`crate::model::Directives::replaces`]. `None` where this outbox never made one and is
    /// opened only to read.
    pub async fn marks(&self, now: Timestamp) -> Result<Option<Marks>, StoreError> {
        let known = self.secret().await?;
        if known.is_some() || self.inner.orders.is_none() {
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

    /// Leaves a note for those who look, which they find by [`read_note`] also when the database can be neither written
    /// nor opened. Only the daemon can; whether it could. Not durable.
    pub async fn note(&self, text: String) -> bool {
        let Some(notepad) = self.inner.notepad.clone() else {
            return false;
        };
        // Apart from the loops: a disk that stands still must not stop them.
        let written = tokio::task::spawn_blocking(move || notepad.write(&text).is_ok());
        written.await.unwrap_or(false)
    }

    /// For how long the writer has met nothing but another process's lock, beyond what it waits for anyway.
    pub fn locked_for(&self) -> Option<Duration> {
        self.inner.locked.so_long()
    }

    /// The same as [`Database::changed`] without waiting, while a commit of ours is on its way, which brings the next
    /// answer; `None` while none is, or none has brought a version.
    pub fn changed_before_this_commit(&self) -> Option<bool> {
        let seen = &self.inner.seen;
        let version = seen.within(Duration::MAX).filter(|_| seen.is_busy())?;
        Some(self.is_new(version))
    }

    /// Whether another process has written since the last call (`PRAGMA data_version` on the writing connection), as of
    /// now or of a commit of ours two milliseconds ago.
    pub async fn changed(&self) -> Result<bool, StoreError> {
        if let Some(version) = self.inner.seen.within(FRESH) {
            return Ok(self.is_new(version));
        }
        let quiet = &self.inner.quiet;
        let (sight, now) = (quiet.sight(), Instant::now());
        if quiet.holds(sight, now) {
            return Ok(false);
        }
        let version = self.send(Order::Version).await;
        quiet.asked(sight.filter(|_| version.is_ok()), now);
        Ok(self.is_new(version?))
    }

    fn is_new(&self, version: i64) -> bool {
        let is_new = self.inner.version.swap(version, Ordering::Relaxed) != version;
        if is_new {
            self.inner.foreign_commits.fetch_add(1, Ordering::Relaxed);
            self.inner.seen.stirred.notify_one();
        }
        is_new
    }

    /// How many commits there were, of ours and noticed ones of others: where it is the same, nothing has changed.
    pub fn commits(&self) -> u64 {
        self.inner.seen.commits() + self.inner.foreign_commits.load(Ordering::Relaxed)
    }

    /// Waits for a commit, of ours or a noticed one of others, or for another process's lock to be met or gone. Of what
    /// came while nobody waited the next one hears at once.
    pub async fn stirred(&self) {
        self.inner.seen.stirred.notified().await;
    }

    /// What hears of writes, of ours and of others, from outside: for who is at rest, and asks [`Database::changed`]
    /// then.
    pub fn touch(&self) -> Touch {
        Touch::of(&self.inner.path)
    }
}

/// What a commit of ours brought of other processes' commits serves for so long. Under load each commit brings it, and
/// nobody has to wait for the writer between two of them.
const FRESH: Duration = Duration::from_millis(2);
