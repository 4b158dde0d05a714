//! What lies in the inbox just now, for those who look from outside: what waits to be taken, and what could not be.
//! What is not there yet holds nothing; nothing is created.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FileType;
use tokio::time::timeout;

use crate::clock::Timestamp;
use crate::config::Inbox;

use super::context::blocking;
use super::folder::Folder;
use super::parse::Format;
use super::reject::{REJECTED, REPORT_ENDING};
use super::rows::{self, RowsError};

/// So long the inbox may take to answer: an operator waits, and a file system that hangs must not keep from them what
/// the outbox has to say.
const FILES_MAX: Duration = Duration::from_secs(3);

/// Counts; `None` where it cannot be told, for want of a right or because a producer holds the lock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Files that will be taken.
    pub waiting_files: Option<u64>,
    /// Since when the oldest of them has been as it is: its change time, by which they are taken.
    pub oldest_file: Option<Timestamp>,
    /// Files in `rejected/`, without their reports.
    pub rejected_files: Option<u64>,
    /// Rows that will be taken.
    pub waiting_rows: Option<u64>,
    /// Rows that could not be taken.
    pub rejected_rows: Option<u64>,
}

/// Counts files and rows; waits [`FILES_MAX`] at most for the files.
pub async fn inventory(inbox: &Inbox, outbox: &Path) -> Inventory {
    let rows = rows(&inbox.database, outbox).await.ok();
    let dir = inbox.dir.clone();
    let files = timeout(FILES_MAX, blocking(move || (waiting(&dir).ok(), rejected(&dir).ok()))).await;
    let (waiting, rejected) = files.ok().and_then(Result::ok).unwrap_or_default();
    Inventory {
        waiting_files: waiting.map(|(count, _)| count),
        oldest_file: waiting.and_then(|(_, oldest)| oldest),
        rejected_files: rejected,
        waiting_rows: rows.map(|(waiting, _)| waiting),
        rejected_rows: rows.map(|(_, rejected)| rejected),
    }
}

fn waiting(dir: &Path) -> io::Result<(u64, Option<Timestamp>)> {
    let (mut count, mut oldest) = (0, None);
    let Some(inbox) = existing(dir)? else {
        return Ok((0, None));
    };
    inbox.each(|name, kind| {
        let is_wanted = Format::of(name).is_some() && matches!(kind, FileType::RegularFile | FileType::Unknown);
        // One that is gone by now was taken, and a name at which a look fails is none that will be taken.
        if is_wanted
            && let Ok(Some(stat)) = inbox.stat(name)
            && stat.is_file
        {
            let changed = i64::try_from(stat.changed_ns / 1_000_000)
                .map(Timestamp::from_millis)
                .ok();
            count += 1;
            oldest = oldest.min(changed).or(changed);
        }
        Ok(())
    })?;
    Ok((count, oldest))
}

fn rejected(dir: &Path) -> io::Result<u64> {
    let mut count = 0;
    let Some(rejected) = existing(&dir.join(REJECTED))? else {
        return Ok(0);
    };
    rejected.each(|name, _| {
        count += u64::from(!name.as_bytes().ends_with(REPORT_ENDING.as_bytes()));
        Ok(())
    })?;
    Ok(count)
}

fn existing(dir: &Path) -> io::Result<Option<Folder>> {
    match Folder::open(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
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
        let counted = || inventory(inbox, house.config.outbox.database.anchor());
        let nothing = Inventory {
            waiting_files: Some(0),
            rejected_files: Some(0),
            waiting_rows: Some(0),
            rejected_rows: Some(0),
            ..Inventory::default()
        };
        assert_eq!(counted().await, nothing);
        assert!(!inbox.database.exists());
        for name in ["a.json", "b.ndjson", ".c.json", "d.tmp", "e.txt"] {
            fs::write(inbox.dir.join(name), "{}").unwrap();
        }
        fs::create_dir(inbox.dir.join("f.json")).unwrap();
        fs::create_dir(inbox.dir.join(REJECTED)).unwrap();
        for name in ["a.json", "a.json.error.json", "b.ndjson", "b.ndjson.error.json"] {
            fs::write(inbox.dir.join(REJECTED).join(name), "").unwrap();
        }
        rows::insert(
            &inbox.database,
            house.config.outbox.database.anchor(),
            &["{}".to_owned(), "{}".to_owned()],
        )
        .await
        .unwrap();
        let found = counted().await;
        assert_eq!((found.waiting_files, found.rejected_files), (Some(2), Some(2)));
        assert_eq!((found.waiting_rows, found.rejected_rows), (Some(2), Some(0)));
        assert!(found.oldest_file.is_some_and(|at| at.millis() > 0));
        fs::write(
            &inbox.database,
            "no database at all, but some text of a length that SQLite looks at",
        )
        .unwrap();
        assert_eq!(counted().await.waiting_rows, None);
    }
}
