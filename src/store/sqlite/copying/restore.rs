//! A backup in the place of the outbox.
//!
//! In this order: the daemon's lock and everybody else's share; a copy of the backup in a directory of drafts beside
//! the outbox; that copy checked, brought up to date and marked; the swap. Nothing of the outbox is touched before the
//! copy is whole, and nothing of it is deleted at all.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{FlockType, fcntl_getlk};
use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use crate::clock::Timestamp;
use crate::model::Actor;
use crate::sqlite_file::Identity;
use crate::store::OpenError;
use crate::store::beside::lock::{self, Lock};
use crate::store::operation::Note;
use crate::store::sqlite::machine::transaction::{self, Transaction};
use crate::store::sqlite::machine::trouble::Trouble;
use crate::store::sqlite::opening::{location, open, pragma, schema};
use crate::store::sqlite::operations::{notes, recover};
use crate::store::sqlite::processes::usage::{self, Usage};

use super::backup::{self, NOTE};
use super::swap;

/// A backup as it lies there, opened by whoever may read it.
#[derive(Debug)]
pub struct BackupFile {
    /// The name, for messages.
    pub path: PathBuf,
    pub database: File,
    /// The WAL beside it, where it was copied file by file.
    pub wal: Option<File>,
}

#[derive(Debug)]
pub struct Restored {
    /// When the backup was made, where it says so.
    pub made_at: Option<Timestamp>,
    /// How many are in each state.
    pub counts: BTreeMap<String, u64>,
    /// How many were pending or in flight, or would have been put back by themselves: marked as maybe sent.
    pub marked: u64,
    /// What it replaced, the database first.
    pub kept: Vec<PathBuf>,
}

/// What keeps everybody out as long as this lives.
struct Alone {
    _lock: Lock,
    _usage: Usage,
    _old: Option<File>,
    /// The last number that the old outbox gave out, where it could still say.
    last_id: Option<i64>,
}

/// Restores. `pause` is what the outbox is to remember as a pause, by name and value.
pub async fn restore(
    database: &Path,
    backup: BackupFile,
    actor: &Actor,
    pause: Option<(&str, String)>,
    now: Timestamp,
) -> Result<Restored, OpenError> {
    let database = location::absolute(database)?;
    location::prepare_directory(&database)?;
    let alone = keep_out(&database).await?;
    // One that was cut off is done to its end first: what it put in its place is then kept aside in its turn.
    let mut kept = swap::finish(&database)?;
    let directory = database.parent().unwrap_or(&database);
    let drafts = tempfile::Builder::new()
        .prefix(".outbox.db.restore-")
        .tempdir_in(directory)
        .map_err(|error| unwritable(directory, &error))?;
    let new = drafts.path().join(swap::NEW);
    let name = backup.path.clone();
    bring(backup, &new).map_err(|error| unwritable(&new, &error))?;
    let marks = Marking {
        actor,
        pause,
        last_id: alone.last_id,
        now,
    };
    let prepared = prepare(&name, &new, &marks).await?;
    settle_on_disk(&new).map_err(|error| unwritable(&new, &error))?;
    let drafts = drafts.keep();
    swap::begin(&database, &drafts, now).inspect_err(|_| drop(fs::remove_dir_all(&drafts)))?;
    kept.extend(swap::finish(&database)?);
    drop(alone);
    Ok(Restored { kept, ..prepared })
}

/// The daemon's lock, the whole of everybody's shares, and a lock on the database itself that no SQLite gets past: also
/// not somebody's `sqlite3`.
async fn keep_out(database: &Path) -> Result<Alone, OpenError> {
    let lock = lock::take(database).await?;
    let usage = usage::alone(database).await?;
    // Before the lock below: closing a connection would drop it.
    let last_id = last_id(database).await;
    // Not ours to open where it is another user's: then whoever could have it open is root.
    let old = OpenOptions::new().read(true).write(true).open(database).ok();
    if let Some(old) = &old
        && fcntl_lock(old, FlockOperation::NonBlockingLockExclusive).is_err()
    {
        let holder = fcntl_getlk(old, &FlockType::WriteLock.into())
            .ok()
            .flatten()
            .and_then(|held| held.pid);
        let who = holder.map_or_else(String::new, |pid| format!(" {}", pid.as_raw_nonzero()));
        return Err(OpenError::Busy(format!(
            "{}: process{who} has it open (`sqlite3`, a backup program?); end it, and try again",
            database.display()
        )));
    }
    Ok(Alone {
        _lock: lock,
        _usage: usage,
        _old: old,
        last_id,
    })
}

