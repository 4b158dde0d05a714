//! The outbox in PostgreSQL. Where no server is installed, each row says so and is left out.

mod cluster;
mod many;
mod pgbench;
mod rest;
mod single;

pub use many::{nodes, takeover};
pub use rest::idle;
pub use single::{claims, drain, held};
