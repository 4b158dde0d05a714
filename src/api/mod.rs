//! The Reten integration API, seen from the sender: one request in, one [`crate::model::Exchange`] out, never an `Err` for an answer.

pub mod client;