/// The backup's bytes, in files of ours. The drafts are in a directory that nobody else can enter.
fn bring(backup: BackupFile, new: &Path) -> io::Result<()> {
    let copy = |mut from: File, to: &Path| -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        io::copy(&mut from, &mut file)?;
        file.flush()
    };
    copy(backup.database, new)?;
    backup
        .wal
        .map_or(Ok(()), |wal| copy(wal, &location::beside(new, "-wal")))
}

/// What is written into the backup.
struct Marking<'a> {
    actor: &'a Actor,
    pause: Option<(&'a str, String)>,
    last_id: Option<i64>,
    now: Timestamp,
}

/// Checks the copy, brings it up to date and marks it. `name` is the backup's own, for messages.
async fn prepare(name: &Path, new: &Path, marks: &Marking<'_>) -> Result<Restored, OpenError> {
    let has_wal = location::has_wal(new);
    let work = async {
        let mut conn = open::options(new).connect().await?;
        let identity = schema::identity(&mut conn).await?;
        let wrong = match identity {
            Identity::Ours | Identity::Older(_) => match backup::check(&mut conn).await? {
                None if has_wal => backup::check_rows(&mut conn).await?,
                wrong => wrong,
            },
            Identity::Empty | Identity::Newer(_) | Identity::Foreign => None,
        };
        if wrong.is_some() || !matches!(identity, Identity::Ours | Identity::Older(_)) {
            return Ok(Err((identity, wrong)));
        }
        pragma::for_writing(&mut conn, new.parent().and_then(location::free_bytes)).await?;
        schema::migrate(&mut conn).await?;
        let restored = mark(&mut conn, marks).await?;
        conn.close().await?;
        Ok(Ok(restored))
    };
    let shown = name.display();
    match work.await.map_err(|error| unusable(name, &error))? {
        Ok(restored) => Ok(restored),
        Err((_, Some(wrong))) => Err(unwhole(name, &wrong)),
        Err((Identity::Empty, None)) => Err(OpenError::Unusable(format!(
            "{shown}: an empty database, no backup of an outbox. Nothing was changed"
        ))),
        Err((Identity::Newer(version), None)) => Err(OpenError::Unusable(format!(
            "{shown}: written by a newer reten-outbox (its version {version}, this program knows {}); \
             install that one first. Nothing was changed",
            schema::newest()
        ))),
        Err((Identity::Foreign | Identity::Ours | Identity::Older(_), None)) => Err(OpenError::Unusable(format!(
            "{shown}: a SQLite database, but not an outbox of ours. Nothing was changed"
        ))),
    }
}

/// What may have been sent since the backup was made: all that would be sent by itself. Pending ones, those that an
/// opening gate puts back, and those that another list of result types makes valid. Of a dead letter that an operator
/// requeues, that operator decides.
const MAYBE_SENT: &str = "(state IN ('head', 'waiting') OR id IN (SELECT id FROM episode) OR (state = 'dead' \
     AND reason = 'invalid' AND id IN (SELECT id FROM submission WHERE by_result_types = 1)))";

const RECORD: &str =
    "INSERT INTO history (submission, at, actor, what, detail) SELECT id, ?1, ?2, 'restored', ?3 FROM delivery WHERE ";
const MARK: &str = "UPDATE delivery SET lost_response = 1 WHERE ";
const GO_ON_FROM: &str = "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'submission'";

