//! A text turned into known keys with values of the right kind, each with its place. Whatever is not so becomes a
//! problem with its place, and reading goes on.

use std::ops::Range;
use std::path::Path;

use config::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Key, SECTIONS, Takes};
use super::problem::{Origin, Problem, one_line, shown};

/// A key that a source sets.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// As `section.key`.
    pub key: String,
    pub value: Value,
    /// The value as it was written, fit to be shown.
    pub found: String,
    pub origin: Origin,
}

/// What a source brought.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub settings: Vec<Setting>,
    pub problems: Vec<Problem>,
    /// Of a text that breaks off, what stands in its whole lines. Only for who wants to look by it.
    pub recovered: Vec<Setting>,
}

impl Found {
    /// Adds what a later source brought.
    pub fn append(&mut self, later: Self) {
        self.settings.extend(later.settings);
        self.problems.extend(later.problems);
        self.recovered.extend(later.recovered);
    }
}

/// Reads the text of a file; `origin` says what a line of it is called.
pub(super) fn read_text(text: &str, origin: impl Fn(usize) -> Origin) -> Found {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader::of_file(text);
    for error in &errors {
        reader.complain(error.span().unwrap_or(0..0), None, one_line(error.message()));
    }
    // What a broken line leaves half read would only be complained of twice.
    let (read, half_read) = if errors.is_empty() {
        (reader.sections(table.get_ref()), Vec::new())
    } else {
        (Vec::new(), Reader::of_file(text).sections(table.get_ref()))
    };
    reader.complaints.sort_by_key(|complaint| complaint.span.start);
    Found {
        settings: read
            .into_iter()
            .map(|entry| entry.into_setting(text, &origin))
            .collect(),
        recovered: half_read
            .into_iter()
            .map(|entry| entry.into_setting(text, &origin))
            .collect(),
        problems: reader
            .complaints
            .into_iter()
            .map(|complaint| complaint.into_problem(text, &origin))
            .collect(),
    }
}

/// Reads the file of this name, whose content is `text`.
pub(super) fn read_file(path: &Path, text: &str) -> Found {
    read_text(text, |line| Origin::File {
        path: path.to_owned(),
        line,
    })
}

/// A value with the place where it was written.
struct Entry {
    key: String,
    value: Value,
    span: Range<usize>,
}

/// Something wrong with the place where it was written.
pub(super) struct Complaint {
    key: Option<String>,
    pub message: String,
    span: Range<usize>,
}

impl Entry {
    fn into_setting(self, text: &str, origin: impl Fn(usize) -> Origin) -> Setting {
        Setting {
            key: self.key,
            value: self.value,
            found: shown(&text[self.span.clone()]),
            origin: origin(line_of(text, self.span.start)),
        }
    }
}

