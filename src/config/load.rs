//! Where the configuration comes from, and in which order: the built-in defaults, the file, `conf.d/*.toml` beside it,
//! the environment.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use config::Value;

use super::check::Checker;
use super::default_paths::{self, DefaultPaths};
use super::environment::{Environment, read_environment};
use super::keys::{KEYS, RULES};
use super::layers::{Setting, overlay};
use super::problem::{ConfigError, Problem, SetBy, one_line};
use super::reader::{Findings, read_file};
use super::{Config, OutboxSettings, password};
use crate::model::Address;

/// Read when neither `--config` nor `$RETEN_OUTBOX_CONFIG` names a file (nor the service manager a directory).
const DEFAULT_PATH: &str = "/etc/reten-outbox/config.toml";

/// The variable that names the file.
const PATH_VARIABLE: &str = "RETEN_OUTBOX_CONFIG";

/// The directory beside the file whose `*.toml` are read after it, in the order of their names.
const DROP_INS: &str = "conf.d";

/// The most bytes of one file that are read: a whole configuration has a few thousand, and a wrong path may lead to
/// anything.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A configuration with where it came from.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// The main file; `None` when there is none and the defaults are in force.
    pub path: Option<PathBuf>,
    /// What is allowed and yet seldom meant; to be shown by `check-config` and at start.
    pub warnings: Vec<Problem>,
    /// What decided where this host keeps its own.
    state_by: SetBy,
    /// The winning settings, for [`Loaded::to_toml`].
    pub(super) settings: BTreeMap<String, Setting>,
}

impl Loaded {
    /// Where a key's value came from, by `section.key`; `None` for a key that there is not, or that has no value
    /// (`conflict.rules`).
    pub fn set_by(&self, key: &str) -> Option<&SetBy> {
        self.settings.get(key).map(|setting| &setting.by)
    }

    /// The directories that lie at a plain user's home because nobody said otherwise.
    pub fn home(&self) -> Home {
        let config = &self.config;
        let of_outbox = match &config.outbox.database {
            Address::File(_) => self.set_by("outbox.database"),
            Address::Server(_) => Some(&self.state_by),
        };
        let places = [
            (of_outbox, config.outbox.database.anchor().parent()),
            (self.set_by("inbox.dir"), Some(config.inbox.dir.as_path())),
            (self.set_by("inbox.database"), config.inbox.database.parent()),
        ];
        let at_home = places
            .into_iter()
            .filter(|(by, _)| by.is_some_and(default_paths::is_home));
        Home(
            at_home
                .filter_map(|(_, directory)| directory.map(Path::to_owned))
                .collect(),
        )
    }
}

/// Directories of a plain user's own daemon. They are made where they are missing; any other place that is missing is
/// rather a mistake, or a disk that is not mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Home(Vec<PathBuf>);

impl Home {
    /// Whether this directory is one of them.
    pub fn has(&self, directory: &Path) -> bool {
        self.0.iter().any(|ours| ours == directory)
    }

    /// Makes those that are missing, for their owner alone, as the XDG base directory specification wants it.
    pub fn make(&self) -> Result<(), ConfigError> {
        let problem_of = |directory: &PathBuf| {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.err()
                .map(|error| unreadable(directory, format!("the directory cannot be created: {error}")))
        };
        let problems: Vec<Problem> = self.0.iter().filter_map(problem_of).collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigError { problems })
        }
    }
}

impl Config {
    /// Loads the configuration. `explicit` is what `--config` named; a file that is named, there or by
    /// `$RETEN_OUTBOX_CONFIG`, has to exist.
    pub fn load(explicit: Option<&Path>, env: &Environment) -> Result<Loaded, ConfigError> {
        let is_named = explicit.is_some() || named_by_variable(env).is_some();
        let is_root = rustix::process::geteuid().is_root();
        load_with(
            explicit,
            env,
            DefaultPaths::of(env, Path::new(DEFAULT_PATH), is_root, is_named),
        )
    }

    /// Of a configuration that cannot be used, what is right of it over the defaults, and whether it says by itself
    /// where the outbox is; `None` where that is nothing to look by. Never to act by.
    pub fn salvage(explicit: Option<&Path>, env: &Environment) -> Option<(Config, bool)> {
        let is_named = explicit.is_some() || named_by_variable(env).is_some();
        let is_root = rustix::process::geteuid().is_root();
        salvage_with(
            explicit,
            env,
            DefaultPaths::of(env, Path::new(DEFAULT_PATH), is_root, is_named),
        )
    }

    #[cfg(test)]
    pub fn defaults() -> Result<Self, ConfigError> {
        assemble(Findings::default(), None, DefaultPaths::default().state()).map(|loaded| loaded.config)
    }
}

fn named_by_variable(env: &Environment) -> Option<&Path> {
    env.get(PATH_VARIABLE).filter(|path| !path.is_empty()).map(Path::new)
}

/// [`Config::load`], with the places of what nobody names as an argument.
pub(super) fn load_with(
    explicit: Option<&Path>,
    env: &Environment,
    places: DefaultPaths,
) -> Result<Loaded, ConfigError> {
    let state = places.state();
    let (found, path) = find(explicit, env, places);
    let mut loaded = assemble(found, path, state)?;
    find_password(&mut loaded.config.outbox, env);
    Ok(loaded)
}

