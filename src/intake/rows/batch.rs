//! Some rows on their way: read, turned into entries, and deleted once they are in the outbox.

use futures_util::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row as _, TypeInfo as _, ValueRef as _};

use crate::clock::Timestamp;
use crate::intake::directives::{Column, RowColumns};
use crate::intake::entry::{Judge, Judged, entry, not_an_object};
use crate::intake::taking::{CHUNK_BYTES, CHUNK_RESULTS};
use crate::model::{Digest, Origin, RowReceipt};

use super::error::RowsError;

/// A row of the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: i64,
    /// Its text, or why it cannot be taken.
    pub payload: Result<String, String>,
    /// Its other columns.
    pub columns: RowColumns,
    /// Of all its columns: tells it from another row that is given the same id.
    pub digest: Digest,
}

/// The payload is not even loaded where it is too large, nor more of the other columns than tells that they are.
const COLUMNS: &str = "SELECT id, \
     CASE WHEN typeof(payload) = 'text' AND octet_length(payload) <= ?1 THEN payload END AS payload, \
     typeof(payload) AS kind, octet_length(payload) AS length, \
     substr(submission_key, 1, 1025) AS submission_key, octet_length(submission_key) AS key_length, \
     substr(on_conflict, 1, 1025) AS on_conflict, octet_length(on_conflict) AS on_conflict_length, \
     substr(source, 1, 1025) AS source, octet_length(source) AS source_length \
     FROM inbox";

/// Reads the oldest rows behind this id, as many as fit into one admission.
pub async fn read(conn: &mut SqliteConnection, after: i64, bytes_max: usize) -> Result<Vec<Row>, RowsError> {
    let query = format!("{COLUMNS} WHERE id > ?3 ORDER BY id LIMIT ?2");
    let mut found = sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(i64::try_from(bytes_max).unwrap_or(i64::MAX))
        .bind(i64::try_from(CHUNK_RESULTS).unwrap_or(i64::MAX))
        .bind(after)
        .fetch(conn);
    let mut rows = Vec::new();
    let mut bytes = 0;
    while bytes < CHUNK_BYTES
        && let Some(row) = found.try_next().await?
    {
        let row = one(&row, bytes_max)?;
        bytes += row.payload.as_ref().map_or(0, String::len);
        rows.push(row);
    }
    Ok(rows)
}

/// The bytes of their payloads.
pub fn bytes(rows: &[Row]) -> usize {
    rows.iter().map(|row| row.payload.as_ref().map_or(0, String::len)).sum()
}

/// Deletes these rows where they are still the same, and moves those that cannot be taken to `rejected`. One short transaction, which the
/// caller began: it holds the write lock. Returns the rows that are gone; one that a producer changed meanwhile is another one, and stays.
pub async fn delete<'r>(conn: &mut SqliteConnection, rows: &'r [Row], bytes_max: usize, now: Timestamp) -> Result<Vec<&'r Row>, RowsError> {
    let (same, changed) = compare(conn, rows, bytes_max).await?;
    for row in &same {
        if let Err(reason) = &row.payload {
            sqlx::query(REJECT)
                .bind(row.id)
                .bind(reason)
                .bind(now.to_string())
                .execute(&mut *conn)
                .await?;
        }
    }
    let ids = ids(same.iter().copied())?;
    sqlx::query(DELETE).bind(ids).execute(conn).await?;
    Ok(rows.iter().filter(|row| !changed.contains(&row.id)).collect())
}

const REJECT: &str = "INSERT INTO rejected (inbox_row, payload, submission_key, on_conflict, source, reason, rejected_at) \
     SELECT id, payload, submission_key, on_conflict, source, ?2, ?3 FROM inbox WHERE id = ?1";
const DELETE: &str = "DELETE FROM inbox WHERE id IN (SELECT value FROM json_each(?1))";

