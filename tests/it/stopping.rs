//! The end of the daemon, whoever is in its way; and what it is told while it begins.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::harness::{World, eventually, result, scripted};

/// Does something while another program holds the write lock of this database.
fn while_locked<T>(path: &Path, work: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(Duration::from_secs(30));
        let mut other = options.connect().await.unwrap();
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
        let done = work();
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
        other.close().await.unwrap();
        done
    })
}

#[test]
fn a_stop_with_nothing_in_flight_waits_for_no_lock_however_long_it_would_be_allowed_to() {
    let mut world = World::new();
    // Far more than the test waits for an end.
    world.set("delivery.shutdown_timeout", "\"10m\"").start();
    world.drop_results("one.ndjson", &[result("act-1", &json!({}))]);
    world.wait_for("delivered", 1);
    while_locked(&world.path("outbox/outbox.db"), || {
        world.drop_results("late.ndjson", &[result("act-2", &json!({}))]);
        // It has waited as long as it does, and goes on waiting.
        world.event("intake_waiting");
        let begun = Instant::now();
        world.stop();
        // Waiting once more for the lock would take longer than this.
        assert!(begun.elapsed() < Duration::from_secs(12), "{}", world.log());
    });
    world.start();
    world.wait_for("delivered", 2);
}

#[test]
fn an_outcome_that_cannot_be_stored_before_the_end_is_recovered_at_the_next_start() {
    let mut world = World::new();
    world.set("delivery.shutdown_timeout", "\"1s\"").start();
    world.drop_results("one.ndjson", &[scripted("act-1", "hold-after-accept")]);
    eventually("the request at the server", || {
        let requests = world.sandbox.requests().len();
        if requests == 1 {
            Ok(())
        } else {
            Err(requests.to_string())
        }
    });
    while_locked(&world.path("outbox/outbox.db"), || {
        world.sandbox.release();
        world.stop();
    });
    assert_eq!(world.list(&[])[0]["state"], "sending");
    world.start();
    assert_eq!(world.event("started")["recovered"], 1);
    assert_eq!(world.wait_for("parked", 1)[0]["reason"], "conflict_after_lost_response");
}

#[test]
fn a_reload_that_is_asked_for_while_the_outbox_opens_is_served_once_it_is_open() {
    let mut world = World::new();
    world.start().stop();
    while_locked(&world.path("outbox/outbox.db"), || {
        world.spawn();
        let pid = world.pid();
        eventually("a daemon that hears SIGHUP", || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let caught = status
                .lines()
                .find_map(|line| line.strip_prefix("SigCgt:"))
                .unwrap()
                .trim();
            let hears = u64::from_str_radix(caught, 16).unwrap() & 1 == 1;
            if hears { Ok(()) } else { Err(status) }
        });
        world.signal("HUP");
        assert!(world.events("started").is_empty(), "{}", world.log());
    });
    world.event("reloaded");
    let order: Vec<Value> = world.log_lines();
    let place = |event: &str| order.iter().position(|line| line["event"] == event);
    assert!(place("started") < place("reloaded"), "{}", world.log());
}

#[test]
fn an_idle_daemon_gives_its_signs_as_often_as_a_short_watchdog_expects_them() {
    /// What the service manager tolerates: shorter than the loops need to turn by themselves.
    const TOLERATED: Duration = Duration::from_secs(4);
    let mut world = World::new();
    let path = world.path("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    // As a service manager does: no sign for so long is the end.
    socket.set_read_timeout(Some(TOLERATED)).unwrap();
    world
        .set("inbox.rescan", "\"1h\"")
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", &TOLERATED.as_micros().to_string());
    world.start();
    let mut signs = 0;
    let mut since = Instant::now();
    while signs < 5 {
        let mut message = [0; 4096];
        let length = socket.recv(&mut message).expect("a message in time");
        if message[..length].starts_with(b"WATCHDOG=1") {
            signs += 1;
            since = Instant::now();
        }
        assert!(since.elapsed() < TOLERATED, "other messages are no signs of life");
    }
}
