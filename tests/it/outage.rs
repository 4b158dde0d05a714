//! Bad weather: an outage, an API that asks for patience, a producer whose results are all wrong. Requests are counted
//! at the server.

use serde_json::{Value, json};

use crate::harness::{World, eventually, result, scripted};

fn results(prefix: &str, count: usize, changes: &Value) -> Vec<Value> {
    (0..count).map(|n| result(&format!("{prefix}-{n}"), changes)).collect()
}

fn from_source(prefix: &str, source: &str, count: usize, changes: Value) -> Vec<Value> {
    let mut changes = changes;
    changes["$outbox"] = json!({"source": source});
    results(prefix, count, &changes)
}

fn gate_is(world: &World, state: &str) {
    eventually(&format!("the gate {state}"), || {
        let status = world.status();
        if status["gate"] == state {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
}

#[test]
fn an_outage_costs_what_was_in_flight_and_some_probes_and_the_backlog_follows_at_once() {
    let mut world = World::new();
    world
        .set("retry.initial_interval", "\"200ms\"")
        .set("retry.max_interval", "\"1s\"");
    world.sandbox.settings(&json!({"down": true}));
    world.start();
    world.drop_results("backlog.ndjson", &results("act", 300, &json!({})));
    world.wait_for("pending", 300);
    gate_is(&world, "probing");
    let before = world.sandbox.requests().len();
    assert!(before <= 16 + 5 + 6, "{before} requests until the gate closed");
    eventually("some probes", || {
        let probes = world.sandbox.requests().len() - before;
        if probes >= 4 { Ok(()) } else { Err(probes.to_string()) }
    });
    let untouched = world
        .list(&["--state", "pending"])
        .iter()
        .filter(|one| one["attempts"] == 0)
        .count();
    assert!(
        untouched >= 300 - world.sandbox.requests().len(),
        "{untouched} untouched"
    );
    let mut tried: Vec<String> = world.sandbox.bodies();
    tried.sort_unstable();
    tried.dedup();
    assert_eq!(
        tried.len(),
        world.sandbox.requests().len(),
        "each probe is the least tried one"
    );
    world.sandbox.settings(&json!({"down": false}));
    world.wait_for("delivered", 300);
    gate_is(&world, "open");
    assert!(
        world.events("gate").iter().any(|line| line["to"] == "throttled"),
        "a slow start"
    );
}

#[test]
fn an_outage_outlives_a_restart_which_begins_with_a_probe() {
    let mut world = World::new();
    world
        .set("retry.initial_interval", "\"20s\"")
        .set("retry.max_interval", "\"30s\"");
    world.sandbox.settings(&json!({"down": true}));
    world.start();
    world.drop_results("backlog.ndjson", &results("act", 40, &json!({})));
    gate_is(&world, "probing");
    world.stop();
    let before = world.sandbox.requests().len();
    assert_eq!(world.status()["gate"], "probing");
    world.start();
    eventually("a probe", || {
        let seen = world.sandbox.requests().len();
        if seen > before { Ok(()) } else { Err(seen.to_string()) }
    });
    assert_eq!(world.sandbox.requests().len(), before + 1);
    world.sandbox.settings(&json!({"down": false}));
    world.ok(&["resume"]);
    // Those that were in flight when it began wait out their first interval; the others follow at once.
    eventually("the untouched ones", || {
        let delivered = world.list(&["--state", "delivered"]).len();
        if delivered >= 20 {
            Ok(())
        } else {
            Err(world.ok(&["status"]))
        }
    });
}

#[test]
fn one_poison_submission_closes_nothing_and_waits_by_itself() {
    let mut world = World::new();
    world.start();
    world.drop_results("poison.ndjson", &[scripted("poison", "500x1000")]);
    eventually("many faults", || {
        let attempts = world
            .list(&["--activity", "poison"])
            .first()
            .map_or(0, |one| one["attempts"].as_u64().unwrap());
        if attempts >= 6 {
            Ok(())
        } else {
            Err(attempts.to_string())
        }
    });
    world.drop_results("good.ndjson", &results("act", 20, &json!({})));
    world.wait_for("delivered", 20);
    assert!(world.events("gate").iter().all(|line| line["to"] != "probing"));
    let state = world.of_activity("poison")["state"].clone();
    assert!(
        state == "pending" || state == "sending",
        "it goes on by itself, and is {state}"
    );
}

#[test]
fn retry_after_said_to_two_activities_holds_everyone_and_is_capped() {
    let mut world = World::new();
    world
        .set("delivery.max_in_flight", "2")
        .set("retry.max_interval", "\"4s\"");
    world.start();
    world.drop_results(
        "first.ndjson",
        &[scripted("act-1", "429@3600"), scripted("act-2", "429@3600")],
    );
    world.event_where("gate", |line| {
        line["to"] == "throttled"
            && world.status()["gate_reason"]
                .as_str()
                .is_some_and(|why| why.contains("Retry-After"))
    });
    let before = world.sandbox.requests().len();
    world.drop_results("second.ndjson", &results("later", 3, &json!({})));
    world.wait_for("pending", 5);
    assert_eq!(world.sandbox.requests().len(), before, "nothing goes out meanwhile");
    world.wait_for("delivered", 5);
}

#[test]
fn a_bad_producer_blows_the_fuse_and_a_good_one_closes_it_again() {
    let mut world = World::new();
    world.set("delivery.reject_fuse", "20");
    world.start();
    world.drop_results(
        "bad.ndjson",
        &from_source(
            "bad",
            "crm",
            200,
            json!({"commerce_external_id": "COM-1", "external_status": "sim:400x9"}),
        ),
    );
    let blown = world.event_where("gate", |line| line["to"] == "rejecting");
    assert_eq!(blown["level"], "error");
    let dead = eventually("all answers", || {
        let counts = world.status()["counts"].clone();
        if counts["sending"] == 0 {
            Ok(counts["dead"].as_u64().unwrap())
        } else {
            Err(counts.to_string())
        }
    });
    assert!((20..=20 + 16).contains(&dead), "{dead} dead");
    let status = world.status();
    assert_eq!(status["gate"], "rejecting");
    let hint = status["gate_hint"].as_str().unwrap();
    assert!(hint.contains("requeue --state dead"), "{hint}");
    world.drop_results("good.ndjson", &from_source("good", "erp", 3, json!({})));
    world.wait_for("pending", 203 - usize::try_from(dead).unwrap());
    // A restart forgets who had a turn and tries at once; a reload gives the next producer its turn.
    world.signal("HUP");
    world.event_where("gate", |line| line["to"] == "open" || line["to"] == "throttled");
    // The gate opens at the answer, a moment before the outcome is committed.
    eventually("the good one had the turn", || match world.of_activity("good-0") {
        good if good["state"] == "delivered" => Ok(()),
        good => Err(good.to_string()),
    });
}

#[test]
fn resume_opens_a_blown_fuse_and_one_command_brings_back_what_was_rejected() {
    let mut world = World::new();
    world
        .set("delivery.reject_fuse", "5")
        .set("delivery.max_in_flight", "1");
    world.start();
    world.drop_results("old.ndjson", &[scripted("old", "400x1")]);
    world.wait_for("dead", 1);
    world.drop_results("fine.ndjson", &results("fine", 1, &json!({})));
    world.wait_for("delivered", 1);
    world.sandbox.settings(&json!({"step_for_all": "400"}));
    world.drop_results("many.ndjson", &results("act", 30, &json!({})));
    gate_is(&world, "rejecting");
    world.wait_for("dead", 6);
    let hint = world.status()["gate_hint"].as_str().unwrap().to_owned();
    world.stop().start();
    assert_eq!(world.status()["gate"], "rejecting", "it outlives a restart");
    world.wait_for("dead", 7);
    world.sandbox.settings(&json!({"step_for_all": null}));
    world.ok(&["resume"]);
    world.wait_for("delivered", 25);
    let command = hint.split('`').find(|part| part.contains("requeue")).unwrap();
    let mut arguments: Vec<&str> = command.split(' ').skip(1).collect();
    arguments.push("--yes");
    world.ok(&arguments);
    world.wait_for("delivered", 31);
    assert_eq!(
        world.of_activity("old")["state"],
        "dead",
        "what was rejected before stays dead"
    );
}

#[test]
fn an_outage_keeps_to_what_the_api_asks_for_and_a_person_may_ask_sooner() {
    let mut world = World::new();
    world.set("retry.max_interval", "\"10m\"");
    world.sandbox.settings(&json!({"step_for_all": "503@600"}));
    world.start();
    world.ok(&["pause"]);
    world.drop_results("backlog.ndjson", &results("act", 20, &json!({})));
    world.wait_for("pending", 20);
    world.ok(&["resume"]);
    gate_is(&world, "probing");
    let seen = world.sandbox.requests().len();
    assert!(seen <= 16, "{seen}");
    for (name, pending) in [("a", 21), ("b", 22), ("c", 23)] {
        world.drop_results(&format!("{name}.ndjson"), &results(name, 1, &json!({})));
        world.wait_for("pending", pending);
    }
    assert_eq!(world.sandbox.requests().len(), seen, "nothing goes out meanwhile");
    world.sandbox.settings(&json!({"step_for_all": null}));
    world.ok(&["resume"]);
    eventually("the untouched ones", || {
        let delivered = world.list(&["--state", "delivered"]).len();
        if delivered >= 23 - seen {
            Ok(())
        } else {
            Err(delivered.to_string())
        }
    });
}

#[test]
fn what_one_alone_was_told_is_kept_by_the_probes_of_an_outage() {
    let mut world = World::new();
    world
        .set("retry.max_interval", "\"10m\"")
        .set("delivery.max_in_flight", "1");
    world.start();
    let mut results = vec![scripted("told", "503@600")];
    results.extend((0..4).map(|n| scripted(&format!("act-{n}"), "503x2")));
    world.drop_results("five.ndjson", &results);
    world.event_where("gate", |line| line["to"] == "probing");
    world.wait_for("delivered", 4);
    let of_told = world
        .sandbox
        .bodies()
        .iter()
        .filter(|body| body.contains("\"told\""))
        .count();
    assert_eq!(
        (of_told, world.of_activity("told")["state"].as_str()),
        (1, Some("pending"))
    );
}

#[test]
fn a_429_without_a_time_rests_everything_longer_each_time() {
    let mut world = World::new();
    world
        .set("retry.initial_interval", "\"400ms\"")
        .set("retry.max_interval", "\"10m\"")
        .set("delivery.max_in_flight", "4");
    world.sandbox.settings(&json!({"step_for_all": "429"}));
    world.start();
    world.drop_results("backlog.ndjson", &results("act", 40, &json!({})));
    let seen: Vec<i64> = eventually("three behind those that were in flight", || {
        let requests = world.sandbox.requests();
        let seen: Vec<i64> = requests
            .iter()
            .map(|one| one["received_ms"].as_i64().unwrap())
            .collect();
        if seen.len() >= 7 {
            Ok(seen)
        } else {
            Err(format!("{seen:?}"))
        }
    });
    // At most four were in flight, so three rests lie before the seventh: 400, 800 and 1600 ms, each at most a tenth
    // shorter.
    assert!(seen[6] - seen[0] >= 2500, "{seen:?}");
    assert_eq!(world.status()["gate"], "throttled");
    world.sandbox.settings(&json!({"step_for_all": null}));
    eventually("the untouched ones", || {
        let delivered = world.list(&["--state", "delivered"]).len();
        if delivered >= 30 {
            Ok(())
        } else {
            Err(delivered.to_string())
        }
    });
}

#[test]
fn a_producer_with_one_id_for_everything_blows_the_fuse_as_well() {
    let mut world = World::new();
    world.set("delivery.reject_fuse", "10");
    world.start();
    let one = |n| {
        result(
            "always-the-same",
            &json!({"external_status": "sim:400x99", "raw_payload": {"n": n}}),
        )
    };
    world.drop_results("bad.ndjson", &(0..40).map(one).collect::<Vec<_>>());
    gate_is(&world, "rejecting");
    world.wait_for("dead", 10);
    world.wait_for("pending", 30);
}

#[test]
fn resume_of_a_stopped_daemon_opens_a_blown_fuse_at_the_next_start() {
    let mut world = World::new();
    world
        .set("delivery.reject_fuse", "5")
        .set("delivery.max_in_flight", "1");
    world.sandbox.settings(&json!({"step_for_all": "400"}));
    world.start();
    world.drop_results("many.ndjson", &results("act", 30, &json!({})));
    gate_is(&world, "rejecting");
    world.wait_for("dead", 5);
    world.stop();
    let told = world.ok(&["resume"]);
    assert!(told.contains("it opens when the daemon is started"), "{told}");
    world.start();
    // One sample a minute would be one more; a whole fuse takes five to blow again.
    world.wait_for("dead", 10);
    gate_is(&world, "rejecting");
    world.sandbox.settings(&json!({"step_for_all": null}));
    let told = world.ok(&["resume"]);
    assert!(told.contains("and is open now"), "{told}");
    world.wait_for("delivered", 20);
}
