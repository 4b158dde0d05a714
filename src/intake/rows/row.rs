//! A row of the inbox, as the worker read it, and what the daemon makes of it.

use serde::{Deserialize, Serialize};

use crate::intake::directives::RowColumns;
use crate::intake::entry::{Judged, entry, not_an_object};
use crate::model::{Digest, InboxId, Origin, RowReceipt};
use crate::policy::validate::Criteria;

/// A row of the inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxRow {
    pub id: i64,
    /// Its text, or why it cannot be taken.
    pub payload: Result<String, String>,
    pub columns: RowColumns,
    /// Of all its columns: tells it from another row that is given the same id.
    pub digest: [u8; 32],
}

impl InboxRow {
    /// The proof that it was taken.
    pub fn receipt(&self, inbox: InboxId) -> RowReceipt {
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
    pub fn judge(&self, criteria: &Criteria) -> Option<Judged> {
        let text = self.payload.as_deref().ok()?;
        let origin = Origin::Row { id: self.id };
        Some(match entry(text, origin.clone(), Some(&self.columns), criteria) {
            Ok(judged) => judged,
            Err(why) => Judged {
                entry: not_an_object(text, &why, origin, &self.columns),
                warning: None,
                has_unknown_code: false,
            },
        })
    }
}
