//! The API key: where it is found, what it may look like, and that it is never shown.
//!
//! An error names the place and the remedy, never the key, not even a part of it. A key that is nowhere is a case of
//! its own ([`KeyError::Missing`]): `check-config` warns of it, `run` ends with 78.

use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::secret_file::{UNSET, Unread, credential, read, trimmed};

/// The name of our credential in it.
const CREDENTIAL: &str = "api-key";
/// The variable that is asked last.
const VARIABLE: &str = "RETEN_API_KEY";

/// The API key, checked: visible ASCII, not empty.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// Where a key was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// `$CREDENTIALS_DIRECTORY/api-key`.
    Credential(PathBuf),
    /// `api.key_file`.
    File(PathBuf),
    /// `$RETEN_API_KEY`.
    Environment,
}

/// Why there is no key to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// None of the places has one.
    #[error(
        "there is no API key: put it into {key_file}, or into the credential `api-key` of the systemd unit, \
         or into $RETEN_API_KEY"
    )]
    Missing {
        /// `api.key_file`, the place to put it.
        key_file: String,
    },
    /// A place that exists may not be read by this user; by another one, it may hold a good key.
    #[error("{place}: the API key cannot be read: {why}")]
    Forbidden {
        place: KeyPlace,
        /// What the system said, and the remedy.
        why: String,
    },
    /// A place that exists could not be read.
    #[error("{place}: the API key cannot be read: {why}")]
    Unreadable {
        place: KeyPlace,
        /// What the system said, and the remedy.
        why: String,
    },
    /// What was found is no key.
    #[error("{place}: {why}")]
    Malformed {
        place: KeyPlace,
        /// What is wrong with it and the remedy.
        why: String,
    },
}

impl ApiKey {
    /// Checks what was found: blanks at the ends are cut, and anything but visible ASCII inside is refused, because a
    /// header with a part of the key would be answered with 401 and nobody would know why. The error says what is wrong
    /// without showing anything.
    pub fn parse(found: &[u8]) -> Result<Self, String> {
        let found = found.strip_prefix("\u{feff}".as_bytes()).unwrap_or(found);
        let key = trimmed(found);
        if key.is_empty() {
            return Err(
                "the API key is empty; put the key there, or remove it so that the next place is looked at".to_owned(),
            );
        }
        if let Some(place) = key.iter().position(|byte| !byte.is_ascii_graphic()) {
            let what = match key[place] {
                b' ' | b'\t' => "a blank",
                b'\r' | b'\n' => "a line break",
                0x80.. => "a character that is not ASCII",
                _ => "a control character",
            };
            return Err(format!(
                "the API key has {what} inside (byte {}); it is one word of visible ASCII: copy it again, alone",
                place + 1
            ));
        }
        Ok(Self(String::from_utf8_lossy(key).into_owned()))
    }

    /// The first key that is found: `$CREDENTIALS_DIRECTORY/api-key`, `key_file` (an empty path is no place),
    /// `$RETEN_API_KEY`. A place that has a wrong one is an error: looking on would send another key than the operator
    /// believes.
    pub fn load(key_file: &Path, env: &Environment) -> Result<(Self, KeyPlace), KeyError> {
        let (found, place) = find(key_file, env)?.ok_or_else(|| KeyError::Missing {
            key_file: if key_file.as_os_str().is_empty() {
                "a file and name it in api.key_file".to_owned()
            } else {
                key_file.display().to_string()
            },
        })?;
        match Self::parse(&found) {
            Ok(key) => Ok((key, place)),
            Err(why) => Err(KeyError::Malformed { place, why }),
        }
    }

    /// The key itself: for the request's header (and to find its echo in an answer), for nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[api key]")
    }
}

impl KeyPlace {
    /// The file, where it is one: a change of it is a reason to load again.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Credential(path) | Self::File(path) => Some(path),
            Self::Environment => None,
        }
    }
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(path) | Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment => write!(f, "${VARIABLE}"),
        }
    }
}

/// The bytes at the first place that has any.
fn find(key_file: &Path, env: &Environment) -> Result<Option<(Vec<u8>, KeyPlace)>, KeyError> {
    if let Some(path) = credential(env, CREDENTIAL) {
        let found = read(&path).map_err(|unread| at(unread, KeyPlace::Credential(path.clone())))?;
        if let Some(found) = found.filter(|found| trimmed(found) != UNSET) {
            return Ok(Some((found, KeyPlace::Credential(path))));
        }
    }
    if !key_file.as_os_str().is_empty() {
        let found = read(key_file).map_err(|unread| at(unread, KeyPlace::File(key_file.to_owned())))?;
        if let Some(found) = found {
            return Ok(Some((found, KeyPlace::File(key_file.to_owned()))));
        }
    }
    Ok(env
        .get(VARIABLE)
        .map(|found| (found.as_bytes().to_vec(), KeyPlace::Environment)))
}

