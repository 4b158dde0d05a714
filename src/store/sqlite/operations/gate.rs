//! The gate's opening: its new state and what it puts back are one transaction, so that nothing of an activity
//! overtakes what the key had stopped. And the trials before it, which overtake nothing either.

use std::collections::HashSet;

use crate::clock::Timestamp;
use crate::model::{ActName, Actor, StateName, SubmissionId};
use crate::store::operation::{Note, Opening, Revival};
use crate::store::rules::acts::Fresh;
use crate::store::sqlite::machine::transaction::Transaction;
use crate::store::sqlite::machine::{batch, row};

use super::{history, lanes, moves, notes};

/// How many are put back at a time: the episode is put back in one transaction, however many they are, and in as much
/// memory as this.
const PAGE: u32 = 500;

/// The next page of the episode after a number: what was in flight when the gate closed, and each one that went first
/// since and was refused.
pub(crate) const OF_EPISODE: &str = "SELECT d.id, d.lane FROM episode AS e CROSS JOIN delivery AS d ON d.id = e.id \
      WHERE e.id > ?1 AND d.state = 'dead' AND d.reason = 'unauthorized' \
        AND coalesce((SELECT m.id FROM delivered_last AS m WHERE m.lane = d.lane), 0) <= d.id ORDER BY e.id LIMIT ?2";

/// The least tried head that was not refused on trial (`$8`). Where the dead letters of the episode are spared (`$9`):
/// none of an activity that has one before it which the opening will requeue, since it would overtake that, which would
/// then be superseded and never be sent. What is older than the last delivered one is superseded already. Those that
/// are due go before those that are not, as with every one that finds something out.
pub(crate) const TRIAL: &str = "INSERT INTO turn (id, requeued) SELECT id, 0 FROM (SELECT d.id, d.tries, d.next_at \
     FROM delivery AS d INDEXED BY delivery_probe \
      WHERE d.state = 'head' AND d.not_before IS NULL AND d.id NOT IN (SELECT id FROM flight) \
        AND d.id NOT IN (SELECT value FROM json_each($8)) \
        AND NOT ($9 AND EXISTS (SELECT 1 FROM delivery AS x INDEXED BY delivery_lane \
             WHERE x.lane = d.lane AND x.id < d.id \
               AND x.id > coalesce((SELECT m.id FROM delivered_last AS m WHERE m.lane = d.lane), 0) \
               AND x.state = 'dead' AND x.reason = 'unauthorized' AND EXISTS (SELECT 1 FROM episode AS e \
               WHERE e.id = x.id))) ORDER BY d.tries, d.id LIMIT 1000) AS stretch \
      ORDER BY CASE WHEN next_at > $1 AND next_at <= $2 THEN next_at ELSE 0 END, tries, id LIMIT $3";

/// The oldest of the episode's dead letters that was not refused on trial (`?1`) and that overtakes none of them.
pub(crate) const REVIVABLE: &str = "SELECT d.id, d.lane FROM episode AS e CROSS JOIN delivery AS d ON d.id = e.id \
      WHERE d.state = 'dead' AND d.reason = 'unauthorized' AND coalesce((SELECT m.id FROM delivered_last AS m \
      WHERE m.lane = d.lane), 0) <= d.id AND d.id NOT IN (SELECT value FROM json_each(?1)) \
        AND NOT EXISTS (SELECT 1 FROM delivery AS x INDEXED BY delivery_lane \
             WHERE x.lane = d.lane AND x.id < d.id AND x.id > coalesce((SELECT m.id FROM delivered_last AS m \
             WHERE m.lane = d.lane), 0) \
               AND x.state = 'dead' AND x.reason = 'unauthorized' AND EXISTS (SELECT 1 FROM episode AS f \
               WHERE f.id = x.id)) ORDER BY e.id LIMIT 1";

pub(crate) const END_EPISODE: &str = "DELETE FROM episode";

/// Opens; returns how many came back.
pub(crate) async fn open(transaction: &mut Transaction<'_>, opening: &Opening) -> Result<u64, sqlx::Error> {
    let note = Note {
        name: opening.name.clone(),
        value: Some(opening.value.clone()),
        now: opening.now,
    };
    notes::remember(transaction, &note).await?;
    let count = if opening.requeue {
        requeue(transaction, opening.now).await?
    } else {
        0
    };
    sqlx::query(END_EPISODE).execute(&mut *transaction.conn).await?;
    Ok(count)
}

async fn requeue(transaction: &mut Transaction<'_>, now: Timestamp) -> Result<u64, sqlx::Error> {
    let (mut count, mut after) = (0, 0);
    loop {
        let page = sqlx::query(OF_EPISODE)
            .bind(after)
            .bind(PAGE)
            .fetch_all(&mut *transaction.conn)
            .await?;
        let (ids, lanes) = row::ids_and_lanes(&page)?;
        let Some(last) = ids.last() else { return Ok(count) };
        after = *last;
        count += ids.len() as u64;
        put_back(transaction, &ids, &lanes, "the key works again", now).await?;
    }
}

/// Puts one back to be the trial, and out of the episode; it joins it again should it be refused. A crash before its
/// trial leaves it pending.
pub(crate) async fn revive(
    transaction: &mut Transaction<'_>,
    revival: &Revival,
) -> Result<Option<SubmissionId>, sqlx::Error> {
    let mut refused = revival.refused.as_slice();
    loop {
        let known = batch::json(&refused.iter().map(|id| id.0).collect::<Vec<_>>())?;
        let found = sqlx::query(REVIVABLE)
            .bind(known)
            .fetch_all(&mut *transaction.conn)
            .await?;
        let (ids, lanes) = row::ids_and_lanes(&found)?;
        match (ids.first(), refused.split_first()) {
            (Some(id), _) => {
                put_back(
                    transaction,
                    &ids,
                    &lanes,
                    "to find out whether the key works again",
                    revival.now,
                )
                .await?;
                moves::leave_episode(transaction.conn, &batch::json(&ids)?).await?;
                return Ok(Some(SubmissionId(*id)));
            }
            (None, Some((_, later))) => refused = later,
            (None, None) => return Ok(None),
        }
    }
}

async fn put_back(
    transaction: &mut Transaction<'_>,
    ids: &[i64],
    lanes: &HashSet<i64>,
    why: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let count = ids.len() as u64;
    let ids = batch::json(ids)?;
    let line = history::Line {
        submission: SubmissionId(0),
        at: now,
        actor: &Actor::Daemon("gate"),
        what: ActName::Requeue.recorded(),
        detail: Some(why.to_owned()),
    };
    history::write_same(transaction.conn, &ids, &line).await?;
    let to = moves::put_back(transaction.conn, &ids, &Fresh::by_gate(now)).await?;
    transaction.moved(Some(StateName::Dead), Some(to), count);
    lanes::relane(transaction.conn, lanes).await
}
