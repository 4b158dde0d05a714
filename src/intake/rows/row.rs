//! A row of the inbox, as the clerk read it, and what the daemon makes of it.

use serde::{Deserialize, Serialize};

use crate::intake::directives::{Column, RowColumns};
use crate::intake::entry::{Judge, Judged, entry, not_an_object};
use crate::model::{Digest, Origin, RowReceipt};

/// A row of the inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its id.
    pub id: i64,
    /// Its text, or why it cannot be taken.
    pub payload: Result<String, String>,
    /// `submission_key`, `on_conflict` and `source`.
    pub columns: [Cell; 3],
    /// Of all its columns: tells it from another row that is given the same id.
    pub digest: [u8; 32],
}

/// What stands in one of its other columns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cell {
    /// NULL.
    #[default]
    Null,
    /// Text; the beginning of it, where it is far too long.
    Text(String),
    /// The column is TEXT and turns numbers into text; only another table of that name would not.
    Number,
    /// A blob.
    Blob,
    /// Text that is no UTF-8.
    NotUtf8,
}

impl Cell {
    fn column(&self) -> Column {
        match self {
            Self::Null => Column::Absent,
            Self::Text(text) => Column::Text(text.clone()),
            Self::Number => Column::Other("a number"),
            Self::Blob => Column::Other("a blob"),
            Self::NotUtf8 => Column::Other("text that is not UTF-8"),
        }
    }
}

impl Row {
    /// The proof that it was taken.
    pub fn receipt(&self, inbox: [u8; 16]) -> RowReceipt {
        RowReceipt {
            inbox,
            row: self.id,
            digest: Digest(self.digest),
        }
    }

    /// The bytes of its payload, where it has one.
    pub fn bytes(&self) -> usize {
        self.payload.as_ref().map_or(0, String::len)
    }

    /// As an entry; `None` where it cannot be taken. One that is no JSON object is a dead letter that keeps its text.
    pub fn judge(&self, judge: &Judge<'_>) -> Option<Judged> {
        let text = self.payload.as_deref().ok()?;
        let origin = Origin::Row { id: self.id };
        let [submission_key, on_conflict, source] = &self.columns;
        let columns = RowColumns {
            submission_key: submission_key.column(),
            on_conflict: on_conflict.column(),
            source: source.column(),
        };
        Some(match entry(text, origin.clone(), Some(&columns), judge) {
            Ok(judged) => judged,
            Err(why) => Judged {
                entry: not_an_object(text, &why, origin, &columns),
                warning: None,
                has_unknown_code: false,
            },
        })
    }
}
