//! The key file, and whether it changed: a key that is replaced there is in force within seconds, without a reload.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::{ApiKey, Environment, KeyError, KeyPlace};

/// Where the key came from, and what its places looked like then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// `api.key_file`.
    configured: PathBuf,
    place: KeyPlace,
    stamps: [Stamp; 2],
}

/// What changes with a file's content, or when another takes its place (an editor's rename, a link that is set anew);
/// `None`: no file.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl KeyFile {
    /// Loads the key, and remembers where it was found.
    pub fn load(key_file: &Path, environment: &Environment) -> Result<(Self, ApiKey), KeyError> {
        let (_, place) = ApiKey::load(key_file, environment)?;
        let mut file = Self {
            configured: key_file.to_owned(),
            place,
            stamps: [None, None],
        };
        file.stamps = file.stat();
        // Read after the look: a change between the two would be taken for what was seen, and the old key be used for
        // ever.
        let (key, place) = ApiKey::load(key_file, environment)?;
        file.place = place;
        Ok((file, key))
    }

    /// Where it was found.
    pub fn place(&self) -> &KeyPlace {
        &self.place
    }

    /// Whether the key's files look different from the last time, or from the loading.
    pub(super) fn changed(&mut self) -> bool {
        let now = self.stat();
        std::mem::replace(&mut self.stamps, now) != now
    }

    /// The file that the key is from, and `api.key_file`: it comes before `$RETEN_API_KEY`, so that its appearing is a
    /// change too.
    fn stat(&self) -> [Stamp; 2] {
        [self.place.path().and_then(stamp), stamp(&self.configured)]
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_rewritten_replaced_or_removed_is_a_change_once() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("api-key"), dir.path().join("other"));
        fs::write(&path, "rtn_sk_first").unwrap();
        let environment = Environment::default();
        let (mut file, key) = KeyFile::load(&path, &environment).unwrap();
        assert_eq!(key.reveal(), "rtn_sk_first");
        assert!(!file.changed());
        fs::write(&path, "rtn_sk_second_").unwrap();
        assert!(file.changed());
        assert!(!file.changed());
        fs::write(&other, "rtn_sk_third__").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(file.changed());
        fs::remove_file(&path).unwrap();
        assert!(file.changed());
        assert!(!file.changed());
    }

    #[test]
    fn a_key_file_that_appears_beside_the_environments_key_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api-key");
        let environment: Environment = [("RETEN_API_KEY", "rtn_sk_first")].into_iter().collect();
        let (mut file, _) = KeyFile::load(&path, &environment).unwrap();
        assert_eq!(*file.place(), KeyPlace::Environment);
        assert!(!file.changed());
        fs::write(&path, "rtn_sk_second").unwrap();
        assert!(file.changed());
    }
}
