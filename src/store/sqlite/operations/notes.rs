//! The few values that outlive the process: the gate, a pause, the list of result types.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::store::sqlite::machine::transaction::Transaction;

use crate::store::operation::Note;
use crate::store::rules::marks::SECRET;

pub(crate) const REMEMBER: &str = "INSERT INTO memory (name, value, at) VALUES (?1, ?2, ?3) \
     ON CONFLICT (name) DO UPDATE SET value = ?2, at = ?3";
pub(crate) const REMEMBER_FIRST: &str =
    "INSERT INTO memory (name, value, at) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO NOTHING";
pub(crate) const FORGET: &str = "DELETE FROM memory WHERE name = ?1";

/// Remembers, or forgets. A secret that is there stays: two processes may make one at once, and the first one's is in
/// tokens already.
pub(crate) async fn remember(transaction: &mut Transaction<'_>, note: &Note) -> Result<(), sqlx::Error> {
    let query = match &note.value {
        Some(value) => sqlx::query(if note.name == SECRET { REMEMBER_FIRST } else { REMEMBER })
            .bind(&note.name)
            .bind(value)
            .bind(note.now.millis()),
        None => sqlx::query(FORGET).bind(&note.name),
    };
    query.execute(&mut *transaction.conn).await.map(drop)
}

pub(crate) const RECALL: &str = "SELECT value FROM memory WHERE name = ?1";

/// What is remembered under a name.
pub(crate) async fn recall(conn: &mut SqliteConnection, name: &str) -> Result<Option<String>, sqlx::Error> {
    let row = sqlx::query(RECALL).bind(name).fetch_optional(conn).await?;
    row.map(|row| row.try_get(0)).transpose()
}
