//! Taking results in: rows and the receipts that prove them, in one transaction.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::model::{Admission, Admitted, ConflictPolicy, DeadReason, Digest, Entry, StateName, SubmissionId};

use super::admission::{self, DEAD, Holder, Known, NewRow};
use super::transaction::Transaction;
use super::{batch, lanes, receipts, replace, row};

/// Admits; one answer an entry, in order.
pub(super) async fn admit(transaction: &mut Transaction<'_>, admission: &Admission, now: Timestamp) -> Result<Vec<Admitted>, sqlx::Error> {
    let entries = &admission.entries;
    if receipts::is_known_file(transaction.conn, &admission.receipts).await? {
        return Ok(vec![Admitted::AlreadyTaken; entries.len()]);
    }
    let known = look(transaction.conn, admission).await?;
    let plan = admission::plan(entries, known);
    // Keys are given up before the new rows take them, and the rows replaced may themselves be new: states last.
    replace::yield_keys(transaction.conn, &plan.replaced).await?;
    lanes::found(transaction.conn, &plan.founded).await?;
    insert_submissions(transaction.conn, &plan.rows, now).await?;
    insert_deliveries(transaction, &plan.rows, now).await?;
    replace::dismiss(transaction, &plan.replaced, now).await?;
    receipts::keep(transaction.conn, &admission.receipts).await?;
    Ok(plan.answers)
}

/// What the plan needs to know.
async fn look(conn: &mut SqliteConnection, admission: &Admission) -> Result<Known, sqlx::Error> {
    let keys: Vec<&str> = admission
        .entries
        .iter()
        .filter_map(|entry| Some(entry.directives.key.as_ref()?.0.as_str()))
        .collect();
    let lanes: Vec<i64> = admission
        .entries
        .iter()
        .filter_map(|entry| Some(entry.facts.activity()?.lane().0))
        .collect();
    Ok(Known {
        taken: receipts::known_rows(conn, &admission.receipts).await?,
        holders: holders(conn, &keys).await?,
        lanes: lanes::known(conn, &lanes).await?,
        next_id: next_id(conn).await?,
        originals: replace::look(conn, &admission.entries).await?,
    })
}

/// AUTOINCREMENT's own memory. We give the numbers ourselves, so that what an admission does is known before it is written; this is safe since
/// the write lock is held, and SQLite keeps its memory up to date for given numbers too.
pub(super) const LAST_ID: &str = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'submission'), 0)";

async fn next_id(conn: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let last: i64 = sqlx::query(LAST_ID).fetch_one(conn).await?.try_get(0)?;
    Ok(last + 1)
}

pub(super) const HOLDER: &str = "SELECT s.id, s.digest, d.state \
     FROM submission AS s INDEXED BY submission_key CROSS JOIN delivery AS d ON d.id = s.id \
     WHERE s.submission_key = ?1 AND s.holds_key = 1";

/// What a second one of the same key replaces. A parked one waits for a person's word, and is replaced by its token alone.
const KEYS_ARE_YIELDED_BY: [StateName; 2] = [StateName::Dead, StateName::Dismissed];

/// A statement a key: keys come from outside and may hold what JSON cannot carry into SQL. Without keys it costs nothing.
async fn holders(conn: &mut SqliteConnection, keys: &[&str]) -> Result<HashMap<String, Holder>, sqlx::Error> {
    let mut holders = HashMap::new();
    for key in keys {
        let Some(row) = sqlx::query(HOLDER).bind(*key).fetch_optional(&mut *conn).await? else {
            continue;
        };
        let digest: Option<&[u8]> = row.try_get("digest")?;
        let state: &str = row.try_get("state")?;
        let holder = Holder {
            id: SubmissionId(row.try_get("id")?),
            digest: digest.and_then(|bytes| bytes.try_into().ok()).map(Digest),
            yields: KEYS_ARE_YIELDED_BY.iter().any(|from| from.name() == state),
        };
        holders.insert((*key).to_owned(), holder);
    }
    Ok(holders)
}

pub(super) const INSERT_SUBMISSION: &str = "INSERT INTO submission (id, created_at, activity_id, provider_activity_id, commerce_external_id, \
     submission_key, holds_key, digest, source, on_conflict, not_before, origin, invalid, by_result_types, payload)";
pub(super) const SUBMISSION_COLUMNS: usize = 15;

async fn insert_submissions(conn: &mut SqliteConnection, rows: &[NewRow<'_>], now: Timestamp) -> Result<(), sqlx::Error> {
    for (piece, size) in batch::pieces(rows) {
        let mut query = batch::insert(INSERT_SUBMISSION, SUBMISSION_COLUMNS, size);
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
                .bind(directives.on_conflict.map(ConflictPolicy::name))
                .bind(directives.not_before.map(Timestamp::millis))
                .bind(row::origin_text(origin)?)
                .bind(new.invalid.as_deref())
                // Where the store found more against it, the list is not all.
                .bind(new.entry.by_result_types && new.invalid == new.entry.invalid)
                .bind(payload.text().into_owned());
        }
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

pub(super) const INSERT_DELIVERY: &str = "INSERT INTO delivery (id, lane, state, reason, next_at, not_before, updated_at) \
     SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, ?2 FROM json_each(?1)";

async fn insert_deliveries(transaction: &mut Transaction<'_>, rows: &[NewRow<'_>], now: Timestamp) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut narrow = Vec::with_capacity(rows.len());
    for new in rows {
        let dead = new.state == DEAD;
        let reason = dead.then(|| DeadReason::Invalid.name());
        // Held only as long as that lies ahead.
        let held_until = new.entry.directives.not_before.filter(|until| *until > now && !dead);
        let next_at = held_until.unwrap_or(now).millis();
        narrow.push((new.id.0, new.lane, new.state, reason, next_at, held_until.map(Timestamp::millis)));
        let state = if dead { StateName::Dead } else { StateName::Pending };
        transaction.moved(None, Some(state), 1);
    }
    sqlx::query(INSERT_DELIVERY)
        .bind(batch::json(&narrow)?)
        .bind(now.millis())
        .execute(&mut *transaction.conn)
        .await?;
    Ok(())
}
