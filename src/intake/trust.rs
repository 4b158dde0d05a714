//! Whether a directory in the inbox may be used for what is ours. Producers may write the inbox: whoever is first there
//! with a name of ours, or may write a directory of ours, could read, change or delete what we put into it.

use std::io;
use std::path::Path;

use rustix::fs::{FileType, Stat};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirOwner {
    Us,
    /// Root made it for us.
    UsOrRoot,
}

/// A directory that others could change; kept as the inner error of an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("{place} cannot be used: {fault}")]
struct Untrusted {
    place: String,
    fault: String,
    cure: String,
}

/// Checks what lies at a name of ours, as its opened descriptor or a look says; `is_new`: we made it just now.
pub fn check(found: &Stat, owner: DirOwner, path: &Path, is_new: bool) -> io::Result<()> {
    let us = rustix::process::geteuid();
    let is_owned = found.st_uid == us.as_raw() || (owner == DirOwner::UsOrRoot && found.st_uid == 0);
    let mode = found.st_mode & 0o7777;
    let fault = if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        "it is no directory".to_owned()
    } else if !is_owned {
        format!(
            "it belongs to uid {}, and the daemon runs as uid {}",
            found.st_uid,
            us.as_raw()
        )
    } else if mode & 0o022 != 0 {
        format!("others may write it (mode {mode:04o})")
    } else {
        return Ok(());
    };
    let shown = path.display();
    let cure = if is_new {
        format!(
            "it was made just now, so its file system keeps no owners: mount that with uid={} and umask=077",
            us.as_raw()
        )
    } else {
        format!(
            "move it away (a new one is made), or after a look at what lies in it: \
             `chown {} {shown} && chmod go-w {shown}`",
            us.as_raw()
        )
    };
    Err(io::Error::other(Untrusted {
        place: shown.to_string(),
        fault,
        cure,
    }))
}

/// Nobody else may change it, and neither may we: root made it for itself, or it lost its rights.
pub fn forbidden(path: &Path) -> io::Error {
    let (shown, us) = (path.display(), rustix::process::geteuid().as_raw());
    io::Error::other(Untrusted {
        place: shown.to_string(),
        fault: format!("the daemon, which runs as uid {us}, may not write it"),
        cure: format!("give it to the daemon: `chown {us} {shown} && chmod u+rwx {shown}`"),
    })
}

/// What mends it, where an error says that a directory is not to be trusted.
pub fn cure(error: &io::Error) -> Option<&str> {
    let untrusted = error.get_ref()?.downcast_ref::<Untrusted>()?;
    Some(&untrusted.cure)
}
