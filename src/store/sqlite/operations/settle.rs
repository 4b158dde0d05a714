//! How attempts end. All settlements of a group are one query: each statement of it says what becomes of all of them in
//! one table.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use sqlx::{Column as _, Row as _};
use strum::VariantArray as _;

use crate::clock::Timestamp;
use crate::model::{EndingName, StateName};
use crate::store::rules::effect::{answers, effect, worth_asking};
use crate::store::rules::words::HEAD;
use crate::store::sqlite::machine::transaction::Transaction;
use crate::store::sqlite::machine::{batch, trouble};
use crate::store::{Settled, Settlement};

/// The outcomes of a group, as far as they are fenced: a table of this connection, in memory, emptied by each group.
pub(crate) const OUTCOME: &str = "CREATE TEMP TABLE outcome (id INTEGER PRIMARY KEY, attempt, state, reason, due, \
     latest, is_released, \
     overriding, at, of_episode, elapsed_ms, hard_override, outcome, lost_response, status, headers, body, \
     body_length, fault, fault_message, started_at, waited_ms)";
/// Those that a settlement brings: all but what is known of the claim, the last two.
pub(crate) const COLUMNS: usize = 20;

pub(crate) const CLEAR: &str = "DELETE FROM outcome";

/// The fence: only what is in flight with this very attempt.
pub(crate) const FENCED: &str = "INSERT INTO outcome SELECT v.*, f.claimed_at, f.waited_ms FROM (VALUES #) AS v \
     CROSS JOIN flight AS f ON f.id = v.column1 AND f.attempt = v.column2";

pub(crate) const LAND: &str = "DELETE FROM flight WHERE id IN (SELECT id FROM outcome)";

/// A pending outcome leaves it `head`; an older one that was put back meanwhile takes that place in [`STEP_BACK`]. (The
/// plus signs keep SQLite, which knows nothing of the size of a temporary table, from walking all that is pending.)
pub(crate) const SETTLE: &str = "UPDATE delivery SET \
        state = o.state, \
        reason = o.reason, \
        next_at = CASE WHEN o.due IS NULL THEN min(next_at, coalesce(o.latest, next_at)) ELSE o.due END, \
        attempts = o.attempt, \
        tries = min(tries, 4294967294) + 1 - o.is_released, \
        waited_ms = o.waited_ms, \
        lost_response = CASE WHEN o.is_released THEN delivery.lost_response \
        ELSE max(delivery.lost_response, o.lost_response) END, \
        hard_override = max(delivery.hard_override, o.overriding), \
        http_status = CASE WHEN o.is_released OR o.body IS NULL THEN http_status ELSE o.status END, \
        updated_at = o.at \
     FROM outcome AS o WHERE delivery.id = +o.id AND +delivery.state = 'head'";

/// `OR REPLACE`: where another hand has set a submission's attempts back, the number is there already. The record of
/// what was must not keep what is from being settled.
pub(crate) const RECORD: &str = "INSERT OR REPLACE INTO attempt (submission, number, started_at, elapsed_ms, \
     hard_override, outcome, lost_response, status, \
     headers, body, body_length, fault, fault_message) \
     SELECT id, attempt, started_at, elapsed_ms, hard_override, outcome, lost_response, status, headers, body, \
     body_length, fault, fault_message FROM outcome WHERE NOT is_released ORDER BY id";

pub(crate) const JOIN_EPISODE: &str = "INSERT OR IGNORE INTO episode (id) SELECT id FROM outcome WHERE of_episode";

/// Of what stays pending: a head with an older one behind it.
pub(crate) const STEP_BACK: &str = "UPDATE delivery SET state = 'waiting' WHERE id IN ( \
         SELECT h.id FROM outcome AS o CROSS JOIN delivery AS h ON h.id = o.id \
          WHERE o.state = 'head' AND h.state = 'head' AND h.lane IS NOT NULL \
            AND (SELECT w.id FROM delivery AS w INDEXED BY delivery_waiting \
                  WHERE w.lane = h.lane AND w.state = 'waiting' ORDER BY w.id LIMIT 1) < h.id) \
     AND state = 'head'";

/// The oldest that waits in these lanes comes forward where nothing is head any more.
pub(crate) const COME_FORWARD: &str = "UPDATE delivery SET state = 'head' WHERE id IN ( \
         SELECT (SELECT w.id FROM delivery AS w INDEXED BY delivery_waiting \
                  WHERE w.lane = d.lane AND w.state = 'waiting' ORDER BY w.id LIMIT 1) \
           FROM outcome AS o CROSS JOIN delivery AS d ON d.id = o.id \
          WHERE d.lane IS NOT NULL \
            AND NOT EXISTS (SELECT 1 FROM delivery AS b INDEXED BY delivery_live WHERE b.lane = d.lane \
            AND b.state = 'head')) AND state = 'waiting'";

