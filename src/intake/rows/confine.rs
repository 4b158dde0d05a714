//! How the worker shuts itself in: what it can reach is the row inbox's own directory and the socket to the daemon,
//! whatever a crafted file makes of SQLite. Best effort: a kernel without Landlock leaves it its user's rights, and the
//! checks of [`super::file_checks`] are all there is.

use std::io;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, PathFdError, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope, make_bitflags,
};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use super::error::RowsError;

/// The newest rules that we know; an older kernel keeps what it knows of them.
const RULES: ABI = ABI::V10;
/// What SQLite needs in the directory: its file, the journal it makes and removes, and the directory itself, to sync
/// it.
const NEEDED: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate | ReadDir | MakeReg | RemoveFile});

/// Address space. SQLite's own heap has a lower limit (`hard_heap_limit`); stacks and the program itself come on top.
const ADDRESS_SPACE_BYTES: u64 = 1 << 30;
/// No file grows beyond this by our hand, whatever a journal asks for; a row inbox holds what a few minutes bring.
const FILE_BYTES: u64 = 64 << 30;
/// The socket, the database, its journal, the directory.
const DESCRIPTORS: u64 = 64;

/// Before a word is read: dies with the daemon, keeps no descriptor but the first three, has limits. The memory is
/// fresh from the exec, and the environment empty: nothing secret is in reach.
pub fn alone() -> io::Result<()> {
    // Also while it hangs or spins. Where the daemon died before this line, the socket's end says so.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    stay_who_we_are()?;
    close_others()?;
    for (resource, maximum) in [
        (Resource::Core, 0),
        (Resource::As, ADDRESS_SPACE_BYTES),
        (Resource::Fsize, FILE_BYTES),
        (Resource::Nofile, DESCRIPTORS),
    ] {
        let limit = Rlimit {
            current: Some(maximum),
            maximum: Some(maximum),
        };
        // A lower one that is in force already cannot be raised, and need not be.
        let _kept: Result<(), rustix::io::Errno> = setrlimit(resource, limit);
    }
    Ok(())
}

/// Root may look at an outbox as its owner and mean to be root again: whoever takes this process over must not. Asked
/// for only where it changes something: the service may not change users at all.
fn stay_who_we_are() -> io::Result<()> {
    let (users, groups) = (nix::unistd::getresuid()?, nix::unistd::getresgid()?);
    let (user, group) = (users.effective, groups.effective);
    if groups.real != group || groups.saved != group {
        nix::unistd::setresgid(group, group, group)?;
    }
    if users.real != user || users.saved != user {
        nix::unistd::setresuid(user, user, user)?;
    }
    Ok(())
}

/// What a shell or a service manager left open for the daemon, and so for us.
fn close_others() -> io::Result<()> {
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        open.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // The one that listed them is closed already.
        let _closed: nix::Result<()> = nix::unistd::close(descriptor);
    }
    Ok(())
}

/// From here on this thread, and every one that it starts, reaches this directory and nothing else: no other file, no
/// TCP, no signal to another process. Whether the kernel enforces it.
pub fn to(directory: &Path) -> Result<bool, RowsError> {
    let shown = directory.display();
    let opened = PathFd::new(directory).map_err(|error| match error {
        PathFdError::OpenCall { source, .. } if source.kind() == io::ErrorKind::NotFound => RowsError::Misplaced(
            format!("there is no directory {shown}; create it for the daemon's user"),
        ),
        error => RowsError::Broken(format!("{shown}: {error}")),
    })?;
    let failed = |error: landlock::RulesetError| {
        RowsError::Broken(format!("the process that reads it cannot be confined: {error}"))
    };
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(RULES))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(RULES)))
        .and_then(|rules| rules.scope(Scope::from_all(RULES)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rule(PathBeneath::new(opened, NEEDED)))
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(failed)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}
