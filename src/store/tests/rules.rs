//! What must hold between any two transactions, whatever happened: asked in SQL, of either kind of store.

use sqlx::SqliteConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::*;
use crate::model::{Host, Server};

/// Every table of the outbox in SQLite.
const SQLITE_TABLES: [&str; 11] = [
    "submission",
    "delivery",
    "tally",
    "flight",
    "lane",
    "attempt",
    "history",
    "episode",
    "receipt_file",
    "receipt_row",
    "memory",
];

/// What is compared of the outbox in PostgreSQL. Not what each beat of a node changes.
const POSTGRES_TABLES: &[(&str, &str)] = &[
    ("submission", "submission"),
    ("delivery", "delivery"),
    ("settled", "settled"),
    ("lane", "lane"),
    ("attempt", "attempt"),
    ("history", "history"),
    ("episode", "episode"),
    ("receipt_file", "receipt_file"),
    ("receipt_row", "receipt_row"),
    ("memory", "(SELECT name, value, closed FROM memory)"),
    ("tally", POSTGRES_TALLY),
];

/// The counts as they are told, whether folded yet or not.
const POSTGRES_TALLY: &str = "(SELECT sum(pending) AS pending, sum(sending) AS sending, sum(delivered) AS delivered, \
     sum(dead) AS dead, sum(parked) AS parked, sum(dismissed) AS dismissed FROM ( \
        SELECT pending, sending, delivered, dead, parked, dismissed FROM tally UNION ALL \
        SELECT pending, sending, delivered, dead, parked, dismissed FROM tally_delta) AS part)";

/// Queries that find in SQLite what must not be.
const SQLITE_RULES: &[(&str, &str)] = &[
    (
        "the database is whole",
        "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
    ),
    ("no child without its parent", "SELECT * FROM pragma_foreign_key_check"),
    (
        "the tally counts what is there",
        "SELECT t.state FROM tally AS t WHERE t.n <> (SELECT count(*) FROM delivery AS d \
          WHERE t.state = CASE WHEN d.state IN ('head', 'waiting') THEN 'pending' ELSE d.state END)",
    ),
    (
        "what is in flight is a head, and no other attempt of it has ended since",
        "SELECT f.id FROM flight AS f WHERE NOT EXISTS ( \
            SELECT 1 FROM delivery AS d WHERE d.id = f.id AND d.state = 'head' AND d.attempts = f.attempt - 1)",
    ),
    (
        "a lane is founded once, and every lane is known",
        "SELECT id FROM delivery WHERE lane IS NOT NULL AND lane NOT IN (SELECT number FROM lane)",
    ),
    (
        "the head of a lane is its smallest pending one, or the one that is sent",
        "SELECT h.id FROM delivery AS h WHERE h.state = 'head' AND h.lane IS NOT NULL AND h.id NOT IN (SELECT id FROM flight) AND EXISTS ( \
            SELECT 1 FROM delivery AS o WHERE o.lane = h.lane AND o.state IN ('head', 'waiting') AND o.id < h.id)",
    ),
    (
        "nothing waits behind nobody",
        "SELECT w.id FROM delivery AS w WHERE w.state = 'waiting' AND NOT EXISTS ( \
            SELECT 1 FROM delivery AS o WHERE o.lane = w.lane AND o.state = 'head')",
    ),
    (
        "every submission stands somewhere",
        "SELECT id FROM submission WHERE id NOT IN (SELECT id FROM delivery)",
    ),
    (
        "nothing is remembered of what is gone",
        "SELECT number FROM lane WHERE number NOT IN (SELECT lane FROM delivery WHERE lane IS NOT NULL)",
    ),
];

/// Queries that find in PostgreSQL what must not be.
const POSTGRES_RULES: &[(&str, &str)] = &[
    (
        "the tally counts what is there",
        "SELECT 1 FROM ( \
            SELECT count(*) FILTER (WHERE state IN ('head', 'waiting')), count(*) FILTER (WHERE state = 'sending'), \
                   count(*) FILTER (WHERE state = 'delivered'), count(*) FILTER (WHERE state = 'dead'), \
                   count(*) FILTER (WHERE state = 'parked'), count(*) FILTER (WHERE state = 'dismissed') FROM standing \
         ) AS found (pending, sending, delivered, dead, parked, dismissed), {tally} AS told \
         WHERE (told.pending, told.sending, told.delivered, told.dead, told.parked, told.dismissed) \
            IS DISTINCT FROM (found.pending, found.sending, found.delivered, found.dead, found.parked, found.dismissed)",
    ),
    (
        "of one activity at most one is next or sent",
        "SELECT lane FROM delivery WHERE lane IS NOT NULL AND state IN ('head', 'sending') \
          GROUP BY lane HAVING count(*) > 1",
    ),
    (
        "what is sent is sent by a node that has not left",
        "SELECT id FROM delivery WHERE state = 'sending' AND node NOT IN (SELECT id FROM node WHERE NOT is_stopped)",
    ),
    (
        "no other attempt of what is in flight has ended since",
        "SELECT d.id FROM delivery AS d JOIN attempt AS a ON a.submission = d.id \
          WHERE a.number > d.attempts - CASE d.state WHEN 'sending' THEN 1 ELSE 0 END",
    ),
    (
        "every lane is known",
        "SELECT id FROM standing WHERE lane IS NOT NULL AND lane NOT IN (SELECT lane FROM lane)",
    ),
    (
        "nothing is remembered of what is gone",
        "SELECT lane FROM lane WHERE lane NOT IN (SELECT lane FROM standing WHERE lane IS NOT NULL)",
    ),
    (
        "the newest delivered one of a lane is known",
        "SELECT l.lane FROM lane AS l WHERE coalesce(l.delivered_id, 0) < ( \
            SELECT max(d.id) FROM settled AS d WHERE d.lane = l.lane AND d.state = 'delivered')",
    ),
    (
        "the head of a lane is its smallest pending one, or the one that is sent",
        "SELECT h.id FROM delivery AS h WHERE h.state = 'head' AND EXISTS ( \
            SELECT 1 FROM delivery AS o WHERE o.lane = h.lane AND o.state = 'waiting' AND o.id < h.id)",
    ),
    (
        "nothing waits behind nobody",
        "SELECT w.id FROM delivery AS w WHERE w.state = 'waiting' AND NOT EXISTS ( \
            SELECT 1 FROM delivery AS o WHERE o.lane = w.lane AND o.state IN ('head', 'sending'))",
    ),
    (
        "every submission stands in one place",
        "SELECT s.id FROM submission AS s WHERE (SELECT count(*) FROM standing AS d WHERE d.id = s.id) <> 1",
    ),
    (
        "nothing is kept of a submission that is gone",
        "SELECT id FROM (SELECT id FROM standing UNION ALL SELECT id FROM episode UNION ALL \
            SELECT submission FROM attempt UNION ALL SELECT submission FROM history) AS kept (id) \
          WHERE id NOT IN (SELECT id FROM submission)",
    ),
    (
        "what an episode brings back is dead",
        "SELECT id FROM episode WHERE id NOT IN (SELECT id FROM settled WHERE state = 'dead')",
    ),
];

