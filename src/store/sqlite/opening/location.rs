//! Where the outbox lies: its directory and its files, before SQLite sees them.
//!
//! Files are looked at with `stat` and created, never opened once there: closing a descriptor of a database drops the
//! locks that SQLite holds on it in this process.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::store::OpenError;
use crate::store::beside::lock;

/// What is free for us on the disk of this directory, in bytes; `None` where it cannot be asked.
pub fn free_bytes(directory: &Path) -> Option<u64> {
    // The parent of a bare file name.
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let found = rustix::fs::statvfs(directory).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtPath {
    Empty,
    /// A file of so many bytes.
    File {
        bytes: u64,
    },
}

/// The path in the form that SQLite is given: absolute (so that it is never mistaken for a `file:` address or an
/// option), UTF-8, and without symbolic links: SQLite keeps `-wal` and `-shm` where the file really lies, and so does
/// all that we look for beside it.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, OpenError> {
    let absolute =
        std::path::absolute(path).map_err(|error| OpenError::Unusable(format!("{}: {error}", path.display())))?;
    let absolute = lock::real(&absolute);
    if absolute.to_str().is_none() {
        let shown = path.display();
        return Err(OpenError::Unusable(format!(
            "{shown}: the path is not UTF-8, which SQLite needs; choose another one"
        )));
    }
    Ok(absolute)
}

/// What is at this path; an error where that is no file, or out of reach.
pub(crate) fn stat(path: &Path) -> Result<AtPath, OpenError> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(AtPath::File { bytes: found.len() }),
        Ok(_) => Err(OpenError::Unusable(format!(
            "{shown}: not a file; outbox.database must name a file, existing or new"
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(AtPath::Empty),
        Err(error) => Err(OpenError::Unusable(format!(
            "{shown}: {error}; this user must be able to reach it"
        ))),
    }
}

/// Whether the WAL beside the database holds anything: then the database alone is not the whole truth.
pub(crate) fn has_wal(path: &Path) -> bool {
    std::fs::metadata(beside(path, "-wal")).is_ok_and(|found| found.len() > 0)
}

/// What SQLite keeps beside a database, by the ends of their names.
pub(crate) const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The file of this name with something appended: `outbox.db-wal`.
pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// Whose files stand in the way of who runs this, and the command that mends it; `None` where all are this user's, or
/// this is root.
pub(crate) fn strangers(path: &Path) -> Option<String> {
    let me = rustix::process::geteuid().as_raw();
    if me == 0 {
        return None;
    }
    let files = std::iter::once(path.to_owned()).chain(COMPANIONS.map(|end| beside(path, end)));
    let theirs: Vec<(PathBuf, u32)> = files
        .filter_map(|file| {
            let owner = std::fs::metadata(&file).ok()?.uid();
            (owner != me).then_some((file, owner))
        })
        .collect();
    let (first, owner) = theirs.first()?;
    let names: Vec<String> = theirs.iter().map(|(file, _)| file.display().to_string()).collect();
    Some(format!(
        "{} belongs to {}, and this runs as {me}: `chown {me}: {}` (as root) mends it",
        first.display(),
        user_name(*owner),
        names.join(" "),
        me = user_name(me),
    ))
}

/// The name of a user, or the number where it has none.
fn user_name(uid: u32) -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid))
        .ok()
        .flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

/// Makes sure of the directory. Its last part is created, for its owner alone; a whole missing tree is rather a wrong
/// path or a disk that is not mounted.
pub(crate) fn prepare_directory(path: &Path) -> Result<(), OpenError> {
    let Some(directory) = path.parent() else { return Ok(()) };
    let shown = directory.display();
    match std::fs::metadata(directory) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(OpenError::Unusable(format!(
            "{shown}: not a directory; the outbox lies in it"
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = DirBuilder::new().mode(0o700).create(directory);
            // The new name must survive a power cut like all that will lie in it.
            let kept = made.and_then(|()| directory.parent().map_or(Ok(()), |above| File::open(above)?.sync_all()));
            match kept {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(OpenError::Unusable(format!(
                    "{shown}: the directory of the outbox does not exist and cannot be created: {error}; \
                     create it for the daemon's user"
                ))),
                Ok(()) | Err(_) => Ok(()),
            }
        }
        Err(error) => Err(OpenError::Unusable(format!(
            "{shown}: {error}; this user must be able to reach it"
        ))),
    }
}

/// Creates the empty file, for its owner alone: SQLite gives its WAL and index the same rights. Another process may be
/// quicker.
pub(crate) fn create(path: &Path) -> Result<(), OpenError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(OpenError::Unusable(format!(
            "{}: cannot be created: {error}; the directory must be writable for this user",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_that_of_the_disk_or_unknown() {
        assert!(free_bytes(Path::new("/")).is_some_and(|bytes| bytes > 0));
        assert!(free_bytes(Path::new("")).is_some());
        assert_eq!(free_bytes(Path::new("/no/such/place")), None);
    }
}
