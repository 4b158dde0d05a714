//! Where things lie when no file and no key says so: as the service manager told us, for a plain user at home, else in
//! the system's places.

use std::path::{Path, PathBuf};

use config::Value;

use super::environment::Environment;
use super::keys::KEYS;
use super::layers::Setting;
use super::problem::{SetBy, shown};

/// The variables that lead a plain user home, to what the daemon keeps.
const STATE_HOME: &str = "XDG_STATE_HOME";
const HOME: &str = "HOME";

/// Of our own in the directories of a user.
const NAME: &str = "reten-outbox";

/// The key whose default names the directory of what the daemon keeps.
const OUTBOX: &str = "outbox.database";

/// The file's name in a directory of configuration.
const FILE: &str = "config.toml";

#[derive(Debug, Default)]
pub(super) struct DefaultPaths {
    /// The configuration that is read when none is named.
    pub config: PathBuf,
    /// What lies elsewhere than `config/config.toml` says.
    pub settings: Vec<Setting>,
}

impl DefaultPaths {
    /// `system` is the host's configuration; `is_named`: another one is asked for, so that this is no plain user's own
    /// daemon.
    ///
    /// systemd, and whatever starts containers in its way, names directories by `$CONFIGURATION_DIRECTORY` and
    /// `$STATE_DIRECTORY`. A plain user on a host without a configuration of ours has everything at home, as the XDG
    /// base directory specification wants it.
    pub fn of(env: &Environment, system: &Path, is_root: bool, is_named: bool) -> Self {
        let configuration = given(env, "CONFIGURATION_DIRECTORY");
        let state = given(env, "STATE_DIRECTORY");
        let is_plain = !is_root && !is_named && configuration.is_none() && state.is_none() && is_absent(system);
        if let (true, Some((config, _)), Some((state, by))) = (
            is_plain,
            at_home(env, "XDG_CONFIG_HOME", ".config"),
            at_home(env, STATE_HOME, ".local/state"),
        ) {
            return Self {
                settings: vec![
                    setting("api.key_file", &config.join("api-key"), by),
                    setting("inbox.dir", &state.join("inbox"), by),
                    setting("inbox.database", &state.join("db/inbox.db"), by),
                    setting(OUTBOX, &state.join("outbox.db"), by),
                ],
                config: config.join(FILE),
            };
        }
        let key_file = configuration
            .as_ref()
            .map(|directory| setting("api.key_file", &directory.join("api-key"), "CONFIGURATION_DIRECTORY"));
        let outbox = state.map(|directory| setting(OUTBOX, &directory.join("outbox.db"), "STATE_DIRECTORY"));
        Self {
            config: configuration.map_or_else(|| system.to_owned(), |directory| directory.join(FILE)),
            settings: key_file.into_iter().chain(outbox).collect(),
        }
    }
}

impl DefaultPaths {
    /// The directory in which the outbox lies when nobody says otherwise, and what says so: there the host keeps what
    /// is its own of an outbox in PostgreSQL.
    pub fn state(&self) -> (PathBuf, SetBy) {
        let is_outbox = |setting: &&Setting| setting.key == OUTBOX;
        let found = self
            .settings
            .iter()
            .find(is_outbox)
            .map(|setting| (&setting.value, setting.by.clone()));
        let default = || {
            KEYS.iter()
                .find(|key| key.path() == OUTBOX)
                .map(|key| (&key.example, SetBy::Default))
        };
        let (outbox, by) = found.or_else(default).unzip();
        let outbox = PathBuf::from(outbox.map_or_else(String::new, ToString::to_string));
        (
            outbox.parent().unwrap_or(&outbox).to_owned(),
            by.unwrap_or(SetBy::Default),
        )
    }
}

