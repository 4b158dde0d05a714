//! Handing out what is to be sent. Flat: each look is the beginning of an index, whatever stands behind it.

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::clock::Timestamp;
use crate::model::{AttemptNumber, StateName, SubmissionId};
use crate::store::{ClaimOrder, ClaimRequest, Claimed};

use super::transaction::Transaction;
use super::{batch, row};

/// What `not_before` held and holds no longer joins what is due. Bounded like a claim: more follow with the next one.
pub(super) const LET_GO: &str = "UPDATE delivery SET not_before = NULL WHERE id IN ( \
         SELECT id FROM delivery INDEXED BY delivery_held \
          WHERE state = 'head' AND not_before IS NOT NULL AND not_before <= ?1 ORDER BY not_before LIMIT ?2) \
     AND state = 'head' AND not_before <= ?1";

/// What is due, the longest due first; behind it what a clock that was set back would leave waiting for longer than anything may wait.
pub(super) const DUE: &str = "SELECT id FROM ( \
         SELECT id FROM (SELECT id FROM delivery INDEXED BY delivery_due \
          WHERE state = 'head' AND not_before IS NULL AND next_at <= ?1 ORDER BY next_at, id LIMIT ?3) \
         UNION ALL \
         SELECT id FROM (SELECT id FROM delivery INDEXED BY delivery_due \
          WHERE state = 'head' AND not_before IS NULL AND next_at > ?2 ORDER BY next_at, id LIMIT ?3)) \
     LIMIT ?3";

pub(super) const LEAST_TRIED: &str = "SELECT id FROM delivery INDEXED BY delivery_probe \
     WHERE state = 'head' AND not_before IS NULL ORDER BY tries, id LIMIT ?1";

pub(super) const THIS: &str = "SELECT id FROM delivery WHERE id = ?1 AND state = 'head' AND not_before IS NULL";

pub(super) const CLAIM: &str = "UPDATE delivery SET state = 'sending', attempts = attempts + 1, tries = tries + 1, updated_at = ?2 \
     WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'head' AND not_before IS NULL";

pub(super) const CLAIMED: &str = "SELECT d.id, d.attempts, d.tries, d.waited_ms, d.lost_response, d.hard_override, d.was_unauthorized, \
            s.payload, s.submission_key, s.activity_id, s.provider_activity_id, s.commerce_external_id, s.source, s.on_conflict \
       FROM json_each(?1) AS j CROSS JOIN delivery AS d ON d.id = j.value CROSS JOIN submission AS s ON s.id = d.id \
      WHERE d.state = 'sending'";

/// Claims, in the order asked for. Crash after the commit: `recover` counts these attempts as begun.
pub(super) async fn claim(transaction: &mut Transaction<'_>, request: ClaimRequest) -> Result<Vec<Claimed>, sqlx::Error> {
    let now = request.now.millis();
    sqlx::query(LET_GO)
        .bind(now)
        .bind(request.limit)
        .execute(&mut *transaction.conn)
        .await?;
    let ids = whose_turn(transaction.conn, request).await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = batch::json(&ids)?;
    let moved = sqlx::query(CLAIM)
        .bind(&ids)
        .bind(now)
        .execute(&mut *transaction.conn)
        .await?
        .rows_affected();
    transaction.moved(Some(StateName::Pending), Some(StateName::Sending), moved);
    let rows = sqlx::query(CLAIMED).bind(&ids).fetch_all(&mut *transaction.conn).await?;
    rows.iter().map(|row| read(row, request.now)).collect()
}

async fn whose_turn(conn: &mut SqliteConnection, request: ClaimRequest) -> Result<Vec<i64>, sqlx::Error> {
    let query = match request.order {
        ClaimOrder::Due => sqlx::query(DUE)
            .bind(request.now.millis())
            .bind(request.now.plus(request.wait_max).millis())
            .bind(request.limit),
        ClaimOrder::LeastTried => sqlx::query(LEAST_TRIED).bind(request.limit),
        ClaimOrder::This(id) => sqlx::query(THIS).bind(id.0),
    };
    let rows = query.fetch_all(conn).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
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
