//! Commands beside a daemon at work, and starts beside commands: nothing is called damaged that is not.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Stdio};

use rustix::fs::{FlockOperation, fcntl_lock};
use serde_json::{Value, json};

use crate::harness::{World, both, eventually, result, scripted};

fn spawn(world: &World, arguments: &[&str]) -> Child {
    let mut command = world.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Whether a process has this file open, or has ended.
fn has_open(child: &mut Child, name: &str) -> bool {
    if child.try_wait().unwrap().is_some() {
        return true;
    }
    let Ok(open) = fs::read_dir(format!("/proc/{}/fd", child.id())) else {
        return false;
    };
    open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .any(|path| path.file_name().is_some_and(|found| found == name))
}

#[test]
fn a_file_that_is_torn_while_somebody_holds_its_lock_is_read_when_that_is_over() {
    let mut world = World::new();
    world.start();
    world.drop_results("one.ndjson", &[scripted("act-1", "404")]);
    world.wait_for("dead", 1);
    world.stop();
    let path = world.path("outbox/outbox.db");
    for arguments in [&["status"][..], &["list", "--json"], &["requeue", "1"], &["run"]] {
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        fcntl_lock(&file, FlockOperation::LockExclusive).unwrap();
        let mut page = vec![0; 4096];
        file.read_exact_at(&mut page, 0).unwrap();
        file.write_all_at(&[0x5a; 4096], 0).unwrap();
        let mut child = spawn(&world, arguments);
        eventually("the command at the file", || {
            if has_open(&mut child, "outbox.db") {
                Ok(())
            } else {
                Err(String::new())
            }
        });
        file.write_all_at(&page, 0).unwrap();
        drop(file);
        if arguments == ["run"] {
            eventually("the daemon's lock", || {
                if let Some(status) = child.try_wait().unwrap() {
                    panic!("{status}");
                }
                let status = world.status();
                if status["daemon"] == "running" {
                    Ok(())
                } else {
                    Err(status.to_string())
                }
            });
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        assert!(
            arguments == ["run"] || output.status.success(),
            "{arguments:?}: {}",
            both(&output)
        );
    }
}

/// `show | jq | edit`, as the manual has it.
fn edit(world: &World, id: &str) {
    let payload: Value = world.show(id.parse().unwrap())["payload"].clone();
    let mut child = world
        .command(&["edit", id, "--payload", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(payload.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "edit {id}: {}", both(&output));
}

#[test]
fn four_commands_at_a_time_beside_a_daemon_under_load_all_succeed() {
    let mut world = World::new();
    world.start();
    let dead: Vec<Value> = (0..40).map(|n| scripted(&format!("dead-{n}"), "404")).collect();
    world.drop_results("dead.ndjson", &dead);
    let dead: Vec<String> = world
        .wait_for("dead", 40)
        .iter()
        .map(|one| one["id"].to_string())
        .collect();
    std::thread::scope(|scope| {
        for hand in 0..4 {
            let (world, dead) = (&world, &dead);
            scope.spawn(move || {
                for (round, id) in dead.iter().skip(hand * 10).take(10).enumerate() {
                    edit(world, id);
                    world.ok(&["list", "--limit", "20"]);
                    world.ok(&["status", "--check"]);
                    let results: Vec<Value> = (0..60)
                        .map(|n| result(&format!("{hand}-{round}-{n}"), &json!({})))
                        .collect();
                    world.drop_results(&format!("{hand}-{round}.ndjson"), &results);
                }
            });
        }
    });
    world.settled();
}

#[test]
fn restarts_beside_commands_all_succeed() {
    let mut world = World::new();
    world.sandbox.settings(&json!({"down": true}));
    let results: Vec<Value> = (0..200).map(|n| result(&format!("act-{n}"), &json!({}))).collect();
    world.start();
    world.drop_results("some.ndjson", &results);
    world.wait_for("pending", 200);
    world.stop();
    for round in 0..12 {
        let mut commands: Vec<Child> = (0..2).map(|_| spawn(&world, &["status", "--json"])).collect();
        commands.push(spawn(&world, &["dismiss", &(round + 1).to_string()]));
        world.start();
        commands.push(spawn(&world, &["dismiss", &(round + 101).to_string()]));
        world.stop();
        for command in commands {
            let output = command.wait_with_output().unwrap();
            assert!(output.status.success(), "{round}: {}", both(&output));
        }
    }
    assert_eq!(world.status()["counts"]["dismissed"], 24);
}
