//! What SQLite's errors mean to us.

use crate::sqlite_file;
use crate::store::StoreError;
use crate::store::rules::words::Corrupt;

/// The kinds of failure that are answered differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Another process holds the lock: wait.
    Busy,
    /// No room on the disk: checkpoint, try once more, then say so.
    Full,
    /// The file cannot be written.
    ReadOnly,
    /// The file is damaged, or no database.
    Damaged,
    /// The file (or its directory) cannot be opened.
    CannotOpen,
    Other,
}

/// `SQLITE_IOERR_SHMSIZE`: the index of the WAL could not be made longer, which happens on a full disk.
const SHM_SIZE: i32 = 0x130a;

impl Trouble {
    /// Which kind this is.
    pub(crate) fn of(error: &sqlx::Error) -> Self {
        match sqlite_file::code(error) {
            Some(SHM_SIZE) => Self::Full,
            Some(code) => match code & sqlite_file::PRIMARY {
                // 15, "locking protocol": so many came and went that SQLite gave up on its place in the line.
                5 | 6 | 15 => Self::Busy,
                13 => Self::Full,
                8 => Self::ReadOnly,
                11 | 26 => Self::Damaged,
                3 | 14 | 23 => Self::CannotOpen,
                _ => Self::Other,
            },
            None => Self::Other,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match (&error, Trouble::of(&error)) {
            (sqlx::Error::PoolClosed, _) => Self::Closed,
            (_, Trouble::Busy) => Self::Busy(error.to_string()),
            (_, Trouble::Full) => Self::Full(error.to_string()),
            (_, Trouble::ReadOnly | Trouble::Damaged | Trouble::CannotOpen | Trouble::Other) => {
                Self::Broken(error.to_string())
            }
        }
    }
}

/// A value in the database that no CHECK of ours would have let in: other hands were there.
pub(crate) fn corrupt(what: &'static str, found: &str) -> sqlx::Error {
    Corrupt::new(what, found).into()
}
