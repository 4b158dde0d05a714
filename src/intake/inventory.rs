//! What lies in the inbox just now, for those who look from outside: what waits to be taken, and the rows that could
//! not be.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use crate::clock::Timestamp;
use crate::config::Inbox;

use super::blocking;
use super::parse::Format;
use super::rows::{self, RowsError};

/// So long the inbox may take to answer: a person waits, and a file system that hangs must not keep from them what the
/// outbox has to say.
const PATIENCE: Duration = Duration::from_secs(3);

/// Counts; `None` where it cannot be told, for want of a right or because a producer holds the lock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Files that will be taken.
    pub waiting_files: Option<u64>,
    /// Since when the oldest of them has been as it is: its change time, by which they are taken.
    pub oldest_file: Option<Timestamp>,
    /// Rows that will be taken.
    pub waiting_rows: Option<u64>,
    /// Rows that could not be taken.
    pub rejected_rows: Option<u64>,
}

/// Looks. What is not there yet holds nothing; nothing is created.
pub async fn inventory(inbox: &Inbox, outbox: &Path) -> Inventory {
    let rows = rows(&inbox.database, outbox).await.ok();
    let dir = inbox.dir.clone();
    let files = timeout(PATIENCE, blocking(move || files(&dir))).await;
    let files = files.ok().and_then(|files| files.and_then(|files| files).ok());
    Inventory {
        waiting_files: files.map(|(count, _)| count),
        oldest_file: files.and_then(|(_, oldest)| oldest),
        waiting_rows: rows.map(|(waiting, _)| waiting),
        rejected_rows: rows.map(|(_, rejected)| rejected),
    }
}

fn files(dir: &Path) -> io::Result<(u64, Option<Timestamp>)> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, None)),
        Err(error) => return Err(error),
    };
    let (mut count, mut oldest) = (0, None);
    for entry in entries {
        let entry = entry?;
        // A name at which a look fails is none that will be taken.
        let is_file = || entry.file_type().is_ok_and(|kind| kind.is_file());
        if Format::of(&entry.file_name()).is_none() || !is_file() {
            continue;
        }
        // One that is gone by now was taken.
        let Ok(found) = entry.metadata() else { continue };
        let changed = Timestamp::from_millis(
            found
                .ctime()
                .saturating_mul(1000)
                .saturating_add(found.ctime_nsec() / 1_000_000),
        );
        count += 1;
        oldest = Some(oldest.map_or(changed, |oldest: Timestamp| oldest.min(changed)));
    }
    Ok((count, oldest))
}

async fn rows(database: &Path, outbox: &Path) -> Result<(u64, u64), RowsError> {
    if !fs::exists(database)? {
        return Ok((0, 0));
    }
    rows::count(database, outbox).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::tests::House;

    #[tokio::test]
    async fn what_waits_is_counted_and_nothing_is_created() {
        let house = House::new().await;
        let inbox = &house.config.inbox;
        let look = || inventory(inbox, &house.config.outbox.database);
        let nothing = Inventory {
            waiting_files: Some(0),
            waiting_rows: Some(0),
            rejected_rows: Some(0),
            ..Inventory::default()
        };
        assert_eq!(look().await, nothing);
        assert!(!inbox.database.exists());
        for name in ["a.json", "b.ndjson", ".c.json", "d.tmp", "e.txt"] {
            fs::write(inbox.dir.join(name), "{}").unwrap();
        }
        fs::create_dir(inbox.dir.join("f.json")).unwrap();
        rows::insert(
            &inbox.database,
            &house.config.outbox.database,
            &["{}".to_owned(), "{}".to_owned()],
        )
        .await
        .unwrap();
        let found = look().await;
        assert_eq!(
            (found.waiting_files, found.waiting_rows, found.rejected_rows),
            (Some(2), Some(2), Some(0))
        );
        assert!(found.oldest_file.is_some_and(|at| at.millis() > 0));
        fs::write(
            &inbox.database,
            "no database at all, but some text of a length that SQLite looks at",
        )
        .unwrap();
        assert_eq!(look().await.waiting_rows, None);
    }
}
