//! Handing out what is to be sent. Flat: each look is the beginning of an index, whatever comes after it.
//!
//! What is due goes out in two orders, fresh ones and those that were put back, half each while there are both: a
//! hundred thousand that an operator requeued at once do not hold up what is new, and new ones do not hold up what a
//! operator waits for.

use std::sync::LazyLock;

use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments};

use crate::model::SubmissionId;
use crate::store::operation::Turn;
use crate::store::sqlite::machine::batch;
use crate::store::sqlite::machine::transaction::Transaction;
use crate::store::{ClaimOrder, Claimed};

use super::{claimed, gate};

// `$1 + 0`: SQLite looks at the value of a plain parameter of a range or a LIMIT when it plans, and would plan anew
// with every claim.

/// What `not_before` held and holds no longer joins what is due. Bounded like a claim: more follow with the next one.
pub(crate) const LET_GO: &str = "UPDATE delivery SET not_before = NULL WHERE id IN ( \
         SELECT id FROM delivery INDEXED BY delivery_held \
          WHERE state = 'head' AND not_before IS NOT NULL AND not_before <= $1 + 0 ORDER BY not_before LIMIT $3 + 0) \
     AND state = 'head' AND not_before <= $1 + 0";

/// What a claim has chosen, in its order: a table of this connection, in memory, emptied by each claim.
pub(crate) const TURN: &str =
    "CREATE TEMP TABLE turn (place INTEGER PRIMARY KEY, id INTEGER NOT NULL, requeued INTEGER NOT NULL)";

pub(crate) const CLEAR: &str = "DELETE FROM turn";

/// What is due of the fresh ones, the longest due first; after it what a clock that was set back would leave waiting
/// for longer than anything may wait. What is claimed already is skipped: a few hundred at most, at the beginning.
pub(crate) const FRESH: &str = "INSERT INTO turn (id, requeued) \
     SELECT id, 0 FROM (SELECT id FROM delivery INDEXED BY delivery_due \
          WHERE state = 'head' AND not_before IS NULL AND requeued = 0 AND next_at <= $1 + 0 \
          AND id NOT IN (SELECT id FROM flight) ORDER BY next_at, id LIMIT $3 + 0) \
     UNION ALL \
     SELECT id, 0 FROM (SELECT id FROM delivery INDEXED BY delivery_due \
          WHERE state = 'head' AND not_before IS NULL AND requeued = 0 AND next_at > $2 + 0 \
          AND id NOT IN (SELECT id FROM flight) ORDER BY next_at, id LIMIT $3 + 0)";

/// The same of those that were put back.
pub(crate) const REQUEUED: &str = "INSERT INTO turn (id, requeued) \
     SELECT id, 1 FROM (SELECT id FROM delivery INDEXED BY delivery_due \
          WHERE state = 'head' AND not_before IS NULL AND requeued = 1 AND next_at <= $1 + 0 \
          AND id NOT IN (SELECT id FROM flight) ORDER BY next_at, id LIMIT $3 + 0) \
     UNION ALL \
     SELECT id, 1 FROM (SELECT id FROM delivery INDEXED BY delivery_due \
          WHERE state = 'head' AND not_before IS NULL AND requeued = 1 AND next_at > $2 + 0 \
          AND id NOT IN (SELECT id FROM flight) ORDER BY next_at, id LIMIT $3 + 0)";

/// Of the fresh ones their half, or what the others leave of the whole.
pub(crate) const SHARE_FRESH: &str = "DELETE FROM turn WHERE place IN (SELECT place FROM turn WHERE requeued = 0 \
     ORDER BY place LIMIT -1 OFFSET max($4, $3 - (SELECT count(*) FROM turn WHERE requeued = 1)))";

/// Of those that were put back what is left.
pub(crate) const SHARE_REQUEUED: &str = "DELETE FROM turn WHERE place IN (SELECT place FROM turn WHERE requeued = 1 \
     ORDER BY place LIMIT -1 OFFSET max($3 - (SELECT count(*) FROM turn WHERE requeued = 0), 0))";

/// Of a stretch of the least tried: those that are due, and after them the others, the one first that is due soonest.
/// What the API asked of one alone (`Retry-After`) is in its due time and nowhere else; whoever finds something out
/// must not break it while another can do it.
pub(crate) const LEAST_TRIED: &str = "INSERT INTO turn (id, requeued) SELECT id, 0 FROM (SELECT id, tries, next_at \
     FROM delivery INDEXED BY delivery_probe \
          WHERE state = 'head' AND not_before IS NULL AND id NOT IN (SELECT id FROM flight) ORDER BY tries, id \
          LIMIT 1000) AS stretch \
     ORDER BY CASE WHEN next_at > $1 AND next_at <= $2 THEN next_at ELSE 0 END, tries, id LIMIT $3 + 0";

/// The second half is only come to where the first finds too few.
pub(crate) const LEAD: &str = "INSERT INTO turn (id, requeued) SELECT id, 0 FROM (SELECT id \
     FROM (SELECT id, tries, next_at FROM delivery INDEXED BY delivery_probe \
          WHERE state = 'head' AND not_before IS NULL AND was_unauthorized = 0 AND id NOT IN (SELECT id FROM flight) \
          ORDER BY tries, id LIMIT 1000) AS stretch \
          ORDER BY CASE WHEN next_at > $1 AND next_at <= $2 THEN next_at ELSE 0 END, tries, id LIMIT $3 + 0) \
     UNION ALL \
     SELECT id, 0 FROM (SELECT id FROM (SELECT id, tries, next_at FROM delivery INDEXED BY delivery_probe \
          WHERE state = 'head' AND not_before IS NULL AND was_unauthorized = 1 AND id NOT IN (SELECT id FROM flight) \
          ORDER BY tries, id LIMIT 1000) AS stretch \
          ORDER BY CASE WHEN next_at > $1 AND next_at <= $2 THEN next_at ELSE 0 END, tries, id LIMIT $3 + 0) \
     LIMIT $3 + 0";

