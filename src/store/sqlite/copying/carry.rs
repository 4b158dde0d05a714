//! The outbox as cargo ([`cargo`]): read out of one that nobody else uses meanwhile, or written into a new file, which
//! gets its name when all of it is there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt as _;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tempfile::TempDir;

use crate::clock::Timestamp;
use crate::sqlite_file::Identity;
use crate::store::OpenError;
use crate::store::beside::lock::{self, Lock};
use crate::store::cargo::{Cell, Kind, PAGE_ROWS_MAX, Page, Remembered, Row, Table};
use crate::store::sqlite::machine::transaction::{self, Transaction};
use crate::store::sqlite::opening::location::{self, AtPath, COMPANIONS};
use crate::store::sqlite::opening::{open, pragma, schema};
use crate::store::sqlite::operations::recover;
use crate::store::sqlite::processes::usage::{self, Usage};

use super::backup::{self, NOTE};
use super::{restore, swap};

/// Rows that SQLite's thread may be ahead of us: each may have the size of a payload.
const ROW_BUFFER: usize = 8;

/// One end of a move.
#[derive(Debug)]
pub(crate) struct Carrier {
    conn: SqliteConnection,
    pub(crate) path: PathBuf,
    /// Of a new file: the directory that it is made in, gone with this unless it was given its name.
    drafts: Option<TempDir>,
    /// How many were in flight when the daemon last ended, and are pending again.
    pub(crate) recovered: u64,
    // Let go after the connection is closed, in this order.
    _usage: Option<Usage>,
    _lock: Lock,
}

impl Carrier {
    /// An outbox that is carried away: the daemon's lock and everybody else's share, all of it read and whole, brought
    /// up to date, and what a crash left in flight recovered as a daemon would. Until this is dropped nobody writes to
    /// it, not even somebody's `sqlite3`.
    pub(crate) async fn source(database: &Path, now: Timestamp) -> Result<Self, OpenError> {
        let path = location::absolute(database)?;
        if matches!(location::stat(&path)?, AtPath::Empty | AtPath::File { bytes: 0 }) {
            return Err(open::missing(&path));
        }
        let lock = take_lock(&path).await?;
        let usage = usage::alone(&path).await?;
        swap::finish(&path)?;
        let failed = |error: sqlx::Error| open::refusal(&path, &error);
        let mut conn = options(&path).connect().await.map_err(failed)?;
        let identity = schema::identity(&mut conn).await.map_err(failed)?;
        // As the daemon, whose lock this is.
        open::refuse_strangers(&path, identity, crate::store::Role::Daemon)?;
        if identity == Identity::Empty {
            return Err(open::missing(&path));
        }
        if let Some(wrong) = what_is_wrong(&mut conn).await.map_err(failed)? {
            return Err(OpenError::Unusable(format!(
                "{}: damaged ({wrong}), and nothing was carried over; restore the newest backup first, and \
                 `reten-outbox salvage` reads out of this one what the backup lacks",
                path.display()
            )));
        }
        let recovered = prepare(&mut conn, &path, now).await.map_err(failed)?;
        sqlx::query(transaction::BEGIN)
            .execute(&mut conn)
            .await
            .map_err(failed)?;
        Ok(Self {
            conn,
            path,
            drafts: None,
            recovered,
            _usage: Some(usage),
            _lock: lock,
        })
    }

    /// A file that an outbox is carried into: a new one, in a directory of drafts beside its place; or the one that is
    /// there, to look whether it is the same already ([`Carrier::is_new`]).
    pub(crate) async fn target(database: &Path) -> Result<Self, OpenError> {
        let path = location::absolute(database)?;
        location::prepare_directory(&path)?;
        let lock = take_lock(&path).await?;
        swap::refuse_unfinished(&path)?;
        let (conn, drafts, usage) = if matches!(location::stat(&path)?, AtPath::Empty) {
            refuse_leftovers(&path)?;
            let (conn, drafts) = draft(&path).await?;
            (conn, Some(drafts), None)
        } else {
            let usage = usage::share_to_look(&path).await?;
            (there(&path).await?, None, usage)
        };
        Ok(Self {
            conn,
            path,
            drafts,
            recovered: 0,
            _usage: usage,
            _lock: lock,
        })
    }

    /// Whether it is a new file; else it is one that was there, and is not written to.
    pub(crate) const fn is_new(&self) -> bool {
        self.drafts.is_some()
    }

