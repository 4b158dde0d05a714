//! Dropping results in: by copy, by rename, by row; what is refused and where it goes.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::harness::{World, eventually, result};

#[test]
fn a_renamed_file_is_taken_sent_and_removed() {
    let mut world = World::new();
    world.start();
    world.drop_file("one.json", result("act-1", &json!({})).to_string());
    world.wait_for("delivered", 1);
    assert!(world.inbox().is_empty());
    assert_eq!(world.of_activity("act-1")["origin"]["file"], "one.json");
    assert_eq!(world.event("delivered")["activity"], "act-1");
}

#[test]
fn a_plain_copy_written_slowly_is_taken_once_it_is_whole() {
    let mut world = World::new();
    world.start();
    let text = format!("[{},{}]", result("act-1", &json!({})), result("act-2", &json!({})));
    let mut file = fs::File::create(world.path("inbox/slow.json")).unwrap();
    for piece in text.as_bytes().chunks(40) {
        file.write_all(piece).unwrap();
        file.flush().unwrap();
        std::thread::yield_now();
    }
    drop(file);
    world.wait_for("delivered", 2);
    world.taken();
    assert!(world.rejected().is_empty());
}

#[test]
fn what_was_there_before_the_start_and_links_from_elsewhere_are_found_by_looking() {
    let mut world = World::new();
    world.drop_file("before.jsonl", format!("{}\n", result("act-1", &json!({}))));
    fs::write(world.path("elsewhere.json"), result("act-2", &json!({})).to_string()).unwrap();
    world.start();
    world.wait_for("delivered", 1);
    fs::hard_link(world.path("elsewhere.json"), world.path("inbox/linked.json")).unwrap();
    world.wait_for("delivered", 2);
}

#[test]
fn the_body_goes_out_as_it_came_byte_for_byte() {
    let mut world = World::new();
    world.start();
    let body = concat!(
        r#"{ "task_result" : {"result":"NO_CONTACT","payload":{"n":12345678901234567890123.4500,"e":1E+2}},"#,
        "\t\"status\":\"NOT_EFFECTIVE\", \"occurred_at\":\"2026-11-20T15:04:05.000-03:00\",",
        r#""commerce_external_id":"C\u00e9", "provider_activity_id":"añb","raw_payload":{"z":1,"a":[]}}"#
    );
    world.drop_file("one.json", format!("\u{feff}{body}\r\n"));
    world.wait_for("delivered", 1);
    assert_eq!(world.sandbox.bodies(), [body]);
}

#[test]
fn directives_are_obeyed_and_never_sent() {
    let mut world = World::new();
    world.start();
    let mut one = result("act-1", &json!({}));
    one["$outbox"] = json!({"key": "crm-77", "source": "crm", "on_conflict": "override"});
    world.drop_results("one.ndjson", &[one.clone()]);
    let found = world.wait_for("delivered", 1);
    assert_eq!(
        (found[0]["key"].as_str(), found[0]["source"].as_str()),
        (Some("crm-77"), Some("crm"))
    );
    assert!(!world.sandbox.bodies()[0].contains("$outbox"));
    // The same again, its members in another order: a duplicate.
    let mut text = one.to_string();
    text.insert(1, ' ');
    world.drop_file("again.json", text);
    assert_eq!(world.event("duplicate")["key"], "crm-77");
    // The same key with another object: invalid, and the first one is named.
    one["status"] = json!("PENDING");
    world.drop_results("other.ndjson", &[one]);
    let dead = world.wait_for("dead", 1);
    assert_eq!(dead[0]["reason"], "invalid");
    assert!(dead[0].to_string().contains(&found[0]["id"].to_string()), "{dead:?}");
}

#[test]
fn a_wrong_directive_makes_a_dead_letter_and_never_a_guess() {
    let mut world = World::new();
    world.start();
    for (at, directives) in [
        json!({"on_conflict": "overwrite"}),
        json!({"kee": "x"}),
        json!({"not_before": "tomorrow"}),
        json!("x"),
        json!({"key": 7}),
    ]
    .into_iter()
    .enumerate()
    {
        let mut one = result(&format!("act-{at}"), &json!({}));
        one["$outbox"] = directives;
        world.drop_results(&format!("{at}.ndjson"), &[one]);
    }
    let dead = world.wait_for("dead", 5);
    assert!(
        dead.iter()
            .all(|one| one["reason"] == "invalid" && one["attempts"] == 0),
        "{dead:?}"
    );
    assert!(world.sandbox.requests().is_empty());
}

