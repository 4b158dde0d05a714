//! What can be wrong with the row inbox.

use std::io;

use serde::{Deserialize, Serialize};

use crate::sqlite_file;

/// Why the row inbox cannot be used now. None of it touches files or deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RowsError {
    /// Another process holds its lock; waiting helps.
    #[error("the row inbox is locked by another process: {0}")]
    Busy(String),
    /// Its journal names another file, which a rollback would delete. In the midst of a commit to several databases
    /// this is as it should be, and waiting helps. Names the files and what to do.
    #[error("{0}")]
    SuperJournal(String),
    /// The configuration names a place where it cannot be: no directory, or the outbox itself. Names it and what to do.
    #[error("{0}")]
    Misplaced(String),
    /// Another daemon takes rows from it. Names it and what to do.
    #[error("{0}")]
    InUse(String),
    /// It is not the file it should be. Names the file and what to do.
    #[error("{0}")]
    Refused(String),
    /// What SQLite or the file system says.
    #[error("the row inbox cannot be used: {0}")]
    Broken(String),
    /// The process that alone opens it ended, or was ended because it did not answer or said what it never should.
    #[error("the process that reads the row inbox {0}")]
    Gone(String),
}

impl RowsError {
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Busy(_) => "end the process that holds inbox.database; it is tried again",
            Self::SuperJournal(_) => "deliveries and files go on; it is tried again",
            Self::Misplaced(_) => "correct inbox.database, or make its directory for the daemon's user",
            Self::InUse(_) => "two daemons never share a row inbox: deliveries and files go on without it",
            Self::Refused(_) => "mend or move away the file inbox.database names; without one a new one is created",
            Self::Broken(_) => "look at inbox.database, its directory and its disk; it is tried again",
            Self::Gone(_) => {
                "deliveries and files go on, and it is started again; where it goes on like this, \
                 inbox.database is damaged or was tampered with: move it away, a new one is created"
            }
        }
    }

    /// The same, no longer than a line of the log may be: the words may be those of a process that is not trusted.
    #[must_use]
    pub fn bounded(self) -> Self {
        const BYTES_MAX: usize = 2048;
        let cut = |mut text: String| {
            let end = text.floor_char_boundary(BYTES_MAX);
            text.truncate(end);
            text
        };
        match self {
            Self::Busy(text) => Self::Busy(cut(text)),
            Self::SuperJournal(text) => Self::SuperJournal(cut(text)),
            Self::Misplaced(text) => Self::Misplaced(cut(text)),
            Self::InUse(text) => Self::InUse(cut(text)),
            Self::Refused(text) => Self::Refused(cut(text)),
            Self::Broken(text) => Self::Broken(cut(text)),
            Self::Gone(text) => Self::Gone(cut(text)),
        }
    }
}

impl From<sqlx::Error> for RowsError {
    fn from(error: sqlx::Error) -> Self {
        match sqlite_file::code(&error).map(|code| code & sqlite_file::PRIMARY) {
            // SQLITE_BUSY, SQLITE_LOCKED
            Some(5 | 6) => Self::Busy(error.to_string()),
            // SQLITE_INTERRUPT
            Some(9) => Self::Refused(
                "a look at the row inbox took too long and was given up; its tables are not as we made them".into(),
            ),
            // SQLITE_CORRUPT, SQLITE_NOTADB
            Some(11 | 26) => Self::Refused(format!("the row inbox is damaged or no database: {error}")),
            _ => Self::Broken(error.to_string()),
        }
    }
}

impl From<io::Error> for RowsError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}
