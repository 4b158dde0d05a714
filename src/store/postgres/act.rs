//! What operators and rules do to submissions.
//!
//! The lanes are locked first, then the rows by number, and only then it is looked what they are: a claim that was under
//! way has then either taken a row, which is `sending` and left alone, or not.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::clock::Timestamp;
use crate::model::{Act, ActName, StateName, SubmissionId};
use crate::store::rules::acts::{Found, Fresh, LastLine, answers, detail, is_last_word, lifted};
use crate::store::{ActRequest, Acted};

use super::transaction::Transaction;
use super::{edit, history, lanes, list, moves, row};

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
        Act::Requeue | Act::Revalidate | Act::Override | Act::Accept | Act::Dismiss | Act::Undo(_) => None,
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
        Act::Requeue | Act::Revalidate | Act::Override | Act::Accept | Act::Dismiss | Act::Undo(_) => None,
    };
    let answers = answers(request, &found, &changed, there);
    Ok((found, answers))
}

pub(super) const LOOK_PENDING: &str = "SELECT d.id, d.state, NULL::text AS reason, d.next_at, d.not_before AS held_until, s.not_before AS asked, d.lane, d.tries, \
        (SELECT l.delivered_id FROM lane AS l WHERE l.lane = d.lane) AS delivered_id \
     FROM delivery AS d JOIN submission AS s ON s.id = d.id WHERE d.id = ANY ($1)";
pub(super) const LOOK_SETTLED: &str = "SELECT d.id, d.state, d.reason, d.updated_at AS next_at, NULL::bigint AS held_until, s.not_before AS asked, d.lane, d.tries, \
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
                tries: u32::try_from(row.try_get::<i32, _>("tries")?).unwrap_or(u32::MAX),
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
        for row in sqlx::query(PAYLOADS).bind(ids).fetch_all(&mut *conn).await? {
            if row::payload(&row)? != *payload {
                changed.insert(SubmissionId(row.try_get("id")?));
            }
        }
    }
    if let Act::Undo(undo) = &request.act {
        let last = last_lines(conn, &request.ids).await?;
        let is_last = |id| {
            last.get(&id)
                .is_some_and(|last| is_last_word(undo, &request.actor, last))
        };
        changed.extend(request.ids.iter().filter(|id| !is_last(**id)));
    }
    Ok(changed)
}

pub(super) const LAST_LINES: &str = "SELECT i, h.at, h.actor, h.what FROM unnest($1::bigint[]) AS i CROSS JOIN LATERAL ( \
     SELECT l.at, l.actor, l.what FROM history AS l WHERE l.submission = i ORDER BY l.seq DESC LIMIT 1) AS h";

/// The last line in the history of each.
async fn last_lines(
    conn: &mut PgConnection,
    ids: &[SubmissionId],
) -> Result<HashMap<SubmissionId, LastLine>, sqlx::Error> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query(LAST_LINES).bind(ids).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let line = LastLine {
                at: Timestamp::from_millis(row.try_get("at")?),
                actor: row.try_get("actor")?,
                what: row.try_get("what")?,
            };
            Ok((SubmissionId(row.try_get("i")?), line))
        })
        .collect()
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
    moves::leave_episode(transaction, &ids).await?;
    let lifted = lifted(request, doing);
    write_down(transaction.conn, request, doing, &lifted, &line).await?;
    if !lifted.is_empty() {
        sqlx::query(moves::LIFT)
            .bind(&lifted)
            .execute(&mut *transaction.conn)
            .await?;
    }
    let lift = request.force;
    match &request.act {
        Act::Requeue => drop(moves::put_back(transaction, &ids, &Fresh::by_operator(request.now, lift)).await?),
        Act::Revalidate => {
            sqlx::query(moves::VALID_NOW)
                .bind(&ids)
                .execute(&mut *transaction.conn)
                .await?;
            drop(moves::put_back(transaction, &ids, &Fresh::by_result_types(request.now)).await?);
        }
        Act::Override => drop(moves::put_back(transaction, &ids, &Fresh::overriding(request.now, lift)).await?),
        Act::Accept => moves::accept(transaction.conn, &ids, request.now).await?,
        Act::Dismiss => moves::dismiss(transaction.conn, &ids, request.now).await?,
        Act::Edit(entry) => {
            for (id, _) in doing {
                edit::edit(transaction.conn, *id, entry, &line).await?;
            }
        }
        Act::Undo(undo) => moves::park_again(transaction.conn, &ids, undo, request.now).await?,
    }
    let to = match &request.act {
        Act::Requeue | Act::Revalidate | Act::Override | Act::Edit(_) => StateName::Pending,
        Act::Accept => StateName::Delivered,
        Act::Dismiss => StateName::Dismissed,
        Act::Undo(_) => StateName::Parked,
    };
    for (_, found) in doing {
        transaction.moved(Some(found.state.name()), Some(to), 1);
    }
    lanes::relane(transaction.conn, locked).await.map(drop)
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