#[test]
fn not_before_is_waited_for_and_holds_up_its_activity() {
    let mut world = World::new();
    world.start();
    let mut first = result("act-1", &json!({"occurred_at": "2026-11-01T00:00:00Z"}));
    first["$outbox"] = json!({"not_before": "2099-01-01T00:00:00Z"});
    world.drop_results(
        "one.ndjson",
        &[first, result("act-1", &json!({})), result("act-2", &json!({}))],
    );
    world.wait_for("delivered", 1);
    let pending = world.wait_for("pending", 2);
    assert_eq!(pending[1]["next_attempt_at"].as_str().map(|at| &at[..4]), Some("2099"));
    assert_eq!(world.sandbox.requests().len(), 1);
}

#[test]
fn rows_are_taken_deleted_and_sent() {
    let mut world = World::new();
    world.start();
    for n in 0..25 {
        world.insert(&result(&format!("act-{n}"), &json!({})));
    }
    world.wait_for("delivered", 25);
    eventually("an empty table", || {
        let left = world.column("rows/inbox.db", "SELECT CAST(count(*) AS TEXT) FROM inbox");
        if left == ["0"] {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    assert!(world.of_activity("act-3")["origin"]["row"].is_i64());
}

#[test]
fn a_stream_of_producers_that_wait_for_no_lock_is_taken_whole_and_the_table_emptied() {
    let mut world = World::new();
    world.start();
    let mut refused = 0;
    for n in 0..200 {
        let text = result(&format!("act-{n}"), &json!({})).to_string();
        while !world.insert_at_once(&text) {
            refused += 1;
            assert!(refused < 2000, "hardly anything gets in");
        }
    }
    world.wait_for("delivered", 200);
    eventually("an empty table", || {
        let left = world.column("rows/inbox.db", "SELECT CAST(count(*) AS TEXT) FROM inbox");
        if left == ["0"] {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

#[test]
fn rows_inserted_while_the_daemon_is_down_are_taken_at_its_start_in_their_order() {
    let mut world = World::new();
    world.start().stop();
    for n in 0..3 {
        world.insert(&result(
            "act-1",
            &json!({"occurred_at": format!("2026-11-0{}T00:00:00Z", n + 1), "hard_override": true}),
        ));
    }
    world.start();
    world.wait_for("delivered", 3);
    let bodies = world.sandbox.bodies();
    let days: Vec<bool> = (0..3)
        .map(|n| bodies[n].contains(&format!("2026-11-0{}T", n + 1)))
        .collect();
    assert_eq!(days, [true; 3], "{bodies:?}");
}

#[test]
fn a_rows_columns_are_directives_and_a_row_that_is_no_object_is_kept_as_a_dead_letter() {
    let mut world = World::new();
    world.start();
    let text = result("act-1", &json!({}));
    world.sql(
        "rows/inbox.db",
        &format!(
            "INSERT INTO inbox (payload, submission_key, on_conflict, source) VALUES ('{text}', 'k-1', 'override', 'erp');
             INSERT INTO inbox (payload) VALUES ('not json'), ('[1,2]');"
        ),
    );
    let delivered = world.wait_for("delivered", 1);
    assert_eq!(
        (delivered[0]["key"].as_str(), delivered[0]["source"].as_str()),
        (Some("k-1"), Some("erp"))
    );
    let dead = world.wait_for("dead", 2);
    assert!(dead.iter().all(|one| one["reason"] == "invalid"));
    let texts: Vec<Value> = dead
        .iter()
        .map(|one| world.show(one["id"].as_i64().unwrap())["payload"].clone())
        .collect();
    assert!(texts.iter().any(|text| text == "not json"), "{texts:?}");
}

#[test]
fn what_cannot_be_taken_goes_to_rejected_with_its_reason() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("broken.json", br#"{"activity_id": "#.to_vec(), "EOF"),
        ("empty.json", b"".to_vec(), "empty"),
        ("blank.ndjson", b"\n\n".to_vec(), "empty"),
        ("no items.json", b"[]".to_vec(), "empty"),
        ("scalar.json", b"42".to_vec(), "object"),
        ("items.json", b"[1]".to_vec(), "object"),
        ("latin1.json", b"{\"a\":\"\xe9\"}".to_vec(), "UTF-8"),
        ("two.json", b"{} {}".to_vec(), "two.json"),
        ("deep.json", deep.into_bytes(), "object"),
    ];
    let mut world = World::new();
    world.start();
    for (name, content, _) in &cases {
        world.drop_file(name, content);
    }
    eventually("nine rejected files with their reasons", || {
        let rejected = world.rejected();
        if rejected.len() == 18 {
            Ok(())
        } else {
            Err(format!("{rejected:?}"))
        }
    });
    for (name, content, why) in &cases {
        assert_eq!(
            &fs::read(world.path("inbox/rejected").join(name)).unwrap(),
            content,
            "{name}"
        );
        let reason = fs::read_to_string(world.path("inbox/rejected").join(format!("{name}.error.json"))).unwrap();
        assert!(reason.to_lowercase().contains(&why.to_lowercase()), "{name}: {reason}");
        serde_json::from_str::<Value>(&reason).unwrap();
    }
    // Told only when it is durable, a moment after the files can be seen.
    eventually("nine events", || match world.events("file_rejected").len() {
        9 => Ok(()),
        other => Err(other.to_string()),
    });
    assert!(world.list(&[]).is_empty());
    assert_eq!(world.status()["rejected_files"], 9);
}

#[test]
fn of_an_ndjson_only_the_bad_lines_are_rejected() {
    let mut world = World::new();
    world.start();
    let text = format!(
        "{}\nnot json\n\n[1]\n{}\n",
        result("act-1", &json!({})),
        result("act-2", &json!({}))
    );
    world.drop_file("mixed.ndjson", text);
    world.wait_for("delivered", 2);
    world.taken();
    assert_eq!(
        fs::read_to_string(world.path("inbox/rejected/mixed.ndjson")).unwrap(),
        "not json\n[1]\n"
    );
    let reason = fs::read_to_string(world.path("inbox/rejected/mixed.ndjson.error.json")).unwrap();
    let reason: Value = serde_json::from_str(&reason).unwrap();
    let lines: Vec<i64> = reason["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["line"].as_i64().unwrap())
        .collect();
    assert_eq!(lines, [2, 4], "{reason}");
    // Whoever mends it has this page alone: which line is which, what the file holds, and who removes the two.
    let here: Vec<i64> = reason["lines"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|line| line["line_here"].as_i64())
        .collect();
    assert_eq!(here, [1, 2], "{reason}");
    assert!(reason["holds"].to_string().contains("the bad lines alone"), "{reason}");
    assert!(
        reason["next"].to_string().contains("nothing removes them by itself"),
        "{reason}"
    );
}

#[test]
fn nothing_in_rejected_is_ever_overwritten() {
    let mut world = World::new();
    world.start();
    for n in 1..=3 {
        world.drop_file("bad.json", format!("bad {n}"));
        eventually("rejected", || {
            if world.rejected().len() == 2 * n {
                Ok(())
            } else {
                Err(format!("{:?}", world.rejected()))
            }
        });
    }
    let mut seen: Vec<String> = world
        .rejected()
        .iter()
        .filter(|name| !name.ends_with(".error.json"))
        .map(|name| fs::read_to_string(world.path("inbox/rejected").join(name)).unwrap())
        .collect();
    seen.sort();
    assert_eq!(seen, ["bad 1", "bad 2", "bad 3"]);
}

#[test]
fn an_object_that_breaks_the_apis_contract_is_a_dead_letter_that_can_be_mended() {
    let mut world = World::new();
    world.start();
    let mut missing = result("act-1", &json!({}));
    missing.as_object_mut().unwrap().remove("commerce_external_id");
    world.drop_file("missing.json", missing.to_string());
    world.drop_file(
        "twice.json",
        r#"{"provider_activity_id":"act-2","provider_activity_id":"act-3"}"#,
    );
    let unknown_code = result("act-4", &json!({"task_result": {"result": "SOLD"}}));
    world.drop_file("code.json", unknown_code.to_string());
    let dead = world.wait_for("dead", 3);
    assert!(
        dead.iter()
            .all(|one| one["reason"] == "invalid" && one["hint"].is_string()),
        "{dead:?}"
    );
    assert!(world.sandbox.requests().is_empty());
    assert!(world.rejected().is_empty());
    let id = world.of_activity("act-1")["id"].to_string();
    fs::write(world.path("mended.json"), result("act-1", &json!({})).to_string()).unwrap();
    let mended = world.path("mended.json");
    world.ok(&["edit", &id, "--payload", mended.to_str().unwrap()]);
    world.wait_for("delivered", 1);
}

#[test]
fn names_of_every_kind_work_and_other_files_are_left_alone() {
    let mut world = World::new();
    let odd = std::ffi::OsString::from_vec(b"n\xff\n \x1b[31m.json".to_vec());
    fs::write(world.path("inbox").join(&odd), result("act-1", &json!({})).to_string()).unwrap();
    fs::write(
        world.path("inbox/with space.ndjson"),
        format!("{}\n", result("act-2", &json!({}))),
    )
    .unwrap();
    fs::write(world.path("inbox/notes.txt"), "x").unwrap();
    fs::write(world.path("inbox/half.json.part"), "x").unwrap();
    fs::write(world.path("inbox/.hidden.json"), "x").unwrap();
    fs::create_dir(world.path("inbox/dir.json")).unwrap();
    symlink("/etc/hostname", world.path("inbox/link.json")).unwrap();
    std::process::Command::new("mkfifo")
        .arg(world.path("inbox/fifo.json"))
        .status()
        .unwrap();
    world.start();
    world.wait_for("delivered", 2);
    eventually("only strangers left", || {
        let left = world.inbox();
        let expected = ["dir.json", "fifo.json", "half.json.part", "link.json", "notes.txt"];
        if left == expected {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    assert!(world.path("inbox/.hidden.json").exists());
    assert!(!world.log().contains('\u{1b}'));
}

#[test]
fn a_result_over_the_limit_is_refused_by_size() {
    let mut world = World::new();
    world.set("inbox.max_result_size", "\"2KiB\"").start();
    let large = result("act-1", &json!({"raw_payload": {"x": "y".repeat(3000)}}));
    world.drop_results("large.ndjson", &[large.clone(), result("act-2", &json!({}))]);
    world.wait_for("delivered", 1);
    assert!(
        fs::read_to_string(world.path("inbox/rejected/large.ndjson.error.json"))
            .unwrap()
            .contains("max_result_size")
    );
    world.insert(&large);
    eventually("the row among the rejected", || {
        let rows = world.column("rows/inbox.db", "SELECT CAST(count(*) AS TEXT) FROM rejected");
        if rows == ["1"] {
            Ok(())
        } else {
            Err(format!("{rows:?}"))
        }
    });
}

#[test]
fn intake_waits_above_the_largest_backlog_and_goes_on_below_it() {
    let mut world = World::new();
    world.set("inbox.max_pending", "5").start();
    world.ok(&["pause"]);
    for n in 0..4 {
        let results: Vec<Value> = (0..4).map(|m| result(&format!("act-{n}-{m}"), &json!({}))).collect();
        world.drop_results(&format!("{n}.ndjson"), &results);
        if n == 1 {
            world.wait_for("pending", 8);
        }
    }
    world.event("intake_waiting");
    assert_eq!(world.inbox(), ["2.ndjson", "3.ndjson"]);
    world.ok(&["resume"]);
    world.wait_for("delivered", 16);
}

#[test]
fn an_unreadable_file_is_named_once_and_taken_when_it_may_be_read() {
    use std::os::unix::fs::PermissionsExt;
    if rustix::process::geteuid().is_root() {
        return; // Root reads everything.
    }
    let mut world = World::new();
    world.start();
    let path = world.path("inbox/secret.json");
    fs::write(world.path("secret"), result("act-1", &json!({})).to_string()).unwrap();
    fs::set_permissions(world.path("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::rename(world.path("secret"), &path).unwrap();
    assert!(world.event("file_left")["hint"].is_string());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    world.wait_for("delivered", 1);
    assert_eq!(world.events("file_left").len(), 1);
}
