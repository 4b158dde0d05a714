//! Lists, for people: which submissions match, and what a table shows of them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Row as _};

use crate::clock::Timestamp;
use crate::model::{ActivityKey, Payload, StateName, SubmissionId};
use crate::store::rules::words::{self, without_nul};
use crate::store::{Filter, Listed};

use super::{attempts, row};

/// Where each is, and what it is. A word for the state leaves of the view only the table that can hold it, by that
/// table's CHECK. `OFFSET 0` keeps the submission a look by number for each: a merge of the two tables, which the
/// planner likes for a short list, walks every submission that lies between two dead letters.
pub(super) const TABLES: &str = "standing AS d \
     CROSS JOIN LATERAL (SELECT * FROM submission WHERE submission.id = d.id OFFSET 0) AS s";

/// Where a list begins to look: the narrowest index that the filter allows. Those without one walk by number.
const BY_LANE: &str = "d.id = ANY (ARRAY( \
     SELECT b.id FROM delivery AS b WHERE b.lane = ANY ($2) AND b.lane IS NOT NULL AND (b.state = 'head' OR b.state = 'sending') \
     UNION ALL SELECT w.id FROM delivery AS w WHERE w.lane = ANY ($2) AND w.lane IS NOT NULL AND w.state = 'waiting' \
     UNION ALL SELECT e.id FROM settled AS e WHERE e.lane = ANY ($2) AND e.lane IS NOT NULL))";
const PENDING: &str = "(d.state = 'head' OR d.state = 'waiting')";
const SENDING: &str = "d.state = 'sending'";
const DELIVERED: &str = "d.state = 'delivered'";
const DEAD: &str = "d.state = 'dead'";
const PARKED: &str = "d.state = 'parked'";
const DISMISSED: &str = "d.state = 'dismissed'";
const ALL: &str = "true";

/// Every way of looking, for the test of their plans.
#[cfg(test)]
pub(super) const DRIVERS: [&str; 8] = [BY_LANE, PENDING, SENDING, DELIVERED, DEAD, PARKED, DISMISSED, ALL];

/// The rest of the filter. The activity is compared by its text too: a lane is a hash. Its letters are lowered as the
/// hash's are, those of ASCII alone.
pub(super) const CONDITIONS: &str = "d.id < $1 \
     AND ($2::bigint[] IS NULL OR d.lane = ANY ($2)) \
     AND ($3::text IS NULL OR lower(s.activity_id) = lower($3 COLLATE \"C\") OR s.provider_activity_id = $3) \
     AND ($4::text IS NULL OR $4 = CASE WHEN d.state IN ('head', 'waiting') THEN 'pending' ELSE d.state END) \
     AND ($5::text IS NULL OR d.reason = $5) \
     AND ($6::integer IS NULL OR d.http_status = $6) \
     AND ($7::text IS NULL OR s.source = $7) \
     AND ($8::bigint IS NULL OR s.created_at >= $8) \
     AND ($9::bigint IS NULL OR d.updated_at >= $9)";

/// What [`read`] needs, of [`TABLES`]. The attempts are those that are remembered and the one on its way: the column
/// `attempts` also counts claims that were given back uncharged, since it guards settlements.
pub(super) const COLUMNS: &str = "d.id, d.state, d.reason, d.next_at, d.held_until, d.updated_at, d.lost_response, \
     (SELECT count(*) FROM attempt AS c WHERE c.submission = d.id) + CASE WHEN d.state = 'sending' THEN 1 ELSE 0 END AS attempts, \
     s.created_at, s.submission_key, s.activity_id, s.provider_activity_id, s.commerce_external_id, s.source, s.on_conflict, s.not_before, \
     s.origin, s.invalid, \
     (SELECT n.name FROM node AS n WHERE n.id = d.node) AS node, \
     CASE WHEN d.state = 'waiting' THEN (SELECT b.id FROM delivery AS b \
         WHERE b.lane = d.lane AND b.lane IS NOT NULL AND (b.state = 'head' OR b.state = 'sending') LIMIT 1) END AS waits_behind";

