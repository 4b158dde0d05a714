//! What people do to submissions.

use std::collections::{HashMap, HashSet};

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::model::{Act, ActName, StateName, SubmissionId};
use crate::store::rules::acts::{Found, Fresh, LastLine, answers, detail, is_last_word, lifted};
use crate::store::sqlite::machine::transaction::Transaction;
use crate::store::sqlite::machine::{batch, row};
use crate::store::sqlite::reading::list;
use crate::store::{ActRequest, Acted};

use super::{edit, history, lanes, moves};

/// Does what can be done; one answer an id, in order.
pub(crate) async fn act(
    transaction: &mut Transaction<'_>,
    request: &ActRequest,
) -> Result<Vec<(SubmissionId, Acted)>, sqlx::Error> {
    let found = query_found(transaction.conn, &request.ids).await?;
    let changed = changed(transaction.conn, request).await?;
    let there = delivered_where_it_goes(transaction.conn, request).await?;
    let answers = answers(request, &found, &changed, there);
    let mut seen = HashSet::new();
    let doing: Vec<(SubmissionId, Found)> = answers
        .iter()
        .filter(|(id, acted)| *acted == Acted::Done && seen.insert(*id))
        .filter_map(|(id, _)| Some((*id, *found.get(id)?)))
        .collect();
    if !doing.is_empty() {
        perform(transaction, request, &doing).await?;
    }
    Ok(answers)
}

/// The same answers, and nothing done.
pub(crate) async fn rehearse(
    conn: &mut SqliteConnection,
    request: &ActRequest,
) -> Result<Vec<(SubmissionId, Acted)>, sqlx::Error> {
    let found = query_found(conn, &request.ids).await?;
    let changed = changed(conn, request).await?;
    let there = delivered_where_it_goes(conn, request).await?;
    Ok(answers(request, &found, &changed, there))
}

pub(crate) const BEFORE: &str = "SELECT d.id, CASE WHEN d.id IN (SELECT id FROM flight) THEN 'sending' ELSE d.state \
     END AS state, d.reason, d.next_at, d.not_before AS held_until, s.not_before AS asked, d.lane, d.tries, \
            (SELECT m.id FROM delivered_last AS m WHERE m.lane = d.lane) AS delivered_id \
       FROM json_each(?1) AS j CROSS JOIN delivery AS d ON d.id = j.value CROSS JOIN submission AS s ON s.id = d.id";

async fn query_found(
    conn: &mut SqliteConnection,
    ids: &[SubmissionId],
) -> Result<HashMap<SubmissionId, Found>, sqlx::Error> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query(BEFORE).bind(batch::json(&ids)?).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let found = Found {
                state: row::state(row)?,
                lane: row.try_get("lane")?,
                delivered_last: row.try_get::<Option<i64>, _>("delivered_id")?.map(SubmissionId),
                held_until: row::time(row, "held_until")?,
                asked: row::time(row, "asked")?,
                tries: row.try_get("tries")?,
            };
            Ok((SubmissionId(row.try_get("id")?), found))
        })
        .collect()
}

/// An edit may move a submission to another activity: what was delivered last there.
async fn delivered_where_it_goes(
    conn: &mut SqliteConnection,
    request: &ActRequest,
) -> Result<Option<SubmissionId>, sqlx::Error> {
    match &request.act {
        Act::Edit(entry) => match entry.facts.activity() {
            Some(activity) => lanes::delivered_last(conn, activity.lane()).await,
            None => Ok(None),
        },
        Act::Requeue | Act::Revalidate | Act::Override | Act::Accept | Act::Dismiss | Act::Undo(_) => Ok(None),
    }
}

pub(crate) const PAYLOADS: &str =
    "SELECT s.id, s.payload FROM json_each(?1) AS j CROSS JOIN submission AS s ON s.id = j.value";

