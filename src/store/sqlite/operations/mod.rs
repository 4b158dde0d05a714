//! What changes the outbox: each is one step of the writer's transaction and safe to repeat.

pub(crate) mod act;
pub(crate) mod admit;
pub(crate) mod claim;
pub(crate) mod claimed;
pub(crate) mod edit;
pub(crate) mod gate;
pub(crate) mod history;
pub(crate) mod lanes;
pub(crate) mod minutes;
pub(crate) mod moves;
pub(crate) mod notes;
pub(crate) mod receipts;
pub(crate) mod recount;
pub(crate) mod recover;
pub(crate) mod replace;
pub(crate) mod settle;
pub(crate) mod sweep;