/// The last attempt of each.
pub(super) const LAST_ATTEMPT: &str = "LEFT JOIN LATERAL ( \
     SELECT * FROM attempt AS l WHERE l.submission = d.id ORDER BY l.number DESC LIMIT 1) AS a ON true";

/// The SQL of a list through this driver.
pub(super) fn list_sql(driver: &str) -> String {
    let attempt = attempts::READ_COLUMNS;
    format!(
        "SELECT {COLUMNS}, {attempt} FROM {TABLES} {LAST_ATTEMPT} WHERE {driver} AND {CONDITIONS} ORDER BY d.id DESC LIMIT $10"
    )
}

/// The SQL of what goes next. A head stands in the index of one turn alone, so none comes twice. The numbers come first,
/// as an array: the planner would else join the views to all that is pending.
pub(super) fn next_up_sql() -> String {
    let attempt = attempts::READ_COLUMNS;
    format!(
        "SELECT {COLUMNS}, {attempt} FROM {TABLES} {LAST_ATTEMPT} WHERE d.state IN ('head', 'waiting') AND d.id = ANY (ARRAY( \
         (SELECT f.id FROM delivery AS f WHERE f.state = 'head' AND f.not_before IS NULL AND f.requeued = false \
            ORDER BY f.next_at, f.id LIMIT $1) UNION ALL \
         (SELECT r.id FROM delivery AS r WHERE r.state = 'head' AND r.not_before IS NULL AND r.requeued = true \
            ORDER BY r.next_at, r.id LIMIT $1) UNION ALL \
         (SELECT h.id FROM delivery AS h WHERE h.state = 'head' AND h.not_before IS NOT NULL \
            ORDER BY h.not_before, h.id LIMIT $1) UNION ALL \
         (SELECT w.id FROM delivery AS w WHERE w.state = 'waiting' AND w.lane IS NOT NULL ORDER BY w.lane, w.id LIMIT $1)))"
    )
}

/// The SQL of a selection through this driver.
pub(super) fn select_sql(driver: &str) -> String {
    format!("SELECT d.id FROM {TABLES} WHERE {driver} AND {CONDITIONS} ORDER BY d.id")
}

/// The SQL that looks which of these match.
pub(super) fn matching_sql() -> String {
    format!("SELECT d.id FROM {TABLES} WHERE d.id = ANY ($10) AND {CONDITIONS}")
}

fn driver(filter: &Filter, state: Option<StateName>) -> &'static str {
    if filter.activity.is_some() {
        return BY_LANE;
    }
    match state {
        Some(StateName::Pending) => PENDING,
        Some(StateName::Sending) => SENDING,
        Some(StateName::Delivered) => DELIVERED,
        Some(StateName::Dead) => DEAD,
        Some(StateName::Parked) => PARKED,
        Some(StateName::Dismissed) => DISMISSED,
        None => ALL,
    }
}

/// The lanes of the activities that this may name: one of either kind.
fn lanes(activity: &str) -> Vec<i64> {
    [
        ActivityKey::of(Some(activity), None),
        ActivityKey::of(None, Some(activity)),
    ]
    .into_iter()
    .flatten()
    .map(|key| key.lane().0)
    .collect()
}

fn bind<'q>(
    query: Query<'q, Postgres, PgArguments>,
    filter: &Filter,
    state: Option<StateName>,
    before: Option<SubmissionId>,
) -> Query<'q, Postgres, PgArguments> {
    let text = |text: &Option<String>| text.as_deref().map(|text| without_nul(text).into_owned());
    query
        .bind(before.map_or(i64::MAX, |before| before.0))
        .bind(filter.activity.as_deref().map(lanes))
        .bind(text(&filter.activity))
        .bind(state.map(|one| one.into_str()))
        .bind(text(&filter.reason))
        .bind(filter.http_status.map(i32::from))
        .bind(text(&filter.source))
        .bind(filter.since.map(Timestamp::millis))
        .bind(filter.changed_since.map(Timestamp::millis))
}

