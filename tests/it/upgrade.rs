//! A shared outbox whose hosts are upgraded one after another: what an older daemon does when a newer one has moved the
//! tables on.

use serde_json::json;

use crate::harness::{World, eventually, result, scripted};
use crate::postgres::Server;

#[test]
fn an_older_daemon_runs_on_until_the_tables_are_beyond_it_and_then_ends_after_its_flights() {
    let Some(server) = Server::get() else { return };
    let schema = server.fresh_schema();
    let mut world = World::on_server(server, &schema, "alpha");
    world.start();
    let moved = |version: i32, oldest: i32| {
        server.sql(&format!(
            "UPDATE {schema}.schema_version SET version = {version}, oldest_version = {oldest}"
        ));
    };
    // Only added to: the older one runs on, and starts again.
    moved(1000, 1);
    server.sql(&format!(
        "ALTER TABLE {schema}.delivery ADD COLUMN of_the_newer_one bigint; \
                         ALTER TABLE {schema}.settled ADD COLUMN of_the_newer_one text; \
                         ALTER TABLE {schema}.submission ADD COLUMN of_the_newer_one bytea"
    ));
    world.drop_results("x.ndjson", &[result("a", &json!({}))]);
    world.wait_for("delivered", 1);
    world.stop();
    world.start();
    world.drop_results("y.ndjson", &[result("b", &json!({}))]);
    world.wait_for("delivered", 2);
    // Beyond it, while a request is in flight.
    world.drop_results("z.ndjson", &[scripted("c", "hold-after-accept")]);
    eventually("a request that is held", || {
        match world.sandbox.stats()["held"].as_u64() {
            Some(1) => Ok(()),
            held => Err(format!("{held:?}")),
        }
    });
    moved(1001, 1001);
    world.event_where("storage_error", |event| {
        event["error"].to_string().contains("version 1001")
    });
    world.sandbox.release();
    let status = world.wait();
    assert_eq!(status.code(), Some(78), "{}", world.log());
    let log = world.log();
    assert!(
        log.contains("tables have version 1001") && log.contains("this program knows version "),
        "{log}"
    );
    moved(1001, 1);
    let delivered = world.list(&["--state", "delivered"]);
    assert_eq!(delivered.len(), 3, "its flight is stored: {delivered:?}");
    assert_eq!(world.sandbox.requests().len(), 3);
    assert_eq!(world.status()["nodes"], json!([]), "it left in order");
}
