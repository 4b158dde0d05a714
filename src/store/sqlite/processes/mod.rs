//! What other processes leave beside the database, or hold of it.

pub(crate) mod holders;
pub(crate) mod quiet;
pub(crate) mod touch;
pub(crate) mod usage;
