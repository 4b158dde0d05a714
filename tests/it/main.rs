//! The built program, driven as its users drive it: processes, HTTP and SQLite are real, and the API is the sandbox.

mod commands;
mod configuration;
mod crash;
mod demo;
mod gate;
mod harness;
mod intake;
mod logs;
mod order;
mod outage;
mod outcomes;
mod secrets;
