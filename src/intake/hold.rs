//! The inbox directory is held by one daemon: two would take each file twice. The lock is on the opened directory, so that no other path leads
//! round it, and on a file in the [`workshop`](super::workshop), for file systems that lock only files (NFS) and to name the process.

use std::io;

use crate::lock::{self, Lock, Refusal};

use super::folder::Folder;

const FILE: &str = "lock";

/// Held as long as this lives.
#[derive(Debug)]
pub struct Hold {
    identity: (u64, u64),
    locks: Vec<Lock>,
}

impl Hold {
    /// Takes it; [`io::ErrorKind::WouldBlock`] where another daemon has it.
    pub fn take(inbox: &Folder) -> io::Result<Self> {
        let identity = inbox.identity()?;
        let file = inbox.workshop()?.lock_file(FILE)?;
        let mut locks = Vec::new();
        for outcome in [lock::take(inbox.to_lock()?), lock::take_and_sign(file)] {
            match outcome {
                Ok(lock) => locks.push(lock),
                Err(Refusal::Held(held)) => return Err(in_use(inbox, &held)),
                // A file system without such locks; the other one may do.
                Err(Refusal::Failed(_)) => {}
            }
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

fn in_use(inbox: &Folder, held: &std::fs::File) -> io::Error {
    // Of the directory only the kernel knows who has it; the file was signed.
    let signed = inbox.workshop().and_then(|workshop| workshop.lock_file(FILE));
    let holder = lock::holder(held).or_else(|| lock::holder(&signed.ok()?));
    let message = format!(
        "another daemon{} takes from this inbox already, and this one is not needed beside it; to let this one do it, stop that one first, or \
         give each an inbox of its own",
        lock::shown(holder)
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
        let hold = Hold::take(&first).unwrap();
        assert!(hold.is_sure() && hold.is_of(&Folder::open(&link).unwrap()).unwrap());
        let refused = Hold::take(&Folder::open(&link).unwrap()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert!(
            refused.to_string().contains(&format!("process {}", std::process::id())),
            "{refused}"
        );
        drop(hold);
        Hold::take(&first).unwrap();
    }
}