/// What matches, newest first.
pub(super) async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    before: Option<SubmissionId>,
    limit: u32,
) -> Result<Vec<Listed>, sqlx::Error> {
    let states = each_state(filter);
    let mut all = Vec::new();
    for state in &states {
        let query = sqlx::query(AssertSqlSafe(list_sql(driver(filter, *state))));
        let rows = bind(query, filter, *state, before)
            .bind(i64::from(limit))
            .fetch_all(&mut *conn)
            .await?;
        for row in &rows {
            all.push(read(row)?);
        }
    }
    if states.len() > 1 {
        all.sort_by_key(|listed| Reverse(listed.id));
        // Each state was looked at in a moment of its own: what moved on between two of them is there twice.
        all.dedup_by_key(|listed| listed.id);
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
pub(super) async fn select(conn: &mut PgConnection, filter: &Filter) -> Result<Vec<SubmissionId>, sqlx::Error> {
    let mut ids = Vec::new();
    for state in each_state(filter) {
        let query = sqlx::query(AssertSqlSafe(select_sql(driver(filter, state))));
        for row in bind(query, filter, state, None).fetch_all(&mut *conn).await? {
            ids.push(SubmissionId(row.try_get(0)?));
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// What goes next, by its turn.
pub(super) async fn next_up(conn: &mut PgConnection, limit: u32) -> Result<Vec<Listed>, sqlx::Error> {
    let query = sqlx::query(AssertSqlSafe(next_up_sql())).bind(i64::from(limit));
    let rows = query.fetch_all(conn).await?;
    let mut up = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    up.sort_by_key(Listed::turn);
    Ok(up)
}

/// Which of these match.
pub(super) async fn matching(
    conn: &mut PgConnection,
    ids: &[SubmissionId],
    filter: &Filter,
) -> Result<HashSet<SubmissionId>, sqlx::Error> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
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

pub(super) const REFUSED_BY_RESULT_TYPES: &str = "SELECT s.id, s.payload FROM submission AS s \
     CROSS JOIN LATERAL (SELECT state, reason FROM settled WHERE settled.id = s.id OFFSET 0) AS d \
     WHERE s.by_result_types AND s.id > $1 AND d.state = 'dead' AND d.reason = 'invalid' ORDER BY s.id LIMIT $2";

/// What the list of result types alone speaks against, oldest first.
pub(super) async fn refused_by_result_types(
    conn: &mut PgConnection,
    after: SubmissionId,
    limit: u32,
) -> Result<Vec<(SubmissionId, Payload)>, sqlx::Error> {
    let rows = sqlx::query(REFUSED_BY_RESULT_TYPES)
        .bind(after.0)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| Ok((SubmissionId(row.try_get("id")?), row::payload(row)?)))
        .collect()
}

/// One line of a list.
pub(super) fn read(row: &PgRow) -> Result<Listed, sqlx::Error> {
    let attempts: i64 = row.try_get("attempts")?;
    Ok(Listed {
        id: SubmissionId(row.try_get("id")?),
        key: row::key(row)?,
        facts: row::facts(row)?,
        source: row.try_get("source")?,
        on_conflict: row::on_conflict(row)?,
        not_before: row::time(row, "not_before")?,
        state: row::state(row)?,
        node: row.try_get("node")?,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        created_at: Timestamp::from_millis(row.try_get("created_at")?),
        updated_at: Timestamp::from_millis(row.try_get("updated_at")?),
        origin: words::origin(row.try_get("origin")?)?,
        invalid: row.try_get("invalid")?,
        waits_behind: row.try_get::<Option<i64>, _>("waits_behind")?.map(SubmissionId),
        lost_response: row.try_get("lost_response")?,
        last: attempts::read(row)?,
    })
}
