//! The gate's opening: its new state and what it puts back are one transaction, so that nothing of an activity overtakes
//! what the key had stopped. And the trials before it, which overtake nothing either.

use std::collections::BTreeSet;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::clock::Timestamp;
use crate::model::{ActName, Actor, StateName, SubmissionId};
use crate::store::operation::{Note, Opening, Revival};
use crate::store::rules::acts::Fresh;

use super::own::Own;
use super::transaction::{Transaction, roll_back};
use super::{history, lanes, moves, notes};

/// How many are put back at a time: the episode is put back in one transaction, however many they are, and in as much
/// memory as this.
const PAGE: i64 = 500;

/// The next page of this key's episode after a number.
pub(super) const OF_EPISODE: &str = "SELECT d.id, d.lane FROM episode AS e CROSS JOIN LATERAL ( \
        SELECT s.id, s.lane FROM settled AS s WHERE s.id = e.id AND s.reason = 'unauthorized' LIMIT 1) AS d \
      WHERE e.scope = $3 AND e.id > $1 \
        AND coalesce((SELECT l.delivered_id FROM lane AS l WHERE l.lane = d.lane), 0) <= d.id ORDER BY e.scope, e.id LIMIT $2";

/// The oldest of the episode's dead letters that was not refused on trial (`$1`) and that overtakes none of them.
pub(super) const REVIVABLE: &str = "SELECT d.id, d.lane FROM episode AS e CROSS JOIN LATERAL ( \
        SELECT s.id, s.lane FROM settled AS s WHERE s.id = e.id AND s.reason = 'unauthorized' LIMIT 1) AS d \
      WHERE e.scope = $2 AND NOT e.id = ANY ($1) \
        AND coalesce((SELECT l.delivered_id FROM lane AS l WHERE l.lane = d.lane), 0) <= d.id \
        AND (SELECT x.id FROM settled AS x WHERE x.lane = d.lane AND x.lane IS NOT NULL AND x.id < d.id \
               AND x.id > coalesce((SELECT l.delivered_id FROM lane AS l WHERE l.lane = d.lane), 0) \
               AND x.reason = 'unauthorized' \
               AND (SELECT f.id FROM episode AS f WHERE f.id = x.id AND f.scope = $2) IS NOT NULL LIMIT 1) IS NULL \
      ORDER BY e.scope, e.id LIMIT 1";

pub(super) const END_EPISODE: &str = "DELETE FROM episode WHERE scope = $1";

/// Opens; returns how many came back. The record goes first: who settles a refused one late waits for this commit, and
/// then sees it.
pub(super) async fn open(transaction: &mut Transaction<'_>, own: &Own, opening: &Opening) -> Result<u64, sqlx::Error> {
    let note = Note {
        name: opening.name.clone(),
        value: Some(opening.value.clone()),
        now: opening.now,
    };
    notes::remember_gate(transaction, own, &note, true).await?;
    let count = if opening.requeue {
        requeue(transaction, opening.now).await?
    } else {
        0
    };
    sqlx::query(END_EPISODE)
        .bind(&transaction.scope)
        .execute(&mut *transaction.conn)
        .await?;
    Ok(count)
}

pub(super) const HAS_OTHER_SCOPES: &str =
    "SELECT EXISTS (SELECT 1 FROM episode WHERE scope < $1) OR EXISTS (SELECT 1 FROM episode WHERE scope > $1)";
pub(super) const OTHER_SCOPES: &str =
    "SELECT DISTINCT scope FROM episode WHERE scope < $1 UNION ALL SELECT DISTINCT scope FROM episode WHERE scope > $1";

/// What other keys were refused for is put back while ours works: their own gates may never open again. Returns how many
/// came back.
pub(super) async fn requeue_of_others(
    conn: &mut PgConnection,
    scope: &str,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let rows = sqlx::query(OTHER_SCOPES).bind(scope).fetch_all(&mut *conn).await?;
    let mut count = 0;
    for row in &rows {
        let mut transaction = Transaction::begin(&mut *conn, 0, row.try_get(0)?).await?;
        match requeue(&mut transaction, now).await {
            Ok(back) => {
                sqlx::query(END_EPISODE)
                    .bind(&transaction.scope)
                    .execute(&mut *transaction.conn)
                    .await?;
                transaction.commit().await?;
                count += back;
            }
            Err(error) => {
                drop(roll_back(transaction.conn).await);
                return Err(error);
            }
        }
    }
    Ok(count)
}

/// Page by page, so the lanes are not locked in one ascending order: an act that holds one and waits for another is a
/// deadlock, which the server ends and the writer replays.
async fn requeue(transaction: &mut Transaction<'_>, now: Timestamp) -> Result<u64, sqlx::Error> {
    let (mut count, mut after) = (0, 0);
    loop {
        let page = sqlx::query(OF_EPISODE)
            .bind(after)
            .bind(PAGE)
            .bind(&transaction.scope)
            .fetch_all(&mut *transaction.conn)
            .await?;
        let (mut ids, mut lanes) = (Vec::new(), BTreeSet::new());
        for row in &page {
            ids.push(row.try_get::<i64, _>(0)?);
            lanes.extend(row.try_get::<Option<i64>, _>(1)?);
        }
        let Some(last) = ids.last() else { return Ok(count) };
        after = *last;
        count += put_back(transaction, &ids, &lanes, "the key works again", now).await?;
    }
}

/// Puts one back to be the trial, and out of the episode; it joins it again should it be refused. A crash before its
/// trial leaves it pending.
pub(super) async fn revive(
    transaction: &mut Transaction<'_>,
    revival: &Revival,
) -> Result<Option<SubmissionId>, sqlx::Error> {
    let mut refused = revival.refused.as_slice();
    loop {
        let found = sqlx::query(REVIVABLE)
            .bind(refused.iter().map(|id| id.0).collect::<Vec<_>>())
            .bind(&transaction.scope)
            .fetch_optional(&mut *transaction.conn)
            .await?;
        match (found, refused.split_first()) {
            (Some(row), _) => {
                let (id, lane): (i64, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
                let why = "to find out whether the key works again";
                let count = put_back(transaction, &[id], &lane.into_iter().collect(), why, revival.now).await?;
                moves::leave_episode(transaction, &[id]).await?;
                return Ok((count > 0).then_some(SubmissionId(id)));
            }
            (None, Some((_, later))) => refused = later,
            (None, None) => return Ok(None),
        }
    }
}

/// Returns how many there were: another node may have taken some in hand meanwhile.
async fn put_back(
    transaction: &mut Transaction<'_>,
    ids: &[i64],
    lanes: &BTreeSet<i64>,
    why: &str,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    lanes::lock(transaction.conn, lanes).await?;
    let back = moves::put_back(transaction, ids, &Fresh::by_gate(now)).await?;
    let line = history::Line {
        submission: SubmissionId(0),
        at: now,
        actor: &Actor::Daemon("gate"),
        what: ActName::Requeue.recorded(),
        detail: Some(why.to_owned()),
    };
    history::write_same(transaction.conn, &back, &line).await?;
    let count = back.len() as u64;
    transaction.moved(Some(StateName::Dead), Some(StateName::Pending), count);
    lanes::relane(transaction.conn, lanes).await?;
    Ok(count)
}
