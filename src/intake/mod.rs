//! Intake.

pub mod directives;
pub mod entry;
pub mod folder;
pub mod parse;
pub mod pieces;
pub mod reject;
pub mod remove;
pub mod settle;
pub mod taking;
pub mod watch;