/// Marks, in one transaction. These statements walk the whole table: nobody else is there.
async fn mark(conn: &mut SqliteConnection, marks: &Marking<'_>) -> Result<Restored, sqlx::Error> {
    let note = notes::recall(&mut *conn, NOTE).await?;
    let note: Option<backup::BackupNote> = note.and_then(|text| serde_json::from_str(&text).ok());
    let made_at = note.map(|note| Timestamp::from_millis(note.at));
    let mut transaction = Transaction::begin(&mut *conn).await?;
    let marked = match write_marks(&mut transaction, marks, made_at).await {
        Ok(marked) => transaction.commit().await.map(|_| marked),
        Err(error) => Err(error),
    };
    let marked = match marked {
        Ok(marked) => marked,
        Err(error) => {
            transaction::roll_back(conn).await;
            return Err(error);
        }
    };
    Ok(Restored {
        made_at,
        counts: backup::counts(conn).await?,
        marked,
        kept: Vec::new(),
    })
}

async fn write_marks(
    transaction: &mut Transaction<'_>,
    marks: &Marking<'_>,
    made_at: Option<Timestamp>,
) -> Result<u64, sqlx::Error> {
    recover::recover(transaction, marks.now).await?;
    let of = made_at.map_or_else(|| "without a date".to_owned(), |at| format!("of {at}"));
    sqlx::query(sqlx::AssertSqlSafe(format!("{RECORD}{MAYBE_SENT}")))
        .bind(marks.now.millis())
        .bind(marks.actor.to_string())
        .bind(format!("from a backup {of}, and may have been sent since"))
        .execute(&mut *transaction.conn)
        .await?;
    let marked = sqlx::query(sqlx::AssertSqlSafe(format!("{MARK}{MAYBE_SENT}")))
        .execute(&mut *transaction.conn)
        .await?
        .rows_affected();
    if let Some(last_id) = marks.last_id {
        sqlx::query(GO_ON_FROM)
            .bind(last_id)
            .execute(&mut *transaction.conn)
            .await?;
    }
    let mut notes = vec![Note {
        name: NOTE.to_owned(),
        value: None,
        now: marks.now,
    }];
    notes.extend(marks.pause.as_ref().map(|(name, value)| Note {
        name: (*name).to_owned(),
        value: Some(value.clone()),
        now: marks.now,
    }));
    for note in &notes {
        notes::remember(transaction, note).await?;
    }
    Ok(marked)
}

const LAST_ID: &str = "SELECT seq FROM sqlite_sequence WHERE name = 'submission'";

/// A number above this was never given out: it is what a damaged page says.
const ID_MAX: i64 = 1 << 40;

/// The last number that the old outbox gave out: people quote numbers, and one must not come to name two submissions.
/// None where it cannot be read.
async fn last_id(database: &Path) -> Option<i64> {
    let mut conn = open::options(database).read_only(true).connect().await.ok()?;
    let row = sqlx::query(LAST_ID).fetch_optional(&mut conn).await;
    drop(conn.close().await);
    let last_id: i64 = row.ok()??.try_get(0).ok()?;
    (last_id < ID_MAX).then_some(last_id)
}

/// The new database is one file, its owner's alone, and on the disk.
pub(crate) fn settle_on_disk(new: &Path) -> io::Result<()> {
    if location::has_wal(new) {
        return Err(io::Error::other("its WAL could not be copied into it"));
    }
    for end in location::COMPANIONS {
        match fs::remove_file(location::beside(new, end)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let file = File::open(new)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.sync_all()
}

pub(crate) fn unwritable(place: &Path, error: &io::Error) -> OpenError {
    OpenError::Unusable(format!(
        "{}: cannot be written: {error}; the outbox was not touched",
        place.display()
    ))
}

fn unwhole(name: &Path, wrong: &str) -> OpenError {
    OpenError::Unusable(format!(
        "{}: this backup is damaged ({wrong}); take an older one, and `reten-outbox salvage` reads out of this one \
         what can be read. Nothing was changed",
        name.display()
    ))
}

fn unusable(name: &Path, error: &sqlx::Error) -> OpenError {
    match Trouble::of(error) {
        Trouble::Damaged => unwhole(name, &error.to_string()),
        Trouble::Full => OpenError::Unusable(format!(
            "the disk of the outbox is full ({error}); make room for a second copy. Nothing was changed"
        )),
        Trouble::Busy | Trouble::ReadOnly | Trouble::CannotOpen | Trouble::Other => OpenError::Unusable(format!(
            "{}: cannot be restored: {error}. Nothing was changed",
            name.display()
        )),
    }
}
