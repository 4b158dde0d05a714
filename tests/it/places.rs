//! The places that others may write, or that are not there alone: names of ours that somebody took first, locks on what is shared, files
//! that may not be read, a file system that hangs.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use serde_json::json;

use crate::harness::{World, both, result, within_patience};

/// A second daemon with other settings beside the one that runs; it must end by itself.
fn second_daemon(world: &World, changes: &[(&str, &Path)]) -> Output {
    let mut command = world.command(&["run"]);
    for (name, path) in changes {
        command.env(format!("RETEN_OUTBOX__{name}"), path);
    }
    let child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    within_patience(child, "a second daemon")
}

#[test]
fn one_outbox_has_one_daemon_also_by_way_of_a_symbolic_link() {
    let mut world = World::new();
    world.start();
    symlink(world.path("outbox/outbox.db"), world.path("link.db")).unwrap();
    symlink(world.path("outbox"), world.path("elsewhere")).unwrap();
    std::fs::create_dir_all(world.path("other/inbox")).unwrap();
    for database in ["link.db", "elsewhere/outbox.db", "outbox/outbox.db"] {
        let output = second_daemon(
            &world,
            &[
                ("OUTBOX__DATABASE", &world.path(database)),
                ("INBOX__DIR", &world.path("other/inbox")),
                ("INBOX__DATABASE", &world.path("other/inbox.db")),
            ],
        );
        let told = both(&output);
        assert_eq!(output.status.code(), Some(69), "{database}: {told}");
        assert!(told.contains(&format!("process {}", world.pid())), "{told}");
        // That advice would let two daemons take from one inbox.
        assert!(!told.contains("outbox.database of its own"), "{told}");
    }
    world.drop_results("one.ndjson", &[result("act-1", &json!({}))]);
    world.wait_for("delivered", 1);
}
