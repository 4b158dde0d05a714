//! Finding, checking, migrating and configuring the database before anything is written.

pub(crate) mod inspect;
pub(crate) mod location;
pub(crate) mod open;
pub(crate) mod pragma;
pub(crate) mod schema;
