//! Handing out what is to be sent. Flat: each look is the beginning of an index, whatever lies after it. A claim waits for
//! nobody: rows that others hold are skipped, and its own node's row is only in the way of who is about to fence it.
//!
//! That a pause, or a gate that another node with this key has closed, holds is seen in the statement itself: what begins
//! after those were committed hands nothing out.

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::model::{AttemptNumber, StateName, SubmissionId};
use crate::store::operation::Turn;
use crate::store::{ClaimOrder, Claimed};

use super::floor::Place;
use super::own::Own;
use super::row;
use super::transaction::Transaction;

/// What `not_before` held and holds no longer joins what is due. Bounded like a claim: more follow with the next one.
pub(super) const LET_GO: &str = "UPDATE delivery SET not_before = NULL WHERE state = 'head' AND id = ANY (ARRAY( \
     SELECT id FROM delivery WHERE state = 'head' AND not_before IS NOT NULL AND not_before <= $1 \
      ORDER BY not_before, id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED))";

/// Whether this incarnation may claim at all (`$5`), and in order (`$9`: the gate of its key). The share lock makes who
/// would fence it wait until this claim is there to be taken over.
const ME: &str = "WITH me AS MATERIALIZED (SELECT 1 FROM node WHERE id = $5 AND fenced_at IS NULL \
        AND (SELECT name FROM memory WHERE name = 'pause') IS NULL \
        AND ($9::text IS NULL OR (SELECT name FROM memory WHERE name = $9 AND closed) IS NULL) FOR KEY SHARE)";

/// What is due of the fresh ones (`false`) or of those that were put back (`true`), the longest due first; and apart from
/// it what a clock that was set back would leave waiting for longer than anything may wait.
fn due(requeued: bool, limit: &str) -> String {
    let when = |condition: &str, name: &str| {
        format!(
            "{name}_{requeued} AS MATERIALIZED (SELECT id FROM delivery WHERE state = 'head' AND not_before IS NULL AND requeued = {requeued} \
                AND {condition} AND (SELECT 1 FROM me) IS NOT NULL ORDER BY next_at, id LIMIT {limit} FOR NO KEY UPDATE SKIP LOCKED)"
        )
    };
    let due = if requeued {
        "next_at <= $1"
    } else {
        "next_at <= $1 AND (next_at, id) >= ($12, $13)"
    };
    format!("{}, {}", when(due, "due"), when("next_at > $2", "far"))
}

/// Of a stretch of the least tried: those that are due, and after them the others, the one first that is due soonest.
/// What the API asked of one alone (`Retry-After`) is in its due time and nowhere else; whoever finds something out must
/// not break it while another can do it.
const SOONEST: &str = "ORDER BY CASE WHEN next_at > $1 AND next_at <= $2 THEN next_at ELSE 0 END, tries, id LIMIT $3";

fn stretch(condition: &str) -> String {
    format!(
        "SELECT id FROM (SELECT id, tries, next_at FROM delivery AS d WHERE state = 'head' AND not_before IS NULL AND tries >= 0 \
            {condition} ORDER BY tries, id LIMIT 1000) AS stretch {SOONEST}"
    )
}

/// Locks what was chosen, without waiting for any of it.
fn locked(chosen: &str) -> String {
    format!(
        "look AS MATERIALIZED (SELECT ARRAY({chosen}) AS ids), \
         held AS MATERIALIZED (SELECT id FROM delivery WHERE id = ANY ((SELECT ids FROM look)::bigint[]) AND state = 'head' \
            AND (SELECT 1 FROM me) IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED), \
         picked AS MATERIALIZED (SELECT id, array_position((SELECT ids FROM look), id)::bigint AS place FROM held)"
    )
}

/// No more than so many bytes of payloads (and the one that goes beyond), which all come to lie in memory.
const IN_BYTES: &str = "chosen AS MATERIALIZED (SELECT ARRAY(SELECT id FROM ( \
     SELECT p.id, p.place, coalesce(sum(octet_length(s.payload)) OVER (ORDER BY p.place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before \
       FROM picked AS p JOIN submission AS s ON s.id = p.id) AS sized WHERE before < 16777216 ORDER BY place) AS ids)";

