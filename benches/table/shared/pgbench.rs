//! The yardstick that has no program around it: `pgbench` asks the server for what the sending writer asks, in groups of
//! 64, each transaction settling what the one before it claimed.

use std::fmt::Write as _;
use std::process::Stdio;

use reten_outbox::bench::statements_of_a_turn;

use super::cluster::{Cluster, SCHEMA};

const GROUP: u64 = 64;

/// What the writer's connections are set to.
const OPTIONS: &str = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_bitmapscan=off \
     -c enable_hashjoin=off -c enable_mergejoin=off -c enable_sort=off -c enable_material=off -c jit=off \
     -c max_parallel_workers_per_gather=0";

/// One client settles so many; results a second.
pub fn settled_a_second(cluster: &Cluster, database: &str, results: u64) -> f64 {
    let node = "INSERT INTO reten_outbox.node (started_at, seen_at, identity, boot, name, version) \
                VALUES (0, 0, decode(repeat('00', 16), 'hex'), '', 'pgbench', '')";
    cluster.run(database, &[node]);
    let node = cluster.number(database, "SELECT max(id) FROM reten_outbox.node");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("turn.sql");
    std::fs::write(&file, script(node)).unwrap();
    let mut pgbench = cluster.server.program("pgbench");
    pgbench.args(["-n", "-M", "prepared", "-c", "1", "-j", "1"]);
    pgbench.args(["-D", "ids={}", "-D", "numbers={}", "-D", "lanes={}", "-t"]);
    pgbench
        .arg((results / GROUP).to_string())
        .arg("-f")
        .arg(&file)
        .arg(database);
    pgbench.env("PGOPTIONS", format!("-c search_path={SCHEMA} {OPTIONS}"));
    let output = pgbench.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let settled = cluster.number(
        database,
        "SELECT count(*) FROM reten_outbox.settled WHERE state = 'delivered'",
    );
    let expected = (results / GROUP - 1) * GROUP;
    assert_eq!(u64::try_from(settled).unwrap(), expected, "{said}");
    let tps = said.lines().find_map(|line| line.strip_prefix("tps = "));
    let tps: f64 = tps.unwrap().split(' ').next().unwrap().parse().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "64")]
    let group = GROUP as f64;
    tps * group
}

/// One turn.
fn script(node: i64) -> String {
    // Of the claims, and of their outcomes: far behind when they were taken in.
    let now = "1900000000000::bigint";
    let each = |value: &str| format!("array_fill({value}, ARRAY[cardinality(:ids::bigint[])])");
    let node = format!("{node}::bigint");
    let (ids, numbers, lanes) = (":ids::bigint[]", ":numbers::integer[]", ":lanes::bigint[]");
    let statement = |name: &str, values: &[&str]| {
        let turn = statements_of_a_turn();
        let (_, sql) = turn.iter().find(|(known, _)| *known == name).unwrap();
        // From the last on: $1 is the beginning of $10.
        let numbered = values.iter().enumerate().rev();
        numbered.fold((*sql).to_owned(), |sql, (place, value)| {
            sql.replace(&format!("${}", place + 1), value)
        })
    };
    let (at, status, no) = (each(now), each("201"), each("false"));
    let (text, number) = (each("NULL::text"), each("1::bigint"));
    let mut script = String::new();
    let mut add = |sql: String, end: &str| writeln!(script, "{sql}{end}").unwrap();
    add("BEGIN".into(), ";");
    // With their submissions, which the program knows by itself.
    add(
        format!(
            "SELECT coalesce(array_agg(lane ORDER BY lane), '{{}}')::text AS lanes, coalesce(array_agg(id ORDER BY lane), '{{}}')::text AS last \
             FROM delivery WHERE id = ANY ({ids}) AND lane IS NOT NULL"
        ),
        " \\gset",
    );
    add(statement("lock", &[lanes]), ";");
    let (state, reason) = (each("'delivered'::text"), text.clone());
    add(
        statement("end", &[ids, numbers, &at, &node, &at, &status, &no, &state, &reason]),
        ";",
    );
    add(statement("delivered", &[lanes, ":last::bigint[]"]), ";");
    let headers = each(r#"'[["content-type","application/json"]]'::text"#);
    let body = each(r#"'{"id":"0f6f2a0e-6a55-4d0f-9a3e-5d1f0c8b7a21","status":"PROCESSED"}'::bytea"#);
    add(
        statement(
            "record",
            &[
                ids, numbers, &node, &at, &number, &no, &no, &status, &number, &state, &headers, &body, &text, &text,
            ],
        ),
        ";",
    );
    add(statement("demote", &[lanes]), ";");
    add(statement("promote", &[lanes]), ";");
    add(statement("let_go", &[now, "64"]), ";");
    // Where it looks from: the beginning.
    let first = "'-9223372036854775808'::bigint";
    let (due, in_ten_minutes, nobody, name) = (now, "1900000600000::bigint", "'{}'::bigint[]", "'gate'::text");
    let claim = statement(
        "claim",
        &[
            due,
            in_ten_minutes,
            "64::bigint",
            "32::bigint",
            &node,
            "0::bigint",
            "0::bigint",
            nobody,
            name,
            "false",
            "''::text",
            first,
            first,
        ],
    );
    // Pgbench keeps one row's values and no arrays: the rows that the program reads are put together for it.
    let claim = claim.replace(" UPDATE delivery AS d SET", ", claimed AS (UPDATE delivery AS d SET");
    add(
        format!(
            "{claim}) SELECT coalesce(array_agg(id), '{{}}')::text AS ids, coalesce(array_agg(attempts), '{{}}')::text AS numbers, \
             sum(octet_length(payload)) AS bytes FROM claimed"
        ),
        " \\gset",
    );
    add(
        "INSERT INTO tally_delta (pending, sending, delivered, dead, parked, dismissed) VALUES (-64, 0, 64, 0, 0, 0)"
            .into(),
        ";",
    );
    add("COMMIT".into(), ";");
    script
}
