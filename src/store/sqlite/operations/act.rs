//! What people do to submissions.

use std::collections::{HashMap, HashSet};

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::model::{Act, ActName, DeadReason, State, StateName, SubmissionId};
use crate::store::sqlite::machine::transaction::Transaction;
use crate::store::sqlite::machine::{batch, row};
use crate::store::sqlite::reading::list;
use crate::store::{ActRequest, Acted};

use super::{edit, history, lanes, moves};

/// What is known of a submission before an act.
#[derive(Debug, Clone, Copy)]
struct Found {
    state: State,
    lane: Option<i64>,
    /// The newest delivered one of its activity.
    delivered_last: Option<SubmissionId>,
    /// Where it is pending: what of its `not_before` still has to be waited for.
    held_until: Option<Timestamp>,
    /// Its `not_before` as it was asked for.
    asked: Option<Timestamp>,
}

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
     END AS state, d.reason, d.next_at, d.not_before AS held_until, s.not_before AS asked, d.lane, \
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
        Act::Requeue | Act::Revalidate | Act::Override | Act::Accept | Act::Dismiss => Ok(None),
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
        for row in sqlx::query(PAYLOADS).bind(batch::json(&ids)?).fetch_all(conn).await? {
            if row::payload(&row)? != *payload {
                changed.insert(SubmissionId(row.try_get("id")?));
            }
        }
    }
    Ok(changed)
}

fn answers(
    request: &ActRequest,
    found: &HashMap<SubmissionId, Found>,
    changed: &HashSet<SubmissionId>,
    there: Option<SubmissionId>,
) -> Vec<(SubmissionId, Acted)> {
    let decide = |id: &SubmissionId| match found.get(id) {
        None => (*id, Acted::NoSuch),
        Some(_) if changed.contains(id) => (*id, Acted::Changed),
        Some(found) => (*id, decide(request, *id, found, there)),
    };
    request.ids.iter().map(decide).collect()
}

fn decide(request: &ActRequest, id: SubmissionId, found: &Found, there: Option<SubmissionId>) -> Acted {
    if !is_allowed(&request.act, &found.state) {
        return Acted::WrongState(found.state);
    }
    let later = found.delivered_last.max(there).filter(|delivered| *delivered > id);
    match later {
        Some(later) if !request.force && sends_again(&request.act) => Acted::Superseded(later),
        Some(_) | None => match held(found, request.now) {
            Some(until) if !request.force && request.act == Act::Requeue => Acted::HeldUntil(until),
            Some(_) | None => Acted::Done,
        },
    }
}

/// Until when a pending one is held. A dead or parked one is nothing yet: it leaves that state, and is held then.
fn held(found: &Found, now: Timestamp) -> Option<Timestamp> {
    found
        .held_until
        .filter(|until| found.state.name() == StateName::Pending && *until > now)
}

/// A rule takes less than an operator may: what an operator took in hand since it was looked at is that operator's.
fn is_allowed(act: &Act, state: &State) -> bool {
    match act {
        Act::Revalidate => *state == State::Dead(DeadReason::Invalid),
        Act::Requeue | Act::Override | Act::Accept | Act::Dismiss | Act::Edit(_) => {
            ActName::from(act).allowed_from().contains(&state.name())
        }
    }
}

/// Whether an act could send an old result after a newer one. To close a superseded one is just what should be done
/// with it.
fn sends_again(act: &Act) -> bool {
    match act {
        Act::Requeue | Act::Revalidate | Act::Override | Act::Edit(_) => true,
        Act::Accept | Act::Dismiss => false,
    }
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
        Act::Requeue => moves::put_back(transaction.conn, &ids, &moves::Fresh::by_operator(request.now, lift)).await?,
        Act::Revalidate => {
            sqlx::query(moves::VALID_NOW)
                .bind(&ids)
                .execute(&mut *transaction.conn)
                .await?;
            moves::put_back(transaction.conn, &ids, &moves::Fresh::by_result_types(request.now)).await?
        }
        Act::Override => moves::put_back(transaction.conn, &ids, &moves::Fresh::overriding(request.now, lift)).await?,
        Act::Accept => moves::accept(transaction.conn, &ids, request.now).await?,
        Act::Dismiss => moves::dismiss(transaction.conn, &ids, request.now).await?,
        Act::Edit(entry) => {
            for (id, _) in doing {
                lanes.extend(edit::edit(transaction.conn, *id, entry, &line).await?);
            }
            StateName::Pending
        }
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

/// Those whose `not_before` an operator lifts.
fn lifted(request: &ActRequest, doing: &[(SubmissionId, Found)]) -> Vec<i64> {
    let lifts = match request.act {
        Act::Requeue | Act::Override => request.force,
        Act::Revalidate | Act::Accept | Act::Dismiss | Act::Edit(_) => false,
    };
    let lies_ahead = |found: &Found| found.asked.is_some_and(|asked| asked > request.now);
    let lifted = doing.iter().filter(|(_, found)| lifts && lies_ahead(found));
    lifted.map(|(id, _)| id.0).collect()
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

/// What history says of an act beyond its name.
fn detail(request: &ActRequest) -> Option<&'static str> {
    match request.act {
        Act::Revalidate => Some("the list of result types has changed, and it is valid now"),
        Act::Requeue | Act::Override | Act::Accept | Act::Dismiss | Act::Edit(_) => request.force.then_some("forced"),
    }
}
