//! What can be wrong with the row inbox.

use std::io;

/// Why the row inbox cannot be used now. None of it touches files or deliveries.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// Another process holds its lock; waiting helps.
    #[error("the row inbox is locked by another process: {0}")]
    Busy(String),
    /// It is not the file it should be. Names the file and what to do.
    #[error("{0}")]
    Refused(String),
    /// What SQLite or the file system says.
    #[error("the row inbox cannot be used: {0}")]
    Broken(String),
}

impl RowsError {
    /// What mends it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Busy(_) => "end the process that holds inbox.database; it is tried again",
            Self::Refused(_) => "mend or move away the file inbox.database names; without one a new one is created",
            Self::Broken(_) => "look at inbox.database, its directory and its disk; it is tried again",
        }
    }
}

/// SQLite's extended result codes are its primary ones in the lowest byte, with detail above.
const PRIMARY: i32 = 0xff;

impl From<sqlx::Error> for RowsError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
        match code.map(|code| code & PRIMARY) {
            // SQLITE_BUSY, SQLITE_LOCKED
            Some(5 | 6) => Self::Busy(error.to_string()),
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
