//! What operators and rules do to submissions.
//!
//! The lanes are locked first, then the rows by number, and only then it is looked what they are: a claim that was under
//! way has then either taken a row, which is `sending` and left alone, or not.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::clock::Timestamp;
use crate::model::{Act, ActName, StateName, SubmissionId};
use crate::store::rules::acts::{Found, Fresh, answers, detail, lifted};
use crate::store::{ActRequest, Acted};

use super::transaction::Transaction;
use super::{edit, gate, history, lanes, list, row};

/// Does what can be done; one answer an id, in order.
pub(super) async fn act(
    transaction: &mut Transaction<'_>,
    request: &ActRequest,
) -> Result<Vec<(SubmissionId, Acted)>, sqlx::Error> {
    let ids: Vec<i64> = request.ids.iter().map(|id| id.0).collect();
    let locked = hold(transaction.conn, &ids, target(request)).await?;
    let (found, answers) = judge(transaction.conn, request).await?;
    let mut seen = HashSet::new();
    let doing: Vec<(SubmissionId, Found)> = answers
        .iter()
        .filter(|(id, acted)| *acted == Acted::Done && seen.insert(*id))
        .filter_map(|(id, _)| Some((*id, *found.get(id)?)))
        .collect();
    if !doing.is_empty() {
        perform(transaction, request, &doing, &locked).await?;
    }
    if matches!(request.act, Act::Edit(_)) {
        // Of where it was, and of where it was to go and did not.
        lanes::forget_empty(transaction.conn, &locked).await?;
    }
    Ok(answers)
}

/// The same answers, and nothing done.
pub(super) async fn rehearse(
    conn: &mut PgConnection,
    request: &ActRequest,
) -> Result<Vec<(SubmissionId, Acted)>, sqlx::Error> {
    Ok(judge(conn, request).await?.1)
}

/// The activity that an edit moves its submission to.
fn target(request: &ActRequest) -> Option<i64> {
    match &request.act {
        Act::Edit(entry) => entry.facts.activity().map(|activity| activity.lane().0),
        Act::Requeue | Act::Revalidate | Act::Override | Act::Accept | Act::Dismiss => None,
    }
}

pub(super) const HOLD_PENDING: &str =
    "SELECT id FROM delivery WHERE id = ANY ($1) AND (state = 'head' OR state = 'waiting') ORDER BY id FOR UPDATE";
pub(super) const HOLD_SETTLED: &str = "SELECT id FROM settled WHERE id = ANY ($1) ORDER BY id FOR UPDATE";

/// Holds these and their lanes (and this one). An edit may have moved one to another lane before it was held: that one
/// too, then.
async fn hold(conn: &mut PgConnection, ids: &[i64], target: Option<i64>) -> Result<BTreeSet<i64>, sqlx::Error> {
    let mut locked = lanes::of(conn, ids).await?;
    locked.extend(target);
    loop {
        lanes::make_and_lock(conn, &locked).await?;
        for sql in [HOLD_PENDING, HOLD_SETTLED] {
            sqlx::query(sql).bind(ids).fetch_all(&mut *conn).await?;
        }
        let now = lanes::of(conn, ids).await?;
        if now.is_subset(&locked) {
            return Ok(locked);
        }
        locked.extend(now);
    }
}

async fn judge(
    conn: &mut PgConnection,
    request: &ActRequest,
) -> Result<(HashMap<SubmissionId, Found>, Vec<(SubmissionId, Acted)>), sqlx::Error> {
    let found = look(conn, &request.ids).await?;
    let changed = changed(conn, request).await?;
    let there = match &request.act {
        Act::Edit(entry) => match entry.facts.activity() {
            Some(activity) => lanes::delivered_last(conn, activity.lane()).await?,
            None => None,
        },
        Act::Requeue | Act::Revalidate | Act::Override | Act::Accept | Act::Dismiss => None,
    };
    let answers = answers(request, &found, &changed, there);
    Ok((found, answers))
}

pub(super) const LOOK_PENDING: &str = "SELECT d.id, d.state, NULL::text AS reason, d.next_at, d.not_before AS held_until, s.not_before AS asked, d.lane, \
        (SELECT l.delivered_id FROM lane AS l WHERE l.lane = d.lane) AS delivered_id \
     FROM delivery AS d JOIN submission AS s ON s.id = d.id WHERE d.id = ANY ($1)";
pub(super) const LOOK_SETTLED: &str = "SELECT d.id, d.state, d.reason, d.updated_at AS next_at, NULL::bigint AS held_until, s.not_before AS asked, d.lane, \
        (SELECT l.delivered_id FROM lane AS l WHERE l.lane = d.lane) AS delivered_id \
     FROM settled AS d JOIN submission AS s ON s.id = d.id WHERE d.id = ANY ($1)";

