//! How results look: tables, times, JSON. Pure: what goes in decides what comes out; nothing here asks the terminal or
//! the clock.

pub mod choices;
pub mod diff;
pub mod escape;
pub mod json;
pub mod outcome;
pub mod pretty;
#[cfg(test)]
pub mod sample;
pub mod story;
pub mod table;
pub mod time;
pub mod words;
