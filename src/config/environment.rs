//! The environment as it was at one moment, so that loading depends on its arguments alone, and the keys that it sets.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};

use toml::Spanned;
use toml::de::{DeArray, DeValue};

use super::keys::{self, SECTIONS, Takes};
use super::kind::Kind;
use super::problem::{Origin, Problem, shown};
use super::reader::{Found, Reader, Setting};

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

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Every variable.
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
pub(super) fn read_environment(env: &Environment) -> Found {
    let mut found = Found::default();
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
        match read_variable(&variable, value) {
            Ok(setting) if found.settings.iter().any(|other| other.key == setting.key) => {
                let message = format!(
                    "{} is set twice, by names that differ in case only; unset one",
                    setting.key
                );
                found.problems.push(problem(&variable, Some(setting.key), message));
            }
            Ok(setting) => found.settings.push(setting),
            Err(wrong) => found.problems.push(wrong),
        }
    }
    found
}

fn problem(variable: &str, key: Option<String>, message: String) -> Problem {
    Problem {
        place: Origin::Environment(variable.to_owned()).to_string(),
        key,
        message,
    }
}

fn read_variable(variable: &str, value: Option<&str>) -> Result<Setting, Problem> {
    let path = variable.get(VARIABLE_PREFIX.len()..).unwrap_or_default();
    let (section, name) = path.split_once("__").unwrap_or((path, ""));
    let Some((section, key)) = keys::find(section, name) else {
        let (section, name) = (section.to_ascii_lowercase(), name.to_ascii_lowercase());
        let known = SECTIONS.iter().any(|known| known.name == section);
        let cure = if known {
            keys::cure(&section, &name)
        } else {
            keys::section_cure(&section)
        };
        return Err(problem(
            variable,
            None,
            format!("no key is set by this variable; {cure}"),
        ));
    };
    let name = format!("{}.{}", section.name, key.name);
    let Some(text) = value else {
        return Err(problem(
            variable,
            Some(name.clone()),
            format!("{name}: the value is not UTF-8"),
        ));
    };
    let mut reader = Reader::of_variable(text);
    let value = reader.value(&name, key.takes, &typed(key.takes, text));
    match (value, reader.complaints.into_iter().next()) {
        (Some(value), None) => Ok(Setting {
            key: name,
            value,
            found: shown(&format!("\"{text}\"")),
            origin: Origin::Environment(variable.to_owned()),
        }),
        (_, complaint) => Err(problem(
            variable,
            Some(name),
            complaint.map_or_else(String::new, |complaint| complaint.message),
        )),
    }
}

/// The text of a variable as the kind has it: text where text is asked for; else a TOML value, and for a list also
/// `A,B,C`.
fn typed(takes: Takes, text: &str) -> Spanned<DeValue<'_>> {
    let as_text = |text| Spanned::new(0..0, DeValue::String(Cow::Borrowed(text)));
    match takes {
        Takes::Value(kind) if kind.is_text() => as_text(text),
        Takes::Value(Kind::Texts) if !text.trim_start().starts_with('[') => {
            let mut list = DeArray::new();
            for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
                list.push(as_text(item));
            }
            Spanned::new(0..0, DeValue::Array(list))
        }
        Takes::Value(_) | Takes::Tables(_) => DeValue::parse(text.trim()).unwrap_or_else(|_| as_text(text)),
    }
}
