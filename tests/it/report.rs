//! `report`: the page says what the queue says, nothing in it is more than text, and a browser asks for nothing else.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{World, both, result, scripted, stderr, stdout};

/// What a producer may write where it would hurt a page, a chart or a terminal.
const HOSTILE: &str = "</td><script>fetch('http://127.0.0.1:9/')</script><img src=x onerror=alert(1)>\u{202e}&amp;\"'";

fn json_of(world: &World, arguments: &[&str]) -> Value {
    let mut all = vec!["report", "--json"];
    all.extend(arguments);
    serde_json::from_str(&world.ok(&all)).unwrap()
}

/// Delivered, retried, dead in two ways, parked, and a producer that means harm.
fn eventful() -> World {
    let mut world = World::new();
    world.set("delivery.reject_fuse", "0").start();
    let source = |provider: &str, script: &str, source: &str| {
        result(
            provider,
            &json!({"external_status": format!("sim:{script}"), "$outbox": {"source": source}}),
        )
    };
    let mut broken = result("broken", &json!({"secret_of_the_payload": HOSTILE}));
    broken.as_object_mut().unwrap().remove("commerce_external_id");
    let mut results: Vec<Value> = (0..7).map(|n| source(&format!("good-{n}"), "201", "crm")).collect();
    results.extend((0..4).map(|n| source(&format!("gone-{n}"), "404x9", HOSTILE)));
    results.extend([scripted("again", "503"), scripted("twice", "409"), broken]);
    world.drop_results("some.ndjson", &results);
    world.wait_for("dead", 5);
    world.wait_for("parked", 1);
    world.wait_for("delivered", 8);
    world.stop();
    world
}

#[test]
fn its_numbers_are_those_of_the_list() {
    let world = eventful();
    let report = json_of(&world, &[]);
    let listed = world.list(&[]);
    let in_state = |state: &str| listed.iter().filter(|one| one["state"] == state).count() as u64;
    assert_eq!(report["totals"]["taken"], listed.len());
    assert_eq!(report["totals"]["taken_from_files"], listed.len());
    for (name, state) in [("delivered", "delivered"), ("dead", "dead"), ("parked", "parked")] {
        assert_eq!(report["totals"][name], in_state(state), "{name}");
    }
    assert_eq!(report["totals"]["retried"], 1);
    let attempts: u64 = listed.iter().filter_map(|one| one["attempts"].as_u64()).sum();
    assert_eq!(report["totals"]["attempts"], attempts);
    assert_eq!(report["answers"]["count"], attempts);
    for count in report["open"]["counts"].as_array().unwrap() {
        assert_eq!(count["count"], in_state(count["state"].as_str().unwrap()), "{count}");
    }
    // Failures by what was said.
    let failures = report["failures"].as_array().unwrap();
    let of = |state: &str| -> u64 {
        let of_state = failures.iter().filter(|one| one["state"] == state);
        of_state.filter_map(|one| one["count"].as_u64()).sum()
    };
    assert_eq!((of("dead"), of("parked")), (in_state("dead"), in_state("parked")));
    let gone = failures.iter().find(|one| one["http_status"] == 404).unwrap();
    let ids: Vec<&Value> = listed
        .iter()
        .filter(|one| one["http_status"] == 404)
        .map(|one| &one["id"])
        .collect();
    assert_eq!(gone["count"], ids.len());
    assert_eq!(gone["examples"].as_array().unwrap().iter().collect::<Vec<_>>(), ids);
    assert_eq!(
        gone["hint"].as_str().is_some(),
        listed.iter().find(|one| one["http_status"] == 404).unwrap()["hint"]
            .as_str()
            .is_some()
    );
    // Producers.
    for producer in report["producers"].as_array().unwrap() {
        let of = |state: &str| {
            let of_source = listed.iter().filter(|one| one["source"] == producer["source"]);
            of_source.filter(|one| one["state"] == state).count()
        };
        assert_eq!(producer["delivered"], of("delivered"), "{producer}");
        assert_eq!(producer["dead"], of("dead"), "{producer}");
    }
    // Points add up to the whole, and the gate is known from the start to the stop.
    let points: u64 = report["series"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["taken"].as_u64())
        .sum();
    assert_eq!(points, listed.len() as u64);
    assert_eq!(report["gate"][0]["episodes"][0]["gate"], "open", "{report}");
    // Nothing of it is of this time.
    let later = json_of(&world, &["--since", "1ms"]);
    assert_eq!(later["totals"]["taken"], 0, "{later}");
    assert!(later["failures"].as_array().unwrap().is_empty());
}

