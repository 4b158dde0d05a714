//! What standard output stands for: a reader that goes away, a disk that is full, a pipe that wants whole columns.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{World, both, result, scripted, stderr, stdout};

/// More lines than a pipe and our own buffer hold.
const MANY: usize = 5000;

fn many(world: &World) -> String {
    let path = world.path("many.ndjson");
    let lines: Vec<String> = (0..MANY)
        .map(|n| result(&format!("act-{n}"), &json!({})).to_string())
        .collect();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    path.display().to_string()
}

/// Runs a command whose reader leaves after the first line.
fn with_a_reader_that_leaves(world: &World, arguments: &[&str]) -> Output {
    let mut child = world
        .command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut first).unwrap();
    drop(reader);
    child.wait_with_output().unwrap()
}

/// Runs a command whose standard output has no room at all.
fn on_a_full_disk(world: &World, arguments: &[&str]) -> Output {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let child = world
        .command(arguments)
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.wait_with_output().unwrap()
}

fn pending(world: &World) -> Value {
    world.status()["counts"]["pending"].clone()
}

#[test]
fn enqueue_takes_all_of_it_when_its_reader_leaves_and_does_not_call_it_done() {
    let world = World::new();
    let file = many(&world);
    let output = with_a_reader_that_leaves(&world, &["enqueue", &file]);
    assert_eq!(pending(&world), MANY, "{}", both(&output));
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    let said = stderr(&output);
    assert!(
        said.contains(&format!("{MANY} results are in the outbox")) && said.contains("cannot be written"),
        "{said}"
    );
}

#[test]
fn enqueue_takes_all_of_it_where_its_lines_have_no_room() {
    let world = World::new();
    let file = many(&world);
    let output = on_a_full_disk(&world, &["enqueue", &file]);
    assert_eq!(
        (pending(&world), output.status.code()),
        (json!(MANY), Some(1)),
        "{}",
        both(&output)
    );
    assert!(stderr(&output).contains("No space left"), "{}", both(&output));
}

#[test]
fn enqueue_names_the_outbox_and_says_that_no_daemon_holds_it() {
    let mut world = World::new();
    fs::write(world.path("one.json"), result("act-1", &json!({})).to_string()).unwrap();
    let file = world.path("one.json").display().to_string();
    let outbox = world.path("outbox/outbox.db").display().to_string();
    let output = world.run(&["enqueue", &file]);
    let said = stderr(&output);
    assert!(
        output.status.success() && said.contains(&outbox) && said.contains("no daemon holds it"),
        "{said}"
    );
    world.start();
    let said = stderr(&world.run(&["enqueue", &file]));
    assert!(said.contains(&outbox) && !said.contains("no daemon"), "{said}");
}