    /// An error of SQLite's, with what to do.
    pub(crate) fn failed(&self, error: &sqlx::Error) -> OpenError {
        open::refusal(&self.path, error)
    }

    /// How many rows it has, about, for who waits.
    pub(crate) async fn rows(&mut self) -> Result<u64, sqlx::Error> {
        let sql = "SELECT 2 * (SELECT count(*) FROM submission) + (SELECT count(*) FROM attempt) + (SELECT count(*) FROM history)";
        let row = sqlx::query(sql).fetch_one(&mut self.conn).await?;
        Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
    }

    /// The next rows of a table, behind this key.
    pub(crate) async fn page(&mut self, table: Table, after: Option<&Row>) -> Result<Page, sqlx::Error> {
        let sql = page_sql(table, after.is_some());
        let mut query = sqlx::query(AssertSqlSafe(sql));
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
        let sql = put_sql(table);
        for row in rows {
            if table == Table::Standing
                && let [id, lane @ Cell::Number(_), ..] = row.as_slice()
            {
                // They come by number: the first of an activity gives it its number.
                let query = bind(bind(sqlx::query(FOUND), lane), id);
                query.execute(&mut self.conn).await?;
            }
            let query = row.iter().fold(sqlx::query(AssertSqlSafe(sql.as_str())), bind);
            query.execute(&mut self.conn).await?;
        }
        Ok(())
    }

    /// What is remembered.
    pub(crate) async fn remembered(&mut self) -> Result<Vec<Remembered>, sqlx::Error> {
        let rows = sqlx::query(REMEMBERED).bind(NOTE).fetch_all(&mut self.conn).await?;
        rows.iter()
            .map(|row| {
                Ok(Remembered {
                    name: row.try_get(0)?,
                    value: row.try_get(1)?,
                    at: row.try_get(2)?,
                })
            })
            .collect()
    }

    pub(crate) async fn remember(&mut self, all: &[Remembered]) -> Result<(), sqlx::Error> {
        for one in all {
            sqlx::query("INSERT INTO memory (name, value, at) VALUES (?1, ?2, ?3)")
                .bind(&one.name)
                .bind(&one.value)
                .bind(one.at)
                .execute(&mut self.conn)
                .await?;
        }
        Ok(())
    }

    /// The last number that was given out; 0: none.
    pub(crate) async fn last_id(&mut self) -> Result<i64, sqlx::Error> {
        let row = sqlx::query("SELECT max(seq) FROM sqlite_sequence WHERE name = 'submission'")
            .fetch_one(&mut self.conn)
            .await?;
        Ok(row.try_get::<Option<i64>, _>(0)?.unwrap_or(0))
    }

    /// Gives out no number up to this one again.
    pub(crate) async fn go_on_from(&mut self, last_id: i64) -> Result<(), sqlx::Error> {
        sqlx::query(FIRST_NUMBER).execute(&mut self.conn).await?;
        sqlx::query("UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'submission'")
            .bind(last_id)
            .execute(&mut self.conn)
            .await
            .map(drop)
    }

    /// Writes the counts by state.
    pub(crate) async fn count(&mut self, counts: &BTreeMap<String, u64>) -> Result<(), sqlx::Error> {
        for (state, count) in counts {
            sqlx::query("UPDATE tally SET n = ?2 WHERE state = ?1")
                .bind(state)
                .bind(count.cast_signed())
                .execute(&mut self.conn)
                .await?;
        }
        Ok(())
    }

    /// Gives the new file its name, durably. Crash before: a directory of drafts lies beside it, and nothing else.
    pub(crate) async fn finish(mut self) -> Result<(), OpenError> {
        let Some(drafts) = self.drafts.take() else {
            return Ok(());
        };
        let path = self.path;
        let mut conn = self.conn;
        let done = async {
            sqlx::query(transaction::COMMIT).execute(&mut conn).await?;
            let wrong = what_is_wrong(&mut conn).await?;
            conn.close().await?;
            Ok(wrong)
        };
        if let Some(wrong) = done.await.map_err(|error| open::refusal(&path, &error))? {
            return Err(OpenError::Unusable(format!(
                "{}: what was written is not whole ({wrong}), and nothing of it was kept; look at the disk",
                path.display()
            )));
        }
        let new = drafts.path().join(swap::NEW);
        let place = || {
            restore::settle_on_disk(&new)?;
            // Never over a file that somebody put there meanwhile.
            renameat_with(CWD, &new, CWD, &path, RenameFlags::NOREPLACE)?;
            swap::sync_directory(&path)
        };
        place().map_err(|error: std::io::Error| restore::unwritable(&path, &error))
    }

