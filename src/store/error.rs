//! What can keep the outbox from opening, or from doing its work.

use super::rules::words::Corrupt;

/// Why the outbox cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon has it (exit 69).
    #[error("{0}")]
    InUse(String),
    /// Locked for longer than we wait (exit 69).
    #[error("{0}")]
    Busy(String),
    /// There is none yet.
    #[error("{0}")]
    Missing(String),
    /// Corrupt, truncated, newer, read-only, no database at all, a wrong owner (exit 78): names the file and what to
    /// do.
    #[error("{0}")]
    Unusable(String),
}

/// Why an operation could not be done. A COMMIT that fails is an unknown outcome: every operation is safe to repeat.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the write lock; waiting helps.
    #[error("the outbox is locked by another process: {0}")]
    Busy(String),
    /// The database that keeps it cannot be reached, or takes nothing at present; it is tried again.
    #[error("the outbox's database cannot be used at present: {0}")]
    Away(String),
    /// The disk is full.
    #[error("the disk of the outbox is full: {0}")]
    Full(String),
    /// Anything else SQLite says.
    #[error("the outbox cannot be used: {0}")]
    Broken(String),
    /// The writer has ended (shutdown).
    #[error("the outbox is closed")]
    Closed,
}

impl From<Corrupt> for sqlx::Error {
    fn from(corrupt: Corrupt) -> Self {
        Self::Decode(corrupt.into())
    }
}
