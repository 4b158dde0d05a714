//! Changes that are no attempts: who did what, and when.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::clock::Timestamp;
use crate::model::{Actor, Payload, SubmissionId};
use crate::store::Event;
use crate::store::rules::words::without_nul;

/// One line to write.
pub(super) struct Line<'a> {
    pub(super) submission: SubmissionId,
    pub(super) at: Timestamp,
    pub(super) actor: &'a Actor,
    /// The name of the transition.
    pub(super) what: &'static str,
    pub(super) detail: Option<String>,
}

impl Line<'_> {
    fn actor_text(&self) -> String {
        without_nul(&self.actor.to_string()).into_owned()
    }

    fn detail_text(&self) -> Option<String> {
        self.detail.as_deref().map(|detail| without_nul(detail).into_owned())
    }
}

pub(super) const WRITE: &str = "INSERT INTO history (submission, at, actor, what, detail) VALUES ($1, $2, $3, $4, $5)";

/// Writes one line.
pub(super) async fn write(conn: &mut PgConnection, line: &Line<'_>) -> Result<(), sqlx::Error> {
    sqlx::query(WRITE)
        .bind(line.submission.0)
        .bind(line.at.millis())
        .bind(line.actor_text())
        .bind(line.what)
        .bind(line.detail_text())
        .execute(conn)
        .await
        .map(drop)
}

pub(super) const WRITE_SAME: &str = "INSERT INTO history (submission, at, actor, what, detail) \
     SELECT i, $2::bigint, $3::text, $4::text, $5::text FROM unnest($1::bigint[]) AS i";

/// Writes the same line for many submissions (`line.submission` is not looked at).
pub(super) async fn write_same(conn: &mut PgConnection, ids: &[i64], line: &Line<'_>) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(WRITE_SAME)
        .bind(ids)
        .bind(line.at.millis())
        .bind(line.actor_text())
        .bind(line.what)
        .bind(line.detail_text())
        .execute(conn)
        .await
        .map(drop)
}

/// A time beyond the years of four digits is no error: `to_timestamp` would make one of a later one yet, and the act
/// would never come to pass.
pub(super) const WRITE_LIFTED: &str = "INSERT INTO history (submission, at, actor, what, detail) \
     SELECT s.id, $2::bigint, $3::text, $4::text, 'forced; not_before held it until ' || \
            CASE WHEN s.not_before BETWEEN -62135596800000 AND 253402300799999 \
                 THEN to_char(to_timestamp(s.not_before / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
                 ELSE 'the end of time' END \
       FROM submission AS s WHERE s.id = ANY ($1)";

/// Writes for these that a person lifts their `not_before`, and which it was.
pub(super) async fn write_lifted(conn: &mut PgConnection, ids: &[i64], line: &Line<'_>) -> Result<(), sqlx::Error> {
    sqlx::query(WRITE_LIFTED)
        .bind(ids)
        .bind(line.at.millis())
        .bind(line.actor_text())
        .bind(line.what)
        .execute(conn)
        .await
        .map(drop)
}

pub(super) const WRITE_EDIT: &str = "INSERT INTO history (submission, at, actor, what, old_payload) \
     SELECT s.id, $2::bigint, $3::text, $4::text, s.payload FROM submission AS s WHERE s.id = $1";

/// Keeps the payload that an edit is about to replace.
pub(super) async fn write_edit(conn: &mut PgConnection, line: &Line<'_>) -> Result<(), sqlx::Error> {
    sqlx::query(WRITE_EDIT)
        .bind(line.submission.0)
        .bind(line.at.millis())
        .bind(line.actor_text())
        .bind(line.what)
        .execute(conn)
        .await
        .map(drop)
}

pub(super) const OF: &str =
    "SELECT at, actor, what, detail, old_payload FROM history WHERE submission = $1 ORDER BY seq";

/// Everything written about one, oldest first.
pub(super) async fn of(conn: &mut PgConnection, id: SubmissionId) -> Result<Vec<Event>, sqlx::Error> {
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
