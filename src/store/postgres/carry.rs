//! The outbox as cargo ([`crate::store::cargo`]): read out of a schema that no daemon uses meanwhile, or written into an
//! empty one. All of it is one transaction that holds every table against other writers: a crash anywhere leaves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection as _, Postgres, Row as _};
use tokio::time::{Instant, sleep};

use crate::clock::Timestamp;
use crate::lock::Lock;
use crate::model::{Server, hexadecimal};
use crate::policy::gate::{GATE, GateRecord, PAUSE_IN_FORCE};
use crate::store::beside::lock;
use crate::store::cargo::{Cell, Kind, PAGE_ROWS_MAX, Page, Remembered, Row, Table};
use crate::store::{OpenError, Role};

use super::connect::{self, Connector, Purpose};
use super::transaction::roll_back;
use super::{identity, lanes, notes, recover, schema, trouble};

/// One end of a move.
#[derive(Debug)]
pub(crate) struct Carrier {
    conn: PgConnection,
    /// As a message names it.
    pub(crate) place: String,
    identity: String,
    /// The key's scope, for what is the gate's of that key.
    scope: String,
    /// How many were in flight when their daemon ended, and are pending again.
    pub(crate) recovered: u64,
    _lock: Lock,
}

/// For the transaction of a move: it waits as long as the other side takes. The locks let readers be, and nobody else;
/// `node` among them, so that no daemon joins meanwhile.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; \
     LOCK TABLE node, submission, lane, delivery, settled, attempt, history, episode, receipt_file, receipt_row, memory, minute, total, tally, tally_delta \
     IN SHARE ROW EXCLUSIVE MODE";

/// Everybody that has not left or was not taken over, with its beat and how long ago that was (milliseconds).
const PRESENT: &str = "SELECT id, beat, name, greatest((extract(epoch FROM clock_timestamp()) * 1000)::bigint - seen_at, 0) \
     FROM node WHERE fenced_at IS NULL ORDER BY id";

/// Who has given no sign of life for so long may be dead; a beat comes once a second.
const YOUNG_MS: i64 = 6000;
/// For so long an old sign of life is watched all the same: a clock may have been set.
const WATCH: Duration = Duration::from_secs(2);

impl Carrier {
    /// The outbox that is carried away, with what dead daemons had claimed put back.
    pub(crate) async fn source(server: &Server, scope: &str, now: Timestamp) -> Result<Self, OpenError> {
        let mut carrier = Self::open(server, scope, Role::Reader, now).await?;
        let left = sqlx::query("SELECT count(*) FROM delivery WHERE state = 'sending'")
            .fetch_one(&mut carrier.conn)
            .await
            .and_then(|row| row.try_get::<i64, _>(0));
        match left {
            Ok(0) => Ok(carrier),
            Ok(left) => Err(OpenError::Busy(format!(
                "{}: {left} submissions are on their way; try again",
                carrier.place
            ))),
            Err(error) => Err(carrier.failed(&error)),
        }
    }

    /// The outbox that another one is carried into; its tables are made where there are none.
    pub(crate) async fn target(server: &Server, scope: &str, now: Timestamp) -> Result<Self, OpenError> {
        Self::open(server, scope, Role::Tool, now).await
    }

    async fn open(server: &Server, scope: &str, role: Role, now: Timestamp) -> Result<Self, OpenError> {
        let lock = lock::take(&server.anchor).await.map_err(|error| match error {
            OpenError::InUse(_) => lock::stop_first(&server.anchor),
            OpenError::Busy(_) | OpenError::Missing(_) | OpenError::Unusable(_) => error,
        })?;
        let identity = hexadecimal(&identity::of_host(server.state_directory())?);
        connect::check_files(server)?;
        let connector = Connector::to(server);
        let failed = |error: sqlx::Error| trouble::open_error(&connector.place, &error);
        let name = format!("reten-outbox {} move", server.schema);
        let mut conn = connector.connect(Purpose::Writing, &name).await.map_err(failed)?;
        schema::prepare(&mut conn, &connector, role).await?;
        schema::upgrade(&mut conn, &connector).await.map_err(failed)?;
        let recovered = put_back_of_the_dead(&mut conn, &connector, now).await?;
        sqlx::raw_sql(BEGIN).execute(&mut conn).await.map_err(failed)?;
        // Under the lock: who joined between the two.
        if let Some(present) = present(&mut conn).await.map_err(failed)?.first() {
            return Err(present.refusal(&connector.place));
        }
        Ok(Self {
            conn,
            place: connector.place,
            identity,
            scope: scope.to_owned(),
            recovered,
            _lock: lock,
        })
    }

