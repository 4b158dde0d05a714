//! Decisions. No `async`, no I/O, no clock, no randomness: what a rule needs to know comes in as an argument, and what
//! it decides comes out as a value that others carry out.

pub mod conflict;
pub mod gate;
pub mod hint;
pub mod retry_after;
pub mod schedule;
pub mod validate;
pub mod verdict;
