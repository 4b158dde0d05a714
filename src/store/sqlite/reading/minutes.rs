//! How it went, minute by minute, and all in all.

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use strum::VariantArray as _;

use crate::clock::Timestamp;
use crate::model::{Figures, StateName};
use crate::store::minutes::{self, Minute, MinuteCursor, Standing};
use crate::store::sqlite::Database;
use crate::store::sqlite::machine::row;
use crate::store::{StoreError, Tally};

pub(crate) const MINUTES: &str = "SELECT until, since, node, name, counts, pending, sending, delivered, dead, parked, dismissed, \
     oldest_pending, oldest_due, oldest_dead, in_flight, gate, gate_changes FROM minute \
     WHERE (until, node) > (?1, ?2) ORDER BY until, node LIMIT ?3";
pub(crate) const TOTALS: &str = "SELECT figure, value FROM total";

impl Database {
    /// The minutes behind this place, oldest first, at most `limit`.
    pub async fn minutes(&self, after: &MinuteCursor, limit: u32) -> Result<Vec<Minute>, StoreError> {
        Ok(behind(&mut *self.reader().await?, after, limit).await?)
    }

    /// All that was ever counted.
    pub async fn totals(&self) -> Result<Figures, StoreError> {
        Ok(totals(&mut *self.reader().await?).await?)
    }
}

async fn behind(conn: &mut SqliteConnection, after: &MinuteCursor, limit: u32) -> Result<Vec<Minute>, sqlx::Error> {
    let (until, node) = after.parts();
    let rows = sqlx::query(MINUTES)
        .bind(until)
        .bind(node)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter().map(minute).collect()
}

fn minute(row: &SqliteRow) -> Result<Minute, sqlx::Error> {
    Ok(Minute {
        until: Timestamp::from_millis(row.try_get("until")?),
        since: Timestamp::from_millis(row.try_get("since")?),
        node: row::text(row, "node")?.unwrap_or_default(),
        name: row::text(row, "name")?.unwrap_or_default(),
        figures: minutes::figures(&row::text(row, "counts")?.unwrap_or_default()),
        standing: standing(row)?,
    })
}

fn standing(row: &SqliteRow) -> Result<Option<Standing>, sqlx::Error> {
    let gate = row::text(row, "gate")?.and_then(|gate| gate.parse().ok());
    let Some(gate) = gate else { return Ok(None) };
    let count = |column: &str| -> Result<u64, sqlx::Error> {
        let count: Option<i64> = row.try_get(column)?;
        Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    };
    let mut counts = Vec::with_capacity(StateName::VARIANTS.len());
    for state in StateName::VARIANTS {
        counts.push((*state, count(state.into_str())?));
    }
    Ok(Some(Standing {
        tally: Tally {
            counts,
            oldest_pending: row::time(row, "oldest_pending")?,
            oldest_due: row::time(row, "oldest_due")?,
            oldest_dead: row::time(row, "oldest_dead")?,
        },
        in_flight: count("in_flight")?,
        gate,
        gate_changes: minutes::changes(&row::text(row, "gate_changes")?.unwrap_or_default()),
    }))
}

async fn totals(conn: &mut SqliteConnection) -> Result<Figures, sqlx::Error> {
    let rows = sqlx::query(TOTALS).fetch_all(conn).await?;
    let mut totals = Vec::with_capacity(rows.len());
    for row in &rows {
        let value: i64 = row.try_get("value")?;
        totals.push((row.try_get::<&str, _>("figure")?, value.unsigned_abs()));
    }
    Ok(Figures::of_names(totals))
}
