//! What the outbox holds, by its contents: for whoever compares it with another one.

use futures_util::TryStreamExt as _;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::model::{Digest, SubmissionId};
use crate::store::sqlite::Database;
use crate::store::sqlite::machine::row;
use crate::store::{Content, StoreError};

impl Database {
    /// What it holds, by its contents, with numbers above `after`, at most `limit`: to compare it with another one.
    pub async fn contents(&self, after: SubmissionId, limit: u32) -> Result<Vec<Content>, StoreError> {
        Ok(contents(&mut *self.reader().await?, after, limit).await?)
    }
}

pub(crate) const CONTENTS: &str =
    "SELECT id, created_at, submission_key, digest, payload FROM submission WHERE id > ?1 ORDER BY id LIMIT ?2";

/// A stretch of it, by number. Row by row: a payload may be large, and only its digest is kept.
pub(crate) async fn contents(
    conn: &mut SqliteConnection,
    after: SubmissionId,
    limit: u32,
) -> Result<Vec<Content>, sqlx::Error> {
    let mut rows = sqlx::query(CONTENTS).bind(after.0).bind(limit).fetch(conn);
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
