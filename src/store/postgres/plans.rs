//! Every statement is prepared under the settings of the connection that runs it, on tables that are empty and were
//! never analysed, and again on filled ones: its plan must look up what it looks for, whatever the statistics say.

use std::fmt::Write as _;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

mod statements;

use super::connect::{Connector, Purpose};
use super::{claim, list, show, sweep};
use crate::model::Address;
use crate::store::tests::{Bench, Kind};
use statements::{SOURCES, STATEMENTS};

/// Tables of which every row is read: there are a few.
const SMALL: &[&str] = &["node", "tally", "tally_delta", "memory", "total"];

/// Statements that read a big table whole, and why they may.
const WALKS: &[&str] = &[
    // `delivery` is no larger than what it counts.
    "recount::COUNTED_PENDING",
];

/// Statements that sort, and what.
const SORTS: &[&str] = &[
    // The batch.
    "lanes::MAKE",
    "due",
    "this",
    // A bounded stretch of an index.
    "least_tried",
    "lead",
    "trial",
    // A few rows.
    "node::NODES",
    "notes::RECALL_GATE",
    "notes::RECALL_ANY",
    // Files that are being taken, once a start.
    "receipts::ALL_FILES",
    // What is in flight.
    "recover::ORPHANED",
];

async fn connection(address: &Address, purpose: Purpose) -> PgConnection {
    let Address::Server(server) = address else {
        unreachable!("a file has no settings of connections")
    };
    Connector::to(server).connect(purpose, "plans").await.unwrap()
}

/// The plan, of parameters of some value: a generic plan has none, and a reader's must not be one that finds nothing.
async fn plan(conn: &mut PgConnection, sql: &str, types: &str) -> Vec<String> {
    sqlx::raw_sql("DEALLOCATE ALL").execute(&mut *conn).await.unwrap();
    let types = if types.is_empty() {
        String::new()
    } else {
        format!("({types})")
    };
    let prepare = format!("PREPARE looked_at {types} AS {sql}");
    let prepared = sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *conn).await;
    if let Err(error) = prepared {
        return vec![format!("Seq Scan on {error}")];
    }
    let known = sqlx::raw_sql(
        "SELECT coalesce(array_to_string(parameter_types::text[], ','), '') FROM pg_prepared_statements \
         WHERE name = 'looked_at'",
    );
    let known: String = known.fetch_one(&mut *conn).await.unwrap().get(0);
    let values: Vec<String> = known
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| match name {
            "bigint" | "integer" | "smallint" => "1000".to_owned(),
            "bigint[]" => "'{1,2,3,4,5,6,7,8}'".to_owned(),
            "boolean" => "true".to_owned(),
            // What a list does not filter by.
            "text" if sql.contains(list::CONDITIONS) => "NULL".to_owned(),
            "text" => "'x'".to_owned(),
            other => format!("NULL::{other}"),
        })
        .collect();
    let mut execute = "EXPLAIN (COSTS OFF) EXECUTE looked_at".to_owned();
    if !values.is_empty() {
        write!(execute, "({})", values.join(", ")).unwrap();
    }
    let explained = sqlx::raw_sql(AssertSqlSafe(execute)).fetch_all(&mut *conn).await;
    let explained = explained.unwrap_or_else(|error| panic!("{error}\n{sql}"));
    explained.iter().map(|row| row.get(0)).collect()
}

/// A step of a plan that goes to a table.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// All of it, in no order.
    Whole(String),
    /// By these bounds of this index; no bounds: from one end.
    By(String),
}

/// The index's name and the columns that bound the look-up.
fn steps(plan: &[String]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (place, line) in plan.iter().enumerate() {
        if let Some((_, table)) = line.split_once("Seq Scan on ") {
            let table = table.split(' ').next().unwrap_or_default();
            steps.push(Step::Whole(table.to_owned()));
            continue;
        }
        let by = [
            "Index Scan using ",
            "Index Only Scan using ",
            "Bitmap Index Scan on ",
            "Backward using ",
        ];
        let Some(index) = by.iter().find_map(|by| line.split_once(by)) else {
            continue;
        };
        let index = index.1.split(' ').next().unwrap_or_default();
        let condition = plan.get(place + 1).and_then(|line| line.split_once("Index Cond: "));
        let columns: Vec<&str> = condition.map_or_else(Vec::new, |(_, condition)| {
            let words = condition
                .split(" AND ")
                .filter_map(|part| part.trim_start_matches('(').split(' ').next());
            words.filter_map(|word| word.rsplit('.').next()).collect()
        });
        steps.push(Step::By(format!("{index} ({})", columns.join(", "))));
    }
    steps
}

/// What is wrong with a plan that must not read a big table whole, nor sort.
fn faults(name: &str, plan: &[String]) -> Vec<String> {
    let walks = WALKS.contains(&name);
    let mut wrong: Vec<String> = steps(plan)
        .into_iter()
        .filter_map(|step| match step {
            Step::Whole(table) => (!SMALL.contains(&table.as_str()) && !walks).then(|| format!("all of {table}")),
            Step::By(_) => None,
        })
        .collect();
    let sorts = plan
        .iter()
        .any(|line| line.trim_start_matches([' ', '-', '>']).starts_with("Sort  ") || line.ends_with("Sort"));
    if sorts && !SORTS.contains(&name) {
        wrong.push("a sort".to_owned());
    }
    wrong
}

