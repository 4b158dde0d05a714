//! Whether the rules that the suite asks of PostgreSQL's tables find what they are there to find.

use super::*;

const TABLES: &str = include_str!("../../../migrations/outbox-postgres/0001_outbox.sql");

/// One that is next, one behind it, one that is sent, and one delivered: nothing is wrong.
const WELL: &str = "
    INSERT INTO node (started_at, seen_at, identity, boot, name, version)
        VALUES (0, 0, decode(repeat('00', 16), 'hex'), 'b', 'n', '1');
    INSERT INTO submission (id, created_at, origin, payload) SELECT id, 0, 'x', '' FROM generate_series(1, 4) AS id;
    INSERT INTO lane VALUES (7, 4);
    INSERT INTO delivery (id, lane, next_at, updated_at, state, node)
        VALUES (1, 7, 0, 0, 'head', NULL), (2, 7, 0, 0, 'waiting', NULL), (3, NULL, 0, 0, 'sending', 1);
    INSERT INTO settled (id, lane, updated_at, state) VALUES (4, 7, 0, 'delivered');
    UPDATE tally SET pending = 2;
    INSERT INTO tally_delta (pending, sending, delivered, dead, parked, dismissed)
        VALUES (0, 1, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0)";

/// What another hand does, and what of the rules does not hold after it.
const WRONGS: &[(&str, &[&str])] = &[
    ("UPDATE tally SET dead = 1", &[TALLY]),
    (
        "DROP INDEX delivery_live; UPDATE delivery SET state = 'head' WHERE id = 2",
        &["of one activity at most one is next or sent"],
    ),
    (
        "DELETE FROM node",
        &["what is sent is sent by a node that has not left"],
    ),
    (
        "UPDATE node SET is_stopped = true",
        &["what is sent is sent by a node that has not left"],
    ),
    (
        "INSERT INTO attempt (submission, number, started_at, elapsed_ms, hard_override, lost_response, outcome)
            VALUES (1, 1, 0, 0, false, false, 'retry')",
        &["no other attempt of what is in flight has ended since"],
    ),
    ("DELETE FROM lane", &["every lane is known"]),
    (
        "INSERT INTO lane VALUES (8)",
        &["nothing is remembered of what is gone"],
    ),
    (
        "UPDATE lane SET delivered_id = NULL",
        &["the newest delivered one of a lane is known"],
    ),
    (
        "UPDATE delivery SET id = 9 WHERE id = 1; UPDATE submission SET id = 9 WHERE id = 1",
        &["the head of a lane is its smallest pending one, or the one that is sent"],
    ),
    (
        "DELETE FROM delivery WHERE id = 1; DELETE FROM submission WHERE id = 1; UPDATE tally SET pending = 1",
        &["nothing waits behind nobody"],
    ),
    (
        "DELETE FROM delivery WHERE id = 2; UPDATE tally SET pending = 1",
        &["every submission stands in one place"],
    ),
    (
        "INSERT INTO settled (id, lane, updated_at, state) VALUES (2, 7, 0, 'dismissed'); UPDATE tally SET dismissed = 1",
        &["every submission stands in one place"],
    ),
    (
        "INSERT INTO history (submission, at, actor, what) VALUES (9, 0, 'a', 'b')",
        &["nothing is kept of a submission that is gone"],
    ),
    (
        "INSERT INTO episode VALUES (1, 's')",
        &["what an episode brings back is dead"],
    ),
];

const TALLY: &str = "the tally counts what is there";

#[tokio::test]
async fn each_rule_of_the_shared_tables_finds_what_must_not_be() {
    let directory = directory();
    for (wrong, expected) in WRONGS {
        let Some(address) = bench::shared(&directory) else {
            return;
        };
        let schema = &address.server().unwrap().schema;
        let setup = format!("CREATE SCHEMA {schema}; {TABLES}; {WELL}");
        rules::by_hand(&address, &setup).await.unwrap();
        assert!(rules::broken(&address).await.is_empty());
        rules::by_hand(&address, wrong).await.unwrap();
        assert_eq!(rules::broken(&address).await, *expected, "{wrong}");
    }
}
