//! Words and values as they are in the database.

use std::collections::HashSet;

use bytes::Bytes;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::clock::Timestamp;
use crate::model::{ConflictPolicy, Facts, Origin, Payload, State, SubmissionKey};
use crate::store::rules::words;

use super::trouble;

/// The state of this row, from its columns `state`, `reason`, `next_at` and `held_until`.
pub(crate) fn state(row: &SqliteRow) -> Result<State, sqlx::Error> {
    let next_at: Option<i64> = row.try_get("next_at")?;
    Ok(words::state(
        row.try_get("state")?,
        row.try_get("reason")?,
        next_at.unwrap_or_default(),
        row.try_get("held_until")?,
    )?)
}

pub(crate) fn on_conflict(row: &SqliteRow) -> Result<Option<ConflictPolicy>, sqlx::Error> {
    let word: Option<&str> = row.try_get("on_conflict")?;
    word.map(|word| word.parse().map_err(|_| trouble::corrupt("conflict policy", word)))
        .transpose()
}

pub(crate) fn key(row: &SqliteRow) -> Result<Option<SubmissionKey>, sqlx::Error> {
    Ok(text(row, "submission_key")?.map(SubmissionKey))
}

pub(crate) fn facts(row: &SqliteRow) -> Result<Facts, sqlx::Error> {
    Ok(Facts {
        activity_id: text(row, "activity_id")?,
        provider_activity_id: text(row, "provider_activity_id")?,
        commerce_external_id: text(row, "commerce_external_id")?,
    })
}

/// A text that may be absent. Bytes that are no UTF-8 (other hands) are replacement characters: one such row must not
/// keep a claim, or a list, of others from being read.
pub(crate) fn text(row: &SqliteRow, column: &str) -> Result<Option<String>, sqlx::Error> {
    let bytes: Option<&[u8]> = row.try_get(column)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}

/// A payload. Bytes that are no UTF-8 (other hands) are shown and sent as replacement characters, and stop nobody
/// else's delivery.
pub(crate) fn payload(row: &SqliteRow) -> Result<Payload, sqlx::Error> {
    let bytes: &[u8] = row.try_get("payload")?;
    Ok(Payload::from_bytes(Bytes::copy_from_slice(bytes)))
}

/// A time that may be absent.
pub(crate) fn time(row: &SqliteRow, column: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_millis))
}

/// The ids of these rows, and the lanes they name.
pub(crate) fn ids_and_lanes(rows: &[SqliteRow]) -> Result<(Vec<i64>, HashSet<i64>), sqlx::Error> {
    let mut ids = Vec::with_capacity(rows.len());
    let mut lanes = HashSet::new();
    for row in rows {
        ids.push(row.try_get("id")?);
        lanes.extend(row.try_get::<Option<i64>, _>("lane")?);
    }
    Ok((ids, lanes))
}

/// An origin as text.
pub(crate) fn origin_text(origin: &Origin) -> Result<String, sqlx::Error> {
    words::origin_text(origin).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

/// The origin in the column `origin`.
pub(crate) fn origin(row: &SqliteRow) -> Result<Origin, sqlx::Error> {
    Ok(words::origin(row.try_get("origin")?)?)
}
