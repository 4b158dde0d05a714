//! Whose files the outbox's are: what root does with them, and what is said where they are the wrong user's.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::{World, both, program, result, stderr};

/// Names that begin so in the outbox's directory.
fn beside(world: &World, start: &str) -> Vec<String> {
    let names = fs::read_dir(world.path("outbox")).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(start))
        .collect()
}

/// As root only: who else could change an owner?
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A user that has nothing, and is on every system.
const NOBODY: u32 = 65534;

fn give(path: &Path, owner: u32) {
    std::os::unix::fs::chown(path, Some(owner), Some(owner)).unwrap();
}

/// A world whose outbox is another user's, as an installed one's is.
fn others() -> World {
    let world = World::new();
    fs::set_permissions(world.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["inbox", "rows", "outbox"] {
        give(&world.path(name), NOBODY);
    }
    fs::set_permissions(world.path("outbox"), fs::Permissions::from_mode(0o700)).unwrap();
    world
}

#[test]
fn root_makes_a_backup_for_itself_and_gives_it_back_to_the_outboxs_owner() {
    if !is_root() {
        return;
    }
    let world = others();
    let one = world.path("one.json");
    fs::write(&one, result("act-1", &json!({})).to_string()).unwrap();
    world.ok(&["enqueue", one.to_str().unwrap()]);
    fs::create_dir(world.path("roots")).unwrap();
    fs::set_permissions(world.path("roots"), fs::Permissions::from_mode(0o700)).unwrap();
    let file = world.path("roots/backup.db").display().to_string();
    world.ok(&["backup", &file]);
    assert_eq!(fs::metadata(&file).unwrap().uid(), 0);
    let owners = |world: &World| -> Vec<(String, u32)> {
        let names = beside(world, "outbox.db");
        names
            .into_iter()
            .map(|name| {
                let owner = fs::metadata(world.path("outbox").join(&name)).unwrap().uid();
                (name, owner)
            })
            .filter(|(_, owner)| *owner != NOBODY)
            .collect()
    };
    assert!(owners(&world).is_empty(), "{:?}", owners(&world));
    world.ok(&["restore", &file]);
    assert!(owners(&world).is_empty(), "{:?}", owners(&world));
    assert_eq!(world.status()["counts"]["pending"], 1);
}

#[test]
fn an_outbox_that_is_roots_is_named_with_its_cure_by_everybody() {
    if !is_root() {
        return;
    }
    let world = others();
    let one = world.path("one.json");
    fs::write(&one, result("act-1", &json!({})).to_string()).unwrap();
    world.ok(&["enqueue", one.to_str().unwrap()]);
    give(&world.path("outbox/outbox.db"), 0);
    let status = world.run(&["status"]);
    assert!(
        status.status.success() && stderr(&status).contains("belongs to root"),
        "{}",
        both(&status)
    );
    assert!(stderr(&status).contains("chown"), "{}", both(&status));
    // Other users may not reach the program that is tested. Copied by another process: a file that this one has open
    // for writing while a neighbouring test starts a command cannot be run.
    let copy = world.path("reten-outbox");
    let copied = Command::new("cp")
        .arg(program().get_program())
        .arg(&copy)
        .status()
        .unwrap();
    assert!(copied.success());
    let daemon = std::os::unix::process::CommandExt::uid(&mut Command::new(&copy), NOBODY)
        .arg("--config")
        .arg(world.config())
        .arg("run")
        .output()
        .unwrap();
    assert_eq!(daemon.status.code(), Some(78), "{}", both(&daemon));
    assert!(
        stderr(&daemon).contains("belongs to root") && stderr(&daemon).contains("chown"),
        "{}",
        both(&daemon)
    );
}
