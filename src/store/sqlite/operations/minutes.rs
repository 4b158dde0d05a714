//! How it went, minute by minute: one small row each, and the totals, which outlive it.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use strum::VariantArray as _;

use crate::clock::Timestamp;
use crate::model::StateName;
use crate::store::minutes::{self, EXPIRED_MAX, MINUTES_KEPT, Minute};

/// Of a daemon whose commit's answer was lost it may be there already, and counts once.
pub(crate) const WRITE_MINUTE: &str = "INSERT INTO minute (until, since, node, name, counts, oldest_pending, oldest_due, oldest_dead, in_flight, \
     gate, gate_changes, pending, sending, delivered, dead, parked, dismissed) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) \
     ON CONFLICT (until, node) DO NOTHING";
pub(crate) const COUNTED: &str = "SELECT counts FROM minute WHERE until = ?1 AND node = ?2";
pub(crate) const ADD_TO_MINUTE: &str = "UPDATE minute SET counts = ?3 WHERE until = ?1 AND node = ?2";
/// A total stays at the largest number there is, rather than stop a daemon.
pub(crate) const ADD_TO_TOTAL: &str = "INSERT INTO total (figure, value) SELECT key, value FROM json_each(?1) WHERE true \
     ON CONFLICT (figure) DO UPDATE SET value = min(value, 9223372036854775807 - excluded.value) + excluded.value";
/// The oldest ones, a bounded number.
pub(crate) const EXPIRE_MINUTES: &str = "DELETE FROM minute WHERE until < ?1 \
     AND until <= coalesce((SELECT until FROM minute ORDER BY until, node LIMIT 1 OFFSET ?2), ?1)";

/// Writes them down, adds them to the totals, and lets some go that are too old.
pub(crate) async fn record(conn: &mut SqliteConnection, all: &[Minute]) -> Result<(), sqlx::Error> {
    for minute in all {
        if write(conn, minute).await? || minute.adds_up() && add(conn, minute).await? {
            sqlx::query(ADD_TO_TOTAL)
                .bind(minute.counts())
                .execute(&mut *conn)
                .await?;
        }
        sqlx::query(EXPIRE_MINUTES)
            .bind(minute.until.minus(MINUTES_KEPT).millis())
            .bind(EXPIRED_MAX)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// Whether it was not there yet.
async fn write(conn: &mut SqliteConnection, minute: &Minute) -> Result<bool, sqlx::Error> {
    let standing = minute.standing.as_ref();
    let tally = standing.map(|standing| &standing.tally);
    let time = |time: Option<Timestamp>| time.map(Timestamp::millis);
    let mut query = sqlx::query(WRITE_MINUTE)
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
async fn add(conn: &mut SqliteConnection, minute: &Minute) -> Result<bool, sqlx::Error> {
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
