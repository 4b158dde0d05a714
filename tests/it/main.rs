//! The built program, driven as its users drive it: processes, HTTP and SQLite are real, and the API is the sandbox.

mod ambiguous;
mod bulk;
mod commands;
mod configuration;
mod crash;
mod demo;
mod gate;
mod harness;
mod intake;
mod logs;
mod order;
mod outcomes;
mod result_types;
mod retention;
mod secrets;