/// Whether there is surely no such file. Where we may not look there may well be one: to go on without it would be
/// another daemon's work.
fn is_absent(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

/// Whether a place is one at home that nobody chose.
pub(super) fn is_home(by: &SetBy) -> bool {
    matches!(by, SetBy::Environment(variable) if variable == STATE_HOME || variable == HOME)
}

/// The first of the directories that a variable lists; a relative one is none.
fn given(env: &Environment, variable: &str) -> Option<PathBuf> {
    let listed = env.get(variable)?.to_str()?;
    let first = Path::new(listed.split(':').next().unwrap_or_default());
    first.is_absolute().then(|| first.to_owned())
}

/// Our directory in a base directory, and the variable that decided.
fn at_home(env: &Environment, variable: &'static str, default: &str) -> Option<(PathBuf, &'static str)> {
    let base = given(env, variable).map(|base| (base, variable));
    let (base, by) = base.or_else(|| Some((given(env, HOME)?.join(default), HOME)))?;
    Some((base.join(NAME), by))
}

fn setting(key: &str, path: &Path, variable: &str) -> Setting {
    let path = path.to_string_lossy().into_owned();
    Setting {
        key: key.to_owned(),
        found: shown(&format!("\"{path}\"")),
        value: Value::from(path),
        by: SetBy::Environment(variable.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(paths: &DefaultPaths) -> Vec<(String, String)> {
        let settings = paths.settings.iter();
        settings
            .map(|setting| (setting.key.clone(), setting.value.to_string()))
            .collect()
    }

    fn pair(key: &str, path: &str) -> (String, String) {
        (key.to_owned(), path.to_owned())
    }

    #[test]
    fn a_place_that_may_not_be_looked_at_is_not_an_absent_one() {
        let dir = tempfile::tempdir().unwrap();
        let env: Environment = [("HOME", "/home/ana")].into_iter().collect();
        let at_home = |system: &Path| {
            DefaultPaths::of(&env, system, false, false)
                .config
                .starts_with("/home/ana")
        };
        assert!(at_home(&dir.path().join("none/config.toml")));
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(
            !at_home(&dir.path().join("file/config.toml")),
            "no directory, so not surely absent"
        );
    }

    #[test]
    fn the_service_managers_directories_go_before_the_systems_places() {
        let env = [
            ("CONFIGURATION_DIRECTORY", "/etc/a:/etc/b"),
            ("STATE_DIRECTORY", "/data"),
            ("HOME", "/home/alice"),
        ];
        let paths = DefaultPaths::of(&env.into_iter().collect(), Path::new("/no/such.toml"), false, false);
        assert_eq!(paths.config, Path::new("/etc/a/config.toml"));
        assert_eq!(
            described(&paths),
            [
                pair("api.key_file", "/etc/a/api-key"),
                pair("outbox.database", "/data/outbox.db")
            ]
        );
        let relative: Environment = [("STATE_DIRECTORY", "data")].into_iter().collect();
        let paths = DefaultPaths::of(&relative, Path::new("/no/such.toml"), true, false);
        assert_eq!(
            (paths.config.as_path(), described(&paths).len()),
            (Path::new("/no/such.toml"), 0)
        );
    }

    #[test]
    fn a_plain_user_has_everything_at_home() {
        let env: Environment = [("HOME", "/home/alice"), ("XDG_CONFIG_HOME", "/home/alice/etc")]
            .into_iter()
            .collect();
        let paths = DefaultPaths::of(&env, Path::new("/no/such.toml"), false, false);
        assert_eq!(paths.config, Path::new("/home/alice/etc/reten-outbox/config.toml"));
        assert_eq!(
            described(&paths),
            [
                pair("api.key_file", "/home/alice/etc/reten-outbox/api-key"),
                pair("inbox.dir", "/home/alice/.local/state/reten-outbox/inbox"),
                pair("inbox.database", "/home/alice/.local/state/reten-outbox/db/inbox.db"),
                pair("outbox.database", "/home/alice/.local/state/reten-outbox/outbox.db"),
            ]
        );
    }

    #[test]
    fn root_a_host_with_a_configuration_and_a_named_file_keep_to_the_systems_places() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("config.toml");
        std::fs::write(&there, "").unwrap();
        let absent = dir.path().join("absent.toml");
        let env: Environment = [("HOME", "/home/alice")].into_iter().collect();
        for (system, is_root, is_named) in [(&there, false, false), (&absent, true, false), (&absent, false, true)] {
            let paths = DefaultPaths::of(&env, system, is_root, is_named);
            assert_eq!((&paths.config, described(&paths).len()), (system, 0));
        }
    }
}
