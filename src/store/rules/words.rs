//! Words and values as they stand in a database, whichever it is.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::model::{DeadReason, Origin, ParkReason, State};

/// Pending, and the next of its activity.
pub(crate) const HEAD: &str = "head";
/// Pending, after another of its activity.
pub(crate) const WAITING: &str = "waiting";
/// The state of a row that will never be sent as it is.
pub(crate) const DEAD: &str = "dead";

/// A value in the database that no CHECK of ours would have let in: other hands were there.
#[derive(Debug, thiserror::Error)]
#[error("`{found}` is no {what}: the database was changed by other hands")]
pub(crate) struct Corrupt {
    what: &'static str,
    found: String,
}

impl Corrupt {
    pub(crate) fn new(what: &'static str, found: &str) -> Self {
        Self {
            what,
            found: found.to_owned(),
        }
    }
}

/// A state from its columns. Of a pending one: when it is due, and what of its `not_before` holds it for longer.
pub(crate) fn state(
    state: &str,
    reason: Option<&str>,
    next_at: i64,
    held_until: Option<i64>,
) -> Result<State, Corrupt> {
    let why = reason.unwrap_or_default();
    match state {
        HEAD | WAITING => Ok(State::Pending {
            due: Timestamp::from_millis(held_until.map_or(next_at, |until| until.max(next_at))),
        }),
        "sending" => Ok(State::Sending),
        "delivered" => Ok(State::Delivered),
        "dead" => why
            .parse::<DeadReason>()
            .map(State::Dead)
            .map_err(|_| Corrupt::new("reason of a dead letter", why)),
        "parked" => why
            .parse::<ParkReason>()
            .map(State::Parked)
            .map_err(|_| Corrupt::new("reason of a parked one", why)),
        "dismissed" => Ok(State::Dismissed),
        other => Err(Corrupt::new("state", other)),
    }
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
pub(crate) fn origin_text(origin: &Origin) -> Result<String, serde_json::Error> {
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
    serde_json::to_string(&text)
}

/// The origin that this text names.
pub(crate) fn origin(text: &str) -> Result<Origin, Corrupt> {
    let corrupt = || Corrupt::new("origin", text);
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

/// A text as PostgreSQL can keep one: it has no NUL. What has to be kept letter for letter is kept as bytes.
pub(crate) fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}
