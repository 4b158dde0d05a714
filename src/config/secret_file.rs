//! How a file is read that holds a secret and nothing else. No error shows any of it.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::environment::Environment;

/// The variable that names the directory of systemd's credentials.
pub(super) const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// What a unit's `SetCredential=` puts there until an operator gives a real one: counts as absent.
pub(super) const UNSET: &[u8] = b"unset";

/// The most bytes that are read; secrets have some dozens, and a wrong path may lead to anything.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// Why a file was not read.
pub(super) struct Unread {
    /// What the system said, and the remedy.
    pub why: String,
    /// It is there, and closed to this user.
    pub is_forbidden: bool,
}

impl Unread {
    pub fn unfit(why: String) -> Self {
        Self {
            why,
            is_forbidden: false,
        }
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        let is_forbidden = error.kind() == ErrorKind::PermissionDenied;
        let remedy = if is_forbidden {
            "; make it readable for the user that runs this (owner or group), and for nobody else"
        } else {
            ""
        };
        Self {
            why: format!("{error}{remedy}"),
            is_forbidden,
        }
    }
}

/// The place of one of the service's credentials, where it has any.
pub(super) fn credential(env: &Environment, name: &str) -> Option<PathBuf> {
    let directory = env.get(CREDENTIALS).filter(|directory| !directory.is_empty())?;
    Some(Path::new(directory).join(name))
}

/// The file's content; `None` when there is no such file, an error in words with its remedy for everything else.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, Unread> {
    // Looked at before it is opened: opening a FIFO would wait for its writer.
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !metadata.is_file() {
        let why = "it is no regular file; name a file that holds the secret and nothing else";
        return Err(Unread::unfit(why.to_owned()));
    }
    let mut found = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut found)?;
    if found.len() as u64 > FILE_BYTES_MAX {
        return Err(Unread::unfit(format!(
            "it is longer than {FILE_BYTES_MAX} bytes; name a file that holds the secret and nothing else"
        )));
    }
    Ok(Some(found))
}

/// Without the blanks that editors, shells and `echo` leave at the ends.
pub(super) fn trimmed(mut found: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] | [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = found {
        found = rest;
    }
    found
}
