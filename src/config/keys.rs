//! Every key, as `config/config.toml` shows it: that file is the one list of them, in the contract's order.

use std::sync::LazyLock;

use config::Value;
use toml::de::{DeTable, DeValue};

use super::values::plain;

/// The file of defaults, as it is shipped: the one source of every default.
pub const DEFAULTS: &str = include_str!("../../config/config.toml");

/// From here on a wrong name is taken for a misspelt one: `dri` is two thirds of `dir`, `inbox` is not meant by
/// `index`.
const ALIKE_MIN: f64 = 0.65;

/// The key that takes tables, and the section of their keys. The file of defaults shows one, in a comment.
pub(super) const RULES: &str = "conflict.rules";

/// One key of a section, or of a rule.
pub(super) struct Key {
    /// As `retry`, or [`RULES`] for one of a rule.
    pub section: String,
    pub name: String,
    /// Its default, or what the example of a rule has.
    pub example: Value,
}

impl Key {
    /// As `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

/// Every key, in the contract's order.
pub(super) static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let mut in_example = false;
    let uncommented: Vec<&str> = DEFAULTS
        .lines()
        .map(|line| {
            in_example = line.starts_with("# [[") || in_example && line.starts_with("# ");
            if in_example { &line[2..] } else { line }
        })
        .collect();
    let text = uncommented.join("\n");
    let mut keys = Vec::new();
    let (file, _) = DeTable::parse_recoverable(&text);
    for (section, table) in in_order(file.get_ref()) {
        for (name, value) in table.as_table().into_iter().flat_map(in_order) {
            let key = |section: &str, name: &str, value| Key {
                section: section.to_owned(),
                name: name.to_owned(),
                example: plain(value),
            };
            keys.push(key(section, name, value));
            let rule = value.as_array().and_then(|list| list.first()?.get_ref().as_table());
            let members = rule.into_iter().flat_map(in_order);
            keys.extend(members.map(|(name, value)| key(RULES, name, value)));
        }
    }
    keys
});

/// The members of a table as they were written, one after another.
fn in_order<'t>(table: &'t DeTable<'_>) -> Vec<(&'t str, &'t DeValue<'t>)> {
    let mut members: Vec<_> = table.iter().collect();
    members.sort_by_key(|(name, _)| name.span().start);
    members
        .into_iter()
        .map(|(name, value)| (name.get_ref().as_ref(), value.get_ref()))
        .collect()
}

/// The key of this name in this section.
pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    keys_of(section).find(|key| key.name == name)
}

pub(super) fn keys_of(section: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section == section)
}

/// The names of the sections, in the contract's order.
pub(super) fn sections() -> Vec<&'static str> {
    let mut names: Vec<&str> = KEYS.iter().map(|key| key.section.as_str()).collect();
    names.retain(|name| *name != RULES);
    names.dedup();
    names
}

/// What is said of a key that is not known: the one that was meant, as far as can be guessed.
pub(super) fn cure(section: &str, name: &str) -> String {
    let names_of = |section: &str| {
        keys_of(section)
            .map(|key| key.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    if section == RULES {
        return format!("known here: {}", names_of(RULES));
    }
    if section == "api" && ["key", "api_key", "apikey", "token", "secret"].contains(&name) {
        return "a key does not belong in the configuration: put it into the file that api.key_file names".to_owned();
    }
    if section == "outbox" && ["password", "passwd", "pass"].contains(&name) {
        return "a password does not belong in the configuration: put it into the file that outbox.password_file names"
            .to_owned();
    }
    let with_name = |key: &'static Key| (key.name.as_str(), key);
    let elsewhere = || KEYS.iter().filter(|key| key.section != section && key.section != RULES);
    let meant = nearest(name, keys_of(section).map(with_name)).or_else(|| nearest(name, elsewhere().map(with_name)));
    if let Some(key) = meant {
        return format!("did you mean {}?", key.path());
    }
    match names_of(section).as_str() {
        "" => format!("sections are {}", section_names()),
        names => format!("known in [{section}]: {names}"),
    }
}

/// What is said of a section that is not known.
pub(super) fn section_cure(section: &str) -> String {
    match nearest(section, sections().into_iter().map(|name| (name, name))) {
        Some(name) => format!("did you mean [{name}]?"),
        None => format!("known: {}", section_names()),
    }
}

fn section_names() -> String {
    let names: Vec<String> = sections().iter().map(|name| format!("[{name}]")).collect();
    names.join(", ")
}

/// Of things with their names, the one whose name is most like this one, where one is like enough to have been meant.
fn nearest<T>(name: &str, known: impl Iterator<Item = (&'static str, T)>) -> Option<T> {
    let alike = |known: &str| strsim::normalized_damerau_levenshtein(&name.to_ascii_lowercase(), known);
    known
        .map(|(known, one)| (alike(known), one))
        .filter(|(alike, _)| *alike >= ALIKE_MIN)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, one)| one)
}