async fn look(conn: &mut PgConnection, ids: &[SubmissionId]) -> Result<HashMap<SubmissionId, Found>, sqlx::Error> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let mut all = HashMap::new();
    for sql in [LOOK_PENDING, LOOK_SETTLED] {
        for row in sqlx::query(sql).bind(&ids).fetch_all(&mut *conn).await? {
            let found = Found {
                state: row::state(&row)?,
                lane: row.try_get("lane")?,
                delivered_last: row.try_get::<Option<i64>, _>("delivered_id")?.map(SubmissionId),
                held_until: row::time(&row, "held_until")?,
                asked: row::time(&row, "asked")?,
            };
            all.insert(SubmissionId(row.try_get("id")?), found);
        }
    }
    Ok(all)
}

pub(super) const PAYLOADS: &str = "SELECT id, payload FROM submission WHERE id = ANY ($1)";

/// Those that are no longer what the act was for.
async fn changed(conn: &mut PgConnection, request: &ActRequest) -> Result<HashSet<SubmissionId>, sqlx::Error> {
    let mut changed = HashSet::new();
    if let Some(filter) = &request.still.matches {
        let matching = list::matching(conn, &request.ids, filter).await?;
        changed.extend(request.ids.iter().filter(|id| !matching.contains(id)));
    }
    if let Some(payload) = &request.still.payload {
        let ids: Vec<i64> = request.ids.iter().map(|id| id.0).collect();
        for row in sqlx::query(PAYLOADS).bind(ids).fetch_all(conn).await? {
            if row::payload(&row)? != *payload {
                changed.insert(SubmissionId(row.try_get("id")?));
            }
        }
    }
    Ok(changed)
}

async fn perform(
    transaction: &mut Transaction<'_>,
    request: &ActRequest,
    doing: &[(SubmissionId, Found)],
    locked: &BTreeSet<i64>,
) -> Result<(), sqlx::Error> {
    let ids: Vec<i64> = doing.iter().map(|(id, _)| id.0).collect();
    let line = history::Line {
        submission: SubmissionId(0),
        at: request.now,
        actor: &request.actor,
        what: ActName::from(&request.act).recorded(),
        detail: detail(request).map(str::to_owned),
    };
    gate::leave_episode(transaction, &ids).await?;
    let lifted = lifted(request, doing);
    write_down(transaction.conn, request, doing, &lifted, &line).await?;
    if !lifted.is_empty() {
        sqlx::query(LIFT).bind(&lifted).execute(&mut *transaction.conn).await?;
    }
    let lift = request.force;
    match &request.act {
        Act::Requeue => drop(put_back(transaction, &ids, &Fresh::by_operator(request.now, lift)).await?),
        Act::Revalidate => {
            sqlx::query(VALID_NOW)
                .bind(&ids)
                .execute(&mut *transaction.conn)
                .await?;
            drop(put_back(transaction, &ids, &Fresh::by_result_types(request.now)).await?);
        }
        Act::Override => drop(put_back(transaction, &ids, &Fresh::overriding(request.now, lift)).await?),
        Act::Accept => accept(transaction.conn, &ids, request.now).await?,
        Act::Dismiss => dismiss(transaction.conn, &ids, request.now).await?,
        Act::Edit(entry) => {
            for (id, _) in doing {
                edit::edit(transaction.conn, *id, entry, &line).await?;
            }
        }
    }
    let to = match &request.act {
        Act::Requeue | Act::Revalidate | Act::Override | Act::Edit(_) => StateName::Pending,
        Act::Accept => StateName::Delivered,
        Act::Dismiss => StateName::Dismissed,
    };
    for (_, found) in doing {
        transaction.moved(Some(found.state.name()), Some(to), 1);
    }
    lanes::relane(transaction.conn, locked).await
}

/// The lines in the history of those that an act changes; an edit writes its own, with the payload that it replaces.
async fn write_down(
    conn: &mut PgConnection,
    request: &ActRequest,
    doing: &[(SubmissionId, Found)],
    lifted: &[i64],
    line: &history::Line<'_>,
) -> Result<(), sqlx::Error> {
    if matches!(request.act, Act::Edit(_)) {
        return Ok(());
    }
    let others = doing.iter().map(|(id, _)| id.0).filter(|id| !lifted.contains(id));
    history::write_same(conn, &others.collect::<Vec<_>>(), line).await?;
    if lifted.is_empty() {
        return Ok(());
    }
    history::write_lifted(conn, lifted, line).await
}

/// The date is in its history; what is shown and exported is what is in force.
pub(super) const LIFT: &str = "UPDATE submission SET not_before = NULL WHERE id = ANY ($1)";
/// What stood in its way is no more; its history says that it did.
pub(super) const VALID_NOW: &str =
    "UPDATE submission SET invalid = NULL, by_result_types = false WHERE id = ANY ($1) AND by_result_types";

