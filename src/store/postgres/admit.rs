//! Taking results in: rows and the receipts that prove them, in one transaction.
//!
//! The lanes are locked before anything is looked at or a number is drawn: in each activity the order of numbers is the
//! order of commits, and who settles the last of an activity cannot miss who comes in.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::clock::Timestamp;
use crate::model::{Admission, Admitted, DeadReason, Digest, Entry, StateName, SubmissionId};
use crate::store::rules::admission::{self, KeyHolder, Known, KnownLane, NewRow};
use crate::store::rules::words::{self, DEAD, without_nul};

use super::transaction::Transaction;
use super::{lanes, receipts, replace};

/// Admits; one answer an entry, in order.
pub(super) async fn admit(
    transaction: &mut Transaction<'_>,
    admission: &Admission,
    now: Timestamp,
) -> Result<Vec<Admitted>, sqlx::Error> {
    let entries = &admission.entries;
    let all = lanes_of(entries);
    lanes::make_and_lock(transaction.conn, &all).await?;
    // After the locks: an admission of the same, whose answer was lost, has ended by then.
    if receipts::are_known(transaction.conn, &admission.receipts).await? {
        lanes::forget_empty(transaction.conn, &all).await?;
        return Ok(vec![Admitted::AlreadyTaken; entries.len()]);
    }
    let known = look(transaction.conn, admission, &all).await?;
    let plan = admission::plan(entries, known);
    let replaced = &plan.replaced;
    // The lanes of what is replaced are others where an edit moved it; what is dead or parked is in nobody's way, so no
    // lane of theirs has to be locked.
    replace::yield_keys(transaction.conn, replaced).await?;
    if !plan.rows.is_empty() {
        insert_submissions(transaction.conn, &plan.rows, now).await?;
        insert_places(transaction, &plan.rows, now).await?;
    }
    if plan.rows.len() < entries.len() {
        // Made for what does not come in after all.
        let used: BTreeSet<i64> = plan.rows.iter().filter_map(|new| new.lane).collect();
        lanes::forget_empty(transaction.conn, &(&all - &used)).await?;
    }
    receipts::keep(transaction.conn, &admission.receipts).await?;
    replace::dismiss(transaction, replaced, now).await?;
    Ok(plan.answers)
}

/// What the plan needs to know; the lanes are ours.
async fn look(conn: &mut PgConnection, admission: &Admission, all: &BTreeSet<i64>) -> Result<Known, sqlx::Error> {
    let entries = &admission.entries;
    let busy = lanes::busy(conn, all).await?;
    let known_lane = |lane: i64| KnownLane {
        number: lane,
        is_busy: busy.contains(&lane),
    };
    Ok(Known {
        taken: receipts::known_rows(conn, &admission.receipts)
            .await?
            .into_iter()
            .collect(),
        holders: held_holders(conn, entries).await?,
        lanes: all.iter().map(|lane| (*lane, known_lane(*lane))).collect(),
        ids: draw(conn, entries.len()).await?.into(),
        originals: replace::look(conn, entries).await?,
    })
}

fn lanes_of(entries: &[Entry]) -> BTreeSet<i64> {
    let activities = entries.iter().filter_map(|entry| entry.facts.activity());
    activities.map(|activity| activity.lane().0).collect()
}

pub(super) const DRAW: &str = "SELECT nextval('submission_id') FROM generate_series(1, $1::bigint)";

/// So many numbers that nobody has. Those that are not used are gone.
async fn draw(conn: &mut PgConnection, count: usize) -> Result<Vec<i64>, sqlx::Error> {
    let rows = sqlx::query(DRAW)
        .bind(i64::try_from(count).unwrap_or(i64::MAX))
        .fetch_all(conn)
        .await?;
    let mut ids = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
    ids.sort_unstable();
    Ok(ids)
}

