//! What leaves: by retention, or by an operator's purge. A batch is bounded in rows and in bytes: a row's pages have to
//! be walked to be freed, and five hundred payloads of a megabyte would hold the writer, and all
//! deliveries, for seconds.

use std::collections::HashSet;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::model::StateName;
use crate::store::Sweep;
use crate::store::sqlite::machine::batch;
use crate::store::sqlite::machine::transaction::Transaction;

use super::lanes;

/// The most payload bytes of one batch (its last row may go beyond): some milliseconds of freeing pages.
const BYTES_MAX: i64 = 4 << 20;

/// `octet_length` is in the row's header: the payload itself is not read.
pub(crate) const DELIVERED: &str = "SELECT id, lane, (SELECT octet_length(payload) FROM submission AS s \
     WHERE s.id = delivery.id) AS bytes FROM delivery INDEXED BY delivery_delivered_since \
     WHERE state = 'delivered' AND updated_at <= ?1 ORDER BY updated_at, id LIMIT ?2";
pub(crate) const DISMISSED: &str = "SELECT id, lane, (SELECT octet_length(payload) FROM submission AS s \
     WHERE s.id = delivery.id) AS bytes FROM delivery INDEXED BY delivery_dismissed_since \
     WHERE state = 'dismissed' AND updated_at <= ?1 ORDER BY updated_at, id LIMIT ?2";
pub(crate) const DEAD: &str = "SELECT id, lane, (SELECT octet_length(payload) FROM submission AS s \
     WHERE s.id = delivery.id) AS bytes FROM delivery INDEXED BY delivery_dead_since \
     WHERE state = 'dead' AND updated_at <= ?1 ORDER BY updated_at, id LIMIT ?2";
/// By id, not by age: purging these is rare, and worth no index of its own.
pub(crate) const PARKED: &str = "SELECT id, lane, (SELECT octet_length(payload) FROM submission AS s \
     WHERE s.id = delivery.id) AS bytes FROM delivery INDEXED BY delivery_parked \
     WHERE state = 'parked' AND updated_at <= ?1 ORDER BY id LIMIT ?2";
pub(crate) const PENDING: &str = "SELECT id, lane, (SELECT octet_length(payload) FROM submission AS s \
     WHERE s.id = delivery.id) AS bytes FROM delivery INDEXED BY delivery_pending \
     WHERE (state = 'head' OR state = 'waiting') AND id NOT IN (SELECT id FROM flight) AND updated_at <= ?1 \
     ORDER BY id LIMIT ?2";

/// Children before parents.
pub(crate) const DELETIONS: [&str; 5] = [
    "DELETE FROM attempt WHERE submission IN (SELECT value FROM json_each(?1))",
    "DELETE FROM history WHERE submission IN (SELECT value FROM json_each(?1))",
    "DELETE FROM episode WHERE id IN (SELECT value FROM json_each(?1))",
    "DELETE FROM delivery WHERE id IN (SELECT value FROM json_each(?1))",
    "DELETE FROM submission WHERE id IN (SELECT value FROM json_each(?1))",
];

/// Deletes at most `limit`, oldest first; returns how many, which may be fewer although more could leave: none means
/// that none is left. What is being sent never leaves.
pub(crate) async fn sweep(transaction: &mut Transaction<'_>, sweep: Sweep) -> Result<u64, sqlx::Error> {
    let which = match sweep.state {
        StateName::Delivered => DELIVERED,
        StateName::Dismissed => DISMISSED,
        StateName::Dead => DEAD,
        StateName::Parked => PARKED,
        StateName::Pending => PENDING,
        StateName::Sending => return Ok(0),
    };
    let rows = sqlx::query(which)
        .bind(sweep.older_than.millis())
        .bind(sweep.limit)
        .fetch_all(&mut *transaction.conn)
        .await?;
    let (ids, lanes) = beginning(&rows)?;
    if ids.is_empty() {
        return Ok(0);
    }
    let count = ids.len() as u64;
    let ids = batch::json(&ids)?;
    if sweep.state == StateName::Delivered {
        lanes::remember_delivered(transaction.conn, &ids).await?;
    }
    for deletion in DELETIONS {
        sqlx::query(deletion).bind(&ids).execute(&mut *transaction.conn).await?;
    }
    transaction.moved(Some(sweep.state), None, count);
    lanes::relane(transaction.conn, &lanes).await?;
    lanes::forget_empty(transaction.conn, &lanes).await?;
    Ok(count)
}

/// As many of these as one batch may hold: their ids, and the lanes they name.
fn beginning(rows: &[SqliteRow]) -> Result<(Vec<i64>, HashSet<i64>), sqlx::Error> {
    let (mut ids, mut lanes, mut bytes) = (Vec::with_capacity(rows.len()), HashSet::new(), 0);
    for row in rows {
        if bytes >= BYTES_MAX {
            break;
        }
        bytes += row.try_get::<Option<i64>, _>("bytes")?.unwrap_or(0);
        ids.push(row.try_get("id")?);
        lanes.extend(row.try_get::<Option<i64>, _>("lane")?);
    }
    Ok((ids, lanes))
}
