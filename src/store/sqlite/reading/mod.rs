//! What only reads, from the last commit.

pub(crate) mod attempts;
pub(crate) mod contents;
pub(crate) mod dead;
pub(crate) mod list;
pub(crate) mod relations;
pub(crate) mod show;
pub(crate) mod sources;
pub(crate) mod tally;
