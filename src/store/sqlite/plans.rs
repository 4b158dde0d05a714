//! Every statement is prepared on a migrated database and its plan is read: none walks a big table, none sorts, unless
//! it is named here with its reason.

use std::collections::BTreeSet;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

mod statements;

use super::machine::{batch, hot};
use super::opening::{inspect, schema};
use super::operations::{admit, claim, gate, history, lanes, settle, sweep};
use super::reading::{list, recent, show};
use statements::{SOURCES, STATEMENTS};

/// What a plan may say although it walks something: what is walked is small, and why.
const SMALL: &[(&str, &str)] = &[
    ("SCAN json_each", "the batch itself"),
    ("SCAN j ", "the batch itself"),
    ("SCAN k", "the keys of the batch"),
    ("SCAN i ", "the batch itself"),
    ("SCAN lane USING COVERING INDEX lane_number", "its first entry"),
    ("SCAN l ", "the lanes of the batch"),
    ("SCAN up", "what a bounded subquery yields"),
    ("SCAN newest", "what a bounded subquery yields"),
    ("SCAN stretch", "a bounded stretch of an index"),
    ("SCAN hop", "a bounded number of lanes"),
    ("SCAN (subquery", "what a bounded subquery yields"),
    ("SCAN sqlite_sequence", "one row"),
    ("SCAN tally", "six rows"),
    ("SCAN f", "what is in flight"),
    ("SCAN flight", "what is in flight"),
    ("SCAN o", "the outcomes of the group"),
    ("SCAN outcome", "the outcomes of the group"),
    ("SCAN t", "what the claim has chosen"),
    ("SCAN sized", "what the claim has chosen"),
    ("SCAN turn", "what the claim has chosen"),
    ("SCAN v", "the batch itself"),
    ("SCAN e", "what was in flight when the gate closed"),
    ("SCAN episode", "what was in flight when the gate closed"),
    ("SCAN receipt_file", "files that are being taken"),
    ("SCAN minute", "the beginning of its key, to a LIMIT"),
    ("SCAN total", "a row a name"),
    ("SCAN CONSTANT ROW", "no table"),
    ("SCAN pragma_database_list", "no table"),
    ("SCAN 8-ROW VALUES", "the batch itself"),
];

/// Indexes that are walked from one end, in their own order, to a LIMIT: the point of having them.
fn walks_an_ordered_index(line: &str, sql: &str) -> bool {
    line.contains("USING")
        && (line.contains("INDEX delivery_") || line.contains("INDEX submission_by_"))
        && sql.contains("LIMIT")
}

async fn migrated() -> (tempfile::TempDir, SqliteConnection) {
    let directory = crate::store::tests::directory();
    let options = SqliteConnectOptions::new()
        .filename(directory.path().join("outbox.db"))
        .create_if_missing(true);
    let mut conn = options.connect().await.unwrap();
    schema::migrate(&mut conn).await.unwrap();
    hot::prepare(&mut conn).await.unwrap();
    (directory, conn)
}

async fn plan(conn: &mut SqliteConnection, sql: &str) -> Vec<String> {
    let explained = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
        .fetch_all(conn)
        .await;
    explained
        .unwrap_or_else(|error| panic!("{error}\n{sql}"))
        .iter()
        .map(|row| row.get("detail"))
        .collect()
}

#[tokio::test]
async fn no_statement_walks_a_big_table_or_sorts() {
    let (_directory, mut conn) = migrated().await;
    let mut statements: Vec<String> = STATEMENTS.iter().map(|(_, sql)| (*sql).to_owned()).collect();
    statements.extend(sweep::DELETIONS.map(str::to_owned));
    statements.extend([
        show::one_sql(),
        show::attempts_sql(),
        list::matching_sql(),
        list::next_up_sql(),
    ]);
    statements.push(batch::insert_sql(
        admit::INSERT_SUBMISSION,
        admit::SUBMISSION_COLUMNS,
        8,
    ));
    statements.push(settle::FENCED.replace('#', &batch::values(settle::COLUMNS, 8)));
    for sql in &statements {
        for line in plan(&mut conn, sql).await {
            assert!(!line.contains("TEMP B-TREE") || batch_only(sql), "{line}\n{sql}");
            let small = SMALL
                .iter()
                .any(|(start, _)| line.starts_with(start) || line == start.trim_end());
            assert!(
                !line.starts_with("SCAN") || small || walks_an_ordered_index(&line, sql),
                "{line}\n{sql}"
            );
        }
    }
}

