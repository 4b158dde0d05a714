//! Whether the books are right: the counts, and whose turn it is in each activity. Other hands and mistakes of ours may
//! have changed either. It is looked for on a reading connection, beside everything else; what is found goes to the writer
//! as a difference, which holds whatever was committed meanwhile.

use std::collections::BTreeSet;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use strum::VariantArray as _;

use crate::model::StateName;
use crate::store::Miscount;

use super::lanes;
use super::transaction::Transaction;

/// So many of a state are counted at most, some tenths of a second: a month's delivered ones may be tens of millions,
/// and are counted to the end only where another count was wrong.
const COUNTED_MAX: i64 = 2_000_000;
/// How many activities one look goes through: some milliseconds.
const LANES: u32 = 1_000;

/// One statement sees one state of the database: its two numbers belong together, whatever is committed while it runs.
pub(super) const COUNTED_PENDING: &str = "SELECT \
     (SELECT coalesce(sum(pending), 0) FROM (SELECT pending FROM tally UNION ALL SELECT pending FROM tally_delta) AS c)::bigint AS was, \
     (SELECT count(*) FROM (SELECT id FROM delivery WHERE state = 'head' OR state = 'waiting' LIMIT $1) AS found) AS n";
pub(super) const COUNTED_SENDING: &str = "SELECT \
     (SELECT coalesce(sum(sending), 0) FROM (SELECT sending FROM tally UNION ALL SELECT sending FROM tally_delta) AS c)::bigint AS was, \
     (SELECT count(*) FROM (SELECT id FROM delivery WHERE state = 'sending' LIMIT $1) AS found) AS n";
pub(super) const COUNTED_DELIVERED: &str = "SELECT \
     (SELECT coalesce(sum(delivered), 0) FROM (SELECT delivered FROM tally UNION ALL SELECT delivered FROM tally_delta) AS c)::bigint AS was, \
     (SELECT count(*) FROM (SELECT id FROM settled WHERE state = 'delivered' LIMIT $1) AS found) AS n";
pub(super) const COUNTED_DEAD: &str = "SELECT \
     (SELECT coalesce(sum(dead), 0) FROM (SELECT dead FROM tally UNION ALL SELECT dead FROM tally_delta) AS c)::bigint AS was, \
     (SELECT count(*) FROM (SELECT id FROM settled WHERE state = 'dead' LIMIT $1) AS found) AS n";
pub(super) const COUNTED_PARKED: &str = "SELECT \
     (SELECT coalesce(sum(parked), 0) FROM (SELECT parked FROM tally UNION ALL SELECT parked FROM tally_delta) AS c)::bigint AS was, \
     (SELECT count(*) FROM (SELECT id FROM settled WHERE state = 'parked' LIMIT $1) AS found) AS n";
pub(super) const COUNTED_DISMISSED: &str = "SELECT \
     (SELECT coalesce(sum(dismissed), 0) FROM (SELECT dismissed FROM tally UNION ALL SELECT dismissed FROM tally_delta) AS c)::bigint AS was, \
     (SELECT count(*) FROM (SELECT id FROM settled WHERE state = 'dismissed' LIMIT $1) AS found) AS n";

const fn counted(state: StateName) -> &'static str {
    match state {
        StateName::Pending => COUNTED_PENDING,
        StateName::Sending => COUNTED_SENDING,
        StateName::Delivered => COUNTED_DELIVERED,
        StateName::Dead => COUNTED_DEAD,
        StateName::Parked => COUNTED_PARKED,
        StateName::Dismissed => COUNTED_DISMISSED,
    }
}

/// The counts that are wrong.
pub(super) async fn miscounts(conn: &mut PgConnection) -> Result<Vec<Miscount>, sqlx::Error> {
    let (mut wrong, mut too_many) = (Vec::new(), Vec::new());
    for state in StateName::VARIANTS {
        let (found, is_wrong) = look(conn, *state, COUNTED_MAX).await?;
        if found.is >= COUNTED_MAX.unsigned_abs() {
            too_many.push(*state);
        } else if is_wrong {
            wrong.push(found);
        }
    }
    if !wrong.is_empty() {
        // What one count has too many another may have too few.
        for state in too_many {
            let (found, is_wrong) = look(conn, state, i64::MAX).await?;
            wrong.extend(is_wrong.then_some(found));
        }
    }
    Ok(wrong)
}

