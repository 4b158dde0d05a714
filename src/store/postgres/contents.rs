//! What the outbox holds, by its contents: for whoever compares it with another one.

use futures_util::TryStreamExt as _;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::clock::Timestamp;
use crate::model::{Digest, SubmissionId};
use crate::store::Content;

use super::row;

pub(super) const CONTENTS: &str =
    "SELECT id, created_at, submission_key, digest, payload FROM submission WHERE id > $1 ORDER BY id LIMIT $2";

/// A stretch of it, by number. Row by row: a payload may be large, and only its digest is kept.
pub(super) async fn contents(
    conn: &mut PgConnection,
    after: SubmissionId,
    limit: u32,
) -> Result<Vec<Content>, sqlx::Error> {
    let mut rows = sqlx::query(CONTENTS).bind(after.0).bind(i64::from(limit)).fetch(conn);
    let mut contents = Vec::new();
    while let Some(row) = rows.try_next().await? {
        let digest: Option<&[u8]> = row.try_get("digest")?;
        contents.push(Content {
            id: SubmissionId(row.try_get("id")?),
            created_at: Timestamp::from_millis(row.try_get("created_at")?),
            key: row::key(&row)?,
            object: digest.and_then(|bytes| bytes.try_into().ok()).map(Digest),
            text: Digest::of(row::payload(&row)?.bytes()),
        });
    }
    Ok(contents)
}
