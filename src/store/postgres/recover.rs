//! Taking over what a node had claimed.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::clock::Timestamp;
use crate::model::{Actor, EndingName, FaultKind, SubmissionId};

use super::own::node_name;
use super::transaction::roll_back;
use super::{history, lanes, trouble};

/// A node that is silent is fenced only while it is as it was seen. FOR UPDATE is the point: it waits for a claim that
/// holds the row for its share, and the next claim finds the fence. A bare UPDATE would not wait, and what is claimed
/// meanwhile would be nobody's.
pub(super) const HOLD: &str =
    "SELECT id FROM node WHERE id = $1 AND ($2::bigint IS NULL OR beat = $2) AND fenced_at IS NULL FOR UPDATE";
pub(super) const FENCE: &str =
    "UPDATE node SET fenced_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint, in_flight = 0 WHERE id = $1";
/// Its transactions end at once, also of one that is frozen and cannot end them itself.
pub(super) const END_SESSIONS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND usename = current_user AND pid <> pg_backend_pid()";

/// Fences it and puts its claims back; how many, or `None` where it is not silent any more, or another was faster.
pub(super) async fn take_over(
    conn: &mut PgConnection,
    schema: &str,
    id: i64,
    beat: Option<i64>,
    now: Timestamp,
) -> Result<Option<u64>, sqlx::Error> {
    sqlx::raw_sql("BEGIN").execute(&mut *conn).await?;
    let fenced = fence(conn, id, beat).await;
    if !end(conn, fenced).await? {
        return Ok(None);
    }
    sqlx::query(END_SESSIONS)
        .bind(node_name(schema, id))
        .fetch_all(&mut *conn)
        .await?;
    rows_of(conn, id, now).await.map(Some)
}

async fn fence(conn: &mut PgConnection, id: i64, beat: Option<i64>) -> Result<bool, sqlx::Error> {
    if sqlx::query(HOLD)
        .bind(id)
        .bind(beat)
        .fetch_optional(&mut *conn)
        .await?
        .is_none()
    {
        return Ok(false);
    }
    sqlx::query(FENCE).bind(id).execute(conn).await?;
    Ok(true)
}

/// How often a page is tried again that met another transaction.
const REPLAYS: u32 = 5;
/// How many are put back in one transaction.
const PAGE: i64 = 500;
pub(super) const PAGE_OF: &str = "SELECT id FROM delivery WHERE state = 'sending' AND node = $1 ORDER BY id LIMIT $2";
pub(super) const HOLD_ROWS: &str = "SELECT id FROM delivery WHERE id = ANY ($1) AND state = 'sending' AND node = $2 ORDER BY id FOR UPDATE SKIP LOCKED";
/// The attempt that was begun and never ended. Nobody knows whether its request arrived: a lost response.
pub(super) const INTERRUPT: &str = "INSERT INTO attempt (submission, number, node, started_at, elapsed_ms, hard_override, lost_response, outcome, fault, fault_message) \
     SELECT id, attempts, node, updated_at, 0, hard_override <> 0, true, $2, $3, $4 FROM delivery WHERE id = ANY ($1) ON CONFLICT DO NOTHING";
pub(super) const PUT_BACK: &str = "UPDATE delivery SET state = 'head', node = NULL, next_at = least(next_at, $2), lost_response = true, updated_at = $2 \
     WHERE id = ANY ($1) AND state = 'sending'";
pub(super) const COUNT: &str =
    "INSERT INTO tally_delta (pending, sending, delivered, dead, parked, dismissed) VALUES ($1, -$1, 0, 0, 0, 0)";

