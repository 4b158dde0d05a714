//! A consistent copy of the outbox, made while others write.
//!
//! `VACUUM INTO` reads as of one commit, through the WAL, without keeping anybody from writing. The copy is a file of
//! its own, without a WAL, and is read from end to end before it is called a backup: one that cannot be read is found
//! when it is made, not when it is needed.

use std::collections::BTreeMap;
use std::path::Path;
use strum::VariantArray as _;

use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use crate::clock::Timestamp;
use crate::model::StateName;
use crate::sqlite_file::Identity;
use crate::store::OpenError;
use crate::store::sqlite::machine::trouble::Trouble;
use crate::store::sqlite::opening::location::{self, AtPath};
use crate::store::sqlite::opening::{open, schema};
use crate::store::sqlite::operations::notes;
use crate::store::sqlite::processes::usage;

use super::swap;

/// Under this name a backup remembers when and where it was made.
pub(crate) const NOTE: &str = "backup";

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackupNote {
    /// When it was made, in milliseconds since 1970.
    pub(crate) at: i64,
    pub(crate) version: String,
}

/// An outbox that is to be copied. Every file of it is open once this is there, so that root can read as the outbox's
/// owner and write the copy as itself.
#[derive(Debug)]
pub struct Backup {
    conn: SqliteConnection,
    _usage: Option<usage::Usage>,
}

const COPY: &str = "VACUUM INTO ?1";

impl Backup {
    /// Opens the outbox, of this version or an older one: before an upgrade is when people make backups.
    pub async fn open(database: &Path) -> Result<Self, OpenError> {
        let path = location::absolute(database)?;
        let usage = usage::share_to_look(&path).await?;
        swap::refuse_unfinished(&path)?;
        match location::stat(&path)? {
            AtPath::File { bytes: 1.. } => {}
            AtPath::File { bytes: 0 } | AtPath::Empty => return Err(open::missing(&path)),
        }
        let connect = async {
            let mut conn = open::options(&path).read_only(true).connect().await?;
            let identity = schema::identity(&mut conn).await?;
            Ok((conn, identity))
        };
        let (conn, identity) = connect.await.map_err(|error| open::refusal(&path, &error))?;
        match identity {
            Identity::Empty => return Err(open::missing(&path)),
            Identity::Ours | Identity::Older(_) => {}
            Identity::Newer(_) | Identity::Foreign => {
                open::refuse_strangers(&path, identity, crate::store::Role::Tool)?;
            }
        }
        Ok(Self { conn, _usage: usage })
    }

    /// Writes the copy into an empty file of the caller's, checks it, and returns how many submissions are in each
    /// state. The file is not synced.
    pub async fn copy_into(mut self, file: &Path, now: Timestamp) -> Result<BTreeMap<String, u64>, OpenError> {
        let target = location::absolute(file)?;
        let name = target.to_str().unwrap_or_default().to_owned();
        let copied = sqlx::query(COPY).bind(name).execute(&mut self.conn).await;
        drop(self.conn.close().await);
        copied.map_err(|error| not_copied(&target, &error))?;
        let finish = async {
            let mut conn = private(&target).connect().await?;
            let note = BackupNote {
                at: now.millis(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            sqlx::query(notes::REMEMBER)
                .bind(NOTE)
                .bind(serde_json::to_string(&note).unwrap_or_default())
                .bind(now.millis())
                .execute(&mut conn)
                .await?;
            let wrong = check(&mut conn).await?;
            let counts = counts(&mut conn).await?;
            conn.close().await?;
            Ok((wrong, counts))
        };
        match finish.await.map_err(|error| not_copied(&target, &error))? {
            (None, counts) => Ok(counts),
            (Some(wrong), _) => Err(OpenError::Unusable(format!(
                "the copy is not whole ({wrong}), so neither is the outbox; `reten-outbox salvage` reads what can be \
                 read"
            ))),
        }
    }
}

/// How a file is opened that nobody else knows of. Its journal needs not outlive us.
pub(crate) fn private(path: &Path) -> SqliteConnectOptions {
    open::options(path).pragma("journal_mode", "MEMORY")
}

const WHOLE: &str = "PRAGMA integrity_check(1)";
const ORPHANS: &str = "SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1";
const LOST: &str = "SELECT count(*) FROM submission WHERE id NOT IN (SELECT id FROM delivery)";

/// Reads all of it; what is wrong, if anything is.
pub(crate) async fn check(conn: &mut SqliteConnection) -> Result<Option<String>, sqlx::Error> {
    let found: String = sqlx::query(WHOLE).fetch_one(conn).await?.try_get(0)?;
    Ok((found != "ok").then_some(found))
}

/// Whether its rows belong together: what a copy made file by file, at two moments, may fail although each of its pages
/// is whole. Not asked of every backup, since an outbox that was changed by hand is better kept as it is than not at
/// all.
pub(crate) async fn check_rows(conn: &mut SqliteConnection) -> Result<Option<String>, sqlx::Error> {
    if let Some(row) = sqlx::query(ORPHANS).fetch_optional(&mut *conn).await? {
        let table: String = row.try_get(0)?;
        return Ok(Some(format!("a row of `{table}` belongs to no submission")));
    }
    let lost: i64 = sqlx::query(LOST).fetch_one(conn).await?.try_get(0)?;
    Ok((lost > 0).then(|| format!("{lost} submissions have no state")))
}

const COUNTS: &str = "SELECT CASE WHEN id IN (SELECT id FROM flight) THEN 'sending' \
     WHEN state IN ('head', 'waiting') THEN 'pending' ELSE state END AS state, count(*) AS n \
     FROM delivery GROUP BY 1";

/// How many are in each state of the contract, counted.
pub(crate) async fn counts(conn: &mut SqliteConnection) -> Result<BTreeMap<String, u64>, sqlx::Error> {
    let mut counts: BTreeMap<String, u64> = StateName::VARIANTS
        .iter()
        .map(|state| (state.into_str().to_owned(), 0))
        .collect();
    for row in sqlx::query(COUNTS).fetch_all(conn).await? {
        *counts.entry(row.try_get("state")?).or_default() += row.try_get::<i64, _>("n")?.unsigned_abs();
    }
    Ok(counts)
}

fn not_copied(target: &Path, error: &sqlx::Error) -> OpenError {
    let shown = target.display();
    match Trouble::of(error) {
        Trouble::Full => OpenError::Unusable(format!(
            "{shown}: the disk is full ({error}); nothing of the copy was kept"
        )),
        Trouble::CannotOpen | Trouble::ReadOnly => OpenError::Unusable(format!(
            "{shown}: cannot be written ({error}); this user must be able to write there"
        )),
        Trouble::Damaged => OpenError::Unusable(format!(
            "the outbox is damaged and cannot be copied ({error}); keep the backups you have, \
             and see `reten-outbox restore --help`"
        )),
        Trouble::Busy => OpenError::Busy(format!("the outbox is locked by another process ({error}); try again")),
        Trouble::Other => OpenError::Unusable(format!("{shown}: {error}; nothing of the copy was kept")),
    }
}
