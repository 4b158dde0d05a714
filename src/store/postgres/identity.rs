//! Who this host is to the outbox: a random number in its state directory, and which start of the machine this is. A name
//! is no identity: two hosts may have the same, and one may be given another's.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;
use rustix::fs::OFlags;

use crate::model::hexadecimal;
use crate::store::OpenError;

/// Where it lies.
pub(super) fn path(state_directory: &Path) -> PathBuf {
    state_directory.join("node")
}

/// This host's; made where there is none.
pub(super) fn of_host(state_directory: &Path) -> Result<[u8; 16], OpenError> {
    let path = path(state_directory);
    let cannot = |error: io::Error| {
        OpenError::Unusable(format!(
            "{}: the identity of this host cannot be read or made: {error}; the daemon's user must be able to write in this directory",
            path.display()
        ))
    };
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text).ok_or_else(|| {
            OpenError::Unusable(format!(
                "{}: this is no identity of a host (32 hexadecimal digits); delete it, and the next start makes a new one",
                path.display()
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(&path).map_err(cannot),
        Err(error) => Err(cannot(error)),
    }
}

fn parse(text: &str) -> Option<[u8; 16]> {
    let digits = text.trim();
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    let mut identity = [0; 16];
    for (place, byte) in identity.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[place * 2..place * 2 + 2], 16).ok()?;
    }
    Some(identity)
}

/// Whole or not at all: a crash half-way leaves a draft that nobody reads.
fn make(path: &Path) -> io::Result<[u8; 16]> {
    let random = ring::rand::generate::<[u8; 16]>(&SystemRandom::new());
    let identity = random
        .map_err(|_| io::Error::other("the system has no random numbers"))?
        .expose();
    let draft = path.with_extension("draft");
    let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(&draft)?;
    writeln!(file, "{}", hexadecimal(&identity))?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    if let Some(directory) = path.parent() {
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(identity)
}

/// Another one after each start of the machine; empty where the kernel does not tell.
pub(super) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(|_| String::new(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let made = of_host(directory.path()).unwrap();
        assert_eq!(of_host(directory.path()).unwrap(), made);
        fs::write(path(directory.path()), "nonsense").unwrap();
        let refused = of_host(directory.path()).unwrap_err().to_string();
        assert!(
            refused.contains("/node: ") && refused.contains("delete it"),
            "{refused}"
        );
    }
}
