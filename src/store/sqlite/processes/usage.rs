//! Who has the outbox open: a shared `flock` on a file beside it, held by every process as long as its connections
//! live. A restore takes it exclusively, since it puts another file in the place of the database: whoever had the old
//! one open would go on writing into what was put aside, and at its end remove the new one's WAL, which has the same
//! name.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, Gid, Uid, fchown, flock};
use tokio::time::{Duration, Instant, sleep};

use crate::lock;
use crate::store::OpenError;
use crate::store::sqlite::opening::{location, pragma};

/// The end of the file's name.
const NAME: &str = "-use.lock";

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(40);

/// How long a restore waits for commands to end: those of an operator's loop are gone in an instant, one that stays is
/// named.
const PATIENCE: Duration = Duration::from_secs(2);

/// A share in the outbox, or the whole of it; the kernel lets go when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Usage {
    file: File,
}

impl Drop for Usage {
    fn drop(&mut self) {
        lock::let_go(&self.file);
    }
}

/// Takes a share, and creates the file where it is not there.
pub(crate) async fn share(database: &Path) -> Result<Usage, OpenError> {
    let file = open(database)?;
    wait(&file, FlockOperation::NonBlockingLockShared, pragma::BUSY_WAIT, || {
        being_restored(database)
    })
    .await?;
    Ok(Usage { file })
}

/// Takes a share for who only looks: creates nothing, and goes without where the file is not there or not for this
/// user.
pub(crate) async fn share_to_look(database: &Path) -> Result<Option<Usage>, OpenError> {
    let Ok(file) = File::open(location::beside(database, NAME)) else {
        return Ok(None);
    };
    wait(&file, FlockOperation::NonBlockingLockShared, pragma::BUSY_WAIT, || {
        being_restored(database)
    })
    .await?;
    Ok(Some(Usage { file }))
}

/// Waits until no other process uses the database, and keeps new ones out; an error when one stays.
pub(crate) async fn alone(database: &Path) -> Result<Usage, OpenError> {
    let file = open(database)?;
    let in_use = || {
        OpenError::Busy(format!(
            "{}: a command has it open (`list`, `top`, `enqueue` …); end it, and try again",
            database.display()
        ))
    };
    wait(&file, FlockOperation::NonBlockingLockExclusive, PATIENCE, in_use).await?;
    Ok(Usage { file })
}

async fn wait(
    file: &File,
    operation: FlockOperation,
    patience: Duration,
    refused: impl Fn() -> OpenError,
) -> Result<(), OpenError> {
    let started = Instant::now();
    loop {
        match flock(file, operation) {
            Err(rustix::io::Errno::WOULDBLOCK) if started.elapsed() < patience => sleep(PAUSE).await,
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(refused()),
            // A file system without `flock` has no restore beside us either.
            Ok(()) | Err(_) => return Ok(()),
        }
    }
}

fn open(database: &Path) -> Result<File, OpenError> {
    let path = location::beside(database, NAME);
    let file = lock::open(&path).map_err(|error: io::Error| {
        let cure = location::strangers(database)
            .unwrap_or_else(|| "the daemon's user must be able to write in this directory".to_owned());
        OpenError::Unusable(format!("{}: cannot be opened: {error}; {cure}", path.display()))
    })?;
    give_to_owner_of_directory(&file, &path);
    Ok(file)
}

/// Root, where the outbox is root's, may be the first one here; the daemon is the next. Where it cannot be given away
/// it is root's as all else is.
fn give_to_owner_of_directory(file: &File, path: &Path) {
    let Some(Ok(directory)) = path.parent().map(std::fs::metadata) else {
        return;
    };
    if rustix::process::geteuid().is_root() && !file.metadata().is_ok_and(|found| found.uid() == directory.uid()) {
        let (user, group) = (Uid::from_raw(directory.uid()), Gid::from_raw(directory.gid()));
        let _ = fchown(file, Some(user), Some(group));
    }
}

fn being_restored(database: &Path) -> OpenError {
    OpenError::Busy(format!(
        "{}: a backup is being restored; try again when that is done",
        database.display()
    ))
}
