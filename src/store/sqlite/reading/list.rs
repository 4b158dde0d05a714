//! Lists, for people: which submissions match, and what a table shows of them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};

use crate::clock::Timestamp;
use crate::model::{ActivityKey, Payload, StateName, SubmissionId};
use crate::store::sqlite::machine::{batch, row};
use crate::store::{Filter, Listed};

use super::attempts;

/// Where a list begins to look: the narrowest index that the filter allows. Those without one walk the submissions by
/// number.
const BY_LANE: &str = "delivery AS d INDEXED BY delivery_lane CROSS JOIN submission AS s ON s.id = d.id \
     WHERE d.lane IN (SELECT number FROM lane WHERE hash IN (?2, ?3)) AND";
const PENDING: &str = "delivery AS d INDEXED BY delivery_pending CROSS JOIN submission AS s ON s.id = d.id \
     WHERE (d.state = 'head' OR d.state = 'waiting') AND d.id NOT IN (SELECT id FROM flight) AND";
const SENDING: &str =
    "delivery AS d CROSS JOIN submission AS s ON s.id = d.id WHERE d.id IN (SELECT id FROM flight) AND";
const DEAD: &str =
    "delivery AS d INDEXED BY delivery_dead CROSS JOIN submission AS s ON s.id = d.id WHERE d.state = 'dead' AND";
const PARKED: &str =
    "delivery AS d INDEXED BY delivery_parked CROSS JOIN submission AS s ON s.id = d.id WHERE d.state = 'parked' AND";
const ALL: &str = "delivery AS d CROSS JOIN submission AS s ON s.id = d.id WHERE";

/// Every way of looking, for the test of their plans.
#[cfg(test)]
pub(crate) const DRIVERS: [&str; 6] = [BY_LANE, PENDING, SENDING, DEAD, PARKED, ALL];

/// The rest of the filter. The activity is compared by its text too: a lane is a hash.
pub(crate) const CONDITIONS: &str = "d.id < ?1 \
     AND (?4 IS NULL OR lower(s.activity_id) = lower(?4) OR s.provider_activity_id = ?4) \
     AND (?5 IS NULL OR ?5 = CASE WHEN d.id IN (SELECT id FROM flight) THEN 'sending' \
            WHEN d.state IN ('head', 'waiting') THEN 'pending' ELSE d.state END) \
     AND (?6 IS NULL OR d.reason = ?6) \
     AND (?7 IS NULL OR d.http_status = ?7) \
     AND (?8 IS NULL OR s.source = ?8) \
     AND (?9 IS NULL OR s.created_at >= ?9) \
     AND (?10 IS NULL OR coalesce((SELECT f.claimed_at FROM flight AS f WHERE f.id = d.id), d.updated_at) >= ?10)";

/// What [`read`] needs, of `delivery AS d` and `submission AS s`. The attempts are those that are remembered and the
/// one on its way: the column `attempts` also counts claims that were given back uncharged, since it guards
/// settlements.
pub(crate) const COLUMNS: &str = "d.id, CASE WHEN d.id IN (SELECT id FROM flight) THEN 'sending' ELSE d.state \
     END AS state, d.reason, d.next_at, \
     d.not_before AS held_until, coalesce((SELECT f.claimed_at FROM flight AS f \
     WHERE f.id = d.id), d.updated_at) AS updated_at, d.lost_response, \
     (SELECT count(*) FROM attempt AS c WHERE c.submission = d.id) + (d.id IN (SELECT id FROM flight)) AS attempts, \
     s.created_at, s.submission_key, s.activity_id, s.provider_activity_id, s.commerce_external_id, s.source, \
     s.on_conflict, s.not_before, s.origin, s.invalid, \
     CASE WHEN d.state = 'waiting' THEN (SELECT b.id FROM delivery AS b INDEXED BY delivery_live \
         WHERE b.lane = d.lane AND b.state = 'head') END AS waits_behind";

/// The last attempt of each.
pub(crate) const LAST_ATTEMPT: &str = "LEFT JOIN attempt AS a ON a.submission = d.id \
     AND a.number = (SELECT max(l.number) FROM attempt AS l WHERE l.submission = d.id)";

