//! How attempts end. All settlements of a group are one statement a table.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::model::{Attempt, DeadReason, StateName, SubmissionId, Transition};
use crate::store::{Settled, Settlement};

use super::row::HEAD;
use super::transaction::Transaction;
use super::{attempts, batch, lanes};

/// What a settlement writes into its row of `delivery`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Effect {
    id: i64,
    attempt: u32,
    state: &'static str,
    reason: Option<&'static str>,
    /// Due then.
    due: Option<i64>,
    /// Due then, or when it was due before, whichever is earlier.
    latest: Option<i64>,
    given_back: u32,
    lost: bool,
    overriding: bool,
    status: Option<u16>,
    at: i64,
}

impl Effect {
    /// As [`SETTLE`] reads it, by place: names would be looked for in each row.
    fn row(&self) -> impl Serialize + use<> {
        (
            self.id,
            self.attempt,
            self.state,
            self.reason,
            self.due,
            self.latest,
            self.given_back,
            self.lost,
            self.overriding,
            self.status,
            self.at,
        )
    }
}

/// A pending outcome becomes `head`, which it was (its lane has nothing else that is live); an older one that was put back meanwhile takes
/// that place in [`lanes::relane`].
pub(super) const SETTLE: &str = "UPDATE delivery SET \
        state = j.state, \
        reason = j.reason, \
        next_at = CASE WHEN j.due IS NULL THEN min(next_at, coalesce(j.latest, next_at)) ELSE j.due END, \
        tries = max(tries - j.given_back, 0), \
        lost_response = max(lost_response, j.lost), \
        hard_override = max(hard_override, j.overriding), \
        http_status = coalesce(j.status, http_status), \
        updated_at = j.at \
     FROM (SELECT value ->> 0 AS id, value ->> 1 AS attempt, value ->> 2 AS state, value ->> 3 AS reason, value ->> 4 AS due, \
                  value ->> 5 AS latest, value ->> 6 AS given_back, value ->> 7 AS lost, \
                  value ->> 8 AS overriding, value ->> 9 AS status, value ->> 10 AS at \
             FROM json_each(?1)) AS j \
     WHERE delivery.id = j.id AND delivery.attempts = j.attempt AND delivery.state = 'sending' \
     RETURNING id, lane";

/// Settles; one answer a settlement, in order.
pub(super) async fn settle(
    transaction: &mut Transaction<'_>,
    settlements: &[&(Settlement, Timestamp)],
) -> Result<Vec<Settled>, sqlx::Error> {
    let effects: Vec<Option<Effect>> = effects(settlements);
    let rows = sqlx::query(SETTLE)
        .bind(batch::json(&effects.iter().flatten().map(Effect::row).collect::<Vec<_>>())?)
        .fetch_all(&mut *transaction.conn)
        .await?;
    let mut done: HashMap<i64, Option<i64>> = HashMap::with_capacity(rows.len());
    for row in rows {
        done.insert(row.try_get(0)?, row.try_get(1)?);
    }
    let is_done: Vec<bool> = effects
        .iter()
        .map(|effect| effect.as_ref().is_some_and(|effect| done.contains_key(&effect.id)))
        .collect();
    let settled: Vec<&Settlement> = settlements
        .iter()
        .zip(&is_done)
        .filter(|(_, is_done)| **is_done)
        .map(|((settlement, _), _)| settlement)
        .collect();
    let delivered = write_down(transaction, &settled).await?;
    lanes::settled(transaction.conn, &done.into_values().flatten().collect(), &delivered).await?;
    let answer = |is_done| if is_done { Settled::Done } else { Settled::Stale };
    Ok(is_done.into_iter().map(answer).collect())
}

/// What each of them does; `None` where it can do nothing: a transition that does not start from `sending`, or the second word on a submission
/// in one group, which comes too late as it would alone.
fn effects(settlements: &[&(Settlement, Timestamp)]) -> Vec<Option<Effect>> {
    let mut seen = HashSet::with_capacity(settlements.len());
    settlements
        .iter()
        .map(|(settlement, now)| {
            let starts_from_sending = settlement.transition.allowed_from().contains(&StateName::Sending);
            (starts_from_sending && seen.insert(settlement.id)).then(|| effect(settlement, *now))
        })
        .collect()
}

