//! A corrected payload in the place of the old one.

use sqlx::postgres::PgConnection;

use crate::clock::Timestamp;
use crate::model::{Digest, Directives, Entry, SubmissionId};
use crate::store::rules::words::without_nul;

use super::history;

/// `$9` says whether the edited object brought directives; where it brought none, the old ones stay. A key that another
/// submission holds is named, not held: an operator's edit is no repetition.
pub(super) const REPLACE: &str = "UPDATE submission SET \
        payload = $2, activity_id = $3, provider_activity_id = $4, commerce_external_id = $5, invalid = NULL, by_result_types = false, \
        digest = CASE WHEN CASE WHEN $9 THEN $6 ELSE submission_key END IS NULL THEN NULL ELSE $10 END, \
        submission_key = CASE WHEN $9 THEN $6 ELSE submission_key END, \
        holds_key = CASE WHEN NOT $9 THEN holds_key WHEN $6::bytea IS NULL THEN false \
            ELSE (SELECT o.id FROM submission AS o WHERE sha256(o.submission_key) = $12 AND o.holds_key AND o.id <> $1 LIMIT 1) IS NULL END, \
        source = CASE WHEN $9 THEN $7 ELSE source END, \
        on_conflict = CASE WHEN $9 THEN $8 ELSE on_conflict END, \
        not_before = CASE WHEN $9 THEN $11 ELSE not_before END \
     WHERE id = $1";

/// Requeued as another payload: nothing of the old one's story counts any more, but for its `not_before`, where the edit
/// brings no directives. Its place in the (perhaps new) activity is the lane's to say.
pub(super) const RESTART_PENDING: &str = "UPDATE delivery SET \
        lane = $3, state = CASE WHEN $3::bigint IS NULL THEN 'head' ELSE 'waiting' END, \
        not_before = CASE WHEN $4 THEN $5 ELSE not_before END, next_at = greatest($2, coalesce(CASE WHEN $4 THEN $5 ELSE not_before END, $2)), \
        tries = 0, waited_ms = 0, lost_response = false, hard_override = 0, was_unauthorized = false, requeued = true, updated_at = $2 \
     WHERE id = $1 AND (state = 'head' OR state = 'waiting')";
pub(super) const RESTART_SETTLED: &str = "WITH gone AS (DELETE FROM settled WHERE id = $1 AND (state = 'dead' OR state = 'parked') RETURNING *), \
     back AS (SELECT g.id, g.attempts, g.http_status, CASE WHEN $4 THEN $5 WHEN g.attempts = 0 AND s.not_before > $2 THEN s.not_before END AS held \
        FROM gone AS g JOIN submission AS s ON s.id = g.id) \
     INSERT INTO delivery (id, lane, next_at, not_before, updated_at, attempts, http_status, requeued, state) \
     SELECT id, $3, greatest($2, coalesce(held, $2)), held, $2, attempts, http_status, true, CASE WHEN $3::bigint IS NULL THEN 'head' ELSE 'waiting' END \
       FROM back";

/// Edits one; the old payload goes into its history. Its lanes, old and new, are held, and to be put in order afterwards.
pub(super) async fn edit(
    conn: &mut PgConnection,
    id: SubmissionId,
    entry: &Entry,
    line: &history::Line<'_>,
) -> Result<(), sqlx::Error> {
    let line = history::Line {
        submission: id,
        detail: None,
        ..*line
    };
    history::write_edit(conn, &line).await?;
    let Directives {
        key,
        on_conflict,
        not_before,
        source,
        // An edit takes the place of its own submission, and of no other.
        replaces: _,
    } = &entry.directives;
    let brings_directives = entry.directives != Directives::default();
    let text = |text: &Option<String>| text.as_deref().map(|text| without_nul(text).into_owned());
    let key = key.as_ref().map(|key| key.0.as_bytes());
    sqlx::query(REPLACE)
        .bind(id.0)
        .bind(entry.payload.bytes().to_vec())
        .bind(text(&entry.facts.activity_id))
        .bind(text(&entry.facts.provider_activity_id))
        .bind(text(&entry.facts.commerce_external_id))
        .bind(key)
        .bind(text(source))
        .bind(on_conflict.map(|one| one.into_str()))
        .bind(brings_directives)
        .bind(entry.digest.unwrap_or_else(|| entry.payload.digest()).0.to_vec())
        .bind(not_before.map(Timestamp::millis))
        .bind(key.map(|key| Digest::of(key).0.to_vec()))
        .execute(&mut *conn)
        .await?;
    let activity = entry.facts.activity().map(|activity| activity.lane().0);
    let held_until = not_before.filter(|until| *until > line.at);
    for sql in [RESTART_PENDING, RESTART_SETTLED] {
        sqlx::query(sql)
            .bind(id.0)
            .bind(line.at.millis())
            .bind(activity)
            .bind(brings_directives)
            .bind(held_until.map(Timestamp::millis))
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}