#[test]
fn a_list_that_found_no_room_is_a_failure_and_one_that_nobody_reads_is_none() {
    let mut world = World::new();
    world.ok(&["pause"]);
    let file = many(&world);
    world.ok(&["enqueue", &file]);
    for arguments in [
        &["list"][..],
        &["list", "--json"],
        &["show", "1"],
        &["export", "--limit", "3"],
        &["status"],
    ] {
        let output = on_a_full_disk(&world, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", both(&output));
        assert!(
            stderr(&output).contains("standard output cannot be written: No space left"),
            "{}",
            both(&output)
        );
    }
    for arguments in [&["list", "--json"][..], &["export"]] {
        let output = with_a_reader_that_leaves(&world, arguments);
        assert!(
            output.status.success() && stderr(&output).is_empty(),
            "{arguments:?}: {}",
            both(&output)
        );
    }
    // What answers by its exit code answers also when nobody reads the words.
    let output = on_a_full_disk(&world, &["status", "--check"]);
    assert_eq!(output.status.code(), Some(1));
    fs::write(world.path("bad.json"), "{\"status\": 7}").unwrap();
    let bad = world.path("bad.json").display().to_string();
    let mut child = world
        .command(&["validate", &bad])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(
        child.wait().unwrap().code(),
        Some(1),
        "a problem stays one, whoever reads of it"
    );
    // An act is done to its end.
    let output = on_a_full_disk(&world, &["dismiss", "--state", "pending", "--yes"]);
    assert_eq!(
        (output.status.code(), pending(&world)),
        (Some(1), json!(0)),
        "{}",
        both(&output)
    );
    assert!(
        stderr(&output).contains("what was asked for is done"),
        "{}",
        both(&output)
    );
    world.start();
}

#[test]
fn no_column_is_cut_in_a_pipe_and_a_narrow_terminal_cuts() {
    let mut world = World::new();
    world.start();
    let long = format!("visit-{}", "0123456789".repeat(9));
    world.drop_results("one.ndjson", &[scripted(&long, "400")]);
    world.wait_for("dead", 1);
    let message = world.of_activity(&long)["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    let piped = world.ok(&["list"]);
    assert!(
        piped.contains(&long) && piped.contains(&message) && !piped.contains('…'),
        "{piped}"
    );
    let narrow = world.command(&["list"]).env("COLUMNS", "80").output().unwrap();
    let narrow = stdout(&narrow);
    assert!(
        narrow.contains('…') && narrow.lines().all(|line| line.chars().count() <= 80),
        "{narrow}"
    );
}

#[test]
fn several_states_are_one_list() {
    let mut world = World::new();
    world.start();
    world.drop_results(
        "three.ndjson",
        &[
            scripted("act-1", "400"),
            scripted("act-2", "409"),
            result("act-3", &json!({})),
        ],
    );
    world.settled();
    let states = |arguments: &[&str]| -> Vec<String> {
        let listed = world.list(arguments);
        listed
            .iter()
            .map(|one| one["state"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(states(&["--state", "dead", "--state", "parked"]), ["parked", "dead"]);
    assert_eq!(states(&["--state", "dead,delivered"]), ["delivered", "dead"]);
    let dry = world.ok(&["requeue", "--state", "dead", "--state", "parked", "--dry-run"]);
    assert!(dry.contains("2 submissions would be requeued"), "{dry}");
}

/// As a user who is not root and may not look into `/etc/reten-outbox`, in a mount namespace that has such an `/etc`
/// for itself.
#[test]
fn a_configuration_that_may_not_be_read_is_not_an_absent_one() {
    let script = "mount -t tmpfs tmpfs /etc && mkdir -m 700 /etc/reten-outbox && \
                  exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"";
    let program = env!("CARGO_BIN_EXE_reten-outbox");
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(65534), Some(65534)).ok();
    let copy = dir.path().join("reten-outbox");
    fs::copy(program, &copy).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(dir.path(), open).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new("unshare");
        command.args(["-m", "--propagation", "private", "sh", "-c", script, "sh"]);
        command
            .args(arguments)
            .env("HOME", &home)
            .env_remove("RETEN_OUTBOX_CONFIG")
            .env_remove("XDG_STATE_HOME");
        command.stdin(Stdio::null()).output()
    };
    if !run(&["true"]).is_ok_and(|tried| tried.status.success()) {
        println!("skipped: no mount namespace here (it takes root, unshare and setpriv)");
        return;
    }
    let file = dir.path().join("one.json");
    fs::write(&file, result("act-1", &json!({})).to_string()).unwrap();
    let output = run(&[copy.to_str().unwrap(), "enqueue", file.to_str().unwrap()]).unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", both(&output));
    let said = stderr(&output);
    assert!(
        said.contains("/etc/reten-outbox/config.toml") && said.contains("chmod a+rx"),
        "{said}"
    );
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0, "nothing was made at home");
}

#[test]
fn a_group_counts_what_differs_by_numbers_alone_as_one() {
    let mut world = World::new();
    world.start();
    let mut results: Vec<Value> = (0..7)
        .map(|n| {
            let mut one = result(&format!("act-{n}"), &json!({}));
            one["status"] = json!(format!("DONE-{n}"));
            one["$outbox"] = json!({"source": "crm"});
            one
        })
        .collect();
    results.extend([
        scripted("act-a", "400"),
        scripted("act-b", "400"),
        scripted("act-c", "409"),
    ]);
    world.drop_results("bad.ndjson", &results);
    world.wait_for("dead", 9);
    let grouped = |arguments: &[&str]| -> Vec<Value> {
        let text = world.ok(&[&["list", "--group", "--json"][..], arguments].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let groups = grouped(&["--state", "dead"]);
    assert_eq!(
        groups
            .iter()
            .map(|group| group["count"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [7, 2],
        "{groups:?}"
    );
    assert_eq!(
        (&groups[0]["source"], &groups[0]["reason"], &groups[1]["http_status"]),
        (&json!("crm"), &json!("invalid"), &json!(400))
    );
    assert!(
        groups[0]["error"]["message"].as_str().unwrap().contains("DONE-#"),
        "{groups:?}"
    );
    for field in ["first_seen", "last_seen", "newest_id", "state"] {
        assert!(!groups[0][field].is_null(), "{field}: {groups:?}");
    }
    assert_eq!(grouped(&[]).len(), 3);
    let told = world.ok(&["list", "--group", "--state", "dead", "--state", "parked"]);
    assert!(told.contains("7  dead: invalid, from crm"), "{told}");
    assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
}
