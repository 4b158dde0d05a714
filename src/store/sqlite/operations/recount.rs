//! Whether the outbox's own bookkeeping is true: the counts by state, and that in each activity somebody is next. Both
//! are kept by the transactions that change a state; another hand (an operator's `UPDATE` in `sqlite3`) keeps neither.
//! Read on a reading connection, beside everything else; what is found goes to the writer as a difference, which holds
//! whatever was committed meanwhile.

use std::collections::HashSet;
use strum::VariantArray as _;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::model::StateName;
use crate::store::Miscount;
use crate::store::sqlite::machine::batch;
use crate::store::sqlite::machine::transaction::Transaction;

use super::lanes;

/// So many of a state are counted at most, some tenths of a second: a month's delivered ones may be tens of millions,
/// and are counted to the end only where another count was wrong.
const COUNTED_MAX: i64 = 2_000_000;
/// How many activities one look goes through: some milliseconds.
pub(crate) const LANES: u32 = 1_000;

/// One statement sees one state of the database: its two numbers belong together, whatever is committed while it runs.
pub(crate) const COUNTED_PENDING: &str = "SELECT (SELECT n FROM tally WHERE state = 'pending') AS was, \
     (SELECT count(*) FROM (SELECT id FROM delivery INDEXED BY delivery_pending \
     WHERE state = 'head' OR state = 'waiting' LIMIT ?1)) AS n";
/// There is no other count of these.
pub(crate) const COUNTED_SENDING: &str = "SELECT count(*) AS was, count(*) AS n FROM flight WHERE ?1 IS NOT NULL";
pub(crate) const COUNTED_DEAD: &str = "SELECT (SELECT n FROM tally WHERE state = 'dead') AS was, \
     (SELECT count(*) FROM (SELECT id FROM delivery INDEXED BY delivery_dead WHERE state = 'dead' LIMIT ?1)) AS n";
pub(crate) const COUNTED_PARKED: &str = "SELECT (SELECT n FROM tally WHERE state = 'parked') AS was, \
     (SELECT count(*) FROM (SELECT id FROM delivery INDEXED BY delivery_parked WHERE state = 'parked' LIMIT ?1)) AS n";
pub(crate) const COUNTED_DELIVERED: &str = "SELECT (SELECT n FROM tally WHERE state = 'delivered') AS was, \
     (SELECT count(*) FROM (SELECT id FROM delivery INDEXED BY delivery_delivered_since WHERE state = 'delivered' \
     LIMIT ?1)) AS n";
pub(crate) const COUNTED_DISMISSED: &str = "SELECT (SELECT n FROM tally WHERE state = 'dismissed') AS was, \
     (SELECT count(*) FROM (SELECT id FROM delivery INDEXED BY delivery_dismissed_since WHERE state = 'dismissed' \
     LIMIT ?1)) AS n";

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
pub(crate) async fn miscounts(conn: &mut SqliteConnection) -> Result<Vec<Miscount>, sqlx::Error> {
    let (mut wrong, mut too_many) = (Vec::new(), Vec::new());
    for state in StateName::VARIANTS {
        let (found, is_wrong) = query_count(conn, *state, COUNTED_MAX).await?;
        if found.is >= COUNTED_MAX.unsigned_abs() {
            too_many.push(*state);
        } else if is_wrong {
            wrong.push(found);
        }
    }
    if !wrong.is_empty() {
        // What one count has too many another may have too few.
        for state in too_many {
            let (found, is_wrong) = query_count(conn, state, i64::MAX).await?;
            wrong.extend(is_wrong.then_some(found));
        }
    }
    Ok(wrong)
}

/// What a count says and what there is, `most` of them at most; whether the count is wrong, or not there.
async fn query_count(
    conn: &mut SqliteConnection,
    state: StateName,
    most: i64,
) -> Result<(Miscount, bool), sqlx::Error> {
    let row = sqlx::query(counted(state)).bind(most).fetch_one(conn).await?;
    let was = row.try_get::<Option<i64>, _>("was")?.map(i64::unsigned_abs);
    let is = row.try_get::<i64, _>("n")?.unsigned_abs();
    let found = Miscount {
        state,
        was: was.unwrap_or(0),
        is,
    };
    Ok((found, was != Some(is)))
}

/// A count that another hand took away altogether.
pub(crate) const MISSING: &str =
    "INSERT INTO tally (state, n) SELECT value, 0 FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING";

/// Corrects the counts by what was found: a difference, since others have changed them meanwhile.
pub(crate) async fn correct(transaction: &mut Transaction<'_>, wrong: &[Miscount]) -> Result<(), sqlx::Error> {
    let names: Vec<&str> = wrong.iter().map(|found| found.state.into_str()).collect();
    sqlx::query(MISSING)
        .bind(batch::json(&names)?)
        .execute(&mut *transaction.conn)
        .await?;
    for found in wrong {
        transaction.miscounted(found.state, found.is.cast_signed() - found.was.cast_signed());
    }
    Ok(())
}

/// The next activities in which somebody waits, and whether they are as they should be: somebody is next or being sent,
/// and nobody older waits behind who is next. From one to the next by the index, however many wait in each.
pub(crate) const WAITING_LANES: &str = "WITH RECURSIVE hop (lane) AS ( \
         SELECT (SELECT lane FROM delivery INDEXED BY delivery_waiting WHERE state = 'waiting' AND lane > ?1 \
         ORDER BY lane LIMIT 1) UNION ALL \
         SELECT (SELECT lane FROM delivery INDEXED BY delivery_waiting WHERE state = 'waiting' AND lane > hop.lane \
         ORDER BY lane LIMIT 1) FROM hop WHERE hop.lane IS NOT NULL LIMIT ?2) \
     SELECT lane, coalesce((SELECT b.id NOT IN (SELECT id FROM flight) AND b.id > (SELECT w.id \
     FROM delivery AS w INDEXED BY delivery_waiting \
                                  WHERE w.state = 'waiting' AND w.lane = hop.lane ORDER BY w.id LIMIT 1) \
                              FROM delivery AS b INDEXED BY delivery_live \
                             WHERE b.lane = hop.lane AND b.state = 'head'), 1) AS is_wrong \
       FROM hop WHERE lane IS NOT NULL";

/// The lanes after this one that are not as they should be, and where the next look begins; `None`: there are no
/// more.
pub(crate) async fn wrong_lanes(
    conn: &mut SqliteConnection,
    after: i64,
) -> Result<(Vec<i64>, Option<i64>), sqlx::Error> {
    let rows = sqlx::query(WAITING_LANES)
        .bind(after)
        .bind(LANES)
        .fetch_all(conn)
        .await?;
    let (mut wrong, mut last) = (Vec::new(), None);
    for row in &rows {
        let lane: i64 = row.try_get("lane")?;
        last = Some(lane);
        if row.try_get::<bool, _>("is_wrong")? {
            wrong.push(lane);
        }
    }
    Ok((wrong, last.filter(|_| rows.len() == LANES as usize)))
}

/// Puts them in order.
pub(crate) async fn put_in_order(transaction: &mut Transaction<'_>, wrong: &[i64]) -> Result<(), sqlx::Error> {
    let wrong: HashSet<i64> = wrong.iter().copied().collect();
    lanes::relane(transaction.conn, &wrong).await
}
