//! A text turned into known keys with values of the right kind, each with its place. Whatever is not so becomes a
//! problem with its place, and reading goes on.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use config::{Value, ValueKind};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::keys::{self, Key, RULES};
use super::layers::{Setting, check_value, table};
use super::problem::{Problem, SetBy, one_line, shown};
use super::values::plain;

/// What a source brought.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub settings: Vec<Setting>,
    pub problems: Vec<Problem>,
    /// Of a text that breaks off, what its whole lines say. Only for who wants to look by it.
    pub recovered: Vec<Setting>,
}

impl Findings {
    /// Adds what a later source brought.
    pub fn append(&mut self, later: Self) {
        self.settings.extend(later.settings);
        self.problems.extend(later.problems);
        self.recovered.extend(later.recovered);
    }
}

/// Reads the file of this name, whose content is `text`.
pub(super) fn read_file(path: &Path, text: &str) -> Findings {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let reader = || {
        Reader::new(
            text,
            SetBy::File {
                path: path.to_owned(),
                line: 1,
            },
        )
    };
    let mut whole = reader();
    for error in &errors {
        whole.complain(error.span().unwrap_or(0..0), None, one_line(error.message()));
    }
    // What a broken line leaves half read would only be complained of twice.
    let (settings, recovered) = if errors.is_empty() {
        (whole.sections(table.get_ref()), Vec::new())
    } else {
        (Vec::new(), reader().sections(table.get_ref()))
    };
    whole.problems.sort_by_key(|(start, _)| *start);
    Findings {
        settings,
        recovered,
        problems: whole.problems.into_iter().map(|(_, problem)| problem).collect(),
    }
}

/// Reads the text of the variable that sets this key; of several problems, only the first is named.
pub(super) fn read_variable(variable: &str, key: &Key, text: &str) -> Findings {
    let mut reader = Reader::new(text, SetBy::Environment(variable.to_owned()));
    let setting = reader.setting(key, key.path(), &typed(key, text));
    Findings {
        settings: setting.into_iter().collect(),
        problems: reader
            .problems
            .into_iter()
            .map(|(_, problem)| problem)
            .take(1)
            .collect(),
        recovered: Vec::new(),
    }
}

/// The text of a variable as its key has it by default: text where that is text; else a TOML value, and for a list also
/// `A,B,C`.
fn typed<'t>(key: &Key, text: &'t str) -> Spanned<DeValue<'t>> {
    let as_text = |text| Spanned::new(0..0, DeValue::String(Cow::Borrowed(text)));
    match key.example.kind {
        ValueKind::String(_) => as_text(text),
        ValueKind::Array(_) if key.path() != RULES && !text.trim_start().starts_with('[') => {
            let mut list = DeArray::new();
            for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
                list.push(as_text(item));
            }
            Spanned::new(0..0, DeValue::Array(list))
        }
        _ => DeValue::parse(text.trim()).unwrap_or_else(|_| as_text(text)),
    }
}

