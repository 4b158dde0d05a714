//! The Reten integration API, seen from the sender: one request in, one [`crate::model::Exchange`] out, never an `Err`
//! for an answer.
//!
//! Nothing here decides: whether an answer is good, and what becomes of its submission, is `policy::verdict`'s. What
//! leaves this room has no API key in it: an echo is replaced before anyone else sees it.

mod body;
pub mod catalogue;
pub mod client;
mod echo;
mod fault;
#[cfg(test)]
mod tests;

pub use catalogue::Catalogue;
pub use client::{Client, ClientError};