/// The SQL of a list through this driver.
pub(crate) fn list_sql(driver: &str) -> String {
    let (tables, condition) = driver.split_once("WHERE").unwrap_or((driver, ""));
    let attempt = attempts::READ_COLUMNS;
    format!(
        "SELECT {COLUMNS}, {attempt} FROM {tables} {LAST_ATTEMPT} WHERE {condition} {CONDITIONS} ORDER BY d.id DESC \
         LIMIT ?11"
    )
}

/// The SQL of what goes next. A head stands in the index of one turn alone, so none comes twice.
pub(crate) fn next_up_sql() -> String {
    let attempt = attempts::READ_COLUMNS;
    let due = |requeued: u8| {
        format!(
            "SELECT id FROM (SELECT id FROM delivery INDEXED BY delivery_due WHERE state = 'head' \
             AND not_before IS NULL AND requeued = {requeued} AND id NOT IN (SELECT id FROM flight) \
             ORDER BY next_at LIMIT ?1)"
        )
    };
    format!(
        "SELECT {COLUMNS}, {attempt} FROM ({} UNION ALL {} UNION ALL \
         SELECT id FROM (SELECT id FROM delivery INDEXED BY delivery_held WHERE state = 'head' \
             AND not_before IS NOT NULL AND id NOT IN (SELECT id FROM flight) ORDER BY not_before LIMIT ?1) UNION ALL \
         SELECT id FROM (SELECT id FROM delivery INDEXED BY delivery_waiting WHERE state = 'waiting' \
             ORDER BY lane LIMIT ?1)) AS up \
         CROSS JOIN delivery AS d ON d.id = up.id CROSS JOIN submission AS s ON s.id = d.id {LAST_ATTEMPT}",
        due(0),
        due(1)
    )
}

/// The SQL of a selection through this driver.
pub(crate) fn select_sql(driver: &str) -> String {
    format!("SELECT d.id FROM {driver} {CONDITIONS} ORDER BY d.id")
}

/// The SQL that looks which of these match.
pub(crate) fn matching_sql() -> String {
    format!(
        "SELECT d.id FROM json_each(?11) AS j CROSS JOIN delivery AS d ON d.id = j.value \
         CROSS JOIN submission AS s ON s.id = d.id WHERE {CONDITIONS}"
    )
}

fn driver(filter: &Filter, state: Option<StateName>) -> &'static str {
    if filter.activity.is_some() {
        return BY_LANE;
    }
    match state {
        Some(StateName::Pending) => PENDING,
        Some(StateName::Sending) => SENDING,
        Some(StateName::Dead) => DEAD,
        Some(StateName::Parked) => PARKED,
        Some(StateName::Delivered | StateName::Dismissed) | None => ALL,
    }
}

fn bind<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    filter: &Filter,
    state: Option<StateName>,
    before: Option<SubmissionId>,
) -> Query<'q, Sqlite, SqliteArguments> {
    let activity = filter.activity.as_deref();
    let lane = |key: Option<ActivityKey>| key.map(|key| key.lane().0);
    query
        .bind(before.map_or(i64::MAX, |before| before.0))
        .bind(lane(ActivityKey::of(activity, None)))
        .bind(lane(ActivityKey::of(None, activity)))
        .bind(activity)
        .bind(state.map(|one| one.into_str()))
        .bind(filter.reason.as_deref())
        .bind(filter.http_status)
        .bind(filter.source.as_deref())
        .bind(filter.since.map(Timestamp::millis))
        .bind(filter.changed_since.map(Timestamp::millis))
}

/// What matches, newest first.
pub(crate) async fn list(
    conn: &mut SqliteConnection,
    filter: &Filter,
    before: Option<SubmissionId>,
    limit: u32,
) -> Result<Vec<Listed>, sqlx::Error> {
    let states = each_state(filter);
    let mut all = Vec::new();
    for state in &states {
        let query = sqlx::query(AssertSqlSafe(list_sql(driver(filter, *state))));
        let rows = bind(query, filter, *state, before)
            .bind(limit)
            .fetch_all(&mut *conn)
            .await?;
        for row in &rows {
            all.push(read(row)?);
        }
    }
    if states.len() > 1 {
        all.sort_by_key(|listed| Reverse(listed.id));
        all.truncate(limit as usize);
    }
    Ok(all)
}