/// Some thousand of every kind.
const FILL: &str = "INSERT INTO lane SELECT i FROM generate_series(1, 4000) AS i; \
    INSERT INTO submission (id, created_at, origin, payload) SELECT i, i, '{}', '{}' FROM generate_series(1, 12000) AS i; \
    INSERT INTO delivery (id, lane, next_at, updated_at, state) SELECT i, 1 + i % 4000, i, i, \
       CASE WHEN i <= 4000 THEN 'head' ELSE 'waiting' END FROM generate_series(1, 8000) AS i; \
    INSERT INTO settled (id, lane, updated_at, state, reason) SELECT i, 1 + i % 4000, i, \
       CASE WHEN i % 8 = 0 THEN 'dead' ELSE 'delivered' END, CASE WHEN i % 8 = 0 THEN 'unauthorized' END FROM generate_series(8001, 12000) AS i; \
    INSERT INTO attempt (submission, number, started_at, elapsed_ms, hard_override, lost_response, outcome) \
       SELECT i, 1, i, 1, false, false, 'delivered' FROM generate_series(8001, 12000) AS i; \
    INSERT INTO history (submission, at, actor, what) SELECT i, i, 'user ana', 'requeued' FROM generate_series(1, 4000) AS i; \
    INSERT INTO episode SELECT id, 'x' FROM settled WHERE state = 'dead'; \
    INSERT INTO receipt_row SELECT decode(repeat('00', 16), 'hex'), i, decode(repeat('00', 32), 'hex') FROM generate_series(1, 4000) AS i";

/// The tables as they come to be: empty; filled, and nobody told the planner; and analysed.
const STAGES: [&str; 3] = ["SELECT 1", FILL, "ANALYZE"];

#[tokio::test]
async fn every_statement_looks_up_what_it_looks_for() {
    let Some(bench) = Bench::fresh(Kind::Postgres).await else {
        return;
    };
    let mut wrong = Vec::new();
    for stage in STAGES {
        sqlx::raw_sql(stage)
            .execute(&mut connection(&bench.address, Purpose::Writing).await)
            .await
            .unwrap();
        for purpose in [Purpose::Writing, Purpose::Reading, Purpose::Beating] {
            let mut conn = connection(&bench.address, purpose).await;
            for known in STATEMENTS.iter().filter(|known| known.purpose == purpose) {
                let plan = plan(&mut conn, known.sql, known.types).await;
                let mut found: Vec<String> = steps(&plan)
                    .into_iter()
                    .filter_map(|step| match step {
                        Step::By(bounds) => Some(bounds),
                        Step::Whole(_) => None,
                    })
                    .collect();
                found.sort_unstable();
                let mut faults = faults(known.name, &plan);
                // With statistics there may be better ways; without any there is one.
                if stage == STAGES[0] && found != known.bounds {
                    faults.push(format!("it goes by {found:?}"));
                }
                if !faults.is_empty() {
                    wrong.push(format!(
                        "{} ({:.8}): {faults:?}\n{}",
                        known.name,
                        stage,
                        plan.join("\n")
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Those that are made of parts.
fn composed() -> Vec<(String, Purpose, String)> {
    let claims = &*claim::STATEMENTS;
    let mut all = vec![
        ("due".to_owned(), Purpose::Writing, claims.due.clone()),
        ("least_tried".to_owned(), Purpose::Writing, claims.least_tried.clone()),
        ("lead".to_owned(), Purpose::Writing, claims.lead.clone()),
        ("trial".to_owned(), Purpose::Writing, claims.trial.clone()),
        ("this".to_owned(), Purpose::Writing, claims.this.clone()),
        ("next up".to_owned(), Purpose::Reading, list::next_up_sql()),
        ("one".to_owned(), Purpose::Reading, show::one_sql()),
        ("attempts".to_owned(), Purpose::Reading, show::attempts_sql()),
        // Of an act, and of its rehearsal.
        ("matching".to_owned(), Purpose::Writing, list::matching_sql()),
        ("matching".to_owned(), Purpose::Reading, list::matching_sql()),
    ];
    all.extend(sweep::DELETIONS.map(|sql| (sql.to_owned(), Purpose::Writing, sql.to_owned())));
    for driver in list::DRIVERS {
        all.push((format!("list {driver:.30}"), Purpose::Reading, list::list_sql(driver)));
        all.push((
            format!("select {driver:.30}"),
            Purpose::Reading,
            list::select_sql(driver),
        ));
    }
    all
}

#[tokio::test]
async fn no_claim_and_no_list_reads_a_big_table_whole() {
    let Some(bench) = Bench::fresh(Kind::Postgres).await else {
        return;
    };
    let mut wrong = Vec::new();
    for stage in STAGES {
        sqlx::raw_sql(stage)
            .execute(&mut connection(&bench.address, Purpose::Writing).await)
            .await
            .unwrap();
        for (name, purpose, sql) in composed() {
            let mut conn = connection(&bench.address, purpose).await;
            let plan = plan(&mut conn, &sql, "").await;
            let faults = faults(&name, &plan);
            if !faults.is_empty() {
                wrong.push(format!("{name} ({stage:.8}): {faults:?}\n{}", plan.join("\n")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_statement_of_the_sources_is_tested_here() {
    let mut missing = Vec::new();
    for (module, source) in SOURCES {
        for (place, _) in source.match_indices("const ") {
            let Some((name, after)) = source[place + 6..].split_once(": &str =") else {
                continue;
            };
            if !name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_') {
                continue;
            }
            let after = after.trim_start().trim_start_matches('"');
            let is_statement = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "]
                .iter()
                .any(|verb| after.starts_with(verb));
            let name = format!("{module}::{name}");
            if is_statement && !STATEMENTS.iter().any(|known| known.name == name) {
                missing.push(name);
            }
        }
    }
    // Parts of a claim.
    missing.retain(|name| !["claim::ME", "claim::CLAIM"].contains(&name.as_str()));
    assert!(missing.is_empty(), "{missing:?}");
}
