//! Taking results in: rows and the receipts that prove them, in one transaction.
//!
//! What is asked goes to SQLite's thread in one query, and what is written in another, beside what a long admission has
//! more than fits: each query is two switches of thread, and nine of them were a third of what a single file waited
//! for.

use std::collections::HashMap;
use std::sync::LazyLock;

use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Column as _, Row as _};

use crate::clock::Timestamp;
use crate::model::{Admission, Admitted, DeadReason, Digest, Entry, StateName, SubmissionId};
use crate::store::rules::admission::{self, KeyHolder, Known, NewRow, Plan};
use crate::store::rules::words::DEAD;
use crate::store::sqlite::machine::transaction::Transaction;
use crate::store::sqlite::machine::{batch, row};

use super::{lanes, receipts, replace};

/// A query with some of its values.
type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

/// Admits; one answer an entry, in order.
pub(crate) async fn admit(
    transaction: &mut Transaction<'_>,
    admission: &Admission,
    now: Timestamp,
) -> Result<Vec<Admitted>, sqlx::Error> {
    let entries = &admission.entries;
    let Some(known) = query_known(transaction.conn, admission).await? else {
        return Ok(vec![Admitted::AlreadyTaken; entries.len()]);
    };
    let plan = admission::plan(entries, known);
    // Keys are given up before the new rows take them, and the rows replaced may themselves be new: states last.
    replace::yield_keys(transaction.conn, &plan.replaced).await?;
    let mut pieces: Vec<Piece<'_>> = batch::pieces(&plan.rows).collect();
    let last = pieces.pop();
    for (piece, size) in pieces {
        let query = batch::insert(INSERT_SUBMISSION, SUBMISSION_COLUMNS, size);
        let query = bind_submissions(query, (piece, size), now)?;
        query.execute(&mut *transaction.conn).await?;
    }
    write(transaction, &plan, last, admission, now).await?;
    replace::dismiss(transaction, &plan.replaced, now).await?;
    Ok(plan.answers)
}

/// What the plan needs to know; `None` where all of it was admitted before.
async fn query_known(conn: &mut SqliteConnection, admission: &Admission) -> Result<Option<Known>, sqlx::Error> {
    static KNOWN: LazyLock<String> = LazyLock::new(|| {
        let (lanes, rows) = (batch::behind(lanes::KNOWN, 1), batch::behind(receipts::KNOWN_ROWS, 2));
        [receipts::SAME_FILES, &lanes, &rows, LAST_ID].join("; ")
    });
    let files = receipts::file_texts(&admission.receipts);
    let activities = admission.entries.iter().filter_map(|entry| entry.facts.activity());
    let mut hashes: Vec<i64> = activities.map(|activity| activity.lane().0).collect();
    // In their order: neighbours lie on the same pages, which are fetched once.
    hashes.sort_unstable();
    let rows = sqlx::query(KNOWN.as_str())
        .bind(batch::json(&files)?)
        .bind(batch::json(&hashes)?)
        .bind(batch::json(&receipts::row_texts(&admission.receipts))?)
        .fetch_all(&mut *conn)
        .await?;
    let mut known = Known::default();
    for row in &rows {
        match row.column(0).name() {
            "same" => {
                let same: i64 = row.try_get(0)?;
                if !files.is_empty() && usize::try_from(same).is_ok_and(|same| same == files.len()) {
                    return Ok(None);
                }
            }
            "hash" => drop(known.lanes.insert(row.try_get(0)?, lanes::read_known(row)?)),
            "place" => drop(known.taken.insert(receipts::place(row)?)),
            _ => {
                let last: i64 = row.try_get(0)?;
                known.ids = (last + 1..).take(admission.entries.len()).collect();
            }
        }
    }
    known.holders = holders(conn, &admission.entries).await?;
    known.originals = replace::query_originals(conn, &admission.entries).await?;
    Ok(Some(known))
}

/// AUTOINCREMENT's own memory. We give the numbers ourselves, so that what an admission does is known before it is
/// written; this is safe since the write lock is held, and SQLite keeps its memory up to date for given numbers too.
pub(crate) const LAST_ID: &str =
    "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'submission'), 0) AS last_id";

/// With as many keys as there are.
pub(crate) const HOLDERS: &str = "SELECT k.column1 AS submission_key, s.id, s.digest, d.state \
     FROM (VALUES (?)) AS k CROSS JOIN submission AS s INDEXED BY submission_key ON s.submission_key = k.column1 \
     AND s.holds_key = 1 CROSS JOIN delivery AS d ON d.id = s.id";

/// What a second one of the same key replaces. A parked one waits for an operator's word, and is replaced by its token
/// alone.
const KEYS_ARE_YIELDED_BY: [StateName; 2] = [StateName::Dead, StateName::Dismissed];

/// As values: keys come from outside and may hold what JSON cannot carry into SQL. Without keys it costs nothing.
async fn holders(conn: &mut SqliteConnection, entries: &[Entry]) -> Result<HashMap<String, KeyHolder>, sqlx::Error> {
    let keys = entries.iter().filter_map(|entry| entry.directives.key.as_ref());
    let keys: Vec<&str> = keys.map(|key| key.0.as_str()).collect();
    let mut holders = HashMap::new();
    for (piece, size) in batch::pieces(&keys) {
        let sql = HOLDERS.replace("(?)", &batch::values(1, size));
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for place in 0..size {
            query = query.bind(piece.get(place).copied());
        }
        for row in query.fetch_all(&mut *conn).await? {
            let digest: Option<&[u8]> = row.try_get("digest")?;
            let state: &str = row.try_get("state")?;
            let holder = KeyHolder {
                id: SubmissionId(row.try_get("id")?),
                digest: digest.and_then(|bytes| bytes.try_into().ok()).map(Digest),
                yields: KEYS_ARE_YIELDED_BY.iter().any(|from| from.into_str() == state),
            };
            holders.insert(row.try_get("submission_key")?, holder);
        }
    }
    Ok(holders)
}