fn at(unread: Unread, place: KeyPlace) -> KeyError {
    let Unread { why, is_forbidden } = unread;
    if is_forbidden {
        KeyError::Forbidden { place, why }
    } else {
        KeyError::Unreadable { place, why }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStringExt as _;

    use super::super::secret_file::CREDENTIALS;
    use super::*;

    const KEY: &str = "rtn_sk_0123456789abcdef";

    fn nothing() -> Environment {
        Environment::default()
    }

    #[test]
    fn blanks_at_the_ends_are_cut() {
        for found in [
            KEY.to_owned(),
            format!("{KEY}\n"),
            format!(" \t{KEY}\r\n\n"),
            format!("\u{feff}{KEY}\n"),
        ] {
            assert_eq!(ApiKey::parse(found.as_bytes()).unwrap().reveal(), KEY);
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let cases: [(&[u8], &str); 7] = [
            (b"", "empty"),
            (b" \r\n\t", "empty"),
            (b"rtn_sk_01 23", "a blank inside (byte 10)"),
            (b"rtn_sk_01\nrtn_sk_23", "a line break inside (byte 10)"),
            (b"rtn_sk_01\x0023", "a control character"),
            ("rtn_sk_01é".as_bytes(), "not ASCII"),
            (b"rtn_sk_01\xff", "not ASCII"),
        ];
        for (found, expected) in cases {
            let why = ApiKey::parse(found).unwrap_err();
            assert!(why.contains(expected), "{why}");
            assert!(!why.contains("rtn_sk"), "{why}");
        }
    }

    #[test]
    fn a_key_is_never_printed() {
        assert_eq!(format!("{:?}", ApiKey::parse(KEY.as_bytes()).unwrap()), "[api key]");
    }

    #[test]
    fn the_first_place_that_has_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        let (credential, file) = (dir.path().join(CREDENTIAL), dir.path().join("key"));
        let env: Environment = [(CREDENTIALS, dir.path().as_os_str()), (VARIABLE, "from-env".as_ref())]
            .into_iter()
            .collect();
        let load = || ApiKey::load(&file, &env).map(|(key, place)| (key.reveal().to_owned(), place));
        assert_eq!(load(), Ok(("from-env".to_owned(), KeyPlace::Environment)));
        fs::write(&file, "from-file\n").unwrap();
        assert_eq!(load(), Ok(("from-file".to_owned(), KeyPlace::File(file.clone()))));
        fs::write(&credential, "unset\n").unwrap();
        assert_eq!(load(), Ok(("from-file".to_owned(), KeyPlace::File(file.clone()))));
        fs::write(&credential, "from-systemd").unwrap();
        assert_eq!(
            load(),
            Ok(("from-systemd".to_owned(), KeyPlace::Credential(credential)))
        );
    }

    #[test]
    fn a_wrong_key_does_not_lead_to_the_next_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        fs::write(&file, "two words").unwrap();
        let env: Environment = [(VARIABLE, KEY)].into_iter().collect();
        let error = ApiKey::load(&file, &env).unwrap_err();
        assert!(matches!(error, KeyError::Malformed { .. }), "{error}");
        assert!(
            error.to_string().starts_with(&format!("{}: ", file.display())),
            "{error}"
        );
        assert!(!error.to_string().contains("words"), "{error}");
    }

    #[test]
    fn a_key_that_is_nowhere_is_missing_and_an_empty_one_is_malformed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        let error = ApiKey::load(&file, &nothing()).unwrap_err();
        assert!(matches!(error, KeyError::Missing { .. }), "{error}");
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
        assert!(matches!(
            ApiKey::load(Path::new(""), &nothing()),
            Err(KeyError::Missing { .. })
        ));
        let empty: Environment = [(VARIABLE, "")].into_iter().collect();
        assert!(matches!(ApiKey::load(&file, &empty), Err(KeyError::Malformed { .. })));
        let strange: Environment = [(VARIABLE, std::ffi::OsString::from_vec(vec![0xff]))]
            .into_iter()
            .collect();
        assert!(matches!(ApiKey::load(&file, &strange), Err(KeyError::Malformed { .. })));
    }

    #[test]
    fn what_is_no_file_of_a_keys_size_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            ApiKey::load(dir.path(), &nothing()),
            Err(KeyError::Unreadable { .. })
        ));
        let long = dir.path().join("long");
        fs::write(&long, "x".repeat(16 * 1024 + 1)).unwrap();
        assert!(
            ApiKey::load(&long, &nothing())
                .unwrap_err()
                .to_string()
                .contains("16384 bytes")
        );
    }
}