/// Those that are no longer what the act was for.
async fn changed(conn: &mut SqliteConnection, request: &ActRequest) -> Result<HashSet<SubmissionId>, sqlx::Error> {
    let mut changed = HashSet::new();
    if let Some(filter) = &request.still.matches {
        let matching = list::matching(conn, &request.ids, filter).await?;
        changed.extend(request.ids.iter().filter(|id| !matching.contains(id)));
    }
    if let Some(payload) = &request.still.payload {
        let ids: Vec<i64> = request.ids.iter().map(|id| id.0).collect();
        for row in sqlx::query(PAYLOADS)
            .bind(batch::json(&ids)?)
            .fetch_all(&mut *conn)
            .await?
        {
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

pub(crate) const LAST_LINES: &str = "SELECT h.submission, h.at, h.actor, h.what FROM json_each(?1) AS j \
     CROSS JOIN history AS h ON h.seq = (SELECT max(l.seq) FROM history AS l INDEXED BY history_submission \
     WHERE l.submission = j.value)";

/// The last line in the history of each.
async fn last_lines(
    conn: &mut SqliteConnection,
    ids: &[SubmissionId],
) -> Result<HashMap<SubmissionId, LastLine>, sqlx::Error> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query(LAST_LINES).bind(batch::json(&ids)?).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let line = LastLine {
                at: Timestamp::from_millis(row.try_get("at")?),
                actor: row.try_get("actor")?,
                what: row.try_get("what")?,
            };
            Ok((SubmissionId(row.try_get("submission")?), line))
        })
        .collect()
}

async fn perform(
    transaction: &mut Transaction<'_>,
    request: &ActRequest,
    doing: &[(SubmissionId, Found)],
) -> Result<(), sqlx::Error> {
    let ids: Vec<i64> = doing.iter().map(|(id, _)| id.0).collect();
    let ids = batch::json(&ids)?;
    let line = history::Line {
        submission: SubmissionId(0),
        at: request.now,
        actor: &request.actor,
        what: ActName::from(&request.act).recorded(),
        detail: detail(request).map(str::to_owned),
    };
    moves::leave_episode(transaction.conn, &ids).await?;
    let mut lanes: HashSet<i64> = doing.iter().filter_map(|(_, found)| found.lane).collect();
    let lifted = lifted(request, doing);
    write_down(transaction.conn, request, doing, &lifted, &line).await?;
    if !lifted.is_empty() {
        sqlx::query(moves::LIFT)
            .bind(batch::json(&lifted)?)
            .execute(&mut *transaction.conn)
            .await?;
    }
    let lift = request.force;
    let to = match &request.act {
        Act::Requeue => moves::put_back(transaction.conn, &ids, &Fresh::by_operator(request.now, lift)).await?,
        Act::Revalidate => {
            sqlx::query(moves::VALID_NOW)
                .bind(&ids)
                .execute(&mut *transaction.conn)
                .await?;
            moves::put_back(transaction.conn, &ids, &Fresh::by_result_types(request.now)).await?
        }
        Act::Override => moves::put_back(transaction.conn, &ids, &Fresh::overriding(request.now, lift)).await?,
        Act::Accept => moves::accept(transaction.conn, &ids, request.now).await?,
        Act::Dismiss => moves::dismiss(transaction.conn, &ids, request.now).await?,
        Act::Edit(entry) => {
            for (id, _) in doing {
                lanes.extend(edit::edit(transaction.conn, *id, entry, &line).await?);
            }
            StateName::Pending
        }
        Act::Undo(undo) => moves::park_again(transaction.conn, &ids, undo, request.now).await?,
    };
    for (_, found) in doing {
        transaction.moved(Some(found.state.name()), Some(to), 1);
    }
    lanes::relane(transaction.conn, &lanes).await?;
    if matches!(request.act, Act::Edit(_)) {
        lanes::forget_empty(transaction.conn, &lanes).await?;
    }
    Ok(())
}

/// The lines in the history of those that an act changes; an edit writes its own, with the payload that it replaces.
async fn write_down(
    conn: &mut SqliteConnection,
    request: &ActRequest,
    doing: &[(SubmissionId, Found)],
    lifted: &[i64],
    line: &history::Line<'_>,
) -> Result<(), sqlx::Error> {
    if matches!(request.act, Act::Edit(_)) {
        return Ok(());
    }
    let others = doing.iter().map(|(id, _)| id.0).filter(|id| !lifted.contains(id));
    history::write_same(conn, &batch::json(&others.collect::<Vec<_>>())?, line).await?;
    if lifted.is_empty() {
        return Ok(());
    }
    history::write_lifted(conn, &batch::json(lifted)?, line).await
}