/// Age is what was waited: from the failure (when the row last changed) to this claim, and no more of it than was meant
/// to be waited. What of the time lies in a leap of the clock forward (`$7` of it, after what changed by `$6`) is taken
/// off.
const CLAIM: &str = "UPDATE delivery AS d SET state = 'sending', node = $5, attempts = d.attempts + 1, tries = d.tries + 1, updated_at = $1, \
        waited_ms = d.waited_ms + CASE WHEN d.tries = 0 THEN 0 ELSE greatest(0, least(d.next_at - d.updated_at, \
            $1 - d.updated_at - CASE WHEN d.updated_at <= $6 THEN $7 ELSE 0 END)) END \
   FROM submission AS s \
  WHERE d.id = ANY ((SELECT ids FROM chosen)::bigint[]) AND s.id = d.id \
 RETURNING array_position((SELECT ids FROM chosen), d.id) AS place, d.id, d.attempts, d.tries, d.waited_ms, d.lost_response, d.hard_override, \
        d.was_unauthorized, d.requeued, d.next_at, s.submission_key, s.activity_id, s.provider_activity_id, s.commerce_external_id, s.source, s.on_conflict, s.payload";

/// The statements, by the order asked for.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) due: String,
    pub(super) least_tried: String,
    pub(super) lead: String,
    pub(super) trial: String,
    pub(super) this: String,
}

/// `$1` the time, `$2` the latest due time that is left alone, `$3` the number wanted, `$4` how many of them may be put
/// back ones, `$5` the node, `$6` and `$7` the last leap of the clock, `$8` who was refused on trial or is asked for,
/// `$9` the name of the gate's record, `$10` whether dead letters of the episode are spared, `$11` the key's scope, `$12`
/// and `$13` where what is due and fresh is looked for from.
pub(super) static STATEMENTS: LazyLock<Statements> = LazyLock::new(|| {
    let whole = |picking: &str| format!("{ME}, {picking}, {IN_BYTES} {CLAIM}");
    // The parameters that one does not need are named, so that all are bound alike.
    let unused = "AND ($4::bigint IS NOT NULL AND $8::bigint[] IS NOT NULL AND $10::boolean IS NOT NULL AND $11::text IS NOT NULL \
            AND $12::bigint IS NOT NULL AND $13::bigint IS NOT NULL)";
    let back = due(true, "$4");
    let fresh = due(
        false,
        "greatest($3 - (SELECT count(*) FROM due_true) - (SELECT count(*) FROM far_true), 0)",
    );
    let picked = "picked AS MATERIALIZED (SELECT id, row_number() OVER () AS place FROM ( \
         SELECT id FROM due_false UNION ALL SELECT id FROM far_false UNION ALL SELECT id FROM due_true UNION ALL SELECT id FROM far_true \
         LIMIT $3) AS u WHERE $8::bigint[] IS NOT NULL AND $10::boolean IS NOT NULL AND $11::text IS NOT NULL)";
    let lead = format!(
        "SELECT id FROM (({}) UNION ALL ({})) AS two LIMIT $3",
        stretch(&format!("AND NOT was_unauthorized {unused}")),
        stretch(&format!("AND was_unauthorized {unused}"))
    );
    let trial = "AND NOT d.id = ANY ($8) AND NOT ($10 AND (SELECT x.id FROM settled AS x WHERE x.lane = d.lane AND x.lane IS NOT NULL \
            AND x.id < d.id AND x.id > coalesce((SELECT l.delivered_id FROM lane AS l WHERE l.lane = d.lane), 0) \
            AND x.reason = 'unauthorized' AND (SELECT e.id FROM episode AS e WHERE e.id = x.id AND e.scope = $11) IS NOT NULL \
            LIMIT 1) IS NOT NULL) AND $4::bigint IS NOT NULL AND $12::bigint IS NOT NULL AND $13::bigint IS NOT NULL";
    let this = format!(
        "SELECT id FROM delivery WHERE id = ANY ($8) AND state = 'head' AND not_before IS NULL {unused} AND $2::bigint IS NOT NULL LIMIT $3"
    );
    Statements {
        due: whole(&format!("{back}, {fresh}, {picked}")),
        least_tried: whole(&locked(&stretch(unused))),
        lead: whole(&locked(&lead)),
        trial: whole(&locked(&stretch(trial))),
        this: whole(&locked(&this)),
    }
});

