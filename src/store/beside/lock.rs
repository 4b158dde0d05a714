//! The daemon's lock: a file beside the database, which is locked (not the database itself: closing any descriptor of
//! that would drop the locks that SQLite holds in this process). Beside the real one: two paths that lead to one
//! outbox, through a symbolic link, have one lock.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use crate::lock::Lock;
use crate::lock::{self, Refusal};
use crate::store::OpenError;

/// A daemon that runs on an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Its process, where it could be read.
    pub pid: Option<u32>,
}

/// `status` asks by holding the lock for an instant, so one refusal proves nothing: this many, so far apart, do.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(40);
/// Symbolic links that are followed to a database that is not there yet; the kernel's own limit.
const LINKS_MAX: u32 = 40;

/// Takes the lock of this database.
pub(crate) async fn take(database: &Path) -> Result<Lock, OpenError> {
    let path = path_of(database);
    let cannot = |error: io::Error| {
        OpenError::Unusable(format!(
            "{}: the lock file cannot be opened: {error}; the daemon's user must be able to write in this directory",
            path.display()
        ))
    };
    let mut file = lock::open(&path).map_err(cannot)?;
    let mut attempt = 0;
    loop {
        attempt += 1;
        file = match lock::take_and_sign(file) {
            Ok(lock) => return Ok(lock),
            Err(Refusal::Failed(error)) => return Err(cannot(error)),
            Err(Refusal::Held(file)) if attempt == TRIES => return Err(in_use(database, &file)),
            Err(Refusal::Held(file)) => file,
        };
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a daemon runs on this outbox. Creates nothing; `None` also where there is no lock file, or none that we may
/// read.
pub fn daemon_is_running(database: &Path) -> Option<Running> {
    let file = File::open(path_of(database)).ok()?;
    lock::is_held(&file).then(|| Running {
        pid: lock::holder(&file),
    })
}

/// Names who has it. No word of an `outbox.database` of its own alone: with it two daemons would take from one inbox.
fn in_use(database: &Path, file: &File) -> OpenError {
    OpenError::InUse(format!(
        "{}: another daemon{} sends from this outbox already, and this one is not needed beside it; \
         to let this one do it, stop that one first",
        database.display(),
        lock::shown(lock::holder(file))
    ))
}

/// The refusal of who needs the outbox for itself.
pub(crate) fn stop_first(database: &Path) -> OpenError {
    let pid = daemon_is_running(database).and_then(|running| running.pid);
    OpenError::InUse(format!(
        "{}: a daemon{} runs on it; stop it first (`systemctl stop reten-outbox`)",
        database.display(),
        lock::shown(pid)
    ))
}

pub(crate) fn path_of(database: &Path) -> PathBuf {
    let mut name = OsString::from(real(database));
    name.push(".lock");
    PathBuf::from(name)
}

/// Where the database really lies, also before it is there.
pub(crate) fn real(database: &Path) -> PathBuf {
    let mut path = database.to_owned();
    for _ in 0..LINKS_MAX {
        if let Ok(found) = fs::canonicalize(&path) {
            return found;
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = fs::canonicalize(parent.unwrap_or_else(|| Path::new("."))).ok();
        let (Some(directory), Some(name)) = (directory, path.file_name()) else {
            break;
        };
        path = directory.join(name);
        match fs::read_link(&path) {
            // A link that leads nowhere yet: SQLite will create what it names.
            Ok(target) => path = directory.join(target),
            Err(_) => break,
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn every_path_to_one_outbox_has_one_lock_also_before_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("there")).unwrap();
        symlink("there", at("by-directory")).unwrap();
        symlink("there/outbox.db", at("link.db")).unwrap();
        symlink(at("link.db"), at("link-of-link.db")).unwrap();
        for is_there in [false, true] {
            if is_there {
                fs::write(at("there/outbox.db"), "").unwrap();
            }
            let lock = take(&at("there/outbox.db")).await.unwrap();
            for name in [
                "by-directory/outbox.db",
                "link.db",
                "link-of-link.db",
                "there/../there/outbox.db",
            ] {
                let refused = take(&at(name)).await.unwrap_err().to_string();
                let pid = std::process::id();
                assert!(
                    refused.contains(&format!("process {pid}")) && !refused.contains("outbox.database"),
                    "{refused}"
                );
                assert_eq!(daemon_is_running(&at(name)), Some(Running { pid: Some(pid) }), "{name}");
            }
            drop(lock);
            assert_eq!(daemon_is_running(&at("link.db")), None);
        }
    }
}
