//! The environment as it was at one moment, so that loading depends on its arguments alone, and the keys that it sets.

use std::ffi::{OsStr, OsString};

use super::keys;
use super::problem::{Problem, SetBy};
use super::reader::{Findings, read_variable};

/// What every variable that sets a key begins with, in any case: `RETEN_OUTBOX__RETRY__MAX_INTERVAL`.
pub(super) const VARIABLE_PREFIX: &str = "RETEN_OUTBOX__";

/// Names and values. Not printable on purpose: one of them may be the API key.
#[derive(Clone, Default)]
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// With this variable, and not as it was set before, in whatever case.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.0.push((name.into(), value.into()));
        self
    }

    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

/// Reads what the environment sets; variables of other names are not looked at.
pub(super) fn read_environment(env: &Environment) -> Findings {
    let mut brought = Findings::default();
    let mut variables: Vec<(String, Option<&str>)> = env
        .iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_str()))
        .filter(|(name, _)| {
            name.get(..VARIABLE_PREFIX.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(VARIABLE_PREFIX))
        })
        .collect();
    variables.sort();
    for (variable, value) in variables {
        let read = read(&variable, value);
        let is_set = |key: &str| brought.settings.iter().any(|other| other.key == key);
        match read
            .settings
            .first()
            .map(|setting| setting.key.clone())
            .filter(|key| is_set(key))
        {
            Some(key) => {
                let message = format!("{key} is set twice, by names that differ in case only; unset one");
                brought.problems.push(problem(&variable, Some(key), message));
            }
            None => brought.append(read),
        }
    }
    brought
}

fn problem(variable: &str, key: Option<String>, message: String) -> Problem {
    Problem {
        place: SetBy::Environment(variable.to_owned()).to_string(),
        key,
        message,
    }
}

fn read(variable: &str, value: Option<&str>) -> Findings {
    let path = variable
        .get(VARIABLE_PREFIX.len()..)
        .unwrap_or_default()
        .to_ascii_lowercase();
    let (section, name) = path.split_once("__").unwrap_or((&path, ""));
    let wrong = match (keys::find(section, name), value) {
        (Some(key), Some(text)) => return read_variable(variable, key, text),
        (Some(key), None) => {
            let message = format!("{}: the value is not UTF-8", key.path());
            problem(variable, Some(key.path()), message)
        }
        (None, _) => {
            let cure = if keys::sections().contains(&section) {
                keys::cure(section, name)
            } else {
                keys::section_cure(section)
            };
            problem(variable, None, format!("no key is set by this variable; {cure}"))
        }
    };
    Findings {
        problems: vec![wrong],
        ..Findings::default()
    }
}