/// The states to look for, each once and through its own index; `None`: any.
fn each_state(filter: &Filter) -> Vec<Option<StateName>> {
    let named: BTreeSet<StateName> = filter.states.iter().copied().collect();
    if named.is_empty() {
        return vec![None];
    }
    named.into_iter().map(Some).collect()
}

/// The numbers of what matches, oldest first.
pub(crate) async fn select(conn: &mut SqliteConnection, filter: &Filter) -> Result<Vec<SubmissionId>, sqlx::Error> {
    let mut ids = Vec::new();
    for state in each_state(filter) {
        let query = sqlx::query(AssertSqlSafe(select_sql(driver(filter, state))));
        for row in bind(query, filter, state, None).fetch_all(&mut *conn).await? {
            ids.push(SubmissionId(row.try_get(0)?));
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

/// What goes next, by its turn.
pub(crate) async fn next_up(conn: &mut SqliteConnection, limit: u32) -> Result<Vec<Listed>, sqlx::Error> {
    let rows = sqlx::query(AssertSqlSafe(next_up_sql()))
        .bind(limit)
        .fetch_all(conn)
        .await?;
    let mut up = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    up.sort_by_key(Listed::turn);
    Ok(up)
}

/// Which of these match.
pub(crate) async fn matching(
    conn: &mut SqliteConnection,
    ids: &[SubmissionId],
    filter: &Filter,
) -> Result<HashSet<SubmissionId>, sqlx::Error> {
    let ids = batch::json(&ids.iter().map(|id| id.0).collect::<Vec<_>>())?;
    let mut matching = HashSet::new();
    for state in each_state(filter) {
        let query = sqlx::query(AssertSqlSafe(matching_sql()));
        for row in bind(query, filter, state, None)
            .bind(&ids)
            .fetch_all(&mut *conn)
            .await?
        {
            matching.insert(SubmissionId(row.try_get(0)?));
        }
    }
    Ok(matching)
}

pub(crate) const REFUSED_BY_RESULT_TYPES: &str = "SELECT s.id, s.payload \
     FROM submission AS s INDEXED BY submission_by_result_types \
     CROSS JOIN delivery AS d ON d.id = s.id \
     WHERE s.by_result_types = 1 AND s.id > ?1 AND d.state = 'dead' AND d.reason = 'invalid' ORDER BY s.id LIMIT ?2";

/// What the list of result types alone speaks against, oldest first.
pub(crate) async fn refused_by_result_types(
    conn: &mut SqliteConnection,
    after: SubmissionId,
    limit: u32,
) -> Result<Vec<(SubmissionId, Payload)>, sqlx::Error> {
    let rows = sqlx::query(REFUSED_BY_RESULT_TYPES)
        .bind(after.0)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| Ok((SubmissionId(row.try_get("id")?), row::payload(row)?)))
        .collect()
}

/// One line of a list.
pub(crate) fn read(row: &SqliteRow) -> Result<Listed, sqlx::Error> {
    Ok(Listed {
        id: SubmissionId(row.try_get("id")?),
        key: row::key(row)?,
        facts: row::facts(row)?,
        source: row::text(row, "source")?,
        on_conflict: row::on_conflict(row)?,
        not_before: row::time(row, "not_before")?,
        state: row::state(row)?,
        attempts: row.try_get("attempts")?,
        created_at: Timestamp::from_millis(row.try_get("created_at")?),
        updated_at: Timestamp::from_millis(row.try_get("updated_at")?),
        origin: row::origin(row)?,
        invalid: row.try_get("invalid")?,
        waits_behind: row.try_get::<Option<i64>, _>("waits_behind")?.map(SubmissionId),
        lost_response: row.try_get("lost_response")?,
        node: None,
        last: attempts::read(row)?,
    })
}
