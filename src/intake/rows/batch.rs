//! Some rows on their way, in SQL: read, and deleted once they are in the outbox.

use futures_util::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row as _, TypeInfo as _, ValueRef as _};

use crate::intake::directives::{Column, RowColumns};
use crate::intake::open_file::{CHUNK_BYTES, CHUNK_RESULTS};

use super::error::RowsError;
use super::protocol::{DeletedRow, RowBatch};
use super::row::InboxRow;

/// What the table's CHECK allows a payload, and what we bear of any column. A longer one can come in only past the
/// CHECK; it is neither loaded nor moved, and stays until an operator deletes it.
pub const COLUMN_BYTES_MAX: usize = 16 << 20;
/// So many bytes of rows are moved to `rejected` in one transaction, and one row at least: producers wait for it.
const MOVE_BYTES_MAX: u64 = 4 << 20;

/// The payload is not even loaded where it is too large, nor more of the other columns than tells that they are.
const COLUMNS: &str = "SELECT id, \
     CASE WHEN typeof(payload) = 'text' AND octet_length(payload) <= ?1 THEN payload END AS payload, \
     typeof(payload) AS kind, octet_length(payload) AS length, \
     CASE WHEN octet_length(submission_key) <= 16777216 THEN substr(submission_key, 1, 1025) END AS submission_key, \
     octet_length(submission_key) AS key_length, \
     CASE WHEN octet_length(on_conflict) <= 16777216 THEN substr(on_conflict, 1, 1025) END AS on_conflict, \
     octet_length(on_conflict) AS on_conflict_length, \
     CASE WHEN octet_length(source) <= 16777216 THEN substr(source, 1, 1025) END AS source, \
     octet_length(source) AS source_length \
     FROM inbox";

/// Reads the oldest rows after this id, as many as fit into one admission. The version is the caller's.
pub async fn read(conn: &mut SqliteConnection, after: i64, bytes_max: usize) -> Result<RowBatch, RowsError> {
    let query = format!("{COLUMNS} WHERE id > ?2 ORDER BY id");
    let mut found = sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(limit(bytes_max))
        .bind(after)
        .fetch(conn);
    let mut batch = RowBatch::default();
    let mut bytes = 0;
    while batch.rows.len() < CHUNK_RESULTS && bytes < CHUNK_BYTES {
        let Some(row) = found.try_next().await? else {
            batch.is_all = true;
            break;
        };
        match one(&row, bytes_max)? {
            (_, _, Some(row)) => {
                bytes += row.bytes();
                batch.rows.push(row);
            }
            (id, bytes, None) => batch.oversized = batch.oversized.or(Some((id, bytes))),
        }
    }
    Ok(batch)
}

/// Deletes these rows where they are still the same, and moves those that cannot be taken to `rejected`. One short
/// transaction, which the caller began: it holds the write lock, and so moves [`MOVE_BYTES_MAX`] at most. Returns how
/// many of the rows it has dealt with, from the first one on, and which of them are gone; one that a producer changed
/// meanwhile is another one, and stays.
pub async fn delete(
    conn: &mut SqliteConnection,
    rows: &[(i64, [u8; 32])],
    bytes_max: usize,
    now: &str,
) -> Result<(usize, Vec<DeletedRow>), RowsError> {
    let found = compare(conn, rows, bytes_max).await?;
    let mut gone = Vec::with_capacity(rows.len());
    let mut deleted = Vec::with_capacity(rows.len());
    let mut moved = 0;
    let mut done = 0;
    for (id, state) in rows.iter().map(|(id, _)| *id).zip(found) {
        let rejected = match state {
            RowState::Missing => None,
            RowState::Changed => {
                done += 1;
                continue;
            }
            RowState::Same { rejected: None, .. } => {
                deleted.push(id);
                None
            }
            RowState::Same {
                rejected: Some(reason),
                bytes,
            } => {
                if moved > 0 && moved + bytes > MOVE_BYTES_MAX {
                    break;
                }
                moved += bytes.max(1);
                sqlx::query(REJECT)
                    .bind(id)
                    .bind(&reason)
                    .bind(now)
                    .execute(&mut *conn)
                    .await?;
                deleted.push(id);
                Some(reason)
            }
        };
        done += 1;
        gone.push(DeletedRow { id, rejected });
    }
    sqlx::query(DELETE).bind(json(&deleted)?).execute(conn).await?;
    Ok((done, gone))
}