fn effect(settlement: &Settlement, now: Timestamp) -> Effect {
    let record = &settlement.record;
    let mut effect = Effect {
        id: settlement.id.0,
        attempt: settlement.attempt.0,
        state: match ends_in(&settlement.transition) {
            StateName::Pending => HEAD,
            final_state => final_state.name(),
        },
        reason: None,
        due: None,
        latest: None,
        given_back: 0,
        lost: record.lost_response,
        overriding: false,
        status: record.answer.as_ref().map(|answer| answer.status),
        at: now.millis(),
    };
    match &settlement.transition {
        // What of the wait is served is known, and counted, at the next claim.
        Transition::Retry { due, wait: _ } => effect.due = Some(due.millis()),
        // It had its turn already: with its old due time it stands before everything that became due since.
        Transition::Override => {
            effect.latest = Some(now.millis());
            effect.overriding = true;
        }
        Transition::Recover => effect.latest = Some(now.millis()),
        Transition::Die { reason, .. } => effect.reason = Some(reason.name()),
        Transition::Park(reason) => effect.reason = Some(reason.name()),
        // The try is given back; the attempt's number is not, or a late outcome of this attempt would pass for the next one's. Nothing is
        // remembered of it.
        Transition::Release => {
            effect.given_back = 1;
            effect.lost = false;
            effect.status = None;
        }
        Transition::Deliver
        | Transition::DeliverAccepted
        | Transition::Claim
        | Transition::Requeue
        | Transition::ForceOverride
        | Transition::Accept
        | Transition::Dismiss
        | Transition::Replace
        | Transition::Edit => {}
    }
    effect
}

/// The state in which a transition ends.
fn ends_in(transition: &Transition) -> StateName {
    match transition {
        Transition::Deliver | Transition::DeliverAccepted | Transition::Accept => StateName::Delivered,
        Transition::Die { .. } => StateName::Dead,
        Transition::Park(_) => StateName::Parked,
        Transition::Claim => StateName::Sending,
        Transition::Dismiss | Transition::Replace => StateName::Dismissed,
        Transition::Retry { .. }
        | Transition::Override
        | Transition::Release
        | Transition::Recover
        | Transition::Requeue
        | Transition::ForceOverride
        | Transition::Edit => StateName::Pending,
    }
}

/// What belongs to these outcomes in other tables; which of them are delivered.
async fn write_down(transaction: &mut Transaction<'_>, settled: &[&Settlement]) -> Result<Vec<i64>, sqlx::Error> {
    let mut records: Vec<(SubmissionId, &Attempt)> = Vec::with_capacity(settled.len());
    let mut delivered = Vec::new();
    let mut episode = Vec::new();
    for settlement in settled {
        let state = ends_in(&settlement.transition);
        transaction.moved(Some(StateName::Sending), Some(state), 1);
        if settlement.transition != Transition::Release {
            records.push((settlement.id, &settlement.record));
        }
        if state == StateName::Delivered {
            delivered.push(settlement.id.0);
        }
        if is_of_episode(&settlement.transition) {
            episode.push(settlement.id.0);
        }
    }
    attempts::insert(transaction.conn, &records).await?;
    join_episode(transaction.conn, &episode).await?;
    Ok(delivered)
}

/// Whether the gate's opening puts it back.
fn is_of_episode(transition: &Transition) -> bool {
    *transition
        == Transition::Die {
            reason: DeadReason::Unauthorized,
            requeue_on_opening: true,
        }
}

pub(super) const JOIN_EPISODE: &str = "INSERT OR IGNORE INTO episode (id) SELECT value FROM json_each(?1)";

async fn join_episode(conn: &mut SqliteConnection, ids: &[i64]) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(JOIN_EPISODE).bind(batch::json(ids)?).execute(conn).await?;
    Ok(())
}