/// Puts back what this fenced node has claimed; how many.
pub(super) async fn rows_of(conn: &mut PgConnection, id: i64, now: Timestamp) -> Result<u64, sqlx::Error> {
    let (mut count, mut replays) = (0, 0);
    loop {
        let page = ids(conn, id).await?;
        if page.is_empty() {
            return Ok(count);
        }
        sqlx::raw_sql("BEGIN").execute(&mut *conn).await?;
        let done = put_back(conn, id, &page, now).await;
        let done = match end(conn, done).await {
            Err(error) if trouble::is_worth_a_replay(&error) && replays < REPLAYS => {
                replays += 1;
                continue;
            }
            done => done?,
        };
        if done == 0 {
            // Others hold them: they are putting them back.
            return Ok(count);
        }
        count += done;
    }
}

async fn ids(conn: &mut PgConnection, id: i64) -> Result<Vec<i64>, sqlx::Error> {
    let rows = sqlx::query(PAGE_OF).bind(id).bind(PAGE).fetch_all(conn).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

async fn put_back(conn: &mut PgConnection, node: i64, page: &[i64], now: Timestamp) -> Result<u64, sqlx::Error> {
    let all = lanes::of(conn, page).await?;
    lanes::lock(conn, &all).await?;
    let rows = sqlx::query(HOLD_ROWS)
        .bind(page)
        .bind(node)
        .fetch_all(&mut *conn)
        .await?;
    let ids = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
    if ids.is_empty() {
        return Ok(0);
    }
    sqlx::query(INTERRUPT)
        .bind(&ids)
        .bind(EndingName::Interrupted.into_str())
        .bind(FaultKind::Interrupted.into_str())
        .bind("the daemon ended while the request may have been on the wire")
        .execute(&mut *conn)
        .await?;
    let line = history::Line {
        submission: SubmissionId(0),
        at: now,
        actor: &Actor::Daemon("recovery"),
        what: "recovered",
        detail: None,
    };
    history::write_same(conn, &ids, &line).await?;
    sqlx::query(PUT_BACK)
        .bind(&ids)
        .bind(now.millis())
        .execute(&mut *conn)
        .await?;
    lanes::relane(conn, &all).await?;
    let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    sqlx::query(COUNT).bind(count).execute(conn).await?;
    Ok(ids.len() as u64)
}

/// Ends a transaction of its own, beside the writers: as its work ended.
async fn end<T>(conn: &mut PgConnection, work: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
    match work {
        Ok(done) => {
            sqlx::raw_sql("COMMIT").execute(conn).await?;
            Ok(done)
        }
        Err(error) => {
            roll_back(conn).await?;
            Err(error)
        }
    }
}

/// Nodes that are fenced and of which something is still `sending`.
pub(super) const ORPHANED: &str = "SELECT DISTINCT d.node FROM delivery AS d WHERE d.state = 'sending' \
     AND (SELECT n.id FROM node AS n WHERE n.id = d.node AND n.fenced_at IS NULL) IS NULL";

pub(super) async fn orphaned(conn: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
    let rows = sqlx::query(ORPHANED).fetch_all(conn).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Of an identity only the newest row says anything; and what was fenced a month ago and never came back is no news. An
/// attempt that names such a one names nobody.
pub(super) const FORGET_OLD: &str = "DELETE FROM node AS n WHERE n.fenced_at IS NOT NULL \
     AND (n.fenced_at < (extract(epoch FROM clock_timestamp()) * 1000)::bigint - 2592000000)";

pub(super) async fn forget_old(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(FORGET_OLD).execute(conn).await.map(drop)
}

pub(super) async fn name_of(conn: &mut PgConnection, id: i64) -> Result<String, sqlx::Error> {
    let row = sqlx::query("SELECT name FROM node WHERE id = $1")
        .bind(id)
        .fetch_optional(conn)
        .await?;
    row.map_or_else(|| Ok(id.to_string()), |row| row.try_get(0))
}

/// Leaves of its own accord, with nothing left behind: the others need not wait for its silence.
pub(super) const LEAVE: &str = "UPDATE node SET fenced_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint, is_stopped = true, in_flight = 0 \
     WHERE id = $1 AND fenced_at IS NULL";
