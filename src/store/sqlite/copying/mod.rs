//! Backups, putting one in the place of the database, and carrying all of it elsewhere.

pub(crate) mod backup;
pub(crate) mod carry;
pub(crate) mod restore;
pub(crate) mod swap;
