//! Who acts, and as whom. A command run as root would leave files that the daemon, which is not root, could not open afterwards (SQLite makes
//! `-wal` and `-shm` beside the database): so it becomes the outbox's owner before it opens anything.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;
use nix::unistd::{Gid, Uid, User};

/// The name of the user who runs this command: behind `sudo`, the one before it. Told in the history of what is changed.
pub fn invoking_user() -> String {
    let uid = nix::unistd::getuid();
    let before_sudo = || std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty());
    let by_sudo = if uid.is_root() { before_sudo() } else { None };
    let by_uid = || User::from_uid(uid).ok().flatten().map(|user| user.name);
    by_sudo.or_else(by_uid).unwrap_or_else(|| format!("uid {uid}"))
}

/// As root, becomes the user that owns `database`, or, before there is one, the directory it will be in (or the nearest one that exists).
/// There is no way back: configuration and whatever else only root may read has to be read before.
pub fn become_owner_of(database: &Path) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let Some((uid, gid)) = owner_of(database) else { return Ok(()) };
    if uid.is_root() {
        return Ok(());
    }
    become_user(uid, gid).with_context(|| format!("cannot become user {uid}, the owner of {}", database.display()))
}

/// The owner of what the path leads to (SQLite's files lie there, not beside a link), or of its nearest ancestor that exists.
fn owner_of(path: &Path) -> Option<(Uid, Gid)> {
    let found = path.ancestors().find_map(|place| fs::metadata(place).ok())?;
    Some((Uid::from_raw(found.uid()), Gid::from_raw(found.gid())))
}

/// Groups first: without root's rights they could not be changed any more.
fn become_user(uid: Uid, gid: Gid) -> io::Result<()> {
    let user = User::from_uid(uid)?;
    let name = user.as_ref().map(|user| CString::new(user.name.clone())).transpose()?;
    let gid = user.map_or(gid, |user| user.gid);
    match name {
        Some(name) => nix::unistd::initgroups(&name, gid)?,
        None => nix::unistd::setgroups(&[gid])?,
    }
    nix::unistd::setgid(gid)?;
    nix::unistd::setuid(uid)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_not_there_belongs_to_the_owner_of_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let owner = fs::metadata(dir.path()).unwrap().uid();
        let (uid, _) = owner_of(&dir.path().join("not/yet/outbox.db")).unwrap();
        assert_eq!(uid.as_raw(), owner);
    }
}
