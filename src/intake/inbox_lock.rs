//! The inbox directory is held by one daemon: two would take each file twice. The lock is on the opened directory, so
//! that no other path leads round it, and on a file in the [`private_dir`](super::private_dir), for file systems that
//! lock only files (NFS) and to name the process.

use std::fs::File;
use std::io;

use crate::lock::{self, Lock, Refusal};

use super::folder::Folder;

const FILE: &str = "lock";

/// Held as long as this lives.
#[derive(Debug)]
pub struct InboxLock {
    identity: (u64, u64),
    locks: Vec<Lock>,
}

impl InboxLock {
    /// Takes it; [`io::ErrorKind::WouldBlock`] where another daemon has it.
    pub fn take(inbox: &Folder) -> io::Result<Self> {
        let identity = inbox.identity()?;
        let mut locks = Vec::new();
        match lock::take_and_sign(inbox.private_dir()?.lock_file(FILE)?) {
            Ok(lock) => locks.push(lock),
            Err(Refusal::Held(held)) => return Err(io::Error::new(io::ErrorKind::WouldBlock, in_use(&held))),
            // A file system without such locks; the other one may do.
            Err(Refusal::Failed(_)) => {}
        }
        match lock::take(inbox.to_lock()?) {
            Ok(lock) => locks.push(lock),
            Err(Refusal::Held(held)) => return Err(held_by_a_stranger(inbox, &held)),
            Err(Refusal::Failed(_)) => {}
        }
        Ok(Self { identity, locks })
    }

    /// Whether it is of this directory.
    pub fn is_of(&self, inbox: &Folder) -> io::Result<bool> {
        Ok(self.identity == inbox.identity()?)
    }

    /// Whether a second daemon would be noticed.
    pub fn is_sure(&self) -> bool {
        !self.locks.is_empty()
    }
}

/// What is said where another daemon holds the lock of an inbox, of files or of rows.
pub fn in_use(held: &File) -> String {
    format!(
        "another daemon{} takes from this inbox already, and this one is not needed beside it; to let this one do it, \
         stop that one first, or give each an inbox of its own",
        lock::shown(lock::holder(held))
    )
}

/// A daemon of ours would have our file locked as well.
fn held_by_a_stranger(inbox: &Folder, held: &File) -> io::Error {
    let message = format!(
        "the directory is locked{}: by the daemon of another user, which would take each file a second time; \
         or by somebody who may list the \
         directory and has no business with it. `fuser -v {}` names them: stop it, \
         and let nobody but the daemon list it (`chmod go-r`)",
        lock::by_whom(lock::holder(held)),
        inbox.path().display()
    );
    io::Error::new(io::ErrorKind::WouldBlock, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_directory_has_one_daemon_whatever_path_leads_there() {
        let dir = tempfile::tempdir().unwrap();
        let (inbox, link) = (dir.path().join("inbox"), dir.path().join("link"));
        std::fs::create_dir(&inbox).unwrap();
        std::os::unix::fs::symlink(&inbox, &link).unwrap();
        let first = Folder::open(&inbox).unwrap();
        let inbox_lock = InboxLock::take(&first).unwrap();
        assert!(inbox_lock.is_sure() && inbox_lock.is_of(&Folder::open(&link).unwrap()).unwrap());
        let refused = InboxLock::take(&Folder::open(&link).unwrap()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert!(
            refused.to_string().contains(&format!("process {}", std::process::id())),
            "{refused}"
        );
        drop(inbox_lock);
        let stranger = lock::take(first.to_lock().unwrap()).unwrap();
        let refused = InboxLock::take(&first).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert!(
            refused.to_string().contains("another user") && refused.to_string().contains("fuser"),
            "{refused}"
        );
        drop(stranger);
        InboxLock::take(&first).unwrap();
    }
}
