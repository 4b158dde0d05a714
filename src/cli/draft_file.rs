//! A file that a command makes for somebody else to read: whole or not at all. It is written under another name beside
//! its place, and gets its name when all of it is there.
//!
//! As root the outbox is read as its owner, and the file is root's: neither can reach into the other's directory.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::NamedTempFile;

use super::exit::CliError;

/// What is being made.
///
/// Crash at any point: the file is as it was, and a draft whose name begins with a dot and ends in `.tmp` may lie beside
/// it.
#[derive(Debug)]
pub struct DraftFile {
    draft: NamedTempFile,
    path: PathBuf,
}

impl DraftFile {
    /// A draft of this file, with these rights less what the umask takes. `example`: a name for a file, where a directory
    /// was given.
    pub fn begin(path: &Path, mode: u32, example: &str) -> anyhow::Result<Self> {
        let shown = path.display();
        let name = path.file_name().filter(|_| !path.is_dir()).ok_or_else(|| {
            CliError::Usage(format!(
                "{shown} is a directory; name a file in it, as in {}",
                path.join(example).display()
            ))
        })?;
        if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file() && !there.is_symlink()) {
            return Err(
                CliError::Usage(format!("{shown} is no file; name one, or leave --out away for a pipe")).into(),
            );
        }
        let directory = match path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            Some(_) | None => Path::new("."),
        };
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let draft = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".tmp")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(directory)
            .with_context(|| {
                format!(
                    "{}: this user cannot write there; choose another directory",
                    directory.display()
                )
            })?;
        Ok(Self {
            draft,
            path: path.to_owned(),
        })
    }

    /// Fills it, and gives it its name. What was there under that name is replaced.
    pub fn finish(mut self, text: &[u8]) -> anyhow::Result<()> {
        let shown = self.path.display().to_string();
        let file = self.draft.as_file_mut();
        file.write_all(text)
            .and_then(|()| file.sync_all())
            .with_context(|| format!("{shown}: cannot be written, and was not touched"))?;
        self.draft
            .persist(&self.path)
            .map_err(|error| error.error)
            .with_context(|| format!("{shown}: cannot be made, and nothing of it was kept"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_a_draft_that_ends_early_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page.html");
        DraftFile::begin(&path, 0o640, "x").unwrap().finish(b"first").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777 & !0o640, 0);
        let draft = DraftFile::begin(&path, 0o640, "x").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        drop(draft);
        DraftFile::begin(&path, 0o640, "x").unwrap().finish(b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_and_what_cannot_be_replaced_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let error = DraftFile::begin(dir.path(), 0o640, "page.html")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("is a directory") && error.ends_with("page.html"),
            "{error}"
        );
        let error = DraftFile::begin(Path::new("/dev/null"), 0o640, "x")
            .unwrap_err()
            .to_string();
        assert!(error.contains("is no file"), "{error}");
        let missing = dir.path().join("not/there/page.html");
        let error = DraftFile::begin(&missing, 0o640, "x").unwrap_err().to_string();
        assert!(error.contains("cannot write there"), "{error}");
    }
}