    /// An error of the server's, with what to do.
    pub(crate) fn failed(&self, error: &sqlx::Error) -> OpenError {
        trouble::open_error(&self.place, error)
    }

    /// Whether it holds nothing that anybody would miss.
    pub(crate) async fn is_empty(&mut self) -> Result<bool, sqlx::Error> {
        sqlx::query(
            "SELECT NOT (EXISTS (SELECT 1 FROM submission) OR EXISTS (SELECT 1 FROM delivery) OR EXISTS (SELECT 1 FROM settled) \
             OR EXISTS (SELECT 1 FROM receipt_file) OR EXISTS (SELECT 1 FROM receipt_row))",
        )
        .fetch_one(&mut self.conn)
        .await?
        .try_get(0)
    }

    /// How many rows it has, about, for who waits.
    pub(crate) async fn rows(&mut self) -> Result<u64, sqlx::Error> {
        let sql = "SELECT 2 * (SELECT count(*) FROM submission) + (SELECT count(*) FROM attempt) + (SELECT count(*) FROM history)";
        let row = sqlx::query(sql).fetch_one(&mut self.conn).await?;
        Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
    }

    /// The next rows of a table, behind this key.
    pub(crate) async fn page(&mut self, table: Table, after: Option<&Row>) -> Result<Page, sqlx::Error> {
        let mut query = sqlx::query(AssertSqlSafe(page_sql(table, after.is_some())));
        for cell in after.into_iter().flatten() {
            query = bind(query, cell);
        }
        let mut rows = query.fetch(&mut self.conn);
        let (mut page, mut bytes) = (Page::default(), 0);
        while let Some(row) = rows.try_next().await? {
            let columns = table.columns();
            let cells = columns.iter().enumerate();
            let cells = cells.map(|(place, (_, kind))| cell(&row, place, *kind));
            let cells = cells.collect::<Result<Row, _>>()?;
            let keys = table.key().iter().enumerate();
            let keys = keys.map(|(place, name)| cell(&row, columns.len() + place, key_kind(name)));
            if !page.push(cells, keys.collect::<Result<Row, _>>()?, &mut bytes) {
                break;
            }
        }
        Ok(page)
    }

    /// Writes rows of a table.
    pub(crate) async fn put(&mut self, table: Table, rows: &[Row]) -> Result<(), sqlx::Error> {
        let conn = &mut self.conn;
        match table {
            Table::Standing => put_standing(conn, rows).await,
            Table::Lane => {
                let query = sqlx::query(DELIVERED).bind(numbers(rows, 0)).bind(numbers(rows, 1));
                query.execute(conn).await.map(drop)
            }
            Table::Episode => {
                let query = sqlx::query(JOIN_EPISODE).bind(numbers(rows, 0)).bind(&self.scope);
                query.execute(conn).await.map(drop)
            }
            Table::Submission
            | Table::Attempt
            | Table::History
            | Table::ReceiptFile
            | Table::ReceiptRow
            | Table::Minute
            | Table::Total => {
                let rows: Vec<&Row> = rows.iter().collect();
                insert(conn, table.into(), table, |_| true, &rows).await
            }
        }
    }

    /// What is remembered, under the names of an outbox that has one daemon: of gates the strictest, and of those the
    /// newest.
    pub(crate) async fn remembered(&mut self) -> Result<Vec<Remembered>, sqlx::Error> {
        let rows = sqlx::query("SELECT name, value, at, closed FROM memory")
            .fetch_all(&mut self.conn)
            .await?;
        let mut all = BTreeMap::new();
        let mut gate: Option<(bool, i64, String)> = None;
        for row in &rows {
            let (name, value, at): (String, String, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            match name.split_once('@') {
                None if name == "pulse" => {}
                None => {
                    all.insert(name, (value, at));
                }
                Some((GATE, _)) => gate = gate.max(Some((row.try_get(3)?, at, value))),
                Some((PAUSE_IN_FORCE, of)) if of == self.identity => {
                    all.insert(PAUSE_IN_FORCE.to_owned(), (value, at));
                }
                // Another node's own.
                Some(_) => {}
            }
        }
        if let Some((_, at, value)) = gate {
            all.insert(GATE.to_owned(), (value, at));
        }
        let remembered = |(name, (value, at))| Remembered { name, value, at };
        Ok(all.into_iter().map(remembered).collect())
    }

    /// Nobody's memory is mixed with this: what an empty outbox remembers goes.
    pub(crate) async fn remember(&mut self, all: &[Remembered]) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM memory").execute(&mut self.conn).await?;
        for one in all {
            let (name, closed) = self.whose(one);
            sqlx::query(notes::REMEMBER)
                .bind(name)
                .bind(&one.value)
                .bind(one.at)
                .bind(closed)
                .execute(&mut self.conn)
                .await?;
        }
        Ok(())
    }