/// The rows that are as they were read, and the ids of those that are not. `bytes_max` is that of the reading: it decides what is compared.
async fn compare<'r>(conn: &mut SqliteConnection, rows: &'r [Row], bytes_max: usize) -> Result<(Vec<&'r Row>, Vec<i64>), RowsError> {
    let query = format!("{COLUMNS} WHERE id IN (SELECT value FROM json_each(?2)) ORDER BY id");
    let mut found = sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(i64::try_from(bytes_max).unwrap_or(i64::MAX))
        .bind(ids(rows.iter())?)
        .fetch(conn);
    let (mut same, mut changed) = (Vec::with_capacity(rows.len()), Vec::new());
    let mut known = rows.iter().peekable();
    while let Some(row) = found.try_next().await? {
        let now = one(&row, bytes_max)?;
        while known.next_if(|row| row.id < now.id).is_some() {}
        match known.next_if(|row| row.id == now.id) {
            Some(row) if row.digest == now.digest => same.push(row),
            Some(_) | None => changed.push(now.id),
        }
    }
    Ok((same, changed))
}

fn ids<'r>(rows: impl Iterator<Item = &'r Row>) -> Result<String, RowsError> {
    let ids: Vec<i64> = rows.map(|row| row.id).collect();
    serde_json::to_string(&ids).map_err(|error| RowsError::Broken(error.to_string()))
}

fn one(row: &SqliteRow, bytes_max: usize) -> Result<Row, RowsError> {
    let kind: String = row.try_get("kind")?;
    let length: i64 = row.try_get::<Option<i64>, _>("length")?.unwrap_or_default();
    let payload: Option<Vec<u8>> = row.try_get("payload")?;
    let mut hasher = Sha256::new();
    hasher.update(kind.as_bytes());
    hasher.update(length.to_be_bytes());
    hasher.update(payload.as_deref().unwrap_or_default());
    let columns = RowColumns {
        submission_key: column(row, ("submission_key", "key_length"), &mut hasher)?,
        on_conflict: column(row, ("on_conflict", "on_conflict_length"), &mut hasher)?,
        source: column(row, ("source", "source_length"), &mut hasher)?,
    };
    let payload = match payload {
        Some(bytes) => String::from_utf8(bytes).map_err(|error| format!("its payload is not UTF-8: {error}")),
        None if kind == "text" => Err(format!(
            "its payload has {length} bytes, more than inbox.max_result_size ({bytes_max} bytes)"
        )),
        None => Err(format!("its payload is of type {kind}, not text")),
    };
    Ok(Row {
        id: row.try_get("id")?,
        payload,
        columns,
        digest: Digest(hasher.finalize().into()),
    })
}

fn column(row: &SqliteRow, names: (&str, &str), hasher: &mut Sha256) -> Result<Column, RowsError> {
    let (name, length) = names;
    let value = row.try_get_raw(name)?;
    let kind = if value.is_null() {
        "NULL".to_owned()
    } else {
        value.type_info().name().to_owned()
    };
    let length: i64 = row.try_get::<Option<i64>, _>(length)?.unwrap_or_default();
    hasher.update(kind.as_bytes());
    hasher.update(length.to_be_bytes());
    if kind == "NULL" {
        return Ok(Column::Absent);
    }
    if kind != "TEXT" && kind != "BLOB" {
        // The column is TEXT and turns numbers into text; only another table of that name would not.
        return Ok(Column::Other("a number"));
    }
    let bytes: Vec<u8> = row.try_get(name)?;
    hasher.update(&bytes);
    if kind == "BLOB" {
        return Ok(Column::Other("a blob"));
    }
    Ok(String::from_utf8(bytes).map_or(Column::Other("text that is not UTF-8"), Column::Text))
}

impl Row {
    /// The proof that it was taken.
    pub fn receipt(&self, inbox: [u8; 16]) -> RowReceipt {
        RowReceipt {
            inbox,
            row: self.id,
            digest: self.digest,
        }
    }

    /// As an entry; `None` where it cannot be taken. One that is no JSON object is a dead letter that keeps its text.
    pub fn judge(&self, judge: &Judge<'_>) -> Option<Judged> {
        let text = self.payload.as_deref().ok()?;
        let origin = Origin::Row { id: self.id };
        Some(match entry(text, origin.clone(), Some(&self.columns), judge) {
            Ok(judged) => judged,
            Err(why) => Judged {
                entry: not_an_object(text, &why, origin, &self.columns),
                warning: None,
                has_unknown_code: false,
            },
        })
    }
}