/// By the hash of the key, which is what the index holds, and then by the key itself.
pub(super) const HOLDERS: &str = "SELECT s.submission_key, s.id, s.digest, \
        coalesce((SELECT d.state FROM delivery AS d WHERE d.id = s.id), (SELECT d.state FROM settled AS d WHERE d.id = s.id)) AS state \
     FROM submission AS s WHERE sha256(s.submission_key) = ANY ($1) AND s.holds_key";

/// What a second one of the same key replaces. A parked one waits for an operator's word, and is replaced by its token
/// alone.
const KEYS_ARE_YIELDED_BY: [StateName; 2] = [StateName::Dead, StateName::Dismissed];

/// Those that would yield are held until the commit, and looked at once more: an act may have put one back.
async fn held_holders(conn: &mut PgConnection, entries: &[Entry]) -> Result<HashMap<String, KeyHolder>, sqlx::Error> {
    let found = holders(conn, entries).await?;
    let yielding: HashSet<SubmissionId> = found
        .values()
        .filter(|holder| holder.yields)
        .map(|one| one.id)
        .collect();
    if yielding.is_empty() {
        return Ok(found);
    }
    replace::hold(conn, &yielding).await?;
    holders(conn, entries).await
}

async fn holders(conn: &mut PgConnection, entries: &[Entry]) -> Result<HashMap<String, KeyHolder>, sqlx::Error> {
    let keys = entries.iter().filter_map(|entry| entry.directives.key.as_ref());
    let hashes: Vec<Vec<u8>> = keys.map(|key| Digest::of(key.0.as_bytes()).0.to_vec()).collect();
    let mut holders = HashMap::new();
    if hashes.is_empty() {
        return Ok(holders);
    }
    for row in sqlx::query(HOLDERS).bind(hashes).fetch_all(conn).await? {
        let digest: Option<&[u8]> = row.try_get("digest")?;
        let state: Option<&str> = row.try_get("state")?;
        let holder = KeyHolder {
            id: SubmissionId(row.try_get("id")?),
            digest: digest.and_then(|bytes| bytes.try_into().ok()).map(Digest),
            yields: KEYS_ARE_YIELDED_BY.iter().any(|from| Some(from.into_str()) == state),
        };
        let key: &[u8] = row.try_get("submission_key")?;
        holders.insert(String::from_utf8_lossy(key).into_owned(), holder);
    }
    Ok(holders)
}

pub(super) const INSERT_SUBMISSIONS: &str = "INSERT INTO submission (id, created_at, activity_id, provider_activity_id, commerce_external_id, \
        submission_key, holds_key, digest, source, on_conflict, not_before, origin, invalid, by_result_types, payload) \
     SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::boolean[], $8::bytea[], \
        $9::text[], $10::text[], $11::bigint[], $12::text[], $13::text[], $14::boolean[], $15::bytea[])";

