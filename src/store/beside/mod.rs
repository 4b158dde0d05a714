//! What lies beside an outbox on its host, whatever keeps the outbox: the daemon's lock, and its note for those who look.

pub(crate) mod lock;
pub(crate) mod note;
