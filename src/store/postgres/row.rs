//! Values as they come from a row.

use bytes::Bytes;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::clock::Timestamp;
use crate::model::{ConflictPolicy, Facts, Payload, State, SubmissionKey};
use crate::store::rules::words::{self, Corrupt};

/// The state of this row, from its columns `state`, `reason`, `next_at` and `held_until`.
pub(super) fn state(row: &PgRow) -> Result<State, sqlx::Error> {
    Ok(words::state(
        row.try_get("state")?,
        row.try_get("reason")?,
        row.try_get("next_at")?,
        row.try_get("held_until")?,
    )?)
}

/// `on_conflict`.
pub(super) fn on_conflict(row: &PgRow) -> Result<Option<ConflictPolicy>, sqlx::Error> {
    let word: Option<&str> = row.try_get("on_conflict")?;
    Ok(word
        .map(|word| word.parse().map_err(|_| Corrupt::new("conflict policy", word)))
        .transpose()?)
}

/// `submission_key`.
pub(super) fn key(row: &PgRow) -> Result<Option<SubmissionKey>, sqlx::Error> {
    let bytes: Option<&[u8]> = row.try_get("submission_key")?;
    Ok(bytes.map(|bytes| SubmissionKey(String::from_utf8_lossy(bytes).into_owned())))
}

/// The three ids.
pub(super) fn facts(row: &PgRow) -> Result<Facts, sqlx::Error> {
    Ok(Facts {
        activity_id: row.try_get("activity_id")?,
        provider_activity_id: row.try_get("provider_activity_id")?,
        commerce_external_id: row.try_get("commerce_external_id")?,
    })
}

/// `payload`.
pub(super) fn payload(row: &PgRow) -> Result<Payload, sqlx::Error> {
    let bytes: &[u8] = row.try_get("payload")?;
    Ok(Payload::from_bytes(Bytes::copy_from_slice(bytes)))
}

/// A time that may be absent.
pub(super) fn time(row: &PgRow, column: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_millis))
}

/// A count or a number that is never negative.
pub(super) fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}