impl Complaint {
    fn into_problem(self, text: &str, origin: impl Fn(usize) -> Origin) -> Problem {
        Problem {
            place: origin(line_of(text, self.span.start)).to_string(),
            key: self.key,
            message: self.message,
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The text that is read and what is wrong with it so far.
pub(super) struct Reader<'t> {
    text: &'t str,
    /// Whether the text is the value of a variable: then it is shown whole, and its spans mean nothing to anyone.
    is_variable: bool,
    pub complaints: Vec<Complaint>,
}

impl<'t> Reader<'t> {
    fn of_file(text: &'t str) -> Self {
        Self {
            text,
            is_variable: false,
            complaints: Vec::new(),
        }
    }

    /// For the value of one variable.
    pub fn of_variable(text: &'t str) -> Self {
        Self {
            text,
            is_variable: true,
            complaints: Vec::new(),
        }
    }

    fn found(&self, span: Range<usize>) -> String {
        if self.is_variable {
            shown(&format!("\"{}\"", self.text))
        } else {
            shown(&self.text[span])
        }
    }

    fn complain(&mut self, span: Range<usize>, key: Option<String>, message: String) {
        self.complaints.push(Complaint { key, message, span });
    }

    fn sections(&mut self, file: &DeTable<'_>) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (name, value) in file {
            let section = SECTIONS.iter().find(|section| section.name == name.get_ref().as_ref());
            match (section, value.get_ref()) {
                (Some(section), DeValue::Table(table)) => {
                    entries.extend(self.members(section.name, table, section.keys));
                }
                (Some(section), _) => {
                    let message = format!(
                        "`{0}` is a section; write [{0}] once, and its keys below it",
                        section.name
                    );
                    self.complain(name.span(), None, message);
                }
                (None, DeValue::Table(_)) => {
                    let message = format!(
                        "unknown section [{}]; {}",
                        shown(name.get_ref()),
                        keys::section_cure(name.get_ref())
                    );
                    self.complain(name.span(), None, message);
                }
                (None, _) => {
                    let message = format!(
                        "unknown key `{}` outside of every section; {}",
                        shown(name.get_ref()),
                        keys::cure("", name.get_ref())
                    );
                    self.complain(name.span(), None, message);
                }
            }
        }
        entries
    }

    fn members(&mut self, prefix: &str, table: &DeTable<'_>, known: &[Key]) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (name, value) in table {
            let path = format!("{prefix}.{}", name.get_ref());
            let Some(key) = known.iter().find(|key| key.name == name.get_ref().as_ref()) else {
                let cure = if SECTIONS.iter().any(|section| section.name == prefix) {
                    keys::cure(prefix, name.get_ref())
                } else {
                    let names: Vec<&str> = known.iter().map(|key| key.name).collect();
                    format!("known here: {}", names.join(", "))
                };
                self.complain(
                    name.span(),
                    Some(path.clone()),
                    format!("unknown key {}; {cure}", shown(&path)),
                );
                continue;
            };
            if let Some(value_read) = self.value(&path, key.takes, value) {
                entries.push(Entry {
                    key: path,
                    value: value_read,
                    span: value.span(),
                });
            }
        }
        entries
    }

    /// A key's value; `None` when it is not of the right kind, which is then complained of.
    pub fn value(&mut self, path: &str, takes: Takes, value: &Spanned<DeValue<'_>>) -> Option<Value> {
        match takes {
            Takes::Value(kind) => match kind.read(value.get_ref()) {
                Ok(read) => Some(read),
                Err(wrong) => {
                    let found = self.found(value.span());
                    self.complain(value.span(), Some(path.to_owned()), format!("{path} = {found} {wrong}"));
                    None
                }
            },
            Takes::Tables(known) => self.tables(path, value, known),
        }
    }

    /// `[[path]]`: each one a table of these keys.
    fn tables(&mut self, path: &str, value: &Spanned<DeValue<'_>>, known: &[Key]) -> Option<Value> {
        let before = self.complaints.len();
        let mut tables = Vec::new();
        for item in value.get_ref().as_array().into_iter().flatten() {
            let Some(table) = item.get_ref().as_table() else {
                continue;
            };
            let members = self.members(path, table, known);
            self.rule_is_whole(path, item.span(), table);
            let prefix = path.len() + 1;
            let table: Map<String, Value> = members
                .into_iter()
                .map(|entry| (entry.key[prefix..].to_owned(), entry.value))
                .collect();
            tables.push(Value::new(None, table));
        }
        let items = value.get_ref().as_array().map(|list| list.len());
        if items != Some(tables.len()) {
            let message = format!("{path} is no list of tables; write each one below a line [[{path}]]");
            self.complain(value.span(), Some(path.to_owned()), message);
        }
        (self.complaints.len() == before).then(|| Value::new(None, tables))
    }

    /// A rule needs a policy and something to match; one without a condition would hide `conflict.policy` and every
    /// rule after it.
    fn rule_is_whole(&mut self, path: &str, span: Range<usize>, rule: &DeTable<'_>) {
        let has = |name: &str| rule.keys().any(|key| key.get_ref() == name);
        if !has("policy") {
            let message =
                format!("{path}: this rule has no policy; add policy = \"override\", \"park\" or \"dead_letter\"");
            self.complain(span, Some(format!("{path}.policy")), message);
        } else if rule.len() == 1 {
            let message = format!(
                "{path}: this rule names no condition and would match everything; name one, or set conflict.policy"
            );
            self.complain(span, Some(path.to_owned()), message);
        }
    }
}
