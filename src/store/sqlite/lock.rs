//! The daemon's lock: `flock` on a file beside the database. Not on the database: closing any descriptor of that would drop the locks that
//! SQLite itself holds in this process.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::store::OpenError;

/// Held as long as this lives; the kernel lets go when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// A daemon that runs on an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Its process, where it could be read.
    pub pid: Option<u32>,
}

/// `status` asks by holding the lock for an instant, so one refusal proves nothing: this many, so far apart, do.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(40);

/// Takes the lock of this database.
pub(super) async fn take(database: &Path) -> Result<Lock, OpenError> {
    let path = path_of(database);
    let cannot = |error: io::Error| {
        OpenError::Unusable(format!(
            "{}: the lock file cannot be opened: {error}; the daemon's user must be able to write in this directory",
            path.display()
        ))
    };
    let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(&path)
        .map_err(cannot)?;
    for attempt in 1.. {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) if attempt < TRIES => tokio::time::sleep(PAUSE).await,
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(in_use(database, &mut file)),
            Err(error) => return Err(cannot(error.into())),
        }
    }
    // For people: the lock is the lock, whatever stands in the file.
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(cannot)?;
    Ok(Lock { _file: file })
}

/// Whether a daemon runs on this outbox. Creates nothing; `None` also where there is no lock file, or none that we may read.
pub fn daemon_is_running(database: &Path) -> Option<Running> {
    let mut file = File::open(path_of(database)).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => Some(Running { pid: pid_in(&mut file) }),
        // Ours for an instant; closing the file lets go.
        Ok(()) | Err(_) => None,
    }
}

fn in_use(database: &Path, file: &mut File) -> OpenError {
    let who = pid_in(file).map_or_else(String::new, |pid| format!(" (process {pid})"));
    OpenError::InUse(format!(
        "{}: another daemon{who} has this outbox; stop it first, or give this one an outbox.database of its own",
        database.display()
    ))
}

fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn path_of(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(".lock");
    PathBuf::from(name)
}
