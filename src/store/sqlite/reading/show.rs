//! Everything about one submission.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::model::SubmissionId;
use crate::store::sqlite::Database;
use crate::store::sqlite::machine::row;
use crate::store::sqlite::operations::history;
use crate::store::{StoreError, Story};

use super::{attempts, list, relations};

impl Database {
    /// Everything about one.
    pub async fn show(&self, id: SubmissionId) -> Result<Option<Story>, StoreError> {
        Ok(show(&mut *self.reader().await?, id).await?)
    }
}

/// The SQL for what a list shows of one, and its payload.
pub(crate) fn one_sql() -> String {
    let (listed, attempt, last) = (list::COLUMNS, attempts::READ_COLUMNS, list::LAST_ATTEMPT);
    format!(
        "SELECT {listed}, {attempt}, s.payload FROM delivery AS d CROSS JOIN submission AS s ON s.id = d.id {last} \
         WHERE d.id = ?1"
    )
}

/// The SQL for its attempts.
pub(crate) fn attempts_sql() -> String {
    format!(
        "SELECT {} FROM attempt AS a WHERE a.submission = ?1 ORDER BY a.number",
        attempts::READ_COLUMNS
    )
}

/// Its story, in one read transaction: what is told belongs together.
pub(crate) async fn show(conn: &mut SqliteConnection, id: SubmissionId) -> Result<Option<Story>, sqlx::Error> {
    let mut transaction = conn.begin().await?;
    let Some(row) = sqlx::query(AssertSqlSafe(one_sql()))
        .bind(id.0)
        .fetch_optional(&mut *transaction)
        .await?
    else {
        return Ok(None);
    };
    let rows = sqlx::query(AssertSqlSafe(attempts_sql()))
        .bind(id.0)
        .fetch_all(&mut *transaction)
        .await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in &rows {
        all.extend(attempts::read(row)?);
    }
    let relations = relations::relations(&mut transaction, id).await?;
    let story = Story {
        listed: list::read(&row)?,
        payload: row::payload(&row)?,
        attempts: all,
        history: history::of(&mut transaction, id).await?,
        superseded_by: relations.superseded_by,
        registered_by_us: relations.registered_by_us,
        delivered_last: relations.delivered_last,
    };
    transaction.commit().await?;
    Ok(Some(story))
}
