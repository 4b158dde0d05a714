//! The queue in numbers, each the beginning of an index: as cheap at ten million rows as at ten.
//!
//! How many are in each state is one row, and what every commit since then changed, a row each: writers do not queue
//! behind one another for it. Folding adds these up now and then.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use strum::VariantArray as _;

use crate::clock::Timestamp;
use crate::model::StateName;
use crate::store::Tally;
use crate::store::rules::dues::Dues;

use super::row;

/// In one statement: what is folded between two would be counted twice, or not at all.
pub(super) const COUNTS: &str = "SELECT coalesce(sum(pending), 0)::bigint AS pending, coalesce(sum(sending), 0)::bigint AS sending, \
        coalesce(sum(delivered), 0)::bigint AS delivered, coalesce(sum(dead), 0)::bigint AS dead, \
        coalesce(sum(parked), 0)::bigint AS parked, coalesce(sum(dismissed), 0)::bigint AS dismissed \
     FROM (SELECT pending, sending, delivered, dead, parked, dismissed FROM tally \
           UNION ALL SELECT pending, sending, delivered, dead, parked, dismissed FROM tally_delta) AS counted";

pub(super) const OLDEST: &str = "SELECT \
     (SELECT s.created_at FROM submission AS s WHERE s.id = \
         (SELECT id FROM delivery WHERE state <> 'sending' ORDER BY id LIMIT 1)) AS pending, \
     (SELECT updated_at FROM settled WHERE state = 'dead' ORDER BY updated_at, id LIMIT 1) AS dead";

/// Counts and oldest ones.
pub(super) async fn tally(conn: &mut PgConnection) -> Result<Tally, sqlx::Error> {
    let counted = sqlx::query(COUNTS).fetch_one(&mut *conn).await?;
    let mut counts = Vec::with_capacity(StateName::VARIANTS.len());
    for state in StateName::VARIANTS {
        let count: i64 = counted.try_get(state.into_str())?;
        // Other hands may have taken some away: the recount finds out.
        counts.push((*state, u64::try_from(count).unwrap_or(0)));
    }
    let oldest = sqlx::query(OLDEST).fetch_one(&mut *conn).await?;
    Ok(Tally {
        counts,
        oldest_pending: row::time(&oldest, "pending")?,
        oldest_due: dues(conn).await?.earliest(),
        oldest_dead: row::time(&oldest, "dead")?,
    })
}

pub(super) const DUES: &str = "SELECT \
     (SELECT next_at FROM delivery WHERE state = 'head' AND not_before IS NULL AND requeued = false \
       ORDER BY next_at, id LIMIT 1) AS first, \
     (SELECT next_at FROM delivery WHERE state = 'head' AND not_before IS NULL AND requeued = false \
       ORDER BY next_at DESC, id DESC LIMIT 1) AS last, \
     (SELECT next_at FROM delivery WHERE state = 'head' AND not_before IS NULL AND requeued = true \
       ORDER BY next_at, id LIMIT 1) AS first_requeued, \
     (SELECT next_at FROM delivery WHERE state = 'head' AND not_before IS NULL AND requeued = true \
       ORDER BY next_at DESC, id DESC LIMIT 1) AS last_requeued, \
     (SELECT not_before FROM delivery WHERE state = 'head' AND not_before IS NOT NULL \
       ORDER BY not_before, id LIMIT 1) AS held";

/// When heads are due.
pub(super) async fn dues(conn: &mut PgConnection) -> Result<Dues, sqlx::Error> {
    let row = sqlx::query(DUES).fetch_one(conn).await?;
    let time = |column: &str| row::time(&row, column);
    let first: [Option<Timestamp>; 2] = [time("first")?, time("first_requeued")?];
    let last: [Option<Timestamp>; 2] = [time("last")?, time("last_requeued")?];
    Ok(Dues {
        first: first.into_iter().flatten().min(),
        last: last.into_iter().flatten().max(),
        held: time("held")?,
    })
}

/// Where the one row is gone (other hands) nothing is folded: the changes count without it. Two that fold at once take
/// each what the other did not.
pub(super) const FOLD: &str = "WITH gone AS (DELETE FROM tally_delta WHERE (SELECT count(*) FROM tally) > 0 \
        RETURNING pending, sending, delivered, dead, parked, dismissed) \
     UPDATE tally AS t SET pending = t.pending + f.pending, sending = t.sending + f.sending, delivered = t.delivered + f.delivered, \
        dead = t.dead + f.dead, parked = t.parked + f.parked, dismissed = t.dismissed + f.dismissed \
     FROM (SELECT coalesce(sum(pending), 0)::bigint AS pending, coalesce(sum(sending), 0)::bigint AS sending, \
                  coalesce(sum(delivered), 0)::bigint AS delivered, coalesce(sum(dead), 0)::bigint AS dead, \
                  coalesce(sum(parked), 0)::bigint AS parked, coalesce(sum(dismissed), 0)::bigint AS dismissed \
             FROM gone HAVING count(*) > 0) AS f";

/// Adds up what has come since the last time.
pub(super) async fn fold(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(FOLD).execute(conn).await.map(drop)
}