/// Statements whose sorting is over the batch they were given, which is bounded.
fn batch_only(sql: &str) -> bool {
    [
        lanes::REMEMBER_DELIVERED,
        history::WRITE_SAME,
        settle::COUNT,
        // A bounded stretch of an index.
        claim::LEAST_TRIED,
        claim::LEAD,
        gate::TRIAL,
        recent::PRODUCERS,
    ]
    .contains(&sql)
}

/// What a search that may find many goes by, in the plan's order; a statement that is not named here finds single rows
/// by their numbers alone. Read each beside its SQL: where a bound is missing, SQLite reads all that follows the
/// others. It uses the first column alone of a row value like `(tries, id) > (?1, ?2)`: write `tries = ?1 AND id > ?2
/// UNION ALL tries > ?1`.
const BOUNDS: &[(&str, &[&str])] = &[
    ("HOLDERS", &["submission_key (submission_key=?)"]),
    // The keys that point at a row which is about to be written or deleted.
    (
        "INSERT_DELIVERY",
        &["history_submission (submission=?)", "PRIMARY KEY (submission=?)"],
    ),
    ("LET_GO", &["delivery_held (not_before>? AND not_before<?)"]),
    (
        "FRESH",
        &[
            "delivery_due (requeued=? AND next_at<?)",
            "delivery_due (requeued=? AND next_at>?)",
        ],
    ),
    (
        "REQUEUED",
        &[
            "delivery_due (requeued=? AND next_at<?)",
            "delivery_due (requeued=? AND next_at>?)",
        ],
    ),
    ("NEWEST", &["PRIMARY KEY (submission=? AND number=?)"]),
    ("REPLACE", &["submission_key (submission_key=?)"]),
    (
        "TRIAL",
        &[
            "delivery_lane (lane=? AND rowid>? AND rowid<?)",
            "lane_number (number=?)",
            "delivery_newest (lane=?)",
        ],
    ),
    (
        "REVIVABLE",
        &[
            "lane_number (number=?)",
            "delivery_newest (lane=?)",
            "delivery_lane (lane=? AND rowid>? AND rowid<?)",
            "lane_number (number=?)",
            "delivery_newest (lane=?)",
        ],
    ),
    ("OF", &["history_submission (submission=?)"]),
    ("LAST_LINES", &["history_submission (submission=?)"]),
    (
        "PARK_AGAIN",
        &[
            "history_submission (submission=? AND rowid>?)",
            "history_submission (submission=?)",
        ],
    ),
    // `rowid>?`: the head is at most one, whose number is compared.
    (
        "DEMOTE",
        &["delivery_live (lane=? AND rowid>?)", "delivery_waiting (lane=?)"],
    ),
    ("PROMOTE", &["delivery_live (lane=?)", "delivery_waiting (lane=?)"]),
    ("KNOWN", &["delivery_live (lane=?)"]),
    // What was delivered last of an activity.
    ("BEFORE", &["lane_number (number=?)", "delivery_newest (lane=?)"]),
    (
        "OF_EPISODE",
        &[
            "INTEGER PRIMARY KEY (rowid>?)",
            "lane_number (number=?)",
            "delivery_newest (lane=?)",
        ],
    ),
    (
        "DELIVERED_LAST",
        &["lane_number (number=?)", "delivery_newest (lane=?)"],
    ),
    ("DELIVERED", &["lane_number (number=?)", "delivery_newest (lane=?)"]),
    ("REMEMBER_DELIVERED", &["lane_number (number=?)"]),
    ("STEP_BACK", &["delivery_waiting (lane=?)"]),
    ("COME_FORWARD", &["delivery_live (lane=?)", "delivery_waiting (lane=?)"]),
    ("FORGET_EMPTY", &["lane_number (number=?)", "delivery_lane (lane=?)"]),
    ("REFUSED_BY_RESULT_TYPES", &["submission_by_result_types (id>?)"]),
    ("CONTENTS", &["INTEGER PRIMARY KEY (rowid>?)"]),
    ("FORGET", &["sqlite_autoindex_memory_1 (name=?)"]),
    ("RECALL", &["sqlite_autoindex_memory_1 (name=?)"]),
    ("SAME_FILES", &["PRIMARY KEY (inbox=? AND name=? AND inode=?)"]),
    ("FORGET_FILES", &["PRIMARY KEY (inbox=? AND name=? AND inode=?)"]),
    ("KNOWN_ROWS", &["PRIMARY KEY (inbox=? AND row=? AND digest=?)"]),
    ("FORGET_ROWS", &["PRIMARY KEY (inbox=? AND row=? AND digest=?)"]),
    // Of the sweep, and of what is known of an activity.
    ("DELIVERED", &["delivery_delivered_since (updated_at<?)"]),
    ("DELIVERED", &[]),
    ("DISMISSED", &["delivery_dismissed_since (updated_at<?)"]),
    ("DEAD", &["delivery_dead_since (updated_at<?)"]),
    ("COUNTED", &["PRIMARY KEY (until=? AND node=?)"]),
    ("ADD_TO_MINUTE", &["PRIMARY KEY (until=? AND node=?)"]),
    ("EXPIRE_MINUTES", &["PRIMARY KEY (until<?)"]),
    ("MINUTES", &["PRIMARY KEY ((until,node)"]),
    (
        "PACE",
        &[
            "delivery_delivered_since (updated_at>? AND updated_at<?)",
            "delivery_dead_since (updated_at>? AND updated_at<?)",
        ],
    ),
    ("PRODUCERS", &["INTEGER PRIMARY KEY (rowid<?)"]),
    (
        "FINISHED",
        &[
            "delivery_delivered_since (updated_at>?)",
            "PRIMARY KEY (submission=? AND number=?)",
            "delivery_dead_since (updated_at>?)",
            "PRIMARY KEY (submission=? AND number=?)",
            "delivery_dismissed_since (updated_at>?)",
            "PRIMARY KEY (submission=? AND number=?)",
        ],
    ),
    (
        "NEXT_HEADS",
        &["delivery_probe (tries=? AND rowid>?)", "delivery_probe (tries>?)"],
    ),
    (
        "WAITING_LANES",
        &[
            "delivery_waiting (lane>?)",
            "delivery_waiting (lane>?)",
            "delivery_live (lane=?)",
            "delivery_waiting (lane=?)",
        ],
    ),
    (
        "DUES",
        &[
            "delivery_due (requeued=?)",
            "delivery_due (requeued=?)",
            "delivery_due (requeued=?)",
            "delivery_due (requeued=?)",
            "delivery_held (not_before>?)",
        ],
    ),
];

