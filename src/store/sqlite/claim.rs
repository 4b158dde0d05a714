//! Handing out what is to be sent. Flat: each look is the beginning of an index, whatever stands behind it.
//!
//! What is due goes out in two orders, fresh ones and those that were put back, half each while there are both: a hundred thousand that a
//! person requeued at once do not hold up what is new, and new ones do not hold up what a person waits for.

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::clock::Timestamp;
use crate::model::{AttemptNumber, StateName, SubmissionId};
use crate::store::{ClaimOrder, ClaimRequest, Claimed, Leap};

use super::transaction::Transaction;
use super::{batch, gate, row};

/// What `not_before` held and holds no longer joins what is due. Bounded like a claim: more follow with the next one.
pub(super) const LET_GO: &str = "UPDATE delivery SET not_before = NULL WHERE id IN ( \
         SELECT id FROM delivery INDEXED BY delivery_held \
          WHERE state = 'head' AND not_before IS NOT NULL AND not_before <= ?1 ORDER BY not_before LIMIT ?3) \
     AND state = 'head' AND not_before <= ?1";

/// What is due, of the fresh ones and of those that were put back, the longest due first; behind each what a clock that was set back would leave
/// waiting for longer than anything may wait.
pub(super) const DUE: &str = "SELECT id, 0 AS requeued FROM (SELECT id FROM delivery INDEXED BY delivery_due \
          WHERE state = 'head' AND not_before IS NULL AND requeued = 0 AND next_at <= ?1 ORDER BY next_at, id LIMIT ?3) \
     UNION ALL \
     SELECT id, 0 FROM (SELECT id FROM delivery INDEXED BY delivery_due \
          WHERE state = 'head' AND not_before IS NULL AND requeued = 0 AND next_at > ?2 ORDER BY next_at, id LIMIT ?3) \
     UNION ALL \
     SELECT id, 1 FROM (SELECT id FROM delivery INDEXED BY delivery_due \
          WHERE state = 'head' AND not_before IS NULL AND requeued = 1 AND next_at <= ?1 ORDER BY next_at, id LIMIT ?3) \
     UNION ALL \
     SELECT id, 1 FROM (SELECT id FROM delivery INDEXED BY delivery_due \
          WHERE state = 'head' AND not_before IS NULL AND requeued = 1 AND next_at > ?2 ORDER BY next_at, id LIMIT ?3)";

/// Of a stretch of the least tried: those that are due, and behind them the others, the one first that is due soonest. What the API asked of one
/// alone (`Retry-After`) stands in its due time and nowhere else; whoever finds something out must not break it while another can do it.
pub(super) const LEAST_TRIED: &str = "SELECT id FROM (SELECT id, tries, next_at FROM delivery INDEXED BY delivery_probe \
          WHERE state = 'head' AND not_before IS NULL ORDER BY tries, id LIMIT 1000) AS stretch \
     ORDER BY CASE WHEN next_at > ?1 AND next_at <= ?2 THEN next_at ELSE 0 END, tries, id LIMIT ?3";

/// The second half is only come to where the first finds too few.
pub(super) const LEAD: &str = "SELECT id FROM (SELECT id FROM (SELECT id, tries, next_at FROM delivery INDEXED BY delivery_probe \
          WHERE state = 'head' AND not_before IS NULL AND was_unauthorized = 0 ORDER BY tries, id LIMIT 1000) AS stretch \
          ORDER BY CASE WHEN next_at > ?1 AND next_at <= ?2 THEN next_at ELSE 0 END, tries, id LIMIT ?3) \
     UNION ALL \
     SELECT id FROM (SELECT id FROM (SELECT id, tries, next_at FROM delivery INDEXED BY delivery_probe \
          WHERE state = 'head' AND not_before IS NULL AND was_unauthorized = 1 ORDER BY tries, id LIMIT 1000) AS stretch \
          ORDER BY CASE WHEN next_at > ?1 AND next_at <= ?2 THEN next_at ELSE 0 END, tries, id LIMIT ?3) \
     LIMIT ?3";

