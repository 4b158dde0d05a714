//! Another database in the place of the outbox, with all that lies beside the old one put aside, as one step.
//!
//! No rename moves three files at once, so the step is written down: the directory that holds the new database gets the
//! name [`UNDER_WAY`], which says that it is whole and that the step is to be done to its end ([`finish`]), by whoever
//! holds the daemon's lock next. Before that the old outbox is untouched; after it nothing opens either half.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::clock::Timestamp;
use crate::store::OpenError;
use crate::store::sqlite::opening::location::{self, COMPANIONS};

/// The end of the name of the directory with the new database, once that is whole.
const UNDER_WAY: &str = ".restoring";
/// In it: the new database, and the name that the old one gets.
pub(crate) const NEW: &str = "outbox.db";
const ASIDE: &str = "aside";

/// The most databases of one second that are put aside.
const NAMES_MAX: u32 = 100;

/// Begins, with a directory on the same file system that holds the new database as [`NEW`], closed and synced. Its new
/// name is the point of no return. Crash before: the outbox is as it was, and a directory of drafts lies beside it.
/// Crash after: [`finish`] ends it.
pub(crate) fn begin(database: &Path, drafts: &Path, now: Timestamp) -> Result<(), OpenError> {
    let write = || -> io::Result<()> {
        let aside = free_name(database, now)?;
        let name = aside.file_name().unwrap_or_default();
        fs::write(drafts.join(ASIDE), name.as_encoded_bytes())?;
        File::open(drafts.join(ASIDE))?.sync_all()?;
        File::open(drafts)?.sync_all()?;
        fs::rename(drafts, location::beside(database, UNDER_WAY))?;
        sync_directory(database)
    };
    write().map_err(|error| failed(database, &error))
}

/// Does what is left of a step that was begun; every file that was put aside, the database first. Nothing where none
/// was begun.
pub(crate) fn finish(database: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let drafts = location::beside(database, UNDER_WAY);
    match fs::symlink_metadata(&drafts) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(database, &error)),
        Ok(_) => {}
    }
    rest(database, &drafts).map_err(|error| failed(database, &error))
}

fn rest(database: &Path, drafts: &Path) -> io::Result<Vec<PathBuf>> {
    let mut kept = Vec::new();
    let new = drafts.join(NEW);
    // Gone, it is in its place already, and what lies beside it is its own.
    if new.try_exists()? {
        let aside = database.with_file_name(std::ffi::OsString::from(fs::read_to_string(drafts.join(ASIDE))?));
        for end in std::iter::once("").chain(COMPANIONS) {
            let to = location::beside(&aside, end);
            match renameat_with(CWD, location::beside(database, end), CWD, &to, RenameFlags::NOREPLACE) {
                Ok(()) => kept.push(to),
                // It was not there, or is put aside already.
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // A power cut must never bring the old WAL back beside the new database.
        sync_directory(database)?;
        fs::rename(&new, database)?;
        sync_directory(database)?;
    }
    fs::remove_dir_all(drafts)?;
    sync_directory(database)?;
    Ok(kept)
}

/// Who may not finish it does not open anything either: the old database may lack its WAL.
pub(crate) fn refuse_unfinished(database: &Path) -> Result<(), OpenError> {
    if fs::symlink_metadata(location::beside(database, UNDER_WAY)).is_err() {
        return Ok(());
    }
    Err(OpenError::Unusable(format!(
        "{}: `reten-outbox restore` was cut off when it had nearly done its work; start the daemon, \
         which does the rest, or restore again",
        database.display()
    )))
}

/// A dated name that nothing has: `outbox.db.replaced-20261124T031500Z`.
fn free_name(database: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let time: String = now
        .to_string()
        .split('.')
        .next()
        .unwrap_or_default()
        .replace(['-', ':'], "");
    for number in 1..=NAMES_MAX {
        let more = if number == 1 {
            String::new()
        } else {
            format!("-{number}")
        };
        let name = location::beside(database, &format!(".replaced-{time}Z{more}"));
        let is_free = std::iter::once("")
            .chain(COMPANIONS)
            .all(|end| fs::symlink_metadata(location::beside(&name, end)).is_err());
        if is_free {
            return Ok(name);
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

/// Makes the names in its directory durable.
pub(crate) fn sync_directory(of: &Path) -> io::Result<()> {
    of.parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

fn failed(database: &Path, error: &io::Error) -> OpenError {
    OpenError::Unusable(format!(
        "{}: the database cannot be put in its place: {error}; this user must be able to write in the directory, \
         and the disk must have room",
        database.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_428_000_123);

    /// A directory with an old outbox, and a new one in a directory of drafts.
    fn before() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let directory = crate::store::tests::directory();
        let database = directory.path().join("outbox.db");
        for end in ["", "-wal", "-shm"] {
            fs::write(location::beside(&database, end), format!("old{end}")).unwrap();
        }
        let drafts = directory.path().join("drafts");
        fs::create_dir(&drafts).unwrap();
        fs::write(drafts.join(NEW), "new").unwrap();
        (directory, database, drafts)
    }

    fn after(database: &Path) {
        assert_eq!(fs::read_to_string(database).unwrap(), "new");
        for end in COMPANIONS {
            assert!(!location::beside(database, end).exists(), "{end}");
        }
        let aside = location::beside(database, ".replaced-20261123T100000Z");
        for end in ["", "-wal", "-shm"] {
            assert_eq!(
                fs::read_to_string(location::beside(&aside, end)).unwrap(),
                format!("old{end}")
            );
        }
        assert!(!location::beside(database, UNDER_WAY).exists());
        refuse_unfinished(database).unwrap();
    }

    #[test]
    fn the_old_one_is_kept_with_all_that_lies_beside_it() {
        let (_directory, database, drafts) = before();
        begin(&database, &drafts, NOW).unwrap();
        assert_eq!(fs::read_to_string(&database).unwrap(), "old");
        assert!(
            refuse_unfinished(&database)
                .unwrap_err()
                .to_string()
                .contains("start the daemon")
        );
        assert_eq!(finish(&database).unwrap().len(), 3);
        after(&database);
        assert!(finish(&database).unwrap().is_empty(), "nothing is left to do");
    }

    #[test]
    fn a_crash_at_any_step_is_finished_by_the_next_who_may() {
        for steps in 0..=4 {
            let (_directory, database, drafts) = before();
            begin(&database, &drafts, NOW).unwrap();
            let aside = location::beside(&database, ".replaced-20261123T100000Z");
            for end in ["", "-wal", "-shm"].iter().take(steps) {
                fs::rename(location::beside(&database, end), location::beside(&aside, end)).unwrap();
            }
            if steps == 4 {
                fs::rename(location::beside(&database, UNDER_WAY).join(NEW), &database).unwrap();
            }
            finish(&database).unwrap();
            after(&database);
        }
    }

    #[test]
    fn two_of_one_second_get_two_names() {
        let (directory, database, drafts) = before();
        begin(&database, &drafts, NOW).unwrap();
        finish(&database).unwrap();
        let drafts = directory.path().join("more");
        fs::create_dir(&drafts).unwrap();
        fs::write(drafts.join(NEW), "newer").unwrap();
        begin(&database, &drafts, NOW).unwrap();
        finish(&database).unwrap();
        assert_eq!(
            fs::read_to_string(location::beside(&database, ".replaced-20261123T100000Z-2")).unwrap(),
            "new"
        );
    }
}