async fn insert_submissions(conn: &mut PgConnection, rows: &[NewRow<'_>], now: Timestamp) -> Result<(), sqlx::Error> {
    // In the order of the hashes of their keys, as everybody's: two admissions that bring the same keys wait for one
    // another, and never in a circle.
    let mut sorted: Vec<&NewRow<'_>> = rows.iter().collect();
    sorted.sort_by_cached_key(|new| {
        let key = new.entry.directives.key.as_ref().filter(|_| new.holds_key);
        key.map(|key| Digest::of(key.0.as_bytes()).0)
    });
    let rows = sorted;
    let text = |text: &Option<String>| text.as_deref().map(|text| without_nul(text).into_owned());
    let origins = rows
        .iter()
        .map(|new| words::origin_text(&new.entry.origin))
        .collect::<Result<Vec<String>, _>>()
        .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    let of = |new: &NewRow<'_>| (new.entry.facts.clone(), new.entry.directives.clone());
    let (facts, directives): (Vec<_>, Vec<_>) = rows.iter().map(|new| of(new)).unzip();
    sqlx::query(INSERT_SUBMISSIONS)
        .bind(rows.iter().map(|new| new.id.0).collect::<Vec<_>>())
        .bind(vec![now.millis(); rows.len()])
        .bind(facts.iter().map(|facts| text(&facts.activity_id)).collect::<Vec<_>>())
        .bind(
            facts
                .iter()
                .map(|facts| text(&facts.provider_activity_id))
                .collect::<Vec<_>>(),
        )
        .bind(
            facts
                .iter()
                .map(|facts| text(&facts.commerce_external_id))
                .collect::<Vec<_>>(),
        )
        .bind(
            directives
                .iter()
                .map(|one| one.key.as_ref().map(|key| key.0.as_bytes()))
                .collect::<Vec<_>>(),
        )
        .bind(rows.iter().map(|new| new.holds_key).collect::<Vec<_>>())
        .bind(
            rows.iter()
                .map(|new| new.digest.map(|digest| digest.0.to_vec()))
                .collect::<Vec<_>>(),
        )
        .bind(directives.iter().map(|one| text(&one.source)).collect::<Vec<_>>())
        .bind(
            directives
                .iter()
                .map(|one| one.on_conflict.map(|one| one.into_str()))
                .collect::<Vec<_>>(),
        )
        .bind(
            directives
                .iter()
                .map(|one| one.not_before.map(Timestamp::millis))
                .collect::<Vec<_>>(),
        )
        .bind(origins)
        .bind(rows.iter().map(|new| text(&new.invalid)).collect::<Vec<_>>())
        // Where the store found more against it, the list is not all.
        .bind(
            rows.iter()
                .map(|new| new.entry.by_result_types && new.invalid == new.entry.invalid)
                .collect::<Vec<_>>(),
        )
        .bind(
            rows.iter()
                .map(|new| new.entry.payload.bytes().to_vec())
                .collect::<Vec<_>>(),
        )
        .execute(conn)
        .await
        .map(drop)
}

pub(super) const INSERT_PENDING: &str = "INSERT INTO delivery (id, lane, state, next_at, not_before, updated_at) \
     SELECT i, l, s, n, b, $6 FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[]) AS t (i, l, s, n, b)";
pub(super) const INSERT_INVALID: &str = "INSERT INTO settled (id, lane, state, reason, updated_at) \
     SELECT i, l, 'dead', $3, $4 FROM unnest($1::bigint[], $2::bigint[]) AS t (i, l)";

/// Where each of them is: what is invalid is a dead letter from the start.
async fn insert_places(
    transaction: &mut Transaction<'_>,
    rows: &[NewRow<'_>],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let (dead, pending): (Vec<&NewRow<'_>>, Vec<&NewRow<'_>>) = rows.iter().partition(|new| new.state == DEAD);
    if !pending.is_empty() {
        // Held only as long as that lies ahead.
        let held = |new: &NewRow<'_>| new.entry.directives.not_before.filter(|until| *until > now);
        sqlx::query(INSERT_PENDING)
            .bind(pending.iter().map(|new| new.id.0).collect::<Vec<_>>())
            .bind(pending.iter().map(|new| new.lane).collect::<Vec<_>>())
            .bind(pending.iter().map(|new| new.state).collect::<Vec<_>>())
            .bind(
                pending
                    .iter()
                    .map(|new| held(new).unwrap_or(now).millis())
                    .collect::<Vec<_>>(),
            )
            .bind(
                pending
                    .iter()
                    .map(|new| held(new).map(Timestamp::millis))
                    .collect::<Vec<_>>(),
            )
            .bind(now.millis())
            .execute(&mut *transaction.conn)
            .await?;
        transaction.moved(None, Some(StateName::Pending), pending.len() as u64);
    }
    if !dead.is_empty() {
        sqlx::query(INSERT_INVALID)
            .bind(dead.iter().map(|new| new.id.0).collect::<Vec<_>>())
            .bind(dead.iter().map(|new| new.lane).collect::<Vec<_>>())
            .bind(DeadReason::Invalid.into_str())
            .bind(now.millis())
            .execute(&mut *transaction.conn)
            .await?;
        transaction.moved(None, Some(StateName::Dead), dead.len() as u64);
    }
    Ok(())
}