/// A connection of its own to the outbox's tables, past the store.
enum Hand {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Hand {
    async fn of(address: &Address) -> Self {
        match address {
            Address::File(path) => Self::Sqlite(SqliteConnectOptions::new().filename(path).connect().await.unwrap()),
            Address::Server(server) => Self::Postgres(options(server).connect().await.unwrap()),
        }
    }

    async fn close(self) {
        match self {
            Self::Sqlite(conn) => conn.close().await.unwrap(),
            Self::Postgres(conn) => conn.close().await.unwrap(),
        }
    }

    /// The first column of what is there, as text.
    async fn texts(&mut self, sql: String) -> Vec<String> {
        let sql = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(conn) => {
                let rows = sqlx::query(sql).fetch_all(conn).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
            Self::Postgres(conn) => {
                let rows = sqlx::query(sql).fetch_all(conn).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
        }
    }
}

/// The tests' server asks for no password, and has no TLS.
fn options(server: &Server) -> PgConnectOptions {
    let options = PgConnectOptions::new_without_pgpass()
        .username(&server.user)
        .database(&server.database)
        .port(server.port)
        .options([("search_path", &server.schema)]);
    match &server.host {
        Host::Socket(directory) => options.socket(directory),
        Host::Network(host) => options.host(host),
    }
}

/// What another hand does to the database, on a connection of its own; the rows that it changed.
pub(super) async fn by_hand(address: &Address, sql: &str) -> Result<u64, sqlx::Error> {
    let mut hand = Hand::of(address).await;
    let sql = sqlx::raw_sql(AssertSqlSafe(sql));
    let done = match &mut hand {
        Hand::Sqlite(conn) => sql.execute(conn).await.map(|done| done.rows_affected()),
        Hand::Postgres(conn) => sql.execute(conn).await.map(|done| done.rows_affected()),
    };
    hand.close().await;
    done
}

/// The rules that do not hold.
pub(super) async fn broken(address: &Address) -> Vec<&'static str> {
    let mut hand = Hand::of(address).await;
    let rules = match address {
        Address::File(_) => SQLITE_RULES,
        Address::Server(_) => POSTGRES_RULES,
    };
    let mut broken = Vec::new();
    for (rule, sql) in rules {
        let sql = sql.replace("{tally}", POSTGRES_TALLY);
        // The rows of a rule are of any type: what counts is that there are none.
        if !hand
            .texts(format!("SELECT 'x' FROM ({sql}) AS broken"))
            .await
            .is_empty()
        {
            broken.push(*rule);
        }
    }
    hand.close().await;
    broken
}

impl Bench {
    /// What another hand does to the database, on a connection of its own; the rows that it changed.
    pub(in crate::store) async fn by_hand(&self, sql: &str) -> Result<u64, sqlx::Error> {
        by_hand(&self.address, sql).await
    }

    /// The first column of what is there, as text, on a connection of its own.
    pub(in crate::store) async fn texts(&self, sql: &str) -> Vec<String> {
        let mut hand = Hand::of(&self.address).await;
        let texts = hand.texts(sql.to_owned()).await;
        hand.close().await;
        texts
    }

    /// Every row of every table, as text.
    pub(in crate::store) async fn dump(&self) -> Vec<String> {
        let mut hand = Hand::of(&self.address).await;
        let mut lines = Vec::new();
        match self.address {
            Address::File(_) => {
                for table in SQLITE_TABLES {
                    let columns = hand
                        .texts(format!("SELECT name FROM pragma_table_info('{table}')"))
                        .await;
                    let columns: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
                    let line = columns.join(" || '|' || ");
                    lines.extend(
                        hand.texts(format!("SELECT '{table} ' || {line} FROM {table} ORDER BY 1"))
                            .await,
                    );
                }
            }
            Address::Server(_) => {
                for (table, source) in POSTGRES_TABLES {
                    let sql = format!("SELECT '{table} ' || line::text FROM {source} AS line ORDER BY 1");
                    lines.extend(hand.texts(sql).await);
                }
            }
        }
        hand.close().await;
        lines
    }

    /// What must hold between any two transactions, whatever happened.
    pub(in crate::store) async fn check(&self) {
        let broken = broken(&self.address).await;
        assert!(broken.is_empty(), "{broken:?}: {:#?}", self.dump().await);
    }
}
