//! Everything about one submission.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use crate::model::SubmissionId;
use crate::store::Story;

use super::{attempts, history, list, relations, row, transaction};

/// One state of the database for all that is read in it; it waits for nobody, and nobody waits for it.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The SQL for what a list shows of one, and its payload.
pub(super) fn one_sql() -> String {
    let (listed, attempt) = (list::COLUMNS, attempts::READ_COLUMNS);
    let (tables, last) = (list::TABLES, list::LAST_ATTEMPT);
    format!("SELECT {listed}, {attempt}, s.payload FROM {tables} {last} WHERE d.id = $1")
}

/// The SQL for its attempts.
pub(super) fn attempts_sql() -> String {
    format!(
        "SELECT {} FROM attempt AS a WHERE a.submission = $1 ORDER BY a.number",
        attempts::READ_COLUMNS
    )
}

/// Its story, in one read transaction: what is told belongs together.
pub(super) async fn show(conn: &mut PgConnection, id: SubmissionId) -> Result<Option<Story>, sqlx::Error> {
    sqlx::raw_sql(BEGIN).execute(&mut *conn).await?;
    match tell(conn, id).await {
        Ok(story) => {
            sqlx::raw_sql("COMMIT").execute(conn).await?;
            Ok(story)
        }
        Err(error) => {
            // Where this fails too its error is the one to tell: the connection must not be used again.
            transaction::roll_back(conn).await?;
            Err(error)
        }
    }
}

async fn tell(conn: &mut PgConnection, id: SubmissionId) -> Result<Option<Story>, sqlx::Error> {
    let one = sqlx::query(AssertSqlSafe(one_sql()));
    let Some(row) = one.bind(id.0).fetch_optional(&mut *conn).await? else {
        return Ok(None);
    };
    let rows = sqlx::query(AssertSqlSafe(attempts_sql()))
        .bind(id.0)
        .fetch_all(&mut *conn)
        .await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in &rows {
        all.extend(attempts::read(row)?);
    }
    let relations = relations::relations(&mut *conn, id).await?;
    Ok(Some(Story {
        listed: list::read(&row)?,
        payload: row::payload(&row)?,
        attempts: all,
        history: history::of(conn, id).await?,
        superseded_by: relations.superseded_by,
        registered_by_us: relations.registered_by_us,
        delivered_last: relations.delivered_last,
    }))
}