const REJECT: &str = "INSERT INTO rejected (inbox_row, payload, submission_key, on_conflict, source, reason, \
     rejected_at) SELECT id, payload, submission_key, on_conflict, source, ?2, ?3 FROM inbox WHERE id = ?1";
const DELETE: &str = "DELETE FROM inbox WHERE id IN (SELECT value FROM json_each(?1))";

/// A row that was read, at the time of its deletion.
#[derive(Clone)]
enum RowState {
    Missing,
    Changed,
    /// It is as it was; why it is to be moved, and how many bytes that moves.
    Same {
        rejected: Option<String>,
        bytes: u64,
    },
}

/// What state the rows are in. `bytes_max` is that of the reading: it decides what is compared.
async fn compare(
    conn: &mut SqliteConnection,
    rows: &[(i64, [u8; 32])],
    bytes_max: usize,
) -> Result<Vec<RowState>, RowsError> {
    let query = format!("{COLUMNS} WHERE id IN (SELECT value FROM json_each(?2)) ORDER BY id");
    let ids: Vec<i64> = rows.iter().map(|(id, _)| *id).collect();
    let mut found = sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(limit(bytes_max))
        .bind(json(&ids)?)
        .fetch(conn);
    let mut states = vec![RowState::Missing; rows.len()];
    while let Some(row) = found.try_next().await? {
        let (id, bytes, row) = one(&row, bytes_max)?;
        let Ok(at) = rows.binary_search_by_key(&id, |(id, _)| *id) else {
            continue;
        };
        states[at] = match row {
            Some(row) if row.digest == rows[at].1 => RowState::Same {
                rejected: row.payload.err(),
                bytes,
            },
            Some(_) | None => RowState::Changed,
        };
    }
    Ok(states)
}

fn json(ids: &[i64]) -> Result<String, RowsError> {
    serde_json::to_string(ids).map_err(|error| RowsError::Broken(error.to_string()))
}

/// `inbox.max_result_size` as SQLite compares it.
fn limit(bytes_max: usize) -> i64 {
    i64::try_from(bytes_max.min(COLUMN_BYTES_MAX)).unwrap_or(i64::MAX)
}

/// The row's id, the bytes of all its columns, and the row itself, unless it is too large to be taken or moved.
fn one(row: &SqliteRow, bytes_max: usize) -> Result<(i64, u64, Option<InboxRow>), RowsError> {
    let id = row.try_get("id")?;
    let mut bytes = 0;
    let mut longest = 0;
    for name in ["length", "key_length", "on_conflict_length", "source_length"] {
        let length = row.try_get::<Option<i64>, _>(name)?.unwrap_or_default().unsigned_abs();
        bytes += length;
        longest = longest.max(length);
    }
    if longest > COLUMN_BYTES_MAX as u64 {
        return Ok((id, bytes, None));
    }
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
    let row = InboxRow {
        id,
        payload,
        columns,
        digest: hasher.finalize().into(),
    };
    Ok((id, bytes, Some(row)))
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
        return Ok(Column::Null);
    }
    if kind != "TEXT" && kind != "BLOB" {
        return Ok(Column::Number);
    }
    let bytes: Vec<u8> = row.try_get(name)?;
    hasher.update(&bytes);
    if kind == "BLOB" {
        return Ok(Column::Blob);
    }
    Ok(String::from_utf8(bytes).map_or(Column::NotUtf8, Column::Text))
}
