//! The table of `benches/README.md`: each row a promise of speed, measured beside its yardstick in the same run.
//!
//! `cargo bench --bench table` measures all rows, `cargo bench --bench table -- drain pairs` some of them. `--quick`
//! takes smaller sizes and fewer rounds, `--rounds N` others. The daemon is the built program as a process of its own;
//! so are the server and the bare loop (this very program once more), so that the processor time of each is known and
//! none is the other's limit by sharing a thread.
//!
//! Everything lies below `TMPDIR`, which must be a disk: in a file system of memory nothing waits for a sync. `--keep
//! DIR` leaves the filled outboxes there, and finds them there the next time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "what goes wrong in a measurement ends it, and it is for a person at a terminal"
)]

mod backlog;
mod bare;
mod claims;
mod daemon;
mod drain;
mod drops;
mod far;
mod figures;
mod fill;
mod intake;
mod looks;
mod machine;
mod process;
mod rest;
mod serve;
mod server;
mod shared;
mod sizes;

use machine::Ticks;
use sizes::Sizes;

/// A row: its name on the command line, what it shows, and how it is measured.
type Row = (&'static str, &'static str, fn(&Sizes));

const ROWS: &[Row] = &[
    (
        "drain",
        "drain, each its own activity, against the bare loop",
        drain::drain,
    ),
    (
        "pairs",
        "drain, two results an activity, against the bare loop",
        drain::pairs,
    ),
    (
        "backlog",
        "drain of a part of a large backlog, against a drain of as many",
        backlog::backlog,
    ),
    ("memory", "peak memory while a large backlog drains", backlog::memory),
    (
        "slow-disk",
        "drain with 5 ms added to every sync, against one without",
        backlog::slow_disk,
    ),
    (
        "claims",
        "claim and settle of 256 whatever waits, against 10,000 pending",
        claims::claims,
    ),
    (
        "lines",
        "intake of one NDJSON file, against plain inserts of the same",
        intake::lines,
    ),
    ("files", "intake of single files, against cp of the same", intake::files),
    ("drops", "from a drop to the wire, one at a time", drops::drops),
    ("idle", "a minute in which nothing happens", rest::idle),
    ("start", "from the start to READY, against an empty outbox", rest::start),
    (
        "looks",
        "list, status and show while a large backlog drains, against a small one at rest",
        looks::looks,
    ),
    (
        "far",
        "drain over TLS with 20 ms of added latency, against the bare loop likewise",
        far::far,
    ),
    (
        "outage",
        "an outage with a large backlog: from its end to 0.9 of the full rate",
        backlog::outage,
    ),
    (
        "shared-drain",
        "drain of an outbox in PostgreSQL, against one in SQLite and against pgbench with the same statements",
        shared::drain,
    ),
    (
        "shared-nodes",
        "drain by two and four daemons, the API 60 ms away, against one",
        shared::nodes,
    ),
    (
        "shared-claims",
        "claim of 64 from PostgreSQL with a large backlog, against 10,000 pending",
        shared::claims,
    ),
    (
        "shared-takeover",
        "from a daemon's end or stand-still to the first delivery of its claims by another",
        shared::takeover,
    ),
    (
        "shared-idle",
        "a minute in which nothing happens in PostgreSQL",
        shared::idle,
    ),
    (
        "shared-held",
        "drain while another session's transaction holds back the vacuum, against one without",
        shared::held,
    ),
];

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => return serve::main(&arguments[1..]),
        Some("bare") => return bare::main(&arguments[1..]),
        _ => {}
    }
    let (sizes, chosen) = sizes::parse(&arguments);
    if let Some(unknown) = chosen.iter().find(|name| ROWS.iter().all(|row| row.0 != **name)) {
        let known: Vec<_> = ROWS.iter().map(|row| row.0).collect();
        panic!("{unknown} is no row of the table; these are: {}", known.join(" "));
    }
    for (name, what, measure) in ROWS {
        if chosen.is_empty() || chosen.iter().any(|chosen| chosen == name) {
            println!("\n{name}: {what}");
            let before = Ticks::now();
            measure(&sizes);
            before.tell_others();
        }
    }
}