pub(crate) const THIS: &str = "INSERT INTO turn (id, requeued) SELECT id, 0 FROM delivery \
     WHERE id = $5 AND state = 'head' AND not_before IS NULL AND id NOT IN (SELECT id FROM flight)";

/// No more than so many bytes of payloads (and the one that goes beyond), which all come to lie in memory. Their
/// lengths are in the rows' headers.
pub(crate) const IN_BYTES: &str = "DELETE FROM turn WHERE place IN (SELECT place FROM ( \
         SELECT t.place, sum(octet_length(s.payload)) OVER (ORDER BY t.place \
         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before \
           FROM turn AS t CROSS JOIN submission AS s ON s.id = t.id) AS sized WHERE before >= 16777216)";

/// Age is what was waited: from the failure (when the row last changed) to this claim, and no more of it than was meant
/// to be waited. A probe that comes early counts what has passed, a closed gate and a stopped daemon count nothing
/// beyond the wait that was planned, and a clock that was set back counts nothing. What of the time lies in a leap
/// forward ($7 of it, after what changed by $6) is taken off. Whatever other hands have set, the sums stay whole
/// numbers: one that is none would fail the claim, and everybody's with it.
pub(crate) const CLAIM: &str = "INSERT INTO flight (id, attempt, claimed_at, waited_ms) \
     SELECT d.id, min(d.attempts, 4294967294) + 1, $1, min(d.waited_ms, 9007199254740992) + \
     CASE WHEN d.tries = 0 THEN 0 ELSE max(0, min(d.next_at - d.updated_at, \
            $1 - d.updated_at - CASE WHEN d.updated_at <= $6 THEN $7 ELSE 0 END)) END \
       FROM turn AS t CROSS JOIN delivery AS d ON d.id = t.id ORDER BY t.place";

/// A claim is one way to SQLite's thread and back, by the order asked for. What it binds is [`Turn::bind`]'s.
static STATEMENTS: LazyLock<[String; 5]> = LazyLock::new(|| {
    let due = format!("{FRESH}; {REQUEUED}; {SHARE_FRESH}; {SHARE_REQUEUED}");
    [due.as_str(), LEAST_TRIED, LEAD, THIS, gate::TRIAL]
        .map(|look| format!("{LET_GO}; {CLEAR}; {look}; {IN_BYTES}; {CLAIM}; {}", claimed::CLAIMED))
});

/// The statements of a claim in this order.
pub(crate) fn sql(order: &ClaimOrder) -> &'static str {
    let [due, least_tried, lead, this, trial] = &*STATEMENTS;
    match order {
        ClaimOrder::Due => due,
        ClaimOrder::LeastTried => least_tried,
        ClaimOrder::Lead => lead,
        ClaimOrder::This(_) => this,
        ClaimOrder::Trial { .. } => trial,
    }
}

/// What they need, as $1 to $9: the time, the latest due time that is left alone, the number wanted, the half of
/// the fresh ones, the one that is asked for, the last leap of the clock, and of a trial who was refused and
/// whether dead letters are spared.
pub(crate) fn bind<'q>(
    turn: &Turn,
    query: Query<'q, Sqlite, SqliteArguments>,
    refused: &[SubmissionId],
) -> Result<Query<'q, Sqlite, SqliteArguments>, sqlx::Error> {
    let request = &turn.request;
    let half = if turn.odd_one_to_requeued {
        request.limit / 2
    } else {
        request.limit.div_ceil(2)
    };
    let (wanted, refused, spare_dead) = match &request.order {
        ClaimOrder::This(id) => (Some(id.0), None, false),
        ClaimOrder::Trial { refused: _, spare_dead } => {
            let refused: Vec<i64> = refused.iter().map(|id| id.0).collect();
            (None, Some(batch::json(&refused)?), *spare_dead)
        }
        ClaimOrder::Due | ClaimOrder::LeastTried | ClaimOrder::Lead => (None, None, false),
    };
    Ok(query
        .bind(request.now.millis())
        .bind(request.now.plus(request.wait_max).millis())
        .bind(request.limit)
        .bind(half)
        .bind(wanted)
        .bind(turn.leap.before.millis())
        .bind(i64::try_from(turn.leap.by.as_millis()).unwrap_or(i64::MAX))
        .bind(refused)
        .bind(spare_dead))
}

/// Claims, in the order asked for. Crash after the commit: `recover` counts these attempts as begun.
pub(crate) async fn claim(transaction: &mut Transaction<'_>, turn: &Turn) -> Result<Vec<Claimed>, sqlx::Error> {
    let mut refused: &[SubmissionId] = match &turn.request.order {
        ClaimOrder::Trial { refused, .. } => refused,
        ClaimOrder::Due | ClaimOrder::LeastTried | ClaimOrder::Lead | ClaimOrder::This(_) => &[],
    };
    loop {
        let query = bind(turn, sqlx::query(sql(&turn.request.order)), refused)?;
        let claimed = claimed::read(&query.fetch_one(&mut *transaction.conn).await?, turn.request.now)?;
        match refused.split_first() {
            // Who goes on trial: each further look allows the one that was refused longest ago.
            Some((_, later)) if claimed.is_empty() => refused = later,
            Some(_) | None => return Ok(claimed),
        }
    }
}
