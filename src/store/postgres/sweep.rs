//! What leaves: by retention, or by a person's purge. A batch is bounded in rows and in bytes: five hundred payloads of a
//! megabyte would hold their activities, and all who come after them, for seconds.
//!
//! What is to leave is looked for without locks, then its lanes are locked, and only what is still as it was then leaves:
//! a second node may sweep at the same time, and a person may put a dead letter back.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::model::StateName;
use crate::store::Sweep;

use super::lanes;
use super::transaction::Transaction;

/// The most payload bytes of one batch (its last row may go beyond): some milliseconds.
const BYTES_MAX: i64 = 4 << 20;

/// `octet_length` is in the row or in its pointer: the payload itself is not read.
pub(super) const DELIVERED: &str = "SELECT d.id, (SELECT octet_length(s.payload) FROM submission AS s WHERE s.id = d.id)::bigint AS bytes \
     FROM settled AS d WHERE d.state = 'delivered' AND d.updated_at <= $1 ORDER BY d.updated_at, d.id LIMIT $2";
pub(super) const DISMISSED: &str = "SELECT d.id, (SELECT octet_length(s.payload) FROM submission AS s WHERE s.id = d.id)::bigint AS bytes \
     FROM settled AS d WHERE d.state = 'dismissed' AND d.updated_at <= $1 ORDER BY d.updated_at, d.id LIMIT $2";
pub(super) const DEAD: &str = "SELECT d.id, (SELECT octet_length(s.payload) FROM submission AS s WHERE s.id = d.id)::bigint AS bytes \
     FROM settled AS d WHERE d.state = 'dead' AND d.updated_at <= $1 ORDER BY d.updated_at, d.id LIMIT $2";
/// By id, not by age: purging these is rare, and worth no index of its own.
pub(super) const PARKED: &str = "SELECT d.id, (SELECT octet_length(s.payload) FROM submission AS s WHERE s.id = d.id)::bigint AS bytes \
     FROM settled AS d WHERE d.state = 'parked' AND d.updated_at <= $1 ORDER BY d.id LIMIT $2";
pub(super) const PENDING: &str = "SELECT d.id, (SELECT octet_length(s.payload) FROM submission AS s WHERE s.id = d.id)::bigint AS bytes \
     FROM delivery AS d WHERE (d.state = 'head' OR d.state = 'waiting') AND d.updated_at <= $1 ORDER BY d.id LIMIT $2";

/// What is still in its state, as old, and in a lane that is locked: an edit may have moved it to another one.
pub(super) const DELETE_SETTLED: &str = "DELETE FROM settled WHERE id = ANY ($1) AND updated_at <= $2 \
     AND (lane IS NULL OR lane = ANY ($3)) AND state = $4 RETURNING id";
pub(super) const DELETE_PENDING: &str = "DELETE FROM delivery WHERE id = ANY ($1) AND updated_at <= $2 \
     AND (lane IS NULL OR lane = ANY ($3)) AND (state = 'head' OR state = 'waiting') RETURNING id";

/// What belongs to it.
pub(super) const DELETIONS: [&str; 4] = [
    "DELETE FROM attempt WHERE submission = ANY ($1)",
    "DELETE FROM history WHERE submission = ANY ($1)",
    "DELETE FROM episode WHERE id = ANY ($1)",
    "DELETE FROM submission WHERE id = ANY ($1)",
];

/// Deletes at most `limit`, oldest first; returns how many, which may be fewer although more could leave: none means
/// that none is left. What is being sent never leaves.
pub(super) async fn sweep(transaction: &mut Transaction<'_>, sweep: Sweep) -> Result<u64, sqlx::Error> {
    let which = match sweep.state {
        StateName::Delivered => DELIVERED,
        StateName::Dismissed => DISMISSED,
        StateName::Dead => DEAD,
        StateName::Parked => PARKED,
        StateName::Pending => PENDING,
        StateName::Sending => return Ok(0),
    };
    // Once more where others were faster with all of these: none would say that none is left. They cannot be faster for
    // ever; the writer's limit of time is the bound.
    loop {
        let rows = sqlx::query(which)
            .bind(sweep.older_than.millis())
            .bind(i64::from(sweep.limit))
            .fetch_all(&mut *transaction.conn)
            .await?;
        let ids = beginning(&rows)?;
        if ids.is_empty() {
            return Ok(0);
        }
        let count = delete(transaction, sweep, &ids).await?;
        if count > 0 {
            return Ok(count);
        }
    }
}

/// Deletes those of these that may still leave.
async fn delete(transaction: &mut Transaction<'_>, sweep: Sweep, ids: &[i64]) -> Result<u64, sqlx::Error> {
    let locked = lanes::of(transaction.conn, ids).await?;
    lanes::lock(transaction.conn, &locked).await?;
    let is_pending = sweep.state == StateName::Pending;
    let deletion = sqlx::query(if is_pending { DELETE_PENDING } else { DELETE_SETTLED })
        .bind(ids)
        .bind(sweep.older_than.millis())
        .bind(locked.iter().copied().collect::<Vec<i64>>());
    let deletion = if is_pending {
        deletion
    } else {
        deletion.bind(sweep.state.into_str())
    };
    let rows = deletion.fetch_all(&mut *transaction.conn).await?;
    let gone = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
    if gone.is_empty() {
        return Ok(0);
    }
    for deletion in DELETIONS {
        sqlx::query(deletion)
            .bind(&gone)
            .execute(&mut *transaction.conn)
            .await?;
    }
    let count = gone.len() as u64;
    transaction.moved(Some(sweep.state), None, count);
    if is_pending {
        lanes::relane(transaction.conn, &locked).await?;
    }
    lanes::forget_empty(transaction.conn, &locked).await?;
    Ok(count)
}

/// As many of these as one batch may hold, by number: whoever deletes some of the same ones takes them in this order.
fn beginning(rows: &[PgRow]) -> Result<Vec<i64>, sqlx::Error> {
    let (mut ids, mut bytes) = (Vec::with_capacity(rows.len()), 0);
    for row in rows {
        if bytes >= BYTES_MAX {
            break;
        }
        bytes += row.try_get::<Option<i64>, _>("bytes")?.unwrap_or(0);
        ids.push(row.try_get("id")?);
    }
    ids.sort_unstable();
    Ok(ids)
}