pub(super) const THIS: &str = "SELECT id FROM delivery WHERE id = ?4 AND state = 'head' AND not_before IS NULL";

/// Age is what was waited: from the failure (when the row last changed) to this claim, and no more of it than was meant to be waited. A probe that
/// comes early counts what has passed, a closed gate and a stopped daemon count nothing beyond the wait that was planned, and a clock that was
/// set back counts nothing. What of the time lies in a leap forward (?4 of it, behind what changed by ?3) is taken off.
pub(super) const CLAIM: &str = "UPDATE delivery SET state = 'sending', attempts = attempts + 1, tries = tries + 1, \
        waited_ms = waited_ms + CASE WHEN tries = 0 THEN 0 ELSE max(0, min(next_at - updated_at, \
            ?2 - updated_at - CASE WHEN updated_at <= ?3 THEN ?4 ELSE 0 END)) END, \
        updated_at = ?2 \
     WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'head' AND not_before IS NULL";

pub(super) const CLAIMED: &str = "SELECT d.id, d.attempts, d.tries, d.waited_ms, d.lost_response, d.hard_override, d.was_unauthorized, \
            s.payload, s.submission_key, s.activity_id, s.provider_activity_id, s.commerce_external_id, s.source, s.on_conflict \
       FROM json_each(?1) AS j CROSS JOIN delivery AS d ON d.id = j.value CROSS JOIN submission AS s ON s.id = d.id \
      WHERE d.state = 'sending'";

/// What a claim looks at: the time, the latest due time that is left alone, the number wanted and the one that is asked for, as ?1 to ?4. Each
/// lets go first what `not_before` holds no longer; two statements in one go, since each is a way to SQLite's thread and back.
static LOOKS: LazyLock<[String; 4]> = LazyLock::new(|| [DUE, LEAST_TRIED, LEAD, THIS].map(|look| format!("{LET_GO}; {look}")));

static LOOK_FOR_TRIAL: LazyLock<String> = LazyLock::new(|| format!("{LET_GO}; {}", gate::TRIAL));

static TAKE: LazyLock<String> = LazyLock::new(|| format!("{CLAIM}; {CLAIMED}"));

/// A claim, and who gets the odd place where both kinds are due. With one slot free at a time, which is how a busy queue claims, that place is
/// all there is: it has to change hands from claim to claim.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) request: ClaimRequest,
    pub(super) odd_one_to_requeued: bool,
    pub(super) leap: Leap,
}

/// Claims, in the order asked for. Crash after the commit: `recover` counts these attempts as begun.
pub(super) async fn claim(transaction: &mut Transaction<'_>, turn: &Turn) -> Result<Vec<Claimed>, sqlx::Error> {
    let now = turn.request.now;
    let ids = whose_turn(transaction.conn, turn).await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let take = sqlx::query(TAKE.as_str()).bind(batch::json(&ids)?).bind(now.millis());
    let take = take.bind(turn.leap.before.millis()).bind(duration_millis(turn.leap.by));
    let rows = take.fetch_all(&mut *transaction.conn).await?;
    // None of them was `sending` before, so what is now is what was claimed.
    transaction.moved(Some(StateName::Pending), Some(StateName::Sending), rows.len() as u64);
    rows.iter().map(|row| read(row, now)).collect()
}

fn duration_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

async fn whose_turn(conn: &mut SqliteConnection, turn: &Turn) -> Result<Vec<i64>, sqlx::Error> {
    let request = &turn.request;
    let [due, least_tried, lead, this] = &*LOOKS;
    let (look, wanted) = match &request.order {
        ClaimOrder::Due => (due, None),
        ClaimOrder::LeastTried => (least_tried, None),
        ClaimOrder::Lead => (lead, None),
        ClaimOrder::This(id) => (this, Some(id.0)),
        ClaimOrder::Trial { refused, spare_dead } => return on_trial(conn, request, refused, *spare_dead).await,
    };
    let rows = sqlx::query(look.as_str())
        .bind(request.now.millis())
        .bind(request.now.plus(request.wait_max).millis())
        .bind(request.limit)
        .bind(wanted)
        .fetch_all(conn)
        .await?;
    if request.order != ClaimOrder::Due {
        return rows.iter().map(|row| row.try_get(0)).collect();
    }
    let (mut fresh, mut requeued) = (Vec::new(), Vec::new());
    for row in &rows {
        let kind = if row.try_get("requeued")? { &mut requeued } else { &mut fresh };
        kind.push(row.try_get("id")?);
    }
    Ok(share(fresh, requeued, request.limit as usize, turn.odd_one_to_requeued))
}

