//! The API key is nowhere but in the header of a request.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::harness::{KEY, World, result, scripted};

fn files(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn holds_key(bytes: &[u8]) -> bool {
    bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes())
}

#[test]
fn the_key_is_in_no_log_no_database_no_process_list_and_no_output() {
    let mut world = World::new();
    world.set("log.level", "\"trace\"").start();
    world.drop_results(
        "some.ndjson",
        &[
            scripted("act-1", "echo-key"),
            scripted("act-2", "503"),
            scripted("act-3", "302"),
            scripted("act-4", "drop"),
            result("act-5", &json!({})),
        ],
    );
    world.wait_for("dead", 1);
    world.settled();
    for process in fs::read_dir("/proc").unwrap().map(Result::unwrap) {
        let is_ours = process
            .file_name()
            .to_string_lossy()
            .parse::<u32>()
            .is_ok_and(|pid| pid == world.pid());
        if is_ours {
            assert!(!holds_key(
                &fs::read(process.path().join("cmdline")).unwrap_or_default()
            ));
            assert!(!holds_key(
                &fs::read(process.path().join("environ")).unwrap_or_default()
            ));
        }
    }
    for arguments in [
        &["list", "--json"][..],
        &["show", "1"],
        &["show", "1", "--json"],
        &["status"],
        &["check-config"],
        &["export"],
    ] {
        assert!(!holds_key(&world.run(arguments).stdout), "{arguments:?}");
    }
    world.stop();
    let mut found = Vec::new();
    files(world.dir.path(), &mut found);
    let holders: Vec<_> = found
        .into_iter()
        .filter(|path| holds_key(&fs::read(path).unwrap()))
        .collect();
    assert_eq!(holders, [world.path("api-key")]);
}
