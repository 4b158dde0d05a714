//! Words and values as they are in the database.

use std::collections::HashSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::clock::Timestamp;
use crate::model::{ConflictPolicy, DeadReason, Facts, Origin, ParkReason, Payload, State, SubmissionKey};

use super::trouble;

/// Pending, and the next of its activity.
pub(crate) const HEAD: &str = "head";
/// Pending, behind another of its activity.
pub(crate) const WAITING: &str = "waiting";

/// The state of this row, from its columns `state`, `reason`, `next_at` and `held_until`.
pub(crate) fn state(row: &SqliteRow) -> Result<State, sqlx::Error> {
    let state: &str = row.try_get("state")?;
    let reason: Option<&str> = row.try_get("reason")?;
    let why = reason.unwrap_or_default();
    match state {
        HEAD | WAITING => {
            let next_at: i64 = row.try_get("next_at")?;
            let held_until: Option<i64> = row.try_get("held_until")?;
            Ok(State::Pending {
                due: Timestamp::from_millis(held_until.map_or(next_at, |until| until.max(next_at))),
            })
        }
        "sending" => Ok(State::Sending),
        "delivered" => Ok(State::Delivered),
        "dead" => why
            .parse::<DeadReason>()
            .map(State::Dead)
            .map_err(|_| trouble::corrupt("reason of a dead letter", why)),
        "parked" => why
            .parse::<ParkReason>()
            .map(State::Parked)
            .map_err(|_| trouble::corrupt("reason of a parked one", why)),
        "dismissed" => Ok(State::Dismissed),
        other => Err(trouble::corrupt("state", other)),
    }
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

/// An origin as the column `origin` has it: exactly one of `file`, `row` and `user`.
#[derive(Debug, Serialize, Deserialize)]
struct OriginText {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<u64>,
}

/// An origin as text.
pub(crate) fn origin_text(origin: &Origin) -> Result<String, sqlx::Error> {
    let mut text = OriginText {
        file: None,
        row: None,
        user: None,
        line: None,
        item: None,
    };
    match origin {
        Origin::File { name, line, item } => {
            text.file = Some(name.clone());
            text.line = *line;
            text.item = *item;
        }
        Origin::Row { id } => text.row = Some(*id),
        Origin::User { name, line } => {
            text.user = Some(name.clone());
            text.line = *line;
        }
    }
    serde_json::to_string(&text).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

/// The origin in the column `origin`.
pub(crate) fn origin(row: &SqliteRow) -> Result<Origin, sqlx::Error> {
    let text: &str = row.try_get("origin")?;
    let corrupt = || trouble::corrupt("origin", text);
    let parts: OriginText = serde_json::from_str(text).map_err(|_| corrupt())?;
    match (parts.file, parts.row, parts.user) {
        (Some(name), None, None) => Ok(Origin::File {
            name,
            line: parts.line,
            item: parts.item,
        }),
        (None, Some(id), None) => Ok(Origin::Row { id }),
        (None, None, Some(name)) => Ok(Origin::User { name, line: parts.line }),
        _ => Err(corrupt()),
    }
}