/// Who goes on trial. Each further look allows the one that was refused longest ago.
async fn on_trial(
    conn: &mut SqliteConnection,
    request: &ClaimRequest,
    mut refused: &[SubmissionId],
    spare_dead: bool,
) -> Result<Vec<i64>, sqlx::Error> {
    loop {
        let rows = sqlx::query(LOOK_FOR_TRIAL.as_str())
            .bind(request.now.millis())
            .bind(request.now.plus(request.wait_max).millis())
            .bind(request.limit)
            .bind(batch::json(&refused.iter().map(|id| id.0).collect::<Vec<_>>())?)
            .bind(spare_dead)
            .fetch_all(&mut *conn)
            .await?;
        match refused.split_first() {
            Some((_, later)) if rows.is_empty() => refused = later,
            Some(_) | None => return rows.iter().map(|row| row.try_get(0)).collect(),
        }
    }
}

/// The beginnings of both, half each; what one of them leaves free goes to the other.
fn share(mut fresh: Vec<i64>, mut requeued: Vec<i64>, limit: usize, odd_one_to_requeued: bool) -> Vec<i64> {
    let half = if odd_one_to_requeued { limit / 2 } else { limit.div_ceil(2) };
    fresh.truncate(half.max(limit.saturating_sub(requeued.len())));
    requeued.truncate(limit - fresh.len());
    fresh.append(&mut requeued);
    fresh
}

fn read(row: &SqliteRow, now: Timestamp) -> Result<Claimed, sqlx::Error> {
    let facts = row::facts(row)?;
    Ok(Claimed {
        id: SubmissionId(row.try_get("id")?),
        attempt: AttemptNumber(row.try_get("attempts")?),
        tries: row.try_get("tries")?,
        waited: row::duration(row, "waited_ms")?,
        payload: row::payload(row)?,
        hard_override: row.try_get::<i64, _>("hard_override")? != 0,
        lost_response: row.try_get("lost_response")?,
        was_unauthorized: row.try_get("was_unauthorized")?,
        key: row::key(row)?,
        activity: facts.activity().map(|activity| activity.text().to_owned()),
        source: row.try_get("source")?,
        on_conflict: row::on_conflict(row)?,
        claimed_at: now,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_and_put_back_ones_get_half_each_and_what_the_other_leaves() {
        let (fresh, back) = (
            |count| (0..count).collect::<Vec<i64>>(),
            |count: i64| (100..100 + count).collect::<Vec<i64>>(),
        );
        let shared = |of_fresh, of_back, limit, odd| {
            let taken = share(fresh(of_fresh), back(of_back), limit, odd);
            let new = taken.iter().filter(|id| **id < 100).count();
            (new, taken.len() - new)
        };
        assert_eq!(shared(9, 9, 4, false), (2, 2));
        assert_eq!(shared(9, 9, 5, false), (3, 2));
        assert_eq!(shared(9, 9, 5, true), (2, 3));
        assert_eq!((shared(9, 9, 1, false), shared(9, 9, 1, true)), ((1, 0), (0, 1)));
        assert_eq!(shared(9, 1, 6, false), (5, 1));
        assert_eq!(shared(1, 9, 6, true), (1, 5));
        assert_eq!((shared(9, 0, 1, true), shared(0, 9, 1, false)), ((1, 0), (0, 1)));
        assert_eq!((shared(2, 1, 9, true), shared(0, 0, 9, true)), ((2, 1), (0, 0)));
    }
}
