//! A corrected payload in the place of the old one.

use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::model::{Directives, Entry, SubmissionId};

use super::{history, lanes};

/// `?9` says whether the edited object brought directives; where it brought none, the old ones stay. A key that another
/// submission holds is named, not held: an operator's edit is no repetition.
pub(crate) const REPLACE: &str = "UPDATE submission SET \
        payload = ?2, activity_id = ?3, provider_activity_id = ?4, commerce_external_id = ?5, invalid = NULL, \
        by_result_types = 0, \
        digest = CASE WHEN CASE WHEN ?9 THEN ?6 ELSE submission_key END IS NULL THEN NULL ELSE ?10 END, \
        submission_key = CASE WHEN ?9 THEN ?6 ELSE submission_key END, \
        holds_key = CASE WHEN NOT ?9 THEN holds_key WHEN ?6 IS NULL THEN 0 \
            ELSE NOT EXISTS (SELECT 1 FROM submission AS o INDEXED BY submission_key \
                              WHERE o.submission_key = ?6 AND o.holds_key = 1 AND o.id <> ?1) END, \
        source = CASE WHEN ?9 THEN ?7 ELSE source END, \
        on_conflict = CASE WHEN ?9 THEN ?8 ELSE on_conflict END, \
        not_before = CASE WHEN ?9 THEN ?11 ELSE not_before END \
     WHERE id = ?1";

/// Requeued as another payload: nothing of the old one's story counts any more, but for its `not_before`, where the
/// edit brings no directives (see [`super::moves::PUT_BACK`]). Its place in the (perhaps new) activity is the lane's to
/// say.
pub(crate) const RESTART: &str = "UPDATE delivery SET \
        lane = ?3, state = CASE WHEN ?3 IS NULL THEN 'head' ELSE 'waiting' END, reason = NULL, \
        not_before = p.held_until, next_at = max(?2, coalesce(p.held_until, ?2)), \
        tries = 0, waited_ms = 0, lost_response = 0, hard_override = 0, was_unauthorized = 0, requeued = 1, \
        updated_at = ?2 FROM (SELECT CASE WHEN ?4 THEN ?5 \
                  WHEN d.state IN ('head', 'waiting') THEN d.not_before \
                  WHEN d.attempts = 0 AND s.not_before > ?2 THEN s.not_before END AS held_until \
             FROM delivery AS d CROSS JOIN submission AS s ON s.id = d.id WHERE d.id = ?1) AS p \
     WHERE id = ?1 AND state IN ('head', 'waiting', 'dead', 'parked') AND id NOT IN (SELECT id FROM flight)";

/// Edits one; the old payload goes into its history. Its lane from now on is the answer; both, old and new, are to be
/// put in order afterwards.
pub(crate) async fn edit(
    conn: &mut SqliteConnection,
    id: SubmissionId,
    entry: &Entry,
    line: &history::Line<'_>,
) -> Result<Option<i64>, sqlx::Error> {
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
    sqlx::query(REPLACE)
        .bind(id.0)
        .bind(entry.payload.text().into_owned())
        .bind(entry.facts.activity_id.as_deref())
        .bind(entry.facts.provider_activity_id.as_deref())
        .bind(entry.facts.commerce_external_id.as_deref())
        .bind(key.as_ref().map(|key| key.0.as_str()))
        .bind(source.as_deref())
        .bind(on_conflict.map(|one| one.into_str()))
        .bind(brings_directives)
        .bind(entry.digest.unwrap_or_else(|| entry.payload.digest()).0.to_vec())
        .bind(not_before.map(Timestamp::millis))
        .execute(&mut *conn)
        .await?;
    let number = match entry.facts.activity() {
        Some(activity) => Some(lanes::number_of(conn, activity.lane()).await?),
        None => None,
    };
    let held_until = not_before.filter(|until| *until > line.at);
    sqlx::query(RESTART)
        .bind(id.0)
        .bind(line.at.millis())
        .bind(number)
        .bind(brings_directives)
        .bind(held_until.map(Timestamp::millis))
        .execute(conn)
        .await?;
    Ok(number)
}
