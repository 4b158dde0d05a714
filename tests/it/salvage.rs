//! `salvage`: what a database that is really damaged still holds.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::harness::{World, both, eventually, result, stderr, stdout};

/// An outbox with so many pending ones, of all lengths, stopped; what was dropped.
fn filled(world: &mut World, count: usize) -> Vec<Value> {
    world.sandbox.settings(&json!({"down": true}));
    world.start();
    let results: Vec<Value> = (0..count)
        .map(|n| {
            result(
                &format!("act-{n}"),
                &json!({"raw_payload": {"text": "x".repeat(n * 37 % 9_000)}}),
            )
        })
        .collect();
    world.drop_results("all.ndjson", &results);
    world.taken();
    eventually("all taken in", || {
        let found = world.list(&[]).len();
        if found == count { Ok(()) } else { Err(found.to_string()) }
    });
    world.stop();
    results
}

/// The results in salvaged lines, each as it was dropped.
fn salvaged(text: &str, dropped: &[Value]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let mut value: Value = serde_json::from_str(line).unwrap();
        let directives = value.as_object_mut().unwrap().remove("$outbox").unwrap();
        assert!(
            directives["key"].as_str().unwrap().starts_with("salvaged-"),
            "{directives}"
        );
        let place = dropped.iter().position(|one| *one == value);
        assert!(found.insert(place.unwrap()), "twice: {line}");
    }
    found
}

#[test]
fn around_damage_everything_is_read_and_the_file_stays_as_it_is() {
    let mut world = World::new();
    let dropped = filled(&mut world, 300);
    let whole = fs::read(world.path("outbox/outbox.db")).unwrap();
    let (damaged, pages) = (world.path("damaged.db"), whole.len() / 4096);
    let mut roll = fastrand::Rng::with_seed(1);
    let mut noise = whole.clone();
    for byte in &mut noise[pages / 2 * 4096..(pages / 2 + 12) * 4096] {
        *byte = roll.u8(..);
    }
    let mut headless = whole.clone();
    headless[..4096].fill(0);
    for (what, bytes, least) in [
        ("whole", whole.clone(), 300),
        ("without its first page", headless, 300),
        ("noise in the middle", noise, 200),
        ("cut off in the middle", whole[..pages / 2 * 4096 + 100].to_vec(), 50),
    ] {
        fs::write(&damaged, &bytes).unwrap();
        let output = world.run(&["salvage", "--all", damaged.to_str().unwrap()]);
        let found = salvaged(&stdout(&output), &dropped);
        assert!(found.len() >= least, "{what}: {} {}", found.len(), stderr(&output));
        assert!(
            stderr(&output).contains(&format!("{} salvaged", found.len())),
            "{what}: {}",
            stderr(&output)
        );
        // 1 where something is known to be lost.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{what}: {}", both(&output));
        assert_eq!(
            output.status.code() == Some(0),
            !stderr(&output).contains("lost"),
            "{what}: {}",
            both(&output)
        );
        assert_eq!(fs::read(&damaged).unwrap(), bytes, "{what}");
    }
    assert!(!world.path("damaged.db-wal").exists() && !world.path("damaged.db-shm").exists());
}

#[test]
fn a_damaged_outbox_is_replaced_by_its_backup_and_the_rest_is_salvaged() {
    let mut world = World::new();
    filled(&mut world, 40);
    let backup = world.path("backup.db").display().to_string();
    world.ok(&["backup", &backup]);
    world.start();
    let mut keyed = result("with-key", &json!({}));
    keyed["$outbox"] = json!({"key": "k-1", "source": "crm", "on_conflict": "park"});
    let mut later: Vec<Value> = (0..10).map(|n| result(&format!("later-{n}"), &json!({}))).collect();
    later.push(keyed);
    // The same as one of the backup's, and a submission of its own all the same.
    later.push(result("act-0", &json!({"raw_payload": {"text": ""}})));
    world.drop_results("later.ndjson", &later);
    eventually("all taken in", || {
        if world.list(&[]).len() == 52 {
            Ok(())
        } else {
            Err(String::new())
        }
    });
    world.stop();
    let outbox = world.path("outbox/outbox.db");
    let mut bytes = fs::read(&outbox).unwrap();
    bytes[..4096].fill(0);
    fs::write(&outbox, &bytes).unwrap();
    for command in [&["run"][..], &["status"]] {
        let refused = world.run(command);
        assert_eq!(refused.status.code(), Some(78), "{}", both(&refused));
        assert!(
            stderr(&refused).contains("restore") && stderr(&refused).contains("salvage"),
            "{}",
            both(&refused)
        );
    }
    world.ok(&["restore", &backup]);
    let aside = fs::read_dir(world.path("outbox"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("replaced"))
        .unwrap();
    assert_eq!(fs::read(&aside).unwrap(), bytes);
    let text = world.ok(&["salvage", aside.to_str().unwrap()]);
    assert_eq!(text.lines().count(), 12, "{text}");
    assert!(
        text.contains(r#"{"$outbox":{"key":"k-1","on_conflict":"park","source":"crm"},"#),
        "{text}"
    );
    world.sandbox.settings(&json!({"down": false}));
    world.start();
    world.drop_file("rest.ndjson", &text);
    world.settled();
    assert_eq!(world.list(&[]).len(), 52);
    assert_eq!(world.sandbox.results().as_array().unwrap().len(), 51);
}

#[test]
fn what_is_in_use_or_holds_nothing_of_ours_is_refused() {
    let mut world = World::new();
    filled(&mut world, 1);
    world.start();
    let outbox = world.path("outbox/outbox.db").display().to_string();
    let refused = world.run(&["salvage", &outbox]);
    assert_eq!(refused.status.code(), Some(69), "{}", both(&refused));
    assert!(
        stderr(&refused).contains(&world.pid().to_string()),
        "{}",
        both(&refused)
    );
    world.stop();
    assert_eq!(
        world.ok(&["salvage", &outbox]).lines().count(),
        1,
        "of the outbox itself, everything"
    );
    fs::write(world.path("text.db"), "a letter to my aunt").unwrap();
    for (name, code) in [("text.db", 78), ("none.db", 1), ("inbox", 2)] {
        let refused = world.run(&["salvage", world.path(name).to_str().unwrap()]);
        assert_eq!(refused.status.code(), Some(code), "{name}: {}", both(&refused));
    }
}
