//! Who alone takes rows out of an inbox: the daemon that has the lock of the file beside it. Beside it, since the
//! database itself may be locked by everybody who may write it, and replaced by them; the lock file is open to its
//! owner alone.
//!
//! Commands that count or insert take no lock: they are producers like others.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::lock::{self, Lock, Refusal};

use crate::intake::inbox_lock::in_use;

use super::error::RowsError;
use super::file_checks::named;

/// Rights of group and others.
const OTHERS: u32 = 0o077;

/// Takes the lock of this row inbox. Blocks on the directory's disk.
pub fn take(database: &Path) -> Result<Lock, RowsError> {
    let path = named(database, ".lock");
    let file = open(&path)?;
    lock::take_and_sign(file).map_err(|refusal| match refusal {
        Refusal::Held(file) => RowsError::InUse(format!("{}: {}", database.display(), in_use(&file))),
        Refusal::Failed(error) => RowsError::Broken(format!("{}: {error}", path.display())),
    })
}

/// Opens the lock file, or makes it. Whoever drops rows may have put something there: what is not ours alone is neither
/// locked nor written.
fn open(path: &Path) -> Result<File, RowsError> {
    let file = match lock::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(RowsError::Misplaced(format!(
                "there is no directory {}; create it for the daemon's user",
                path.parent().unwrap_or(path).display()
            )));
        }
        // Somebody else's file, a link, a directory; or a directory that we may not write in.
        Err(error) => return Err(whose(path, &error)),
    };
    let found = file.metadata()?;
    let is_ours = found.uid() == rustix::process::geteuid().as_raw();
    if found.is_file() && found.nlink() == 1 && is_ours && found.mode() & OTHERS == 0 {
        Ok(file)
    } else {
        Err(not_ours(path, found.uid()))
    }
}

fn whose(path: &Path, error: &io::Error) -> RowsError {
    match std::fs::symlink_metadata(path) {
        Ok(found) => not_ours(path, found.uid()),
        Err(_) if error.kind() == io::ErrorKind::PermissionDenied => RowsError::Misplaced(format!(
            "the daemon's user must be able to write in the directory {} ({error})",
            path.parent().map(PathBuf::from).unwrap_or_default().display()
        )),
        Err(_) => RowsError::Broken(format!("{}: {error}", path.display())),
    }
}

fn not_ours(path: &Path, owner: u32) -> RowsError {
    RowsError::Refused(format!(
        "{}: this lock was not made by this daemon (its owner is user {owner}): where no daemon of that user takes \
         rows from this inbox, remove it",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn one_has_it_and_what_a_producer_put_there_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("inbox.db");
        let held = take(&database).unwrap();
        let refused = take(&database).unwrap_err();
        let pid = format!("process {}", std::process::id());
        assert!(
            matches!(&refused, RowsError::InUse(why) if why.contains(&pid)),
            "{refused}"
        );
        drop(held);
        let path = named(&database, ".lock");
        let is_refused = || {
            let refused = take(&database).unwrap_err();
            assert!(
                matches!(&refused, RowsError::Refused(why) if why.contains("remove it")),
                "{refused}"
            );
        };
        // A file that others may lock, moved there.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
        fs::write(&path, "rows of others").unwrap();
        is_refused();
        assert_eq!(fs::read_to_string(&path).unwrap(), "rows of others");
        fs::remove_file(&path).unwrap();
        symlink(dir.path().join("elsewhere"), &path).unwrap();
        is_refused();
        assert!(!dir.path().join("elsewhere").exists());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        is_refused();
        fs::remove_dir(&path).unwrap();
        assert!(take(&database).is_ok());
    }
}