pub(crate) const INSERT_SUBMISSION: &str = "INSERT INTO submission (id, created_at, activity_id, provider_activity_id, \
     commerce_external_id, \
     submission_key, holds_key, digest, source, on_conflict, not_before, origin, invalid, by_result_types, payload)";
pub(crate) const SUBMISSION_COLUMNS: usize = 15;

/// Some new rows, and how many the statement that carries them has room for.
type Piece<'p> = (&'p [NewRow<'p>], usize);

fn bind_submissions<'q>(
    mut query: Query<'q>,
    (piece, size): Piece<'q>,
    now: Timestamp,
) -> Result<Query<'q>, sqlx::Error> {
    for new in piece {
        let Entry {
            payload,
            facts,
            directives,
            origin,
            ..
        } = new.entry;
        query = query
            .bind(new.id.0)
            .bind(now.millis())
            .bind(facts.activity_id.as_deref())
            .bind(facts.provider_activity_id.as_deref())
            .bind(facts.commerce_external_id.as_deref())
            .bind(directives.key.as_ref().map(|key| key.0.as_str()))
            .bind(new.holds_key)
            .bind(new.digest.map(|digest| digest.0.to_vec()))
            .bind(directives.source.as_deref())
            .bind(directives.on_conflict.map(|one| one.into_str()))
            .bind(directives.not_before.map(Timestamp::millis))
            .bind(row::origin_text(origin)?)
            .bind(new.invalid.as_deref())
            // Where the store found more against it, the list is not all.
            .bind(new.entry.by_result_types && new.invalid == new.entry.invalid)
            .bind(payload.text().into_owned());
    }
    // The rows that stay empty; what comes after them is bound after them.
    for _ in piece.len() * SUBMISSION_COLUMNS..size * SUBMISSION_COLUMNS {
        query = query.bind(None::<i64>);
    }
    Ok(query)
}

pub(crate) const INSERT_DELIVERY: &str = "INSERT INTO delivery (id, lane, state, reason, next_at, not_before, \
     updated_at) \
     SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6 \
     FROM json_each($1)";

/// Writes the last piece of the new rows, the states of all, the new activities and the receipts, in one query.
async fn write(
    transaction: &mut Transaction<'_>,
    plan: &Plan<'_>,
    last: Option<Piece<'_>>,
    admission: &Admission,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let mut carried = Vec::new();
    if last.is_some() {
        carried.push((lanes::FOUND, batch::json(&plan.founded)?));
        carried.push((
            INSERT_DELIVERY,
            batch::json(&delivery_rows(transaction, &plan.rows, now))?,
        ));
    }
    let (files, rows) = (
        receipts::file_texts(&admission.receipts),
        receipts::row_texts(&admission.receipts),
    );
    if !files.is_empty() {
        carried.push((receipts::KEEP_FILES, batch::json(&files)?));
    }
    if !rows.is_empty() {
        carried.push((receipts::KEEP_ROWS, batch::json(&rows)?));
    }
    if carried.is_empty() {
        return Ok(());
    }
    let bound = last.map_or(0, |(_, size)| size * SUBMISSION_COLUMNS);
    let mut parts: Vec<String> = Vec::with_capacity(1 + carried.len());
    parts.extend(last.map(|(_, size)| batch::insert_sql(INSERT_SUBMISSION, SUBMISSION_COLUMNS, size)));
    parts.extend(
        carried
            .iter()
            .enumerate()
            .map(|(place, (sql, _))| batch::behind(sql, bound + place)),
    );
    let mut query = sqlx::query(AssertSqlSafe(parts.join("; ")));
    if let Some(piece) = last {
        query = bind_submissions(query, piece, now)?;
    }
    for (_, json) in carried {
        query = query.bind(json);
    }
    query.execute(&mut *transaction.conn).await.map(drop)
}

/// A row of `delivery` for `json_each`: its id, lane, state, reason, `next_at`, `not_before` and `updated_at`.
type DeliveryRow = (
    i64,
    Option<i64>,
    &'static str,
    Option<&'static str>,
    i64,
    Option<i64>,
    i64,
);

fn delivery_rows(transaction: &mut Transaction<'_>, rows: &[NewRow<'_>], now: Timestamp) -> Vec<DeliveryRow> {
    let mut states = Vec::with_capacity(rows.len());
    for new in rows {
        let dead = new.state == DEAD;
        let reason = dead.then(|| DeadReason::Invalid.into_str());
        // Held only as long as that lies ahead.
        let held_until = new.entry.directives.not_before.filter(|until| *until > now && !dead);
        let next_at = held_until.unwrap_or(now).millis();
        let not_before = held_until.map(Timestamp::millis);
        states.push((new.id.0, new.lane, new.state, reason, next_at, not_before, now.millis()));
        let state = if dead { StateName::Dead } else { StateName::Pending };
        transaction.moved(None, Some(state), 1);
    }
    states
}
