//! What `backup`, `restore` and `salvage` know of a database that is a file: what lies beside it, its sum, and its
//! counts in words.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use crate::model::hexadecimal;
use sha2::{Digest as _, Sha256};

/// The file of this name with something appended.
pub fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// Length and SHA-256 of a file, from its beginning; it is at its beginning again afterwards.
pub fn sum_of(file: &mut File) -> io::Result<(u64, String)> {
    file.rewind()?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
    file.rewind()?;
    let sum = hexadecimal(&hash.finalize());
    Ok((bytes, sum))
}

/// `24 pending, 3 dead`; states without any are left out.
pub fn describe(counts: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    if parts.is_empty() {
        "none".to_owned()
    } else {
        parts.join(", ")
    }
}