#[test]
fn what_became_of_the_parked_is_told() {
    let world = eventful();
    let id = world.list(&["--state", "parked"])[0]["id"].to_string();
    assert_eq!(json_of(&world, &[])["parked"][0]["what"], "waits for a decision");
    world.ok(&["accept", &id]);
    let fate = &json_of(&world, &[])["parked"][0];
    assert_eq!(
        (&fate["what"], &fate["count"]),
        (&json!("accepted: the registered result is ours"), &json!(1))
    );
    assert_eq!(fate["examples"][0].to_string(), id);
}

#[test]
fn a_hostile_producer_is_text_and_no_payload_is_shown_unasked() {
    let world = eventful();
    let page = world.ok(&["report"]);
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    for harm in ["<script", "<img", "\u{202e}", "onerror=alert(1)>"] {
        assert!(!page.contains(harm), "{harm}");
    }
    assert!(page.contains("&lt;script&gt;fetch(&#39;") && page.contains("\\u{202e}"));
    for reference in ["src=", "href=", "url(", "@import"] {
        let is_text = page.matches(reference).count() == page.matches(&format!("&lt;img {reference}")).count();
        assert!(is_text, "{reference}");
    }
    assert!(!page.contains("secret_of_the_payload") && !page.contains("rtn_sk"));
    let page = world.ok(&["report", "--with-payloads"]);
    assert!(page.contains("secret_of_the_payload"));
    assert!(!page.contains("<script") && !page.contains('\u{202e}'));
    let json = world.ok(&["report", "--json", "--with-payloads"]);
    assert!(json.contains("secret_of_the_payload") && !json.contains('\u{202e}'));
}

#[test]
fn a_file_is_written_as_a_whole_and_what_is_in_the_way_is_named() {
    let world = World::new();
    let output = world.run(&["report"]);
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    assert!(stderr(&output).contains("there is no outbox yet"), "{}", both(&output));
    let mut world = world;
    world.start().stop();
    let path = world.path("page.html");
    fs::write(&path, "old").unwrap();
    let output = world.run(&["report", "--since", "7d", "--out", path.to_str().unwrap()]);
    assert!(
        output.status.success() && stdout(&output).is_empty(),
        "{}",
        both(&output)
    );
    assert!(stderr(&output).contains("page.html"));
    let page = fs::read_to_string(&path).unwrap();
    assert!(page.contains("Nothing that is not delivered by now."));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777 & !0o640, 0);
    for (arguments, code, says) in [
        (["--out", world.path("inbox").to_str().unwrap()], 2, "is a directory"),
        (
            ["--out", world.path("not/there.html").to_str().unwrap()],
            1,
            "cannot write there",
        ),
        (["--since", "2999-01-01T00:00:00Z"], 2, "still to come"),
        (["--since", "yesterday"], 2, "write a time"),
    ] {
        let output = world.run(&["report", arguments[0], arguments[1]]);
        assert_eq!(output.status.code(), Some(code), "{}", both(&output));
        assert!(stderr(&output).contains(says), "{}", both(&output));
    }
    world.sql("outbox/outbox.db", "PRAGMA user_version = 9999");
    let output = world.run(&["report", "--out", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78), "{}", both(&output));
    assert_eq!(fs::read_to_string(&path).unwrap(), page, "it was not touched");
}

/// The page in a browser: no error in its console, and nothing that it asks for beyond itself.
#[test]
fn a_browser_shows_it_without_an_error_and_asks_for_nothing() {
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| {
            Command::new(name)
                .arg("--version")
                .output()
                .is_ok_and(|output| output.status.success())
        })
    else {
        let _ = writeln!(
            std::io::stderr(),
            "NOT TESTED: the report in a browser (apt install chromium)"
        );
        return;
    };
    let world = eventful();
    let path = world.path("page.html");
    world.ok(&["report", "--with-payloads", "--out", path.to_str().unwrap()]);
    let net = world.path("net.json");
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
        ])
        .args([
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
        ])
        .arg(format!("--user-data-dir={}", world.path("browser").display()))
        .arg(format!("--log-net-log={}", net.display()))
        .arg("--dump-dom")
        .arg(format!("file://{}", path.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", both(&output));
    let shown = stdout(&output);
    assert!(shown.contains("What failed") && shown.contains("</svg>"), "{shown}");
    assert!(!shown.contains("<script") && !shown.contains("<img"), "{shown}");
    assert!(!stderr(&output).contains("CONSOLE"), "{}", stderr(&output));
    // Every request of the browser's network stack is in there; a file is none.
    let log = fs::read_to_string(&net).unwrap();
    let asked: Vec<&str> = log.lines().filter(|line| line.contains("\"url\":\"http")).collect();
    let of_page = asked.iter().filter(|line| line.contains("127.0.0.1"));
    assert_eq!(of_page.count(), 0, "{asked:#?}");
}