/// Claims, in the order asked for. Crash after the commit: a take-over counts these attempts as begun.
pub(super) async fn claim(
    transaction: &mut Transaction<'_>,
    turn: &Turn,
    own: &Own,
) -> Result<Vec<Claimed>, sqlx::Error> {
    let request = &turn.request;
    sqlx::query(LET_GO)
        .bind(request.now.millis())
        .bind(i64::from(request.limit))
        .execute(&mut *transaction.conn)
        .await?;
    let all = i64::from(request.limit);
    let claimed = match &request.order {
        ClaimOrder::Due => {
            let half = if turn.odd_one_to_requeued {
                all - all / 2
            } else {
                all / 2
            };
            transaction.from = own.floor().place(Instant::now());
            let mut claimed = run(transaction, turn, &STATEMENTS.due, (all, half), &[], false).await?;
            // Where fewer fresh ones are due than their half, the others have what is left.
            let left = all - i64::try_from(claimed.len()).unwrap_or(all);
            let were_back = claimed.iter().filter(|(_, at)| at.is_none()).count();
            if left > 0 && i64::try_from(were_back).is_ok_and(|back| back >= half) {
                claimed.extend(run(transaction, turn, &STATEMENTS.due, (left, left), &[], false).await?);
            }
            // What a clock that was set back left far ahead is no place to begin at.
            let places = claimed.iter().filter_map(|(_, place)| *place);
            own.floor()
                .claimed(places.filter(|(next_at, _)| *next_at <= request.now.millis()).max());
            claimed
        }
        ClaimOrder::LeastTried => run(transaction, turn, &STATEMENTS.least_tried, (all, 0), &[], false).await?,
        ClaimOrder::Lead => run(transaction, turn, &STATEMENTS.lead, (all, 0), &[], false).await?,
        ClaimOrder::This(id) => run(transaction, turn, &STATEMENTS.this, (all, 0), &[*id], false).await?,
        ClaimOrder::Trial { refused, spare_dead } => {
            let mut refused = refused.as_slice();
            loop {
                let claimed = run(transaction, turn, &STATEMENTS.trial, (all, 0), refused, *spare_dead).await?;
                match refused.split_first() {
                    // Who goes on trial: each further look allows the one that was refused longest ago.
                    Some((_, later)) if claimed.is_empty() => refused = later,
                    Some(_) | None => break claimed,
                }
            }
        }
    };
    transaction.moved(Some(StateName::Pending), Some(StateName::Sending), claimed.len() as u64);
    Ok(claimed.into_iter().map(|(claimed, _)| claimed).collect())
}

/// What was claimed, in order, and where each stood; `None` of one that was put back.
async fn run(
    transaction: &mut Transaction<'_>,
    turn: &Turn,
    sql: &'static str,
    (limit, back): (i64, i64),
    ids: &[SubmissionId],
    spare_dead: bool,
) -> Result<Vec<(Claimed, Option<Place>)>, sqlx::Error> {
    let request = &turn.request;
    let in_order = request.order == ClaimOrder::Due;
    let rows = sqlx::query(sql)
        .bind(request.now.millis())
        .bind(request.now.plus(request.wait_max).millis())
        .bind(limit)
        .bind(back)
        .bind(transaction.node)
        .bind(turn.leap.before.millis())
        .bind(i64::try_from(turn.leap.by.as_millis()).unwrap_or(i64::MAX))
        .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
        .bind(in_order.then(|| super::notes::gate_of(&transaction.scope)))
        .bind(spare_dead)
        .bind(&transaction.scope)
        .bind(transaction.from.0)
        .bind(transaction.from.1)
        .fetch_all(&mut *transaction.conn)
        .await?;
    let mut claimed = rows
        .iter()
        .map(|row| {
            Ok((
                row.try_get::<Option<i32>, _>("place")?,
                read(row, request.now, transaction.node)?,
            ))
        })
        .collect::<Result<Vec<_>, sqlx::Error>>()?;
    claimed.sort_by_key(|(place, _)| *place);
    Ok(claimed.into_iter().map(|(_, claimed)| claimed).collect())
}

fn read(row: &PgRow, now: Timestamp, node: i64) -> Result<(Claimed, Option<Place>), sqlx::Error> {
    let activity = row::facts(row)?.activity().map(|activity| activity.text().to_owned());
    let claimed = Claimed {
        id: SubmissionId(row.try_get("id")?),
        attempt: AttemptNumber(row::count(row.try_get("attempts")?)),
        tries: row::count(row.try_get("tries")?),
        waited: Duration::from_millis(row.try_get::<i64, _>("waited_ms")?.unsigned_abs()),
        payload: row::payload(row)?,
        hard_override: row.try_get::<i16, _>("hard_override")? != 0,
        lost_response: row.try_get("lost_response")?,
        was_unauthorized: row.try_get("was_unauthorized")?,
        key: row::key(row)?,
        activity,
        source: row.try_get("source")?,
        on_conflict: row::on_conflict(row)?,
        claimed_at: now,
        incarnation: node,
    };
    let was_put_back: bool = row.try_get("requeued")?;
    let place = (row.try_get("next_at")?, claimed.id.0);
    Ok((claimed, (!was_put_back).then_some(place)))
}