/// [`Config::salvage`], with the places as an argument.
pub(super) fn salvage_with(explicit: Option<&Path>, env: &Environment, places: DefaultPaths) -> Option<(Config, bool)> {
    const OUTBOX: &str = "outbox.database";
    let state = places.state();
    let (mut found, path) = find(explicit, env, places);
    let recovered = std::mem::take(&mut found.recovered);
    let mut settings: Vec<Setting> = recovered.into_iter().chain(found.settings).collect();
    let mut problems = found.problems;
    // What is dropped may leave two values that do not fit one another: again, a few times.
    for _ in 0..4 {
        let is_wrong = |key: &str| problems.iter().any(|problem| problem.key.as_deref() == Some(key));
        settings.retain(|setting| !is_wrong(&setting.key));
        let is_certain = settings.iter().any(|setting| setting.key == OUTBOX)
            || path.is_some() && !is_wrong(OUTBOX) && !is_broken_off(&problems);
        let rest = Findings {
            settings: settings.clone(),
            ..Findings::default()
        };
        match assemble(rest, None, state.clone()) {
            Ok(Loaded { mut config, .. }) => {
                find_password(&mut config.outbox, env);
                return Some((config, is_certain));
            }
            Err(error) => problems.extend(error.problems),
        }
    }
    None
}

/// Looks for the password of a server. One that stands in the URL is used, as `psql` would.
fn find_password(outbox: &mut OutboxSettings, env: &Environment) {
    let Address::Server(server) = &mut outbox.database else {
        return;
    };
    if server.password.is_none() {
        match password::find(server, &outbox.password_file, env) {
            Ok(found) => server.password = found,
            Err(error) => outbox.password_error = Some(error),
        }
    }
}

/// Whether something could not be read at all, so that keys may have stood there that nobody knows of.
fn is_broken_off(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.key.is_none())
}

/// Everything that is said anywhere, in the order in which it counts; the main file, where there is one.
fn find(explicit: Option<&Path>, env: &Environment, places: DefaultPaths) -> (Findings, Option<PathBuf>) {
    let (path, named_by) = match (explicit, named_by_variable(env)) {
        (Some(path), _) => (path, Some("--config")),
        (None, Some(path)) => (path, Some("$RETEN_OUTBOX_CONFIG")),
        (None, None) => (places.config.as_path(), None),
    };
    let mut found = Findings {
        settings: places.settings,
        ..Findings::default()
    };
    let main = read(path, &mut found, named_by);
    match drop_ins(path) {
        Ok(paths) => paths.iter().for_each(|path| {
            read(path, &mut found, None);
        }),
        // A directory that is closed to us closes both: said once.
        Err(_) if main == Read::Refused => {}
        Err(problem) => found.problems.push(problem),
    }
    found.append(read_environment(env));
    (found, (main == Read::There).then(|| path.to_owned()))
}

/// How a file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    There,
    Absent,
    Refused,
}

/// Reads one file into what was found. Only a file that is named has to exist.
fn read(path: &Path, found: &mut Findings, named_by: Option<&str>) -> Read {
    match text_of(path) {
        Ok(text) => {
            found.append(read_file(path, &text));
            Read::There
        }
        Err(error) if error.kind() == ErrorKind::NotFound && named_by.is_none() => Read::Absent,
        Err(error) => {
            let named = named_by.map_or_else(String::new, |by| format!(" (named by {by})"));
            let cure = if error.kind() == ErrorKind::PermissionDenied {
                CLOSED
            } else {
                ""
            };
            let message = format!("the configuration cannot be read{named}: {error}{cure}");
            found.problems.push(unreadable(path, message));
            Read::Refused
        }
    }
}

/// What mends a configuration that may not be read.
const CLOSED: &str = "; let this user enter its directory and read the file (as root: chmod a+rx the directory, \
     chmod a+r the file; the API key beside it stays closed), or name another one with --config";

fn unreadable(path: &Path, message: String) -> Problem {
    Problem {
        place: one_line(&path.to_string_lossy()),
        key: None,
        message,
    }
}

fn text_of(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "it is longer than {FILE_BYTES_MAX} bytes, so it is no configuration"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count();
        io::Error::other(format!("line {line} is not UTF-8"))
    })
}

/// The `*.toml` of the directory beside the file, in the order of their names; those that begin with a dot are an
/// editor's.
fn drop_ins(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    let directory = path.parent().unwrap_or(Path::new("")).join(DROP_INS);
    let listed = fs::read_dir(&directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
    let mut paths = match listed {
        Ok(paths) => paths,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&directory, format!("the directory cannot be read: {error}"))),
    };
    let hidden = |path: &Path| {
        path.file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml") && !hidden(path));
    paths.sort();
    Ok(paths)
}

/// Lays what was found over the defaults, and checks what comes out of it.
fn assemble(
    found: Findings,
    path: Option<PathBuf>,
    (state, state_by): (PathBuf, SetBy),
) -> Result<Loaded, ConfigError> {
    let defaults = KEYS.iter().filter(|key| key.section != RULES && key.path() != RULES);
    let settings = defaults.map(Setting::default).chain(found.settings);
    // The last of each key counts.
    let mut settings: BTreeMap<String, Setting> = settings.map(|setting| (setting.key.clone(), setting)).collect();
    let mut checker = Checker::new(&settings, found.problems);
    let config = match overlay(settings.iter().map(|(key, setting)| (key.as_str(), &setting.value))) {
        Ok((parts, config)) => checker.config(parts, &state, config),
        // A fault of our own: each value was read before.
        Err(error) => {
            checker.problems.push(unreadable(Path::new("configuration"), error));
            None
        }
    };
    let (problems, warnings) = (checker.problems, checker.warnings);
    match config {
        Some(config) if problems.is_empty() => {
            // What is shown is what is used.
            for (key, place) in config.places() {
                if let Some(setting) = settings.get_mut(key) {
                    setting.value = Value::from(place);
                }
            }
            Ok(Loaded {
                config,
                path,
                warnings,
                state_by,
                settings,
            })
        }
        Some(_) | None => Err(ConfigError { problems }),
    }
}