/// What a line of a plan searches by, unless that is a row's number, or one of the six states of the tally.
fn bounds(line: &str) -> Option<&str> {
    let searched = line.strip_prefix("SEARCH ")?.split_once(" USING ")?.1;
    let by = searched.trim_start_matches("COVERING ").trim_start_matches("INDEX ");
    let by = &by[..=by.find(')')?];
    (!["INTEGER PRIMARY KEY (rowid=?)", "PRIMARY KEY (state=?)"].contains(&by)).then_some(by)
}

#[tokio::test]
async fn every_bound_of_every_statement_is_used() {
    let (_directory, mut conn) = migrated().await;
    let mut wrong = Vec::new();
    for (name, sql) in STATEMENTS {
        let plan = plan(&mut conn, sql).await;
        let found: Vec<&str> = plan.iter().filter_map(|line| bounds(line)).collect();
        let mut known = BOUNDS
            .iter()
            .filter(|(of, _)| of == name)
            .map(|(_, bounds)| *bounds)
            .peekable();
        let is_plain = known.peek().is_none() && found.is_empty();
        if !is_plain && !known.any(|bounds| bounds == found) {
            wrong.push(format!("{name}: {found:?}\n{sql}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn lists_for_people_begin_at_the_narrowest_index() {
    let (_directory, mut conn) = migrated().await;
    for driver in list::DRIVERS {
        for sql in [list::list_sql(driver), list::select_sql(driver)] {
            let plan = plan(&mut conn, &sql).await;
            assert!(
                plan[0].contains("INDEX delivery_")
                    || plan[0].contains("INTEGER PRIMARY KEY (rowid<?)")
                    // What is being sent: as many as are in flight.
                    || driver.contains("d.id IN (SELECT id FROM flight)") && plan[1] == "USING ROWID SEARCH ON TABLE \
                         flight FOR IN-OPERATOR",
                "{plan:#?}\n{sql}"
            );
            assert!(
                driver.contains("IN (SELECT id FROM flight)") && plan[0].ends_with("(rowid=?)")
                    || ["(lane=? AND rowid<?)", "(id<?)", "(rowid<?)"]
                        .iter()
                        .any(|bounds| plan[0].ends_with(bounds)),
                "{plan:#?}\n{sql}"
            );
            // One activity's few submissions are sorted; nothing else is.
            let sorts = plan.iter().any(|line| line.contains("TEMP B-TREE"));
            assert_eq!(sorts, driver.contains("delivery_lane"), "{plan:#?}\n{sql}");
            let scans: Vec<&String> = plan
                .iter()
                .skip(1)
                .filter(|line| line.starts_with("SCAN") && !line.ends_with(" flight"))
                .collect();
            assert!(scans.is_empty(), "{plan:#?}\n{sql}");
        }
    }
}

#[tokio::test]
async fn the_edges_of_every_table_and_index_are_known() {
    let (_directory, mut conn) = migrated().await;
    let named = |rows: Vec<sqlx::sqlite::SqliteRow>| rows.iter().map(|row| row.get(0)).collect::<BTreeSet<String>>();
    let tables = sqlx::query("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
    let tables = named(tables.fetch_all(&mut conn).await.unwrap());
    assert_eq!(
        tables,
        inspect::TABLES.iter().map(|(table, _)| (*table).to_owned()).collect()
    );
    let indexes = sqlx::query("SELECT name FROM sqlite_schema WHERE type = 'index' AND name NOT LIKE 'sqlite_%'");
    let indexes = named(indexes.fetch_all(&mut conn).await.unwrap());
    assert_eq!(
        indexes,
        inspect::INDEXES.iter().map(|(index, ..)| (*index).to_owned()).collect()
    );
    for sql in inspect::edges() {
        let plan = plan(&mut conn, &sql).await;
        assert!(
            !plan.iter().any(|line| line.contains("TEMP B-TREE")),
            "{plan:#?}\n{sql}"
        );
    }
}

#[test]
fn every_statement_of_the_sources_is_tested_here() {
    let mut missing = Vec::new();
    for source in SOURCES {
        for (place, _) in source.match_indices("const ") {
            let rest = &source[place + 6..];
            let Some((name, after)) = rest.split_once(": &str = \"") else {
                continue;
            };
            let is_name = name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_');
            let is_statement = ["SELECT ", "INSERT ", "UPDATE ", "DELETE "]
                .iter()
                .any(|verb| after.starts_with(verb));
            if is_name
                && is_statement
                && !STATEMENTS
                    .iter()
                    .any(|(known, sql)| *known == name && after.starts_with(&sql[..7]))
            {
                missing.push(name);
            }
        }
    }
    // Two that are completed with rows before they are statements, and those of the schema, of which one counts all
    // that an upgrade rewrites.
    missing.retain(|name| !["INSERT_SUBMISSION", "FENCED", "ROWS", "NAMES"].contains(name));
    assert!(missing.is_empty(), "{missing:?}");
}