    /// Ends it as it was.
    pub(crate) async fn abandon(mut self) {
        transaction::roll_back(&mut self.conn).await;
        drop(self.conn.close().await);
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    open::options(path).row_buffer_size(ROW_BUFFER)
}

/// In words that are a command's.
async fn take_lock(path: &Path) -> Result<Lock, OpenError> {
    lock::take(path).await.map_err(|error| match error {
        OpenError::InUse(_) => lock::stop_first(path),
        OpenError::Busy(_) | OpenError::Missing(_) | OpenError::Unusable(_) => error,
    })
}

async fn what_is_wrong(conn: &mut SqliteConnection) -> Result<Option<String>, sqlx::Error> {
    match backup::check(conn).await? {
        None => backup::check_rows(conn).await,
        wrong => Ok(wrong),
    }
}

/// As a daemon's start; how many were in flight.
async fn prepare(conn: &mut SqliteConnection, path: &Path, now: Timestamp) -> Result<u64, sqlx::Error> {
    pragma::for_writing(conn, path.parent().and_then(location::free_bytes)).await?;
    schema::migrate(conn).await?;
    let mut transaction = Transaction::begin(&mut *conn).await?;
    match recover::recover(&mut transaction, now).await {
        Ok(recovered) => transaction.commit().await.map(|_| recovered),
        Err(error) => {
            transaction::roll_back(conn).await;
            Err(error)
        }
    }
}

/// A WAL without its database would be read as a part of the new one.
fn refuse_leftovers(path: &Path) -> Result<(), OpenError> {
    let beside = COMPANIONS.map(|end| location::beside(path, end));
    match beside.iter().find(|left| fs::symlink_metadata(left).is_ok()) {
        Some(left) => Err(OpenError::Unusable(format!(
            "{} lies there from another database of this name, and SQLite would read it as a part of the new one; move \
             it away first",
            left.display()
        ))),
        None => Ok(()),
    }
}

/// An empty outbox in a directory of drafts, in an open transaction. What a crash leaves of it nobody reads, so nothing
/// of it has to be on the disk before the end.
async fn draft(path: &Path) -> Result<(SqliteConnection, TempDir), OpenError> {
    let directory = path.parent().unwrap_or(path);
    let drafts = tempfile::Builder::new()
        .prefix(".outbox.db.move-")
        .tempdir_in(directory)
        .map_err(|error| restore::unwritable(directory, &error))?;
    let new = drafts.path().join(swap::NEW);
    location::create(&new)?;
    let options = backup::private(&new)
        .row_buffer_size(ROW_BUFFER)
        .synchronous(SqliteSynchronous::Off);
    let work = async {
        let mut conn = options.connect().await?;
        pragma::for_creation(&mut conn).await?;
        schema::migrate(&mut conn).await?;
        sqlx::query(transaction::BEGIN).execute(&mut conn).await?;
        Ok(conn)
    };
    let conn = work.await.map_err(|error| open::refusal(&new, &error))?;
    Ok((conn, drafts))
}

/// What lies there already, to look at it.
async fn there(path: &Path) -> Result<SqliteConnection, OpenError> {
    let work = async {
        let mut conn = options(path).read_only(true).connect().await?;
        let identity = schema::identity(&mut conn).await?;
        Ok((conn, identity))
    };
    match work.await.map_err(|error| open::refusal(path, &error))? {
        (conn, Identity::Ours) => Ok(conn),
        (_, Identity::Empty | Identity::Older(_) | Identity::Newer(_) | Identity::Foreign) => Err(occupied(path)),
    }
}

/// Refuses to touch what lies there.
pub(crate) fn occupied(path: &Path) -> OpenError {
    OpenError::Unusable(format!(
        "{}: there is a file already, and it is not this outbox; move it away together with its -wal, or name another \
         file. It was not touched",
        path.display()
    ))
}

const FOUND: &str = "INSERT INTO lane (hash, number) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING";
/// What a process keeps for itself stays behind, and so does what a backup says of itself.
const REMEMBERED: &str =
    "SELECT name, value, at FROM memory WHERE name <> 'pulse' AND name <> ?1 AND name NOT LIKE '%@%' ORDER BY name";
/// SQLite makes the line with the first row.
const FIRST_NUMBER: &str = "INSERT INTO sqlite_sequence (name, seq) SELECT 'submission', 0 \
     WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'submission')";

/// Where the rows of a table are, and under which names.
const fn place(table: Table) -> &'static str {
    match table {
        Table::Submission => "submission AS t",
        Table::Standing => "delivery AS t LEFT JOIN lane AS l ON l.number = t.lane",
        Table::Lane => {
            "(SELECT l.hash AS lane, (SELECT m.id FROM delivered_last AS m WHERE m.lane = l.number) AS delivered_id \
             FROM lane AS l) AS t"
        }
        Table::Attempt => "attempt AS t",
        Table::History => "history AS t",
        Table::Episode => "episode AS t",
        Table::ReceiptFile => "receipt_file AS t",
        Table::ReceiptRow => "receipt_row AS t",
        Table::Minute => "minute AS t",
        Table::Total => "total AS t",
    }
}

