//! Backups, and putting one in the place of the database.

pub(crate) mod backup;
pub(crate) mod restore;
pub(crate) mod swap;
