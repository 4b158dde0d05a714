//! Intake.

pub mod directives;
pub mod entry;
pub mod parse;
