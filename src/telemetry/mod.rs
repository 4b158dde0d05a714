//! How the daemon is watched: one function an event of the contract ([`events`]), written by a layer that never blocks.

pub mod events;
