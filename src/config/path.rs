//! A path as a configuration may name one.

use std::path::PathBuf;

use super::problem::KEY_PREFIX;

/// The path made absolute, so that what is shown is what is used. The error is in words that follow the path.
pub(super) fn absolute(path: &str) -> Result<PathBuf, String> {
    if path.contains("://") || path.starts_with("file:") || path.starts_with("sqlite:") {
        return Err("is a URL; write the path alone".to_owned());
    }
    if path.starts_with(KEY_PREFIX) {
        return Err("is a key, not a path: put the key into a file, and name the file here".to_owned());
    }
    if path.contains('\0') {
        return Err("has a NUL inside, which no path can have".to_owned());
    }
    let absolute = std::path::absolute(path)
        .map_err(|error| format!("cannot be made absolute ({error}); write it from the root, with a leading /"))?;
    if absolute.to_str().is_none() {
        return Err("lies in a directory whose name is no UTF-8; write it from the root, with a leading /".to_owned());
    }
    Ok(absolute)
}
