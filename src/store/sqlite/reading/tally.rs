//! The queue in numbers, each the beginning of an index: as cheap at ten million rows as at ten.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use strum::VariantArray as _;

use crate::clock::Timestamp;
use crate::model::StateName;
use crate::store::rules::dues::Dues;
use crate::store::sqlite::Database;
use crate::store::sqlite::machine::row;
use crate::store::{StoreError, Tally};

impl Database {
    /// The queue in numbers.
    pub async fn tally(&self) -> Result<Tally, StoreError> {
        Ok(tally(&mut *self.reader().await?).await?)
    }

    /// When the next claim of [`ClaimOrder::Due`] could find something; `None` when nothing is pending. May lie in the
    /// past.
    pub async fn next_due(&self, wait_max: Duration) -> Result<Option<Timestamp>, StoreError> {
        let dues = dues(&mut *self.reader().await?).await?;
        Ok(dues.next(wait_max))
    }
}

/// What is being sent is pending in the table `tally`; there are never many.
pub(crate) const COUNTS: &str = "SELECT CASE state WHEN 'pending' THEN n - (SELECT count(*) FROM flight) ELSE n \
     END AS n, state FROM tally UNION ALL SELECT count(*), 'sending' FROM flight";

pub(crate) const OLDEST: &str = "SELECT \
     (SELECT s.created_at FROM submission AS s WHERE s.id = \
         (SELECT id FROM delivery INDEXED BY delivery_pending WHERE (state = 'head' OR state = 'waiting') \
             AND id NOT IN (SELECT id FROM flight) ORDER BY id LIMIT 1)) AS pending, \
     (SELECT updated_at FROM delivery INDEXED BY delivery_dead_since WHERE state = 'dead' ORDER BY updated_at \
     LIMIT 1) AS dead";

/// Counts and oldest ones.
pub(crate) async fn tally(conn: &mut SqliteConnection) -> Result<Tally, sqlx::Error> {
    let rows = sqlx::query(COUNTS).fetch_all(&mut *conn).await?;
    let mut counts: Vec<(StateName, u64)> = StateName::VARIANTS.iter().map(|state| (*state, 0)).collect();
    for row in rows {
        let state: &str = row.try_get("state")?;
        let count: i64 = row.try_get("n")?;
        if let Some(place) = counts.iter_mut().find(|(known, _)| known.into_str() == state) {
            place.1 = u64::try_from(count).unwrap_or(0);
        }
    }
    let oldest = sqlx::query(OLDEST).fetch_one(&mut *conn).await?;
    Ok(Tally {
        counts,
        oldest_pending: row::time(&oldest, "pending")?,
        oldest_due: dues(conn).await?.earliest(),
        oldest_dead: row::time(&oldest, "dead")?,
    })
}

pub(crate) const DUES: &str = "SELECT \
     (SELECT next_at FROM delivery INDEXED BY delivery_due \
       WHERE state = 'head' AND not_before IS NULL AND requeued = 0 AND id NOT IN (SELECT id FROM flight) \
       ORDER BY next_at LIMIT 1) AS first, (SELECT next_at FROM delivery INDEXED BY delivery_due \
       WHERE state = 'head' AND not_before IS NULL AND requeued = 0 AND id NOT IN (SELECT id FROM flight) \
       ORDER BY next_at DESC LIMIT 1) AS last, (SELECT next_at FROM delivery INDEXED BY delivery_due \
       WHERE state = 'head' AND not_before IS NULL AND requeued = 1 AND id NOT IN (SELECT id FROM flight) \
       ORDER BY next_at LIMIT 1) AS first_requeued, \
     (SELECT next_at FROM delivery INDEXED BY delivery_due \
       WHERE state = 'head' AND not_before IS NULL AND requeued = 1 AND id NOT IN (SELECT id FROM flight) \
       ORDER BY next_at DESC LIMIT 1) AS last_requeued, \
     (SELECT not_before FROM delivery INDEXED BY delivery_held WHERE state = 'head' AND not_before IS NOT NULL \
       ORDER BY not_before LIMIT 1) AS held";

async fn dues(conn: &mut SqliteConnection) -> Result<Dues, sqlx::Error> {
    let row = sqlx::query(DUES).fetch_one(conn).await?;
    Ok(Dues {
        first: row::time(&row, "first")?
            .into_iter()
            .chain(row::time(&row, "first_requeued")?)
            .min(),
        last: row::time(&row, "last")?
            .into_iter()
            .chain(row::time(&row, "last_requeued")?)
            .max(),
        held: row::time(&row, "held")?,
    })
}
