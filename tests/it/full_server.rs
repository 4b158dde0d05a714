//! The disk of a shared outbox's server is full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{World, both, result};
use crate::postgres::Server;

/// A small disk for one tablespace: the server's log of writes lies elsewhere, or it would end. Only root can mount one.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Option<Self> {
        let mounted = rustix::process::geteuid().is_root().then(|| {
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs"])
                .arg(at)
                .status()
        });
        if !mounted.is_some_and(|status| status.is_ok_and(|status| status.success())) {
            eprintln!("not tried: only root can mount a small disk");
            return None;
        }
        Some(Self(at.to_owned()))
    }

    fn fill(&self) {
        let mut filler = fs::File::create(self.0.join("filler")).unwrap();
        while std::io::Write::write_all(&mut filler, &[0; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Such that the tables have to grow for them.
fn large(who: &str, count: usize) -> Vec<Value> {
    // Nothing that can be made small.
    let noise = |seed: usize| -> String {
        let mut rng = fastrand::Rng::with_seed(seed as u64);
        std::iter::repeat_with(|| rng.alphanumeric()).take(20_000).collect()
    };
    (0..count)
        .map(|n| {
            let task = json!({"result": "SALE_COMPLETED", "comment": noise(n)});
            result(&format!("{who}-{n}"), &json!({"task_result": task}))
        })
        .collect()
}

#[test]
fn a_server_whose_disk_is_full_costs_no_result() {
    let Some(server) = Server::own() else { return };
    let place = server.directory("small");
    let Some(disk) = Disk::mount(&place) else { return };
    server.own_again("small");
    server.sql(&format!("CREATE TABLESPACE small LOCATION '{}'", place.display()));
    server.sql("ALTER DATABASE postgres SET default_tablespace = small");
    let mut world = World::on_server(&server, &server.fresh_schema(), "alpha");
    world.sandbox.settings(&json!({"latency_ms": 200}));
    world.start();
    world.drop_results("before.ndjson", &large("before", 60));
    world.taken();
    disk.fill();
    world.drop_results("full.ndjson", &large("full", 60));
    let told = world.event_where("intake_waiting", |event| event["error"].to_string().contains("53100"));
    assert!(told["hint"].as_str().unwrap().contains("disk space"), "{told}");
    assert_eq!(world.inbox(), ["full.ndjson"], "it waits where it is");
    let check = world.run(&["status", "--check"]);
    assert_eq!(check.status.code(), Some(1), "{}", both(&check));
    assert!(both(&check).contains("the database server"), "{}", both(&check));
    disk.make_room();
    world.taken();
    world.wait_for("delivered", 120);
    world.event("intake_resumed");
    assert_eq!(world.sandbox.requests().len(), 120, "each once");
    world.stop();
}
