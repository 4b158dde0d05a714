//! Changes that are no attempts: who did what, and when.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::model::{Actor, Payload, SubmissionId};
use crate::store::Event;

/// One line to write.
pub(crate) struct Line<'a> {
    pub(crate) submission: SubmissionId,
    pub(crate) at: Timestamp,
    pub(crate) actor: &'a Actor,
    /// The name of the transition.
    pub(crate) what: &'static str,
    pub(crate) detail: Option<String>,
}

pub(crate) const WRITE: &str = "INSERT INTO history (submission, at, actor, what, detail) VALUES (?1, ?2, ?3, ?4, ?5)";

pub(crate) async fn write(conn: &mut SqliteConnection, line: &Line<'_>) -> Result<(), sqlx::Error> {
    sqlx::query(WRITE)
        .bind(line.submission.0)
        .bind(line.at.millis())
        .bind(line.actor.to_string())
        .bind(line.what)
        .bind(line.detail.as_deref())
        .execute(conn)
        .await?;
    Ok(())
}

pub(crate) const WRITE_SAME: &str = "INSERT INTO history (submission, at, actor, what, detail) \
     SELECT value, ?2, ?3, ?4, ?5 FROM json_each(?1) ORDER BY key";

/// Writes the same line for many submissions (`line.submission` is not looked at); `ids` is a JSON array.
pub(crate) async fn write_same(conn: &mut SqliteConnection, ids: &str, line: &Line<'_>) -> Result<(), sqlx::Error> {
    sqlx::query(WRITE_SAME)
        .bind(ids)
        .bind(line.at.millis())
        .bind(line.actor.to_string())
        .bind(line.what)
        .bind(line.detail.as_deref())
        .execute(conn)
        .await?;
    Ok(())
}

pub(crate) const WRITE_LIFTED: &str = "INSERT INTO history (submission, at, actor, what, detail) \
     SELECT s.id, ?2, ?3, ?4, 'forced; not_before held it until ' || \
            coalesce(strftime('%Y-%m-%dT%H:%M:%SZ', s.not_before / 1000, 'unixepoch'), 'the end of time') \
       FROM json_each(?1) AS j CROSS JOIN submission AS s ON s.id = j.value";

/// Writes for these that an operator lifts their `not_before`, and which it was.
pub(crate) async fn write_lifted(conn: &mut SqliteConnection, ids: &str, line: &Line<'_>) -> Result<(), sqlx::Error> {
    sqlx::query(WRITE_LIFTED)
        .bind(ids)
        .bind(line.at.millis())
        .bind(line.actor.to_string())
        .bind(line.what)
        .execute(conn)
        .await
        .map(drop)
}

pub(crate) const WRITE_EDIT: &str = "INSERT INTO history (submission, at, actor, what, old_payload) \
     SELECT id, ?2, ?3, ?4, payload FROM submission WHERE id = ?1";

/// Keeps the payload that an edit is about to replace.
pub(crate) async fn write_edit(conn: &mut SqliteConnection, line: &Line<'_>) -> Result<(), sqlx::Error> {
    sqlx::query(WRITE_EDIT)
        .bind(line.submission.0)
        .bind(line.at.millis())
        .bind(line.actor.to_string())
        .bind(line.what)
        .execute(conn)
        .await?;
    Ok(())
}

pub(crate) const OF: &str = "SELECT at, actor, what, detail, old_payload FROM history INDEXED BY history_submission \
     WHERE submission = ?1 ORDER BY seq";

/// Everything written about one, oldest first.
pub(crate) async fn of(conn: &mut SqliteConnection, id: SubmissionId) -> Result<Vec<Event>, sqlx::Error> {
    let rows = sqlx::query(OF).bind(id.0).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let old: Option<&[u8]> = row.try_get("old_payload")?;
            Ok(Event {
                at: Timestamp::from_millis(row.try_get("at")?),
                actor: row.try_get("actor")?,
                what: row.try_get("what")?,
                detail: row.try_get("detail")?,
                old_payload: old.map(|bytes| Payload::from_text(&String::from_utf8_lossy(bytes))),
            })
        })
        .collect()
}