/// What a count says and what there is, `most` of them at most; whether the count is wrong. One below zero is told as
/// zero, as everywhere.
async fn look(conn: &mut PgConnection, state: StateName, most: i64) -> Result<(Miscount, bool), sqlx::Error> {
    let row = sqlx::query(counted(state)).bind(most).fetch_one(conn).await?;
    let (was, is): (i64, i64) = (row.try_get("was")?, row.try_get("n")?);
    let found = Miscount {
        state,
        was: u64::try_from(was).unwrap_or(0),
        is: is.unsigned_abs(),
    };
    Ok((found, was != is))
}

/// Corrects the counts by what was found: a difference, since others have changed them meanwhile; and what is below zero
/// comes up to it first.
pub(super) async fn correct(transaction: &mut Transaction<'_>, wrong: &[Miscount]) -> Result<(), sqlx::Error> {
    for found in wrong {
        let row = sqlx::query(counted(found.state))
            .bind(0_i64)
            .fetch_one(&mut *transaction.conn)
            .await?;
        let below: i64 = row.try_get::<i64, _>("was")?.min(0);
        transaction.corrected(found.state, found.is.cast_signed() - found.was.cast_signed() - below);
    }
    Ok(())
}

/// The next activities in which somebody waits, and whether they stand as they should: somebody is next or being sent,
/// and nobody older waits behind who is next. From one to the next by the index, however many wait in each.
pub(super) const WAITING_LANES: &str = "WITH RECURSIVE hop (lane, n) AS ( \
         SELECT (SELECT f.lane FROM delivery AS f WHERE f.lane > $1 AND f.lane IS NOT NULL AND f.state = 'waiting' ORDER BY f.lane, f.id LIMIT 1), 1::bigint \
         UNION ALL \
         SELECT (SELECT f.lane FROM delivery AS f WHERE f.lane > hop.lane AND f.lane IS NOT NULL AND f.state = 'waiting' ORDER BY f.lane, f.id LIMIT 1), hop.n + 1 \
           FROM hop WHERE hop.lane IS NOT NULL AND hop.n < $2) \
     SELECT hop.lane, coalesce((SELECT b.state = 'head' AND b.id > (SELECT w.id FROM delivery AS w \
                                  WHERE w.lane = hop.lane AND w.lane IS NOT NULL AND w.state = 'waiting' ORDER BY w.lane, w.id LIMIT 1) \
                              FROM delivery AS b \
                             WHERE b.lane = hop.lane AND b.lane IS NOT NULL AND (b.state = 'head' OR b.state = 'sending') LIMIT 1), true) AS is_wrong \
       FROM hop WHERE hop.lane IS NOT NULL";

/// The lanes behind this one that do not stand as they should, and where the next look begins; `None`: there are no
/// more. Lanes are hashes: the first look begins at the smallest number there is.
pub(super) async fn wrong_lanes(conn: &mut PgConnection, after: i64) -> Result<(Vec<i64>, Option<i64>), sqlx::Error> {
    let rows = sqlx::query(WAITING_LANES)
        .bind(after)
        .bind(i64::from(LANES))
        .fetch_all(conn)
        .await?;
    let (mut wrong, mut last) = (Vec::new(), None);
    for row in &rows {
        let lane: i64 = row.try_get("lane")?;
        last = last.max(Some(lane));
        if row.try_get::<bool, _>("is_wrong")? {
            wrong.push(lane);
        }
    }
    Ok((wrong, last.filter(|_| rows.len() == LANES as usize)))
}

/// Puts them in order, whatever they have come to meanwhile.
pub(super) async fn put_in_order(transaction: &mut Transaction<'_>, wrong: &[i64]) -> Result<(), sqlx::Error> {
    let wrong: BTreeSet<i64> = wrong.iter().copied().collect();
    lanes::lock(transaction.conn, &wrong).await?;
    lanes::relane(transaction.conn, &wrong).await.map(drop)
}