    /// Under which name a value is kept here, and whether nothing is claimed while it is: what a refused key or a blown
    /// fuse has closed is closed for all that send by this key, what an outage has closed is this host's.
    fn whose(&self, one: &Remembered) -> (String, bool) {
        match one.name.as_str() {
            GATE => {
                let record = serde_json::from_str::<GateRecord>(&one.value).ok();
                match record.filter(|record| record.state.is_shared()) {
                    Some(record) => (notes::gate_of(&self.scope), !record.state.is_open()),
                    None => (format!("{GATE}@{}", self.identity), false),
                }
            }
            PAUSE_IN_FORCE => (format!("{PAUSE_IN_FORCE}@{}", self.identity), false),
            name => (name.to_owned(), false),
        }
    }

    /// The last number that was given out; 0: none.
    pub(crate) async fn last_id(&mut self) -> Result<i64, sqlx::Error> {
        sqlx::query("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM submission_id")
            .fetch_one(&mut self.conn)
            .await?
            .try_get(0)
    }

    /// Gives out no number up to this one again. A sequence is in no transaction: after a move that failed the numbers
    /// go on from there, which harms nobody.
    pub(crate) async fn go_on_from(&mut self, last_id: i64) -> Result<(), sqlx::Error> {
        let last_id = last_id.max(self.last_id().await?);
        if last_id > 0 {
            sqlx::query("SELECT setval('submission_id', $1)")
                .bind(last_id)
                .execute(&mut self.conn)
                .await?;
        }
        Ok(())
    }

    /// Writes the counts by state.
    pub(crate) async fn count(&mut self, counts: &BTreeMap<String, u64>) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM tally_delta").execute(&mut self.conn).await?;
        let of = |state: &str| counts.get(state).copied().unwrap_or(0).cast_signed();
        sqlx::query(COUNT)
            .bind(of("pending"))
            .bind(of("delivered"))
            .bind(of("dead"))
            .bind(of("parked"))
            .bind(of("dismissed"))
            .execute(&mut self.conn)
            .await
            .map(drop)
    }

    /// Commits. An error says nothing of the outcome: the same move again finds it out.
    pub(crate) async fn finish(mut self) -> Result<(), OpenError> {
        let done = sqlx::raw_sql("COMMIT").execute(&mut self.conn).await;
        done.map_err(|error| self.failed(&error))?;
        drop(self.conn.close().await);
        Ok(())
    }

    /// Ends it as it was.
    pub(crate) async fn abandon(mut self) {
        drop(roll_back(&mut self.conn).await);
        drop(self.conn.close().await);
    }
}

/// Refuses to mix two outboxes.
pub(crate) fn occupied(place: &str) -> OpenError {
    OpenError::Unusable(format!(
        "{place}: there is an outbox already that holds something else; name another schema (--schema), or purge it. It \
         was not touched"
    ))
}

/// A daemon that neither left nor was taken over.
#[derive(Debug)]
struct Present {
    id: i64,
    beat: i64,
    name: String,
    /// When it last gave a sign of life, in milliseconds ago.
    silent_ms: i64,
}

impl Present {
    fn refusal(&self, place: &str) -> OpenError {
        OpenError::InUse(format!(
            "{place}: the daemon {} runs on it (its last sign of life came {} s ago); stop every daemon of this outbox \
             first. One that was killed counts as gone after {} s",
            self.name,
            self.silent_ms / 1000,
            YOUNG_MS / 1000
        ))
    }
}

async fn present(conn: &mut PgConnection) -> Result<Vec<Present>, sqlx::Error> {
    let rows = sqlx::query(PRESENT).fetch_all(conn).await?;
    let read = |row: &PgRow| {
        Ok(Present {
            id: row.try_get(0)?,
            beat: row.try_get(1)?,
            name: row.try_get(2)?,
            silent_ms: row.try_get(3)?,
        })
    };
    rows.iter().map(read).collect()
}

