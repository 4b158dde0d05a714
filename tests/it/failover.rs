//! The server of a shared outbox fails, and a standby becomes the primary: with all that was committed, or without the
//! last of it.

use serde_json::{Value, json};

use crate::harness::{World, eventually, result, scripted};
use crate::nodes::took_over;
use crate::postgres::proxy::Proxy;
use crate::postgres::{Server, Stop};

fn distinct(who: &str, count: usize) -> Vec<Value> {
    (0..count).map(|n| result(&format!("{who}-{n}"), &json!({}))).collect()
}

fn warns_of_standbys(world: &World) -> bool {
    let is_it = |event: &Value| event["message"].to_string().contains("has standbys and waits for none");
    world.events("warning").iter().any(is_it)
}

/// So many standbys follow it.
fn is_followed(server: &Server) {
    server.sql(
        "DO $$ BEGIN FOR i IN 1..600 LOOP EXIT WHEN EXISTS (SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'); \
         PERFORM pg_sleep(0.1); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$",
    );
}

/// The numbers of the submissions whose activities begin so.
fn numbers(world: &World, activity: &str) -> Vec<i64> {
    let is_of_it = |one: &&Value| one["provider_activity_id"].as_str().unwrap().starts_with(activity);
    let all = world.list(&[]);
    all.iter()
        .filter(is_of_it)
        .map(|one| one["id"].as_i64().unwrap())
        .collect()
}

fn held(world: &World) -> u64 {
    world.sandbox.stats()["held"].as_u64().unwrap()
}

#[test]
fn a_failover_to_a_standby_that_was_waited_for_is_a_restart() {
    let Some(mut primary) = Server::own() else { return };
    let standby = primary.standby();
    is_followed(&primary);
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
    primary.sql("SELECT pg_reload_conf()");
    let proxy = Proxy::before(&primary);
    let schema = primary.fresh_schema();
    let mut first = World::through(&proxy, &schema, "alpha");
    let mut second = first.beside("beta");
    for world in [&mut first, &mut second] {
        world.set("conflict.after_lost_response", "\"accept\"");
    }
    first.sandbox.settings(&json!({"latency_ms": 50}));
    first.start();
    second.start();
    assert!(!warns_of_standbys(&first), "it is waited for");
    first.drop_results("x.ndjson", &distinct("a", 150));
    second.drop_results("y.ndjson", &distinct("b", 150));
    eventually("something is under way", || match first.sandbox.requests().len() {
        sent if sent > 40 => Ok(()),
        sent => Err(sent.to_string()),
    });
    // The address names the standby before it is the primary: both wait, and say why.
    primary.stop(Stop::Immediate);
    proxy.lead_to(&standby);
    proxy.reset();
    for world in [&first, &second] {
        world.event_where("storage_error", |event| {
            event["error"].to_string().contains("is a standby")
        });
    }
    first.drop_results("z.ndjson", &distinct("c", 20));
    standby.promote();
    first.wait_for("delivered", 320);
    assert!(
        !took_over(&first) && !took_over(&second),
        "an outage that all have ends nobody"
    );
    first.event("storage_resumed");
    first.stop();
    second.stop();
}

#[test]
fn a_failover_that_loses_commits_gives_no_outcome_to_another_submission() {
    let Some(mut primary) = Server::own() else { return };
    let standby = primary.standby();
    is_followed(&primary);
    let proxy = Proxy::before(&primary);
    let mut world = World::through(&proxy, &primary.fresh_schema(), "alpha");
    world.set("api.timeout", "\"60s\"");
    world.set("delivery.max_in_flight", "100");
    world.set("delivery.reject_fuse", "0");
    world.set("validation.mode", "\"off\"");
    world.start();
    eventually("the warning", || {
        if warns_of_standbys(&world) {
            Ok(())
        } else {
            Err(world.log())
        }
    });
    world.drop_results("x.ndjson", &distinct("known", 3));
    world.wait_for("delivered", 3);
    // From here on the standby gets nothing any more, and its numbers go on from where it was.
    primary.sql("SELECT pg_switch_wal()");
    primary.sql(
        "DO $$ BEGIN FOR i IN 1..600 LOOP EXIT WHEN (SELECT bool_and(replay_lsn = pg_current_wal_lsn()) FROM pg_stat_replication); \
         PERFORM pg_sleep(0.1); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$",
    );
    standby.sql("ALTER SYSTEM SET primary_conninfo = 'host=/nowhere'");
    standby.sql("SELECT pg_reload_conf()");
    primary.sql(
        "DO $$ BEGIN FOR i IN 1..600 LOOP EXIT WHEN NOT EXISTS (SELECT 1 FROM pg_stat_replication); \
         PERFORM pg_sleep(0.1); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$",
    );
    // More than the numbers that a server hands out ahead of its log.
    world.drop_results("lost.ndjson", &distinct("lost", 40));
    world.wait_for("delivered", 43);
    let late: Vec<Value> = (0..10).map(|n| scripted(&format!("late-{n}"), "hold")).collect();
    world.drop_results("late.ndjson", &late);
    world.taken();
    eventually("requests that are held", || match held(&world) {
        10 => Ok(()),
        held => Err(held.to_string()),
    });
    let of_late = numbers(&world, "late-");
    primary.stop(Stop::Immediate);
    standby.promote();
    proxy.lead_to(&standby);
    proxy.reset();
    // Lost numbers are given out again, while the answers to the old requests are on their way: good ones. These will
    // be refused.
    let wrong = |n: i32| {
        result(
            &format!("fresh-{n}"),
            &json!({"occurred_at": "yesterday", "external_status": "sim:hold"}),
        )
    };
    world.drop_results("fresh.ndjson", &(0..60).map(wrong).collect::<Vec<Value>>());
    world.taken();
    eventually("requests for these", || match held(&world) {
        held if held >= 60 => Ok(()),
        held => Err(format!("{held}\n{}", world.ok(&["list"]))),
    });
    let of_fresh = numbers(&world, "fresh-");
    assert!(
        of_late.iter().any(|number| of_fresh.contains(number)),
        "{of_late:?} {of_fresh:?}"
    );
    world.sandbox.release();
    world.wait_for("dead", 60);
    let delivered = world.list(&["--state", "delivered"]);
    assert_eq!(delivered.len(), 3, "an answer to another one: {delivered:?}");
    assert_eq!(numbers(&world, "late-"), [0; 0], "what the standby never had is gone");
    world.stop();
}
