//! `metrics`: what is printed is what happened, in formats that are read, and goes on counting over restarts.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{World, both, result, scripted, stderr};
use crate::postgres::Server;

/// Samples by their name and labels.
fn samples(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

fn measured(world: &World) -> BTreeMap<String, String> {
    samples(&world.ok(&["metrics"]))
}

#[test]
fn before_the_first_start_everything_is_there_and_zero() {
    let world = World::new();
    let text = world.ok(&["metrics"]);
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let samples = samples(&text);
    assert_eq!(samples["reten_outbox_submissions{state=\"dead\"}"], "0");
    assert_eq!(samples["reten_outbox_taken_total{by=\"file\"}"], "0");
    assert_eq!(samples["reten_outbox_gate{gate=\"open\"}"], "1");
    assert_eq!(samples["reten_outbox_up"], "0");
}

#[test]
fn counters_say_what_happened_and_go_on_after_a_restart() {
    let mut world = World::new();
    world.set("delivery.reject_fuse", "0").start();
    let mut broken = result("broken", &json!({}));
    broken.as_object_mut().unwrap().remove("commerce_external_id");
    world.drop_results(
        "some.ndjson",
        &[
            result("a", &json!({})),
            scripted("b", "503"),
            scripted("c", "404x9"),
            broken,
        ],
    );
    world.wait_for("delivered", 2);
    world.wait_for("dead", 2);
    world.run_with_input(&["enqueue"], &result("d", &json!({})).to_string());
    world.wait_for("delivered", 3);
    let up = measured(&world);
    assert_eq!(up["reten_outbox_up"], "1");
    // What is counted is written down once a minute, and at a stop.
    world.stop();
    let first = measured(&world);
    let known = [
        ("reten_outbox_up", "0"),
        ("reten_outbox_taken_total{by=\"file\"}", "4"),
        ("reten_outbox_taken_total{by=\"user\"}", "1"),
        ("reten_outbox_invalid_total", "1"),
        (
            "reten_outbox_attempts_total{outcome=\"delivered\",status_class=\"2xx\"}",
            "3",
        ),
        (
            "reten_outbox_attempts_total{outcome=\"retry\",status_class=\"5xx\"}",
            "1",
        ),
        (
            "reten_outbox_attempts_total{outcome=\"dead\",status_class=\"4xx\"}",
            "1",
        ),
        ("reten_outbox_answer_seconds_count", "5"),
        ("reten_outbox_answer_seconds_bucket{le=\"+Inf\"}", "5"),
        ("reten_outbox_submissions{state=\"delivered\"}", "3"),
        ("reten_outbox_submissions{state=\"dead\"}", "2"),
    ];
    for (name, value) in known {
        assert_eq!(first.get(name).map(String::as_str), Some(value), "{name}\n{first:#?}");
    }
    world.start();
    world.drop_results("more.ndjson", &[result("e", &json!({}))]);
    world.wait_for("delivered", 4);
    world.stop();
    let second = measured(&world);
    assert_eq!(second["reten_outbox_taken_total{by=\"file\"}"], "5");
    for (name, value) in &first {
        let is_counter = name.contains("_total") || name.contains("_seconds_bucket") || name.ends_with("_count");
        let number = |text: &str| text.parse::<f64>().unwrap();
        assert!(!is_counter || number(&second[name]) >= number(value), "{name}");
    }
}

#[test]
fn what_is_written_for_the_collector_is_whole_readable_for_it_and_clean() {
    let mut world = World::new();
    world.start();
    world.drop_results("some.ndjson", &[result("a", &json!({}))]);
    world.wait_for("delivered", 1);
    world.stop();
    let path = world.path("reten-outbox.prom");
    world.ok(&["metrics", "--out", path.to_str().unwrap()]);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    assert_eq!(
        samples(&text)
            .into_keys()
            .filter(|name| !name.contains("free_bytes"))
            .collect::<Vec<_>>(),
        measured(&world)
            .into_keys()
            .filter(|name| !name.contains("free_bytes"))
            .collect::<Vec<_>>()
    );
    // Of the types of OpenMetrics the collector knows these alone; another one makes it refuse the file.
    for line in text.lines().filter(|line| line.starts_with('#')) {
        let known = line.starts_with("# HELP ")
            || line.starts_with("# TYPE ")
                && ["gauge", "counter", "histogram"]
                    .iter()
                    .any(|kind| line.ends_with(kind));
        assert!(known, "{line}");
    }
    let promtool = std::env::var("RETEN_TEST_PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let checked = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(fs::File::open(&path).unwrap())
        .output();
    match checked {
        Ok(output) => assert!(output.status.success() && output.stderr.is_empty(), "{}", both(&output)),
        Err(_) => {
            eprintln!("NOT TESTED: what promtool says of the metrics (apt install prometheus, or RETEN_TEST_PROMTOOL)");
        }
    }
}

#[test]
fn a_name_that_the_collector_passes_over_a_directory_and_a_newer_outbox_are_refused() {
    let mut world = World::new();
    world.start().stop();
    for (name, code, says) in [
        ("metrics.txt", 2, "that end in .prom"),
        ("inbox", 2, "that end in .prom"),
        ("not/there/a.prom", 1, "cannot write there"),
    ] {
        let path = world.path(name);
        let output = world.run(&["metrics", "--out", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(code), "{}", both(&output));
        assert!(stderr(&output).contains(says), "{}", both(&output));
    }
    world.sql("outbox/outbox.db", "PRAGMA user_version = 9999");
    let path = world.path("a.prom");
    let output = world.run(&["metrics", "--out", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78), "{}", both(&output));
    assert!(!path.exists(), "zeros would be taken for an empty queue");
}

#[test]
fn daemons_that_share_an_outbox_are_counted_together_and_told_apart() {
    let Some(server) = Server::get() else { return };
    let mut first = World::on_server(server, &server.fresh_schema(), "alpha");
    let mut second = first.beside("beta");
    first.start();
    second.start();
    first.drop_results("a.ndjson", &[result("a", &json!({}))]);
    second.drop_results("b.ndjson", &[result("b", &json!({})), result("c", &json!({}))]);
    first.wait_for("delivered", 3);
    assert_eq!(measured(&first)["reten_outbox_nodes{state=\"live\"}"], "2");
    first.stop();
    second.stop();
    // From a host whose daemon counted less.
    let all = measured(&first);
    assert_eq!(all["reten_outbox_taken_total{by=\"file\"}"], "3");
    let delivered = "reten_outbox_attempts_total{outcome=\"delivered\",status_class=\"2xx\"}";
    assert_eq!(all[delivered], "3");
    assert!(
        !all.contains_key("reten_outbox_wal_bytes"),
        "a server's log is not ours"
    );
    let report: Value = serde_json::from_str(&first.ok(&["report", "--json"])).unwrap();
    assert_eq!(report["totals"]["taken"], 3);
    let mut nodes: Vec<&str> = report["gate"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|band| band["node"].as_str())
        .collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["alpha", "beta"]);
    assert!(first.ok(&["report"]).contains("The gate of each daemon"));
}