/// The text that is read, and what is wrong with it so far.
struct Reader<'t> {
    text: &'t str,
    /// The source; of a file, with any line.
    by: SetBy,
    /// Each with the byte where it begins.
    problems: Vec<(usize, Problem)>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, by: SetBy) -> Self {
        Self {
            text,
            by,
            problems: Vec::new(),
        }
    }

    /// What sets the value that begins at this byte.
    fn set_by(&self, start: usize) -> SetBy {
        match &self.by {
            SetBy::File { path, .. } => SetBy::File {
                path: path.clone(),
                line: self.text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1,
            },
            by @ (SetBy::Default | SetBy::Environment(_)) => by.clone(),
        }
    }

    /// What was written there; of a variable the whole, since its spans mean nothing to anyone.
    fn found(&self, span: Range<usize>) -> String {
        match self.by {
            SetBy::Environment(_) => shown(&format!("\"{}\"", self.text)),
            SetBy::File { .. } | SetBy::Default => shown(&self.text[span]),
        }
    }

    fn complain(&mut self, span: Range<usize>, key: Option<String>, message: String) {
        let place = self.set_by(span.start).to_string();
        self.problems.push((span.start, Problem { place, key, message }));
    }

    fn sections(&mut self, file: &DeTable<'_>) -> Vec<Setting> {
        let mut settings = Vec::new();
        for (name, value) in file {
            let section = name.get_ref().as_ref();
            let message = match (keys::sections().contains(&section), value.get_ref()) {
                (true, DeValue::Table(table)) => {
                    settings.extend(self.members(section, table));
                    continue;
                }
                (true, _) => format!("`{section}` is a section; write [{section}] once, and its keys below it"),
                (false, DeValue::Table(_)) => {
                    format!("unknown section [{}]; {}", shown(section), keys::section_cure(section))
                }
                (false, _) => format!(
                    "unknown key `{}` outside of every section; {}",
                    shown(section),
                    keys::cure("", section)
                ),
            };
            self.complain(name.span(), None, message);
        }
        settings
    }

    /// The keys of a section, or of one rule.
    fn members(&mut self, section: &str, table: &DeTable<'_>) -> Vec<Setting> {
        let mut settings = Vec::new();
        for (name, value) in table {
            let path = format!("{section}.{}", name.get_ref());
            if let Some(key) = keys::find(section, name.get_ref()) {
                settings.extend(self.setting(key, path, value));
            } else {
                let cure = keys::cure(section, name.get_ref());
                let message = format!("unknown key {}; {cure}", shown(&path));
                self.complain(name.span(), Some(path), message);
            }
        }
        settings
    }

    /// A key with its value; `None` when it is not of the right kind, which is then complained of.
    fn setting(&mut self, key: &Key, path: String, value: &Spanned<DeValue<'_>>) -> Option<Setting> {
        let read = if path == RULES {
            self.rules(value)?
        } else {
            let mut read = plain(value.get_ref());
            if let (ValueKind::Float(_), ValueKind::I64(_)) = (&key.example.kind, &read.kind) {
                read = read.into_float().map_or(Value::new(None, ValueKind::Nil), Value::from);
            }
            read
        };
        let found = self.found(value.span());
        if let Err(wrong) = check_value(key, &read) {
            let message = format!("{path} = {found} {wrong}");
            self.complain(value.span(), Some(path), message);
            return None;
        }
        let by = self.set_by(value.span().start);
        Some(Setting {
            key: path,
            value: read,
            found,
            by,
        })
    }

    /// `[[conflict.rules]]`: each one a table.
    fn rules(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Value> {
        let before = self.problems.len();
        let mut rules = Vec::new();
        for item in value.get_ref().as_array().into_iter().flatten() {
            let Some(rule) = item.get_ref().as_table() else {
                continue;
            };
            let members = self.members(RULES, rule);
            self.rule_is_whole(item.span(), rule);
            let name_of = |setting: &Setting| setting.key[RULES.len() + 1..].to_owned();
            rules.push(table(
                members.into_iter().map(|setting| (name_of(&setting), setting.value)),
            ));
        }
        if value.get_ref().as_array().map(|list| list.len()) != Some(rules.len()) {
            let message = format!("{RULES} is no list of tables; write each one below a line [[{RULES}]]");
            self.complain(value.span(), Some(RULES.to_owned()), message);
        }
        (self.problems.len() == before).then(|| Value::new(None, rules))
    }

    /// A rule needs a policy and something to match; one without a condition would hide `conflict.policy` and every
    /// rule after it.
    fn rule_is_whole(&mut self, span: Range<usize>, rule: &DeTable<'_>) {
        if !rule.keys().any(|key| key.get_ref() == "policy") {
            let message =
                format!("{RULES}: this rule has no policy; add policy = \"override\", \"park\" or \"dead_letter\"");
            self.complain(span, Some(format!("{RULES}.policy")), message);
        } else if rule.len() == 1 {
            let message = format!(
                "{RULES}: this rule names no condition and would match everything; name one, or set conflict.policy"
            );
            self.complain(span, Some(RULES.to_owned()), message);
        }
    }
}
