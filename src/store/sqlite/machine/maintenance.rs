//! What the writer does outside of any transaction: looking for other writers' commits, and keeping the files small.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::store::sqlite::opening::pragma;

pub(crate) const DATA_VERSION: &str = "PRAGMA data_version";
const FREE_PAGES: &str = "PRAGMA freelist_count";
const GIVE_BACK: &str = "PRAGMA incremental_vacuum(256)";
const CHECKPOINT: &str = "PRAGMA wal_checkpoint(PASSIVE)";
const IMPATIENT: &str = "PRAGMA busy_timeout = 20";
const TRUNCATE: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// Free pages that are kept for what comes next: 16 MiB of 4 KiB pages. Giving a page back and taking it again is
/// written twice.
const FREE_PAGES_KEPT: i64 = 4096;
/// Steps of one tidying, of 256 pages each: 4 MiB, some milliseconds in which nothing is claimed. Whoever wants more
/// back asks again.
const STEPS: i64 = 4;
/// Frames in the WAL above which a checkpoint also cuts the file: 16 MiB of 4 KiB pages. Below, its room is used again
/// anyway.
const WAL_FRAMES_KEPT: i64 = 4096;

/// `PRAGMA data_version` of this connection: its own commits do not change it, every other's does.
pub(crate) async fn data_version(conn: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query(DATA_VERSION).fetch_one(conn).await?.try_get(0)
}

/// Copies the WAL into the database and begins it anew as an empty file. It would wait for readers as long as for a
/// lock, and all deliveries with it: an operator's forgotten `sqlite3` must not stop those, so this patience is short.
pub(crate) async fn truncate(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query(IMPATIENT).execute(&mut *conn).await?;
    let done = sqlx::query(TRUNCATE).fetch_all(&mut *conn).await.map(drop);
    sqlx::query(pragma::BUSY_ROUND.0).execute(conn).await?;
    done
}

/// Gives free pages back in small steps, then checkpoints; whether there are more to give. Each step is a commit of its
/// own: a crash between them leaves fewer free pages.
pub(crate) async fn tidy(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let free: i64 = sqlx::query(FREE_PAGES).fetch_one(&mut *conn).await?.try_get(0)?;
    let steps = (free - FREE_PAGES_KEPT) / 256;
    for _ in 0..steps.clamp(0, STEPS) {
        sqlx::query(GIVE_BACK).fetch_all(&mut *conn).await?;
    }
    let frames: i64 = sqlx::query(CHECKPOINT).fetch_one(&mut *conn).await?.try_get(1)?;
    if frames > WAL_FRAMES_KEPT {
        truncate(conn).await?;
    }
    Ok(steps > STEPS)
}