/// Refuses while a daemon lives; what dead ones had claimed is put back as another daemon would, its attempt recorded.
async fn put_back_of_the_dead(
    conn: &mut PgConnection,
    connector: &Connector,
    now: Timestamp,
) -> Result<u64, OpenError> {
    let failed = |error: sqlx::Error| trouble::open_error(&connector.place, &error);
    let first = present(conn).await.map_err(failed)?;
    if let Some(young) = first.iter().find(|node| node.silent_ms < YOUNG_MS) {
        return Err(young.refusal(&connector.place));
    }
    let began = Instant::now();
    while !first.is_empty() && began.elapsed() < WATCH {
        sleep(Duration::from_millis(250)).await;
        let known: BTreeSet<(i64, i64)> = first.iter().map(|node| (node.id, node.beat)).collect();
        let later = present(conn).await.map_err(failed)?;
        if let Some(alive) = later.iter().find(|node| !known.contains(&(node.id, node.beat))) {
            return Err(alive.refusal(&connector.place));
        }
    }
    let mut recovered = 0;
    for node in &first {
        let taken = recover::take_over(conn, &connector.schema, node.id, Some(node.beat), now).await;
        recovered += taken.map_err(failed)?.unwrap_or(0);
    }
    for id in recover::orphaned(conn).await.map_err(failed)? {
        recovered += recover::rows_of(conn, id, now).await.map_err(failed)?;
    }
    Ok(recovered)
}

const DELIVERED: &str = "UPDATE lane SET delivered_id = t.id FROM unnest($1::bigint[], $2::bigint[]) AS t (lane, id) \
     WHERE lane.lane = t.lane";
const JOIN_EPISODE: &str = "INSERT INTO episode (id, scope) SELECT i, $2 FROM unnest($1::bigint[]) AS i";
const COUNT: &str =
    "UPDATE tally SET pending = $1, sending = 0, delivered = $2, dead = $3, parked = $4, dismissed = $5";

/// What is done with lies elsewhere than what is not.
async fn put_standing(conn: &mut PgConnection, rows: &[Row]) -> Result<(), sqlx::Error> {
    let (mut live, mut done) = (Vec::new(), Vec::new());
    for row in rows {
        match row.get(STATE) {
            Some(Cell::Text(state)) if state == "head" || state == "waiting" => live.push(row),
            Some(_) | None => done.push(row),
        }
    }
    let all: Vec<i64> = rows.iter().filter_map(|row| row.get(1)?.number()).collect();
    sqlx::query(lanes::MAKE).bind(all).execute(&mut *conn).await?;
    insert(conn, "delivery", Table::Standing, |name| name != "reason", &live).await?;
    let is_of_settled = |name: &str| !matches!(name, "next_at" | "not_before");
    insert(conn, "settled", Table::Standing, is_of_settled, &done).await
}

/// The place of the state in a row of [`Table::Standing`].
const STATE: usize = 2;

/// Inserts these columns of these rows: an array a column.
async fn insert(
    conn: &mut PgConnection,
    into: &str,
    table: Table,
    has: impl Fn(&str) -> bool,
    rows: &[&Row],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = table.columns().iter().enumerate();
    let columns: Vec<(usize, &str, Kind)> = columns
        .filter(|(_, (name, _))| has(name))
        .map(|(place, (name, kind))| (place, *name, *kind))
        .collect();
    let mut query = sqlx::query(AssertSqlSafe(insert_sql(into, &columns)));
    for (place, _, kind) in &columns {
        let cells = rows.iter().map(|row| row.get(*place));
        query = match kind {
            Kind::Number | Kind::Flag => query.bind(cells.map(|cell| cell?.number()).collect::<Vec<_>>()),
            Kind::Text => query.bind(cells.map(text).collect::<Vec<_>>()),
            Kind::Letters | Kind::Bytes => query.bind(cells.map(bytes).collect::<Vec<_>>()),
        };
    }
    query.execute(conn).await.map(drop)
}

fn insert_sql(into: &str, columns: &[(usize, &str, Kind)]) -> String {
    let (mut names, mut values, mut arrays, mut parts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (number, (_, name, kind)) in columns.iter().enumerate() {
        names.push(format!("\"{name}\""));
        parts.push(format!("c{number}"));
        values.push(match kind {
            Kind::Flag => format!("c{number} <> 0"),
            Kind::Number | Kind::Text | Kind::Letters | Kind::Bytes => format!("c{number}"),
        });
        let kind = match kind {
            Kind::Number | Kind::Flag => "bigint",
            Kind::Text => "text",
            Kind::Letters | Kind::Bytes => "bytea",
        };
        arrays.push(format!("${}::{kind}[]", number + 1));
    }
    format!(
        "INSERT INTO {into} ({}) SELECT {} FROM unnest({}) AS t ({})",
        names.join(", "),
        values.join(", "),
        arrays.join(", "),
        parts.join(", ")
    )
}

fn numbers(rows: &[Row], place: usize) -> Vec<Option<i64>> {
    rows.iter().map(|row| row.get(place)?.number()).collect()
}

fn text(cell: Option<&Cell>) -> Option<&str> {
    match cell? {
        Cell::Text(text) => Some(text),
        Cell::Null | Cell::Number(_) | Cell::Bytes(_) => None,
    }
}

fn bytes(cell: Option<&Cell>) -> Option<&[u8]> {
    match cell? {
        Cell::Bytes(bytes) => Some(bytes),
        Cell::Null | Cell::Number(_) | Cell::Text(_) => None,
    }
}

/// Where the rows of a table are.
const fn place(table: Table) -> &'static str {
    match table {
        Table::Submission => "submission AS t",
        Table::Standing => "standing AS t",
        Table::Lane => "lane AS t",
        Table::Attempt => "attempt AS t",
        Table::History => "history AS t",
        Table::Episode => "episode AS t",
        Table::ReceiptFile => "receipt_file AS t",
        Table::ReceiptRow => "receipt_row AS t",
        Table::Minute => "minute AS t",
        Table::Total => "total AS t",
    }
}

