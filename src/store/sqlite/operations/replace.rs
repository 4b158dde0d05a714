//! Twins in the places of what they replace: what tokens and chains of twins the database knows, and what is written
//! when a place is taken.

use std::collections::{HashMap, HashSet};

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::model::{Actor, Entry, REPLACED, ReplaceToken, StateName, SubmissionId};
use crate::store::sqlite::machine::transaction::Transaction;
use crate::store::sqlite::machine::{batch, row};

use super::{history, lanes, notes};
use crate::store::rules::admission::{By, Replaced};
use crate::store::rules::marks::{self, Marks};
use crate::store::rules::originals::{Originals, Standing};

/// What is known of the tokens of these entries. Without tokens it costs nothing.
pub(crate) async fn query_originals(conn: &mut SqliteConnection, entries: &[Entry]) -> Result<Originals, sqlx::Error> {
    let tokens: Vec<(usize, &ReplaceToken)> = entries
        .iter()
        .enumerate()
        .filter_map(|(place, entry)| Some((place, entry.directives.replaces.as_ref()?)))
        .collect();
    let mut originals = Originals::default();
    let secret = if tokens.is_empty() {
        None
    } else {
        notes::recall(conn, marks::SECRET).await?
    };
    let Some(marks) = secret.as_deref().and_then(Marks::of) else {
        return Ok(originals);
    };
    let found = standing(conn, &tokens.iter().map(|(_, token)| token.id).collect()).await?;
    for (place, token) in &tokens {
        // Only what a right mark names is looked at any further.
        if let Some((created_at, standing)) = found.get(&token.id)
            && marks.made(token, *created_at)
        {
            originals.named.insert(*place, token.id);
            originals.standing.insert(token.id, *standing);
            if let Some(activity) = entries[*place].facts.activity() {
                let lane = activity.lane();
                originals
                    .delivered
                    .extend(lanes::delivered_last(conn, lane).await?.map(|id| (lane.0, id)));
            }
        }
    }
    twins(conn, &mut originals.standing).await?;
    Ok(originals)
}

pub(crate) const STANDING: &str = "SELECT s.id, s.created_at, s.replaced_by, CASE WHEN d.id IN (SELECT id \
     FROM flight) THEN 'sending' ELSE d.state END AS state, \
            d.reason, d.next_at, d.not_before AS held_until \
     FROM json_each(?1) AS j CROSS JOIN submission AS s ON s.id = j.value CROSS JOIN delivery AS d ON d.id = s.id";

async fn standing(
    conn: &mut SqliteConnection,
    ids: &HashSet<SubmissionId>,
) -> Result<HashMap<SubmissionId, (Timestamp, Standing)>, sqlx::Error> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query(STANDING).bind(batch::json(&ids)?).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let standing = Standing {
                state: row::state(row)?.name(),
                replaced_by: row.try_get::<Option<i64>, _>("replaced_by")?.map(SubmissionId),
                digest: None,
            };
            let created_at = Timestamp::from_millis(row.try_get("created_at")?);
            Ok((SubmissionId(row.try_get("id")?), (created_at, standing)))
        })
        .collect()
}

/// Adds the twins of these, and theirs; numbers ascend, so there is an end.
async fn twins(conn: &mut SqliteConnection, known: &mut HashMap<SubmissionId, Standing>) -> Result<(), sqlx::Error> {
    loop {
        let next: HashSet<SubmissionId> = known
            .iter()
            .filter_map(|(id, standing)| {
                standing
                    .replaced_by
                    .filter(|twin| twin > id && !known.contains_key(twin))
            })
            .collect();
        let found = if next.is_empty() {
            HashMap::new()
        } else {
            standing(conn, &next).await?
        };
        if found.is_empty() {
            return Ok(());
        }
        for (id, (_, mut standing)) in found {
            match standing.state {
                StateName::Pending | StateName::Sending | StateName::Delivered => {
                    standing.digest = digest(conn, id).await?;
                }
                StateName::Dead | StateName::Parked | StateName::Dismissed => {}
            }
            known.insert(id, standing);
        }
    }
}

pub(crate) const PAYLOAD: &str = "SELECT payload FROM submission WHERE id = ?1";

/// Of its payload, one at a time: together they may be far larger than the admission.
async fn digest(conn: &mut SqliteConnection, id: SubmissionId) -> Result<Option<crate::model::Digest>, sqlx::Error> {
    let row = sqlx::query(PAYLOAD).bind(id.0).fetch_optional(conn).await?;
    row.map(|row| Ok(row::payload(&row)?.digest())).transpose()
}

pub(crate) const YIELD_KEY: &str =
    "UPDATE submission SET holds_key = 0 WHERE id IN (SELECT value FROM json_each(?1)) AND holds_key = 1";

/// What is replaced gives its key up.
pub(crate) async fn yield_keys(conn: &mut SqliteConnection, replaced: &[Replaced]) -> Result<(), sqlx::Error> {
    if replaced.is_empty() {
        return Ok(());
    }
    sqlx::query(YIELD_KEY).bind(old_ids(replaced)?).execute(conn).await?;
    Ok(())
}

fn old_ids(replaced: &[Replaced]) -> Result<String, sqlx::Error> {
    batch::json(&replaced.iter().map(|one| one.old.0).collect::<Vec<_>>())
}

pub(crate) const DISMISS_REPLACED: &str = "UPDATE delivery SET state = 'dismissed', reason = NULL, updated_at = ?2 \
     WHERE id IN (SELECT value FROM json_each(?1)) AND state = ?3";

pub(crate) const LINK: &str = "UPDATE submission SET replaced_by = j.new \
     FROM (SELECT value ->> 0 AS old, value ->> 1 AS new FROM json_each(?1)) AS j WHERE submission.id = j.old";

/// Closes them. One that an operator had dismissed already stays as it is; history says of both what took whose place.
pub(crate) async fn dismiss(
    transaction: &mut Transaction<'_>,
    replaced: &[Replaced],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    if replaced.is_empty() {
        return Ok(());
    }
    let ids = old_ids(replaced)?;
    for state in [StateName::Dead, StateName::Parked] {
        let moved = sqlx::query(DISMISS_REPLACED)
            .bind(&ids)
            .bind(now.millis())
            .bind(state.into_str())
            .execute(&mut *transaction.conn)
            .await?
            .rows_affected();
        transaction.moved(Some(state), Some(StateName::Dismissed), moved);
    }
    // Of several in one admission the last.
    let links: HashMap<i64, i64> = replaced.iter().map(|one| (one.old.0, one.new.0)).collect();
    let links: Vec<(i64, i64)> = links.into_iter().collect();
    sqlx::query(LINK)
        .bind(batch::json(&links)?)
        .execute(&mut *transaction.conn)
        .await?;
    for one in replaced {
        write_down(transaction.conn, one, now).await?;
    }
    Ok(())
}

async fn write_down(
    conn: &mut SqliteConnection,
    Replaced { old, new, by }: &Replaced,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let (actor, why) = match by {
        By::Key => (Actor::Daemon("key"), "brought the same key"),
        By::Token => (Actor::Daemon("replaces"), "took its place"),
    };
    let line = |submission, what, detail| history::Line {
        submission,
        actor: &actor,
        what,
        detail: Some(detail),
        at: now,
    };
    let of_old = line(*old, REPLACED, format!("submission {new} {why}"));
    history::write(conn, &of_old).await?;
    history::write(conn, &line(*new, REPLACES, format!("submission {old}"))).await
}

/// The word in the history of who took another's place.
const REPLACES: &str = "replaces";