/// Due now, or when its `not_before` lets it go; attempts and age begin anew. The mark of a lost response stays, and so
/// does an operator's word to override; a policy's is forgotten: it will be asked again. A `not_before` that was waited
/// for once is not waited for again.
pub(super) const PUT_BACK_PENDING: &str = "UPDATE delivery SET \
        not_before = CASE WHEN $3 THEN NULL ELSE not_before END, next_at = greatest($2, coalesce(CASE WHEN $3 THEN NULL ELSE not_before END, $2)), \
        tries = 0, waited_ms = 0, hard_override = CASE WHEN $4 OR hard_override = 2 THEN 2 ELSE 0 END, \
        was_unauthorized = was_unauthorized OR $5, requeued = true, updated_at = $2 \
     WHERE id = ANY ($1) AND state = ANY ($6) AND (state = 'head' OR state = 'waiting') RETURNING id";

/// The same of what was done with. One with an activity comes back as `waiting`, and the lane decides.
pub(super) const PUT_BACK_SETTLED: &str = "WITH gone AS (DELETE FROM settled WHERE id = ANY ($1) AND state = ANY ($6) \
        AND ($7::text IS NULL OR reason = $7) RETURNING *), \
     back AS (SELECT g.*, CASE WHEN NOT $3 AND g.attempts = 0 AND s.not_before > $2 THEN s.not_before END AS held \
        FROM gone AS g JOIN submission AS s ON s.id = g.id) \
     INSERT INTO delivery (id, lane, next_at, not_before, waited_ms, updated_at, attempts, tries, http_status, hard_override, lost_response, \
        was_unauthorized, requeued, state) \
     SELECT id, lane, greatest($2, coalesce(held, $2)), held, 0, $2, attempts, 0, http_status, CASE WHEN $4 OR hard_override = 2 THEN 2 ELSE 0 END, \
            lost_response, was_unauthorized OR $5 OR coalesce(reason = 'unauthorized', false), true, \
            CASE WHEN lane IS NULL THEN 'head' ELSE 'waiting' END \
       FROM back RETURNING id";

/// Puts back; the lanes are to be put in order afterwards. Which of them there were.
pub(super) async fn put_back(
    transaction: &mut Transaction<'_>,
    ids: &[i64],
    fresh: &Fresh,
) -> Result<Vec<i64>, sqlx::Error> {
    let mut back = Vec::with_capacity(ids.len());
    for sql in [PUT_BACK_PENDING, PUT_BACK_SETTLED] {
        let mut query = sqlx::query(sql)
            .bind(ids)
            .bind(fresh.now.millis())
            .bind(fresh.lift)
            .bind(fresh.overriding)
            .bind(fresh.was_unauthorized)
            .bind(fresh.from.to_vec());
        if sql == PUT_BACK_SETTLED {
            query = query.bind(fresh.reason);
        }
        for row in query.fetch_all(&mut *transaction.conn).await? {
            back.push(row.try_get(0)?);
        }
    }
    Ok(back)
}

pub(super) const ACCEPT: &str = "UPDATE settled SET state = 'delivered', reason = NULL, updated_at = $2 \
     WHERE id = ANY ($1) AND state = 'parked' RETURNING lane, id";

async fn accept(conn: &mut PgConnection, ids: &[i64], now: Timestamp) -> Result<(), sqlx::Error> {
    let rows = sqlx::query(ACCEPT)
        .bind(ids)
        .bind(now.millis())
        .fetch_all(&mut *conn)
        .await?;
    let mut delivered = Vec::new();
    for row in &rows {
        let (lane, id): (Option<i64>, i64) = (row.try_get(0)?, row.try_get(1)?);
        delivered.extend(lane.map(|lane| (lane, id)));
    }
    lanes::delivered(conn, delivered.into_iter()).await
}

pub(super) const DISMISS_PENDING: &str = "WITH gone AS (DELETE FROM delivery WHERE id = ANY ($1) AND (state = 'head' OR state = 'waiting') RETURNING *) \
     INSERT INTO settled (id, lane, waited_ms, updated_at, attempts, tries, http_status, hard_override, lost_response, was_unauthorized, requeued, state) \
     SELECT id, lane, waited_ms, $2, attempts, tries, http_status, hard_override, lost_response, was_unauthorized, requeued, 'dismissed' FROM gone";
pub(super) const DISMISS_SETTLED: &str = "UPDATE settled SET state = 'dismissed', reason = NULL, updated_at = $2 \
     WHERE id = ANY ($1) AND (state = 'dead' OR state = 'parked')";

async fn dismiss(conn: &mut PgConnection, ids: &[i64], now: Timestamp) -> Result<(), sqlx::Error> {
    for sql in [DISMISS_PENDING, DISMISS_SETTLED] {
        sqlx::query(sql)
            .bind(ids)
            .bind(now.millis())
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}
