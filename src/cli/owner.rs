//! Who acts, and as whom. A command run as root would leave files that the daemon, which is not root, could not open
//! afterwards (SQLite makes `-wal` and `-shm` beside the database): so it becomes the outbox's owner before it opens
//! anything.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;
use nix::unistd::{Gid, Uid, User};

/// The name of the user who runs this command: under `sudo`, the one who called it. Told in the history of what is
/// changed.
pub fn invoking_user() -> String {
    let uid = nix::unistd::getuid();
    let before_sudo = || std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty());
    let by_sudo = if uid.is_root() { before_sudo() } else { None };
    let by_uid = || User::from_uid(uid).ok().flatten().map(|user| user.name);
    by_sudo.or_else(by_uid).unwrap_or_else(|| format!("uid {uid}"))
}

/// As root, becomes the user that owns `database`, or, before there is one, the directory it will be in (or the nearest
/// one that exists). There is no way back: configuration and whatever else only root may read has to be read before.
pub fn become_owner_of(database: &Path) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let Some((uid, gid)) = owner_of(database) else {
        return Ok(());
    };
    if uid.is_root() {
        return Ok(());
    }
    become_user(uid, gid).with_context(|| format!("cannot become user {uid}, the owner of {}", database.display()))
}

/// As root, becomes the user that what is made in the outbox's directory has to belong to: the directory's owner, or,
/// where that is root, the owner of the outbox that lies in it. There is no way back.
pub fn become_owner_of_directory(database: &Path) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let real = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let directory = real.parent().unwrap_or(&real);
    let owner = owner_of(directory)
        .filter(|(uid, _)| !uid.is_root())
        .or_else(|| owner_of(&real));
    let Some((uid, gid)) = owner.filter(|(uid, _)| !uid.is_root()) else {
        return Ok(());
    };
    become_user(uid, gid).with_context(|| format!("cannot become user {uid}, the owner of {}", directory.display()))
}

/// As root, does something as the owner of `database`, and is root again afterwards.
pub async fn as_owner_of<T>(database: &Path, work: impl Future<Output = T>) -> anyhow::Result<T> {
    let owner = owner_of(database).filter(|(uid, _)| !uid.is_root());
    let Some((uid, gid)) = owner.filter(|_| nix::unistd::geteuid().is_root()) else {
        return Ok(work.await);
    };
    let (root, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let groups = nix::unistd::getgroups()?;
    // What a process of ours inherits is the owner's alone: see `intake::rows::confine`.
    nix::unistd::setgroups(&[gid])?;
    nix::unistd::setegid(gid)?;
    nix::unistd::seteuid(uid)?;
    let done = work.await;
    nix::unistd::seteuid(root)?;
    nix::unistd::setegid(group)?;
    nix::unistd::setgroups(&groups)?;
    Ok(done)
}

/// What is wrong with the owner of the outbox although root does not feel it: the daemon, whose directory it lies in,
/// cannot open it.
pub fn misplaced(database: &Path) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let real = fs::canonicalize(database).ok()?;
    let directory = fs::metadata(real.parent()?).ok()?;
    let found = fs::metadata(&real).ok()?;
    if found.uid() == directory.uid() || directory.uid() == 0 {
        return None;
    }
    let (owner, daemon) = (name_of(found.uid()), name_of(directory.uid()));
    let shown = real.display();
    Some(format!(
        "{shown} belongs to {owner}, and its directory to {daemon}: the daemon cannot open it; `chown {daemon}: \
         {shown}*` mends it"
    ))
}

fn name_of(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

/// The owner of what the path leads to (SQLite's files lie there, not beside a link), or of its nearest ancestor that
/// exists.
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
