//! How attempts end.
//!
//! The fence of an outcome is the attempt: its number, this node, `sending`, and when it was claimed (after a failover
//! that lost commits, numbers may come again). What does not pass it changes nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::clock::Timestamp;
use crate::model::{Attempt, Ending, EndingName, StateName};
use crate::store::rules::effect::{Effect, answers, effect, worth_asking};
use crate::store::rules::words::{HEAD, without_nul};
use crate::store::{Settled, Settlement};

use super::transaction::Transaction;
use super::{lanes, notes};

pub(super) const LANES_OF: &str = "SELECT DISTINCT lane FROM delivery WHERE id = ANY ($1) AND lane IS NOT NULL";

/// What is done with leaves the queue.
pub(super) const END: &str = "WITH gone AS (DELETE FROM delivery WHERE id = ANY ($1) AND attempts = ($2)[array_position($1, id)] \
        AND updated_at = ($3)[array_position($1, id)] AND state = 'sending' AND node = $4 RETURNING *, array_position($1, id) AS p) \
     INSERT INTO settled (id, lane, waited_ms, updated_at, attempts, tries, http_status, hard_override, lost_response, was_unauthorized, requeued, state, reason) \
     SELECT id, lane, waited_ms, ($5)[p], attempts, tries, coalesce(($6)[p], http_status), hard_override, lost_response OR ($7)[p], \
            was_unauthorized, requeued, ($8)[p], ($9)[p] FROM gone RETURNING id, lane, state";

/// What goes on. `$5`: due then; `$6`: due then or when it was due before, whichever is earlier; `$9`: given back.
pub(super) const GO_ON: &str = "UPDATE delivery SET state = 'head', node = NULL, \
        next_at = coalesce(($5)[array_position($1, id)], least(next_at, coalesce(($6)[array_position($1, id)], next_at))), \
        updated_at = ($7)[array_position($1, id)], \
        http_status = coalesce(($8)[array_position($1, id)], http_status), \
        tries = tries - CASE WHEN ($9)[array_position($1, id)] THEN 1 ELSE 0 END, \
        lost_response = lost_response OR ($10)[array_position($1, id)], \
        hard_override = greatest(hard_override, ($11)[array_position($1, id)]) \
     WHERE id = ANY ($1) AND attempts = ($2)[array_position($1, id)] AND updated_at = ($3)[array_position($1, id)] \
       AND state = 'sending' AND node = $4 RETURNING id, next_at";

pub(super) const RECORD: &str = "INSERT INTO attempt (submission, number, node, started_at, elapsed_ms, hard_override, lost_response, status, body_length, \
        outcome, headers, body, fault, fault_message) \
     SELECT s, n, $3, a, e, h, l, st, bl, o, hd, b, f, fm \
       FROM unnest($1::bigint[], $2::integer[], $4::bigint[], $5::bigint[], $6::boolean[], $7::boolean[], $8::integer[], $9::bigint[], $10::text[], \
            $11::text[], $12::bytea[], $13::text[], $14::text[]) AS t (s, n, a, e, h, l, st, bl, o, hd, b, f, fm) \
     ON CONFLICT (submission, number) DO UPDATE SET outcome = excluded.outcome, started_at = excluded.started_at, elapsed_ms = excluded.elapsed_ms, \
        hard_override = excluded.hard_override, lost_response = excluded.lost_response, status = excluded.status, headers = excluded.headers, \
        body = excluded.body, body_length = excluded.body_length, fault = excluded.fault, fault_message = excluded.fault_message, node = excluded.node";

pub(super) const JOIN_EPISODE: &str = "INSERT INTO episode (id, scope) SELECT i, $2 FROM unnest($1::bigint[]) AS i ON CONFLICT (id) DO UPDATE SET scope = excluded.scope";

/// Which of these attempts are recorded as this node's already: their commit's answer was lost.
pub(super) const STORED: &str = "SELECT submission, outcome FROM attempt WHERE submission = ANY ($1) AND number = ($2)[array_position($1, submission)] AND node = $3";

