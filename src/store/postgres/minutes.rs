//! How it went, minute by minute and node by node: one small row each, and the totals of all nodes, which outlive it.

use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};
use strum::VariantArray as _;

use crate::clock::Timestamp;
use crate::model::{Figures, StateName};
use crate::store::Tally;
use crate::store::minutes::{self, EXPIRED_MAX, MINUTES_KEPT, Minute, MinuteCursor, Standing};

use super::{row, trouble};

/// Of a daemon whose commit's answer was lost it may be there already, and counts once.
pub(super) const WRITE: &str = "INSERT INTO minute (until, since, node, name, counts, oldest_pending, oldest_due, oldest_dead, in_flight, \
     gate, gate_changes, pending, sending, delivered, dead, parked, dismissed) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
     ON CONFLICT (until, node) DO NOTHING";
pub(super) const COUNTED: &str = "SELECT counts FROM minute WHERE until = $1 AND node = $2 FOR UPDATE";
pub(super) const ADD_TO_MINUTE: &str = "UPDATE minute SET counts = $3 WHERE until = $1 AND node = $2";
/// In the order of names: two nodes that add at the same time wait for one another and never in a circle. A total stays
/// at the largest number there is, rather than stop a daemon.
pub(super) const ADD_TO_TOTAL: &str = "INSERT INTO total (figure, value) SELECT * FROM unnest($1::text[], $2::bigint[]) \
     ON CONFLICT (figure) DO UPDATE SET value = least(total.value, 9223372036854775807 - excluded.value) + excluded.value";
/// The oldest ones, a bounded number, in the order of the key: so does every node.
pub(super) const EXPIRE: &str = "DELETE FROM minute WHERE until < $1 \
     AND until <= coalesce((SELECT until FROM minute ORDER BY until, node LIMIT 1 OFFSET $2), $1)";

/// Writes them down, adds them to the totals, and lets some go that are too old.
pub(super) async fn record(conn: &mut PgConnection, all: &[Minute]) -> Result<(), sqlx::Error> {
    for minute in all {
        if write(conn, minute).await? || minute.adds_up() && add(conn, minute).await? {
            let (names, counts): (Vec<String>, Vec<i64>) = minute
                .figures
                .by_name()
                .into_iter()
                .map(|(name, count)| (name, i64::try_from(count).unwrap_or(i64::MAX)))
                .unzip();
            sqlx::query(ADD_TO_TOTAL)
                .bind(names)
                .bind(counts)
                .execute(&mut *conn)
                .await?;
        }
        sqlx::query(EXPIRE)
            .bind(minute.until.minus(MINUTES_KEPT).millis())
            .bind(i64::from(EXPIRED_MAX))
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// Whether it was not there yet.
async fn write(conn: &mut PgConnection, minute: &Minute) -> Result<bool, sqlx::Error> {
    let standing = minute.standing.as_ref();
    let tally = standing.map(|standing| &standing.tally);
    let time = |time: Option<Timestamp>| time.map(Timestamp::millis);
    let mut query = sqlx::query(WRITE)
        .bind(minute.until.millis())
        .bind(minute.since.millis())
        .bind(&minute.node)
        .bind(&minute.name)
        .bind(minute.counts())
        .bind(time(tally.and_then(|tally| tally.oldest_pending)))
        .bind(time(tally.and_then(|tally| tally.oldest_due)))
        .bind(time(tally.and_then(|tally| tally.oldest_dead)))
        .bind(standing.map(|standing| standing.in_flight.cast_signed()))
        .bind(standing.map(|standing| standing.gate.into_str()))
        .bind(standing.map(|standing| minutes::changes_text(&standing.gate_changes)));
    for state in StateName::VARIANTS {
        query = query.bind(tally.map(|tally| tally.count(*state).cast_signed()));
    }
    Ok(query.execute(conn).await?.rows_affected() == 1)
}

/// Adds to what is there.
async fn add(conn: &mut PgConnection, minute: &Minute) -> Result<bool, sqlx::Error> {
    let known = sqlx::query(COUNTED)
        .bind(minute.until.millis())
        .bind(&minute.node)
        .fetch_one(&mut *conn)
        .await?;
    let mut figures = minutes::figures(known.try_get(0)?);
    figures.add_all(&minute.figures);
    sqlx::query(ADD_TO_MINUTE)
        .bind(minute.until.millis())
        .bind(&minute.node)
        .bind(minutes::counts_text(&figures))
        .execute(conn)
        .await
        .map(|done| done.rows_affected() == 1)
}

pub(super) const MINUTES: &str = "SELECT until, since, node, name, counts, pending, sending, delivered, dead, parked, dismissed, \
     oldest_pending, oldest_due, oldest_dead, in_flight, gate, gate_changes FROM minute \
     WHERE (until, node) > ($1, $2) ORDER BY until, node LIMIT $3";
pub(super) const TOTALS: &str = "SELECT figure, value FROM total";

/// The minutes behind this place, oldest first. None where the tables are of the version before: no daemon that counts
/// has been there.
pub(super) async fn behind(
    conn: &mut PgConnection,
    after: &MinuteCursor,
    limit: u32,
) -> Result<Vec<Minute>, sqlx::Error> {
    let (until, node) = after.parts();
    let rows = sqlx::query(MINUTES)
        .bind(until)
        .bind(node)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await;
    match rows {
        Ok(rows) => rows.iter().map(minute).collect(),
        Err(error) if trouble::is_of_older_tables(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn minute(row: &PgRow) -> Result<Minute, sqlx::Error> {
    Ok(Minute {
        until: Timestamp::from_millis(row.try_get("until")?),
        since: Timestamp::from_millis(row.try_get("since")?),
        node: row.try_get("node")?,
        name: row.try_get("name")?,
        figures: minutes::figures(row.try_get("counts")?),
        standing: standing(row)?,
    })
}

fn standing(row: &PgRow) -> Result<Option<Standing>, sqlx::Error> {
    let gate: Option<&str> = row.try_get("gate")?;
    let Some(gate) = gate.and_then(|gate| gate.parse().ok()) else {
        return Ok(None);
    };
    let count = |column: &str| -> Result<u64, sqlx::Error> {
        let count: Option<i64> = row.try_get(column)?;
        Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    };
    let mut counts = Vec::with_capacity(StateName::VARIANTS.len());
    for state in StateName::VARIANTS {
        counts.push((*state, count(state.into_str())?));
    }
    let changes: Option<&str> = row.try_get("gate_changes")?;
    Ok(Some(Standing {
        tally: Tally {
            counts,
            oldest_pending: row::time(row, "oldest_pending")?,
            oldest_due: row::time(row, "oldest_due")?,
            oldest_dead: row::time(row, "oldest_dead")?,
        },
        in_flight: count("in_flight")?,
        gate,
        gate_changes: minutes::changes(changes.unwrap_or_default()),
    }))
}

/// All that was ever counted, by every node.
pub(super) async fn totals(conn: &mut PgConnection) -> Result<Figures, sqlx::Error> {
    let rows = match sqlx::query(TOTALS).fetch_all(conn).await {
        Ok(rows) => rows,
        Err(error) if trouble::is_of_older_tables(&error) => return Ok(Figures::default()),
        Err(error) => return Err(error),
    };
    let mut totals = Vec::with_capacity(rows.len());
    for row in &rows {
        let value: i64 = row.try_get("value")?;
        totals.push((row.try_get::<&str, _>("figure")?, value.unsigned_abs()));
    }
    Ok(Figures::of_names(totals))
}