/// A lane of which nothing is kept any more (retention has not come to it yet) says nothing.
const IS_KEPT: &str = "t.delivered_id IS NOT NULL AND (EXISTS (SELECT 1 FROM settled AS s WHERE s.lane = t.lane AND s.lane IS NOT NULL) \
     OR EXISTS (SELECT 1 FROM delivery AS d WHERE d.lane = t.lane AND d.lane IS NOT NULL AND d.state = 'waiting') \
     OR EXISTS (SELECT 1 FROM delivery AS d WHERE d.lane = t.lane AND d.lane IS NOT NULL AND (d.state = 'head' OR d.state = 'sending')))";

fn page_sql(table: Table, has_after: bool) -> String {
    let column = |(name, kind): &(&str, Kind)| {
        let name = if table == Table::Standing && *name == "not_before" {
            "held_until"
        } else {
            name
        };
        match kind {
            Kind::Number => format!("t.\"{name}\"::bigint"),
            Kind::Flag => format!("t.\"{name}\"::integer::bigint"),
            Kind::Text | Kind::Letters | Kind::Bytes => format!("t.\"{name}\""),
        }
    };
    let columns: Vec<String> = table.columns().iter().map(column).collect();
    let keys: Vec<String> = table.key().iter().map(|name| format!("t.\"{name}\"")).collect();
    let read_keys: Vec<String> = table
        .key()
        .iter()
        .map(|name| match key_kind(name) {
            Kind::Number => format!("t.\"{name}\"::bigint"),
            Kind::Flag | Kind::Text | Kind::Letters | Kind::Bytes => format!("t.\"{name}\""),
        })
        .collect();
    let mut conditions = Vec::new();
    if has_after {
        let places: Vec<String> = (1..=keys.len()).map(|number| format!("${number}")).collect();
        conditions.push(format!("({}) > ({})", keys.join(", "), places.join(", ")));
    }
    if table == Table::Lane {
        conditions.push(IS_KEPT.to_owned());
    }
    let condition = if conditions.is_empty() {
        String::new()
    } else {
        format!("WHERE {}", conditions.join(" AND "))
    };
    format!(
        "SELECT {}, {} FROM {} {condition} ORDER BY {} LIMIT {PAGE_ROWS_MAX}",
        columns.join(", "),
        read_keys.join(", "),
        place(table),
        keys.join(", ")
    )
}

fn key_kind(name: &str) -> Kind {
    match name {
        "inbox" | "name" | "digest" => Kind::Bytes,
        "node" | "figure" => Kind::Text,
        _ => Kind::Number,
    }
}

fn cell(row: &PgRow, place: usize, kind: Kind) -> Result<Cell, sqlx::Error> {
    Ok(match kind {
        Kind::Number | Kind::Flag => row.try_get::<Option<i64>, _>(place)?.map_or(Cell::Null, Cell::Number),
        Kind::Text => row.try_get::<Option<String>, _>(place)?.map_or(Cell::Null, Cell::Text),
        Kind::Letters | Kind::Bytes => row
            .try_get::<Option<Vec<u8>>, _>(place)?
            .map_or(Cell::Null, Cell::Bytes),
    })
}

fn bind<'q>(query: Query<'q, Postgres, PgArguments>, cell: &'q Cell) -> Query<'q, Postgres, PgArguments> {
    match cell {
        Cell::Null => query.bind(None::<i64>),
        Cell::Number(number) => query.bind(number),
        Cell::Text(text) => query.bind(text),
        Cell::Bytes(bytes) => query.bind(bytes),
    }
}