/// What is not pending any more is counted where it is now.
/// Never below nothing, which a CHECK would refuse: what was delivered must be settled, whatever anybody counted.
pub(crate) const COUNT: &str = "UPDATE tally SET n = max(n + j.by, 0) \
     FROM (SELECT state, count(*) AS by FROM outcome WHERE state <> 'head' GROUP BY state \
           UNION ALL SELECT 'pending', -count(*) FROM outcome WHERE state <> 'head') AS j \
     WHERE tally.state = j.state";

/// Whether the count of what is pending would fall below nothing: another hand has changed states without it.
pub(crate) const SHORT: &str = "SELECT EXISTS (SELECT 1 FROM tally \
     WHERE state = 'pending' AND n < (SELECT count(*) FROM outcome WHERE state <> 'head')) AS short";

pub(crate) const DONE: &str = "SELECT json_group_array(id) AS settled FROM outcome";

/// The statements for so many settlements, a size of [`batch::pieces`]: one way to SQLite's thread and back. Their
/// parameters come first: a claim may follow in the same query.
pub(crate) fn sql(size: usize) -> &'static str {
    static STATEMENTS: LazyLock<Vec<(usize, String)>> =
        LazyLock::new(|| batch::SIZES.map(|size| (size, compose(size))).into());
    STATEMENTS
        .iter()
        .find(|(known, _)| *known == size)
        .map_or("", |(_, sql)| sql)
}

fn compose(size: usize) -> String {
    let fenced = FENCED.replace('#', &batch::values(COLUMNS, size));
    format!(
        "{CLEAR}; {fenced}; {LAND}; {SETTLE}; {RECORD}; {JOIN_EPISODE}; {STEP_BACK}; {COME_FORWARD}; {SHORT}; {COUNT}; \
         {DONE}"
    )
}

/// Binds settlements; what a smaller number of them leaves free of the size is bound to nothing.
pub(crate) fn bind<'q>(
    mut query: Query<'q, Sqlite, SqliteArguments>,
    settlements: &[&'q (Arc<Settlement>, Timestamp)],
    size: usize,
) -> Result<Query<'q, Sqlite, SqliteArguments>, sqlx::Error> {
    for (settlement, now) in settlements {
        let effect = effect(settlement, *now);
        let record = &settlement.record;
        let (answer, fault) = (record.answer.as_ref(), record.fault.as_ref());
        let status = answer
            .map(|answer| answer.status)
            .or_else(|| fault.and_then(|fault| fault.status));
        query = query
            .bind(settlement.id.0)
            .bind(record.number.0)
            .bind(word(effect.state))
            .bind(effect.reason)
            .bind(effect.due)
            .bind(effect.latest)
            .bind(effect.is_released)
            .bind(effect.overriding)
            .bind(effect.at)
            .bind(effect.of_episode)
            .bind(record.elapsed_ms.cast_signed())
            .bind(record.hard_override)
            .bind(word(EndingName::from(settlement.ending).into_str()))
            .bind(record.lost_response)
            .bind(status)
            .bind(answer.map(|answer| batch::json(&answer.headers)).transpose()?)
            .bind(answer.map(|answer| answer.body.as_ref()))
            .bind(answer.map(|answer| answer.body_length.cast_signed()))
            .bind(fault.map(|fault| fault.kind.into_str()))
            .bind(fault.map(|fault| fault.message.as_str()));
    }
    for _ in settlements.len() * COLUMNS..size * COLUMNS {
        query = query.bind(None::<i64>);
    }
    Ok(query)
}

/// A word of ours as what is bound without a copy: each would be two allocations.
fn word(word: &'static str) -> Arc<str> {
    static WORDS: LazyLock<HashMap<&'static str, Arc<str>>> = LazyLock::new(|| {
        let states = StateName::VARIANTS.iter().map(StateName::into_str);
        let outcomes = EndingName::VARIANTS.iter().map(EndingName::into_str);
        let words = states.chain(outcomes).chain([HEAD]);
        words.map(|word| (word, Arc::from(word))).collect()
    });
    WORDS.get(word).cloned().unwrap_or_else(|| Arc::from(word))
}

/// The ids that the row of [`DONE`] names.
pub(crate) fn ended(row: &SqliteRow) -> Result<HashSet<i64>, sqlx::Error> {
    let ids: &str = row.try_get("settled")?;
    serde_json::from_str(ids).map_err(|error| trouble::corrupt("settlement", &error.to_string()))
}

/// Settles beside other operations; one answer a settlement, in order.
pub(crate) async fn settle(
    transaction: &mut Transaction<'_>,
    settlements: &[&(Arc<Settlement>, Timestamp)],
) -> Result<Vec<Settled>, sqlx::Error> {
    let mut done = HashSet::with_capacity(settlements.len());
    for (piece, size) in batch::pieces(&worth_asking(settlements)) {
        for row in bind(sqlx::query(sql(size)), piece, size)?
            .fetch_all(&mut *transaction.conn)
            .await?
        {
            if row.column(0).name() == "settled" {
                done.extend(ended(&row)?);
            } else if row.try_get(0)? {
                transaction.is_short = true;
            }
        }
    }
    Ok(answers(settlements, &done))
}