type Asked<'s> = &'s (Arc<Settlement>, Timestamp);

/// Settles; one answer a settlement, in order. `closes`: one of them brings the gate's closing with it.
pub(super) async fn settle(
    transaction: &mut Transaction<'_>,
    settlements: &[Asked<'_>],
    closes: bool,
) -> Result<Vec<Settled>, sqlx::Error> {
    let asked = worth_asking(settlements);
    let ids: Vec<i64> = asked.iter().map(|(settlement, _)| settlement.id.0).collect();
    let is_uncharged = is_uncharged(transaction, &asked, closes).await?;
    let lanes = lanes_of(transaction.conn, &ids).await?;
    lanes::lock(transaction.conn, &lanes).await?;
    let endings: Vec<(Asked<'_>, Effect)> = asked
        .iter()
        .map(|one| {
            let ending = ending(&one.0, is_uncharged);
            let settlement = Settlement {
                ending,
                ..Settlement::clone(&one.0)
            };
            (*one, effect(&settlement, one.1))
        })
        .collect();
    let (on, done): (Vec<_>, Vec<_>) = endings.iter().partition(|(_, effect)| effect.state == HEAD);
    let mut stored: HashSet<i64> = HashSet::with_capacity(ids.len());
    end(transaction, &done, &mut stored).await?;
    go_on(transaction, &on, &mut stored).await?;
    let recorded: Vec<&(Asked<'_>, Effect)> = endings
        .iter()
        .filter(|((one, _), _)| stored.contains(&one.id.0))
        .collect();
    record(transaction, &recorded).await?;
    if let Some(place) = lanes::relane(transaction.conn, &lanes).await? {
        transaction.put_back(place);
    }
    if transaction.may_be_stored && stored.len() < ids.len() {
        let late: Vec<Asked<'_>> = asked
            .iter()
            .filter(|(one, _)| !stored.contains(&one.id.0))
            .copied()
            .collect();
        stored.extend(known_already(transaction, &late).await?);
    }
    let mut answers = answers(settlements, &stored);
    for (answer, (settlement, _)) in answers.iter_mut().zip(settlements) {
        if *answer == Settled::Done && ending(settlement, is_uncharged) != settlement.ending {
            *answer = Settled::Uncharged;
        }
    }
    Ok(answers)
}

/// What becomes of it: what a key's gate would put back at its opening is not charged where that gate is open again, or
/// where another key works.
fn ending(settlement: &Settlement, is_uncharged: bool) -> Ending {
    match settlement.ending {
        Ending::Dead {
            requeue_on_opening: true,
            ..
        } if is_uncharged => Ending::Released,
        ending => ending,
    }
}

/// Of refused ones: whether the gate of this key was opened meanwhile (and none of these closes it), or another key is
/// open. The record is held until the commit: an opening either sees these in its episode, or
/// is seen here.
async fn is_uncharged(
    transaction: &mut Transaction<'_>,
    asked: &[Asked<'_>],
    closes: bool,
) -> Result<bool, sqlx::Error> {
    let of_episode = |one: &Asked<'_>| {
        matches!(
            one.0.ending,
            Ending::Dead {
                requeue_on_opening: true,
                ..
            }
        )
    };
    if !asked.iter().any(of_episode) {
        return Ok(false);
    }
    if notes::another_key_works(transaction).await? {
        return Ok(true);
    }
    Ok(!closes && notes::gate_is_open_again(transaction).await?)
}

async fn lanes_of(conn: &mut PgConnection, ids: &[i64]) -> Result<BTreeSet<i64>, sqlx::Error> {
    let rows = sqlx::query(LANES_OF).bind(ids).fetch_all(conn).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

fn status(record: &Attempt) -> Option<i32> {
    let answer = record.answer.as_ref().map(|answer| answer.status);
    answer
        .or_else(|| record.fault.as_ref().and_then(|fault| fault.status))
        .map(i32::from)
}

async fn end(
    transaction: &mut Transaction<'_>,
    done: &[&(Asked<'_>, Effect)],
    stored: &mut HashSet<i64>,
) -> Result<(), sqlx::Error> {
    if done.is_empty() {
        return Ok(());
    }
    let records = || done.iter().map(|((one, _), _)| &one.record);
    let rows = sqlx::query(END)
        .bind(done.iter().map(|((one, _), _)| one.id.0).collect::<Vec<_>>())
        .bind(
            records()
                .map(|record| record.number.0.cast_signed())
                .collect::<Vec<_>>(),
        )
        .bind(records().map(|record| record.started_at.millis()).collect::<Vec<_>>())
        .bind(transaction.node)
        .bind(done.iter().map(|(_, effect)| effect.at).collect::<Vec<_>>())
        .bind(
            records()
                .map(|record| record.answer.as_ref().map(|answer| i32::from(answer.status)))
                .collect::<Vec<_>>(),
        )
        .bind(records().map(|record| record.lost_response).collect::<Vec<_>>())
        .bind(done.iter().map(|(_, effect)| effect.state).collect::<Vec<_>>())
        .bind(done.iter().map(|(_, effect)| effect.reason).collect::<Vec<_>>())
        .fetch_all(&mut *transaction.conn)
        .await?;
    let mut delivered = Vec::new();
    let mut counts: HashMap<StateName, u64> = HashMap::new();
    for row in &rows {
        let (id, lane, state): (i64, Option<i64>, &str) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        stored.insert(id);
        if let Ok(state) = state.parse::<StateName>() {
            *counts.entry(state).or_default() += 1;
            if state == StateName::Delivered {
                delivered.extend(lane.map(|lane| (lane, id)));
            }
        }
    }
    for (state, count) in counts {
        transaction.moved(Some(StateName::Sending), Some(state), count);
    }
    lanes::delivered(transaction.conn, delivered.into_iter()).await?;
    let of_episode = done
        .iter()
        .filter(|((one, _), effect)| effect.of_episode && stored.contains(&one.id.0));
    let of_episode: Vec<i64> = of_episode.map(|((one, _), _)| one.id.0).collect();
    if of_episode.is_empty() {
        return Ok(());
    }
    sqlx::query(JOIN_EPISODE)
        .bind(of_episode)
        .bind(&transaction.scope)
        .execute(&mut *transaction.conn)
        .await
        .map(drop)
}

async fn go_on(
    transaction: &mut Transaction<'_>,
    on: &[&(Asked<'_>, Effect)],
    stored: &mut HashSet<i64>,
) -> Result<(), sqlx::Error> {
    if on.is_empty() {
        return Ok(());
    }
    let records = || on.iter().map(|((one, _), _)| &one.record);
    let effects = || on.iter().map(|(_, effect)| effect);
    let answered = |record: &Attempt, effect: &Effect| {
        let answer = record.answer.as_ref().filter(|_| !effect.is_released);
        answer.map(|answer| i32::from(answer.status))
    };
    let rows = sqlx::query(GO_ON)
        .bind(on.iter().map(|((one, _), _)| one.id.0).collect::<Vec<_>>())
        .bind(
            records()
                .map(|record| record.number.0.cast_signed())
                .collect::<Vec<_>>(),
        )
        .bind(records().map(|record| record.started_at.millis()).collect::<Vec<_>>())
        .bind(transaction.node)
        .bind(effects().map(|effect| effect.due).collect::<Vec<_>>())
        .bind(effects().map(|effect| effect.latest).collect::<Vec<_>>())
        .bind(effects().map(|effect| effect.at).collect::<Vec<_>>())
        .bind(
            on.iter()
                .map(|((one, _), effect)| answered(&one.record, effect))
                .collect::<Vec<_>>(),
        )
        .bind(effects().map(|effect| effect.is_released).collect::<Vec<_>>())
        .bind(
            on.iter()
                .map(|((one, _), effect)| one.record.lost_response && !effect.is_released)
                .collect::<Vec<_>>(),
        )
        .bind(effects().map(|effect| i16::from(effect.overriding)).collect::<Vec<_>>())
        .fetch_all(&mut *transaction.conn)
        .await?;
    for row in &rows {
        let id = row.try_get(0)?;
        stored.insert(id);
        transaction.put_back((row.try_get(1)?, id));
    }
    transaction.moved(Some(StateName::Sending), Some(StateName::Pending), rows.len() as u64);
    Ok(())
}

/// What is remembered of each attempt; nothing of one that was given back.
async fn record(transaction: &mut Transaction<'_>, recorded: &[&(Asked<'_>, Effect)]) -> Result<(), sqlx::Error> {
    let kept: Vec<&Settlement> = recorded
        .iter()
        .filter(|(_, effect)| !effect.is_released)
        .map(|((one, _), _)| one.as_ref())
        .collect();
    if kept.is_empty() {
        return Ok(());
    }
    let records = || kept.iter().map(|one| &one.record);
    let headers = records()
        .map(|record| {
            record
                .answer
                .as_ref()
                .map(|answer| serde_json::to_string(&answer.headers))
                .transpose()
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    let outcome = |one: &&Settlement| EndingName::from(one.ending).into_str();
    let fault = |record: &Attempt| record.fault.as_ref().map(|fault| fault.kind.into_str());
    let message = |record: &Attempt| {
        record
            .fault
            .as_ref()
            .map(|fault| without_nul(&fault.message).into_owned())
    };
    sqlx::query(RECORD)
        .bind(kept.iter().map(|one| one.id.0).collect::<Vec<_>>())
        .bind(
            records()
                .map(|record| record.number.0.cast_signed())
                .collect::<Vec<_>>(),
        )
        .bind(transaction.node)
        .bind(records().map(|record| record.started_at.millis()).collect::<Vec<_>>())
        .bind(
            records()
                .map(|record| record.elapsed_ms.cast_signed())
                .collect::<Vec<_>>(),
        )
        .bind(records().map(|record| record.hard_override).collect::<Vec<_>>())
        .bind(records().map(|record| record.lost_response).collect::<Vec<_>>())
        .bind(records().map(status).collect::<Vec<_>>())
        .bind(
            records()
                .map(|record| record.answer.as_ref().map(|answer| answer.body_length.cast_signed()))
                .collect::<Vec<_>>(),
        )
        .bind(kept.iter().map(outcome).collect::<Vec<_>>())
        .bind(headers)
        .bind(
            records()
                .map(|record| record.answer.as_ref().map(|answer| answer.body.to_vec()))
                .collect::<Vec<_>>(),
        )
        .bind(records().map(fault).collect::<Vec<_>>())
        .bind(records().map(message).collect::<Vec<_>>())
        .execute(&mut *transaction.conn)
        .await
        .map(drop)
}

/// Those that were stored before: the answer to that commit was lost, and this is the same settlement once more.
async fn known_already(transaction: &mut Transaction<'_>, late: &[Asked<'_>]) -> Result<Vec<i64>, sqlx::Error> {
    let rows = sqlx::query(STORED)
        .bind(late.iter().map(|(one, _)| one.id.0).collect::<Vec<_>>())
        .bind(
            late.iter()
                .map(|(one, _)| one.record.number.0.cast_signed())
                .collect::<Vec<_>>(),
        )
        .bind(transaction.node)
        .fetch_all(&mut *transaction.conn)
        .await?;
    let mut known = Vec::new();
    for row in &rows {
        let (id, outcome): (i64, &str) = (row.try_get(0)?, row.try_get(1)?);
        let is_same = |one: &&Asked<'_>| one.0.id.0 == id && EndingName::from(one.0.ending).into_str() == outcome;
        known.extend(late.iter().find(is_same).map(|_| id));
    }
    Ok(known)
}
