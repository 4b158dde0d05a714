//! Twins in the places of what they replace: what tokens and chains of twins the database knows, and what is written when
//! a place is taken.

use std::collections::{HashMap, HashSet};

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::clock::Timestamp;
use crate::model::{Actor, Digest, Entry, REPLACED, ReplaceToken, StateName, SubmissionId};
use crate::store::rules::admission::{By, Replaced};
use crate::store::rules::marks::{self, Marks};
use crate::store::rules::originals::{Originals, Standing};

use super::transaction::Transaction;
use super::{act, history, lanes, notes, row};

/// What is known of the tokens of these entries, and held until the commit. Without tokens it costs nothing.
pub(super) async fn look(conn: &mut PgConnection, entries: &[Entry]) -> Result<Originals, sqlx::Error> {
    let tokens: Vec<(usize, &ReplaceToken)> = entries
        .iter()
        .enumerate()
        .filter_map(|(place, entry)| Some((place, entry.directives.replaces.as_ref()?)))
        .collect();
    let mut originals = Originals::default();
    if tokens.is_empty() {
        return Ok(originals);
    }
    let secret: Option<String> = match sqlx::query(notes::RECALL)
        .bind(marks::SECRET)
        .fetch_optional(&mut *conn)
        .await?
    {
        Some(row) => row.try_get(0)?,
        None => None,
    };
    let Some(marks) = secret.as_deref().and_then(Marks::of) else {
        return Ok(originals);
    };
    let ids: HashSet<SubmissionId> = tokens.iter().map(|(_, token)| token.id).collect();
    hold(conn, &ids).await?;
    let found = standing(conn, &ids).await?;
    for (place, token) in &tokens {
        // Only what a right mark names is looked at any further.
        if let Some((created_at, standing)) = found.get(&token.id)
            && marks.made(token, *created_at)
        {
            originals.named.insert(*place, token.id);
            originals.standing.insert(token.id, *standing);
            if let Some(activity) = entries.get(*place).and_then(|entry| entry.facts.activity()) {
                let lane = activity.lane();
                let delivered = lanes::delivered_last(conn, lane).await?;
                originals.delivered.extend(delivered.map(|id| (lane.0, id)));
            }
        }
    }
    twins(conn, &mut originals.standing).await?;
    Ok(originals)
}

/// What was done with stays so until the commit: an act cannot put back what is about to be replaced.
pub(super) async fn hold(conn: &mut PgConnection, ids: &HashSet<SubmissionId>) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    ids.sort_unstable();
    sqlx::query(act::HOLD_SETTLED).bind(ids).fetch_all(conn).await.map(drop)
}

pub(super) const STANDING: &str = "SELECT s.id, s.created_at, s.replaced_by, \
        coalesce((SELECT d.state FROM delivery AS d WHERE d.id = s.id), (SELECT d.state FROM settled AS d WHERE d.id = s.id)) AS state \
     FROM submission AS s WHERE s.id = ANY ($1)";

async fn standing(
    conn: &mut PgConnection,
    ids: &HashSet<SubmissionId>,
) -> Result<HashMap<SubmissionId, (Timestamp, Standing)>, sqlx::Error> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query(STANDING).bind(ids).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let word: &str = row.try_get("state")?;
            // `head` and `waiting` are the two that are no names of the contract.
            let state = word.parse().unwrap_or(StateName::Pending);
            let standing = Standing {
                state,
                replaced_by: row.try_get::<Option<i64>, _>("replaced_by")?.map(SubmissionId),
                digest: None,
            };
            let created_at = Timestamp::from_millis(row.try_get("created_at")?);
            Ok((SubmissionId(row.try_get("id")?), (created_at, standing)))
        })
        .collect()
}

/// Adds the twins of these, and theirs; numbers ascend, so there is an end.
async fn twins(conn: &mut PgConnection, known: &mut HashMap<SubmissionId, Standing>) -> Result<(), sqlx::Error> {
    loop {
        let next: HashSet<SubmissionId> = known
            .iter()
            .filter_map(|(id, standing)| {
                let twin = standing.replaced_by;
                twin.filter(|twin| twin > id && !known.contains_key(twin))
            })
            .collect();
        if next.is_empty() {
            return Ok(());
        }
        hold(conn, &next).await?;
        let found = standing(conn, &next).await?;
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

pub(super) const PAYLOAD: &str = "SELECT payload FROM submission WHERE id = $1";

/// Of its payload, one at a time: together they may be far larger than the admission.
async fn digest(conn: &mut PgConnection, id: SubmissionId) -> Result<Option<Digest>, sqlx::Error> {
    let row = sqlx::query(PAYLOAD).bind(id.0).fetch_optional(conn).await?;
    row.map(|row| Ok(row::payload(&row)?.digest())).transpose()
}

/// `coalesce`: with the bare word the index of all keys that are held may be read whole.
pub(super) const YIELD_KEY: &str =
    "UPDATE submission SET holds_key = false WHERE id = ANY ($1) AND coalesce(holds_key, false)";

/// What is replaced gives its key up.
pub(super) async fn yield_keys(conn: &mut PgConnection, replaced: &[Replaced]) -> Result<(), sqlx::Error> {
    if replaced.is_empty() {
        return Ok(());
    }
    sqlx::query(YIELD_KEY)
        .bind(old_ids(replaced))
        .execute(conn)
        .await
        .map(drop)
}

fn old_ids(replaced: &[Replaced]) -> Vec<i64> {
    let mut ids: Vec<i64> = replaced.iter().map(|one| one.old.0).collect();
    ids.sort_unstable();
    ids
}

pub(super) const DISMISS_REPLACED: &str =
    "UPDATE settled SET state = 'dismissed', reason = NULL, updated_at = $2 WHERE id = ANY ($1) AND state = $3";
pub(super) const LINK: &str = "UPDATE submission SET replaced_by = ($2)[array_position($1, id)] WHERE id = ANY ($1)";

/// Closes them. One that an operator had dismissed already stays as it is; history says of both what took whose place.
pub(super) async fn dismiss(
    transaction: &mut Transaction<'_>,
    replaced: &[Replaced],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    if replaced.is_empty() {
        return Ok(());
    }
    let ids = old_ids(replaced);
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
    let (old, new): (Vec<i64>, Vec<i64>) = links.into_iter().unzip();
    sqlx::query(LINK)
        .bind(old)
        .bind(new)
        .execute(&mut *transaction.conn)
        .await?;
    for one in replaced {
        write_down(transaction.conn, one, now).await?;
    }
    Ok(())
}

async fn write_down(
    conn: &mut PgConnection,
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