/// A column as it is read.
fn column(table: Table, name: &str) -> String {
    match (table, name) {
        (Table::Standing, "lane") => "l.hash".to_owned(),
        (Table::Standing, "next_at") => {
            "CASE WHEN t.state IN ('head', 'waiting') THEN t.next_at ELSE t.updated_at END".to_owned()
        }
        (Table::Standing, "not_before") => "CASE WHEN t.state IN ('head', 'waiting') THEN t.not_before END".to_owned(),
        (_, name) => format!("t.\"{name}\""),
    }
}

/// A page of a table, of a key and behind it.
pub(crate) fn page_sql(table: Table, has_after: bool) -> String {
    let columns: Vec<String> = table.columns().iter().map(|(name, _)| column(table, name)).collect();
    let keys: Vec<String> = table.key().iter().map(|name| format!("t.\"{name}\"")).collect();
    let mut conditions = Vec::new();
    if has_after {
        conditions.push(format!(
            "({}) > ({})",
            keys.join(", "),
            vec!["?"; keys.len()].join(", ")
        ));
    }
    if table == Table::Lane {
        conditions.push("t.delivered_id IS NOT NULL".to_owned());
    }
    let condition = if conditions.is_empty() {
        String::new()
    } else {
        format!("WHERE {}", conditions.join(" AND "))
    };
    let (columns, keys) = (columns.join(", "), keys.join(", "));
    format!(
        "SELECT {columns}, {keys} FROM {} {condition} ORDER BY {keys} LIMIT {PAGE_ROWS_MAX}",
        place(table)
    )
}

/// Writes a row, its cells bound in order.
pub(crate) fn put_sql(table: Table) -> String {
    let into = match table {
        Table::Lane => return "UPDATE lane SET delivered_id = ?2 WHERE hash = ?1".to_owned(),
        Table::Standing => "delivery",
        other => other.into(),
    };
    let names: Vec<String> = table.columns().iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let values: Vec<&str> = table
        .columns()
        .iter()
        .map(|(name, kind)| match (table, *name, kind) {
            (Table::Standing, "lane", _) => "(SELECT number FROM lane WHERE hash = ?)",
            (_, _, Kind::Letters) => "CAST(? AS TEXT)",
            (_, _, Kind::Number | Kind::Flag | Kind::Text | Kind::Bytes) => "?",
        })
        .collect();
    format!(
        "INSERT INTO {into} ({}) VALUES ({})",
        names.join(", "),
        values.join(", ")
    )
}

fn key_kind(name: &str) -> Kind {
    match name {
        "inbox" | "name" | "digest" => Kind::Bytes,
        "node" | "figure" => Kind::Text,
        _ => Kind::Number,
    }
}

fn cell(row: &SqliteRow, place: usize, kind: Kind) -> Result<Cell, sqlx::Error> {
    Ok(match kind {
        Kind::Number | Kind::Flag => row.try_get::<Option<i64>, _>(place)?.map_or(Cell::Null, Cell::Number),
        Kind::Text => row.try_get::<Option<&[u8]>, _>(place)?.map_or(Cell::Null, Cell::text),
        Kind::Letters | Kind::Bytes => row
            .try_get::<Option<Vec<u8>>, _>(place)?
            .map_or(Cell::Null, Cell::Bytes),
    })
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind<'q>(query: Query<'q>, cell: &'q Cell) -> Query<'q> {
    match cell {
        Cell::Null => query.bind(None::<i64>),
        Cell::Number(number) => query.bind(number),
        Cell::Text(text) => query.bind(text),
        Cell::Bytes(bytes) => query.bind(bytes),
    }
}
