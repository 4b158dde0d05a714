//! The built program, driven as its users drive it: processes, HTTP and SQLite are real, and the API is the sandbox.
#![expect(
    clippy::disallowed_methods,
    reason = "a test waits for other processes by the clock, on threads of its own"
)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and says so"
)]

mod age;
mod ahead;
mod ambiguous;
mod backup;
mod bulk;
mod by_hand;
mod commands;
mod configuration;
mod crash;
mod cut_off;
mod demo;
mod failover;
mod full_server;
mod gate;
mod harness;
mod held;
mod hindered;
mod intake;
mod logs;
mod many;
mod metrics;
mod r#move;
mod new_key;
mod nodes;
mod order;
mod outage;
mod outcomes;
mod output;
mod owners;
mod places;
mod pooler;
#[path = "../postgres/mod.rs"]
mod postgres;
mod recipes;
mod report;
mod result_types;
mod retention;
mod review;
mod row_inbox;
mod salvage;
mod secrets;
mod server_outbox;
mod shared;
mod side_by_side;
mod stopping;
mod take;
mod terminal;
mod tls;
mod top;
mod twins;
mod upgrade;
mod watching;
mod wrong_clock;
