//! What a producer asks of the outbox: the member `$outbox` of a result, and the columns of a row that say the same
//! (the README, "Telling the outbox something"). Pure, and strict: what cannot be obeyed to the letter is a fault that
//! makes the submission `invalid`, never a guess.

use std::borrow::Cow;
use strum::VariantArray as _;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::model::payload::{DIRECTIVES, Object};
use crate::model::{ConflictPolicy, Directives, SubmissionKey};

/// The longest `key`, in bytes: long enough for any id with a prefix, and short enough for an index that is looked up
/// at every intake.
pub const KEY_BYTES_MAX: usize = 512;
/// The longest `source`, in bytes: it is in every log line of its submissions.
pub const SOURCE_BYTES_MAX: usize = 256;

/// The most of a wrong value that is shown, in characters.
const FOUND_CHARS_MAX: usize = 60;

/// One optional column of a row, as SQLite holds it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Column {
    #[default]
    Null,
    /// The beginning of it, where it is far too long.
    Text(String),
    /// The column is TEXT and turns numbers into text; only another table of that name would not.
    Number,
    Blob,
    NotUtf8,
}

/// The columns of a row beside its payload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RowColumns {
    pub submission_key: Column,
    pub on_conflict: Column,
    pub source: Column,
}

/// Reads what the producer asked. What is right of it is kept even where something else is wrong, so that a mended twin
/// under the same key finds the one it replaces; each fault is one line.
pub fn directives(object: &Object<'_>, columns: Option<&RowColumns>) -> (Directives, Vec<String>) {
    let mut reading = DirectiveReader::default();
    if object
        .members()
        .iter()
        .filter(|member| member.name == DIRECTIVES)
        .count()
        > 1
    {
        reading.fault(DIRECTIVES, "stands twice; keep one of them");
    } else if let Some(raw) = object.get(DIRECTIVES) {
        match Object::parse(raw) {
            Ok(asked) => reading.member(&asked),
            Err(error) => reading.fault(DIRECTIVES, &error.to_string()),
        }
    }
    if let Some(columns) = columns {
        reading.columns(columns);
    }
    (reading.directives, reading.faults)
}

/// The directives of a row whose payload is no object: its columns alone.
pub fn of_columns(columns: &RowColumns) -> (Directives, Vec<String>) {
    let mut reading = DirectiveReader::default();
    reading.columns(columns);
    (reading.directives, reading.faults)
}

#[derive(Default)]
struct DirectiveReader {
    directives: Directives,
    faults: Vec<String>,
    /// The names that the object spoke of, rightly or wrongly: their columns are not asked.
    spoken: Vec<&'static str>,
}

/// The members that `$outbox` may have.
const KNOWN: [&str; 5] = ["key", "on_conflict", "not_before", "source", "replaces"];

impl DirectiveReader {
    fn fault(&mut self, path: &str, what: &str) {
        self.faults.push(format!("{path}: {what}"));
    }

    fn member(&mut self, asked: &Object<'_>) {
        if let Some(name) = asked.duplicate() {
            let name = name.to_owned();
            self.fault(DIRECTIVES, &format!("`{name}` stands twice"));
        }
        for member in asked.members() {
            let Some(name) = KNOWN.into_iter().find(|known| *known == member.name) else {
                let what = format!("unknown directive; known: {}", KNOWN.join(", "));
                self.fault(&format!("{DIRECTIVES}.{}", shortened(&member.name)), &what);
                continue;
            };
            let is_repeated = self.spoken.contains(&name);
            self.spoken.push(name);
            let path = format!("{DIRECTIVES}.{name}");
            let raw = &asked.text()[member.value.clone()];
            match asked.string(name) {
                // Which of two is meant would be a guess, and one at others' cost.
                Some(_) if name == "replaces" && is_repeated => self.directives.replaces = None,
                Some(value) => self.set(name, &path, value),
                None => self.fault(
                    &path,
                    &format!(
                        "is to be a string, not {}; without a value leave it out",
                        shortened(raw)
                    ),
                ),
            }
        }
    }

    fn columns(&mut self, columns: &RowColumns) {
        let named = [
            ("key", "submission_key", &columns.submission_key),
            ("on_conflict", "on_conflict", &columns.on_conflict),
            ("source", "source", &columns.source),
        ];
        for (name, column, value) in named {
            if self.spoken.contains(&name) {
                continue; // Where both speak, the object wins.
            }
            let path = format!("column {column}");
            match value {
                Column::Null => {}
                Column::Text(value) => self.set(name, &path, value.clone()),
                Column::Number => self.fault(&path, "is to be text, not a number"),
                Column::Blob => self.fault(&path, "is to be text, not a blob"),
                Column::NotUtf8 => self.fault(&path, "is to be text, not text that is not UTF-8"),
            }
        }
    }

    fn set(&mut self, name: &'static str, path: &str, value: String) {
        let outcome = match name {
            "key" => bounded(value, KEY_BYTES_MAX).map(|key| self.directives.key = Some(SubmissionKey(key))),
            "source" => bounded(value, SOURCE_BYTES_MAX).map(|source| self.directives.source = Some(source)),
            "on_conflict" => value
                .parse::<ConflictPolicy>()
                .map(|policy| self.directives.on_conflict = Some(policy))
                .map_err(|_| {
                    let known: Vec<&str> = ConflictPolicy::VARIANTS.iter().map(ConflictPolicy::into_str).collect();
                    format!(
                        "`{}` is no conflict policy; known: {}",
                        shortened(&value),
                        known.join(", ")
                    )
                }),
            "replaces" => value.parse().map(|token| self.directives.replaces = Some(token)),
            _ => moment(&value).map(|at| self.directives.not_before = Some(at)),
        };
        if let Err(what) = outcome {
            self.fault(path, &what);
        }
    }
}

fn bounded(value: String, bytes_max: usize) -> Result<String, String> {
    if value.is_empty() {
        Err("is empty; without a value leave it out".into())
    } else if value.len() > bytes_max {
        Err(format!("has {} bytes; at most {bytes_max} are allowed", value.len()))
    } else {
        Ok(value)
    }
}

/// A time with its zone: one without would be read in the daemon's zone or the producer's, and that is a guess.
fn moment(value: &str) -> Result<Timestamp, String> {
    let has_zone = value.get(10..).is_some_and(|time| time.contains(['Z', 'z', '+', '-']));
    Timestamp::parse_iso8601(value).filter(|_| has_zone).ok_or_else(|| {
        format!(
            "`{}` is no time with its zone; write 2026-11-23T10:00:00Z",
            shortened(value)
        )
    })
}

/// As much of a value as a message shows.
fn shortened(value: &str) -> Cow<'_, str> {
    match value.char_indices().nth(FOUND_CHARS_MAX) {
        None => Cow::Borrowed(value),
        Some((end, _)) => Cow::Owned(format!("{}…", &value[..end])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Directives, Vec<String>) {
        directives(&Object::parse(text).unwrap(), None)
    }

    #[test]
    fn what_is_right_is_read_to_the_letter() {
        let (asked, faults) = read(
            r#"{"$outbox":{"key":"k\u00e9","on_conflict":"dead_letter","not_before":"2026-11-23T10:00:00+00:00","source":"crm","replaces":"1-YW55IGNhcm5hbCBwbGVhc3VyZSwgb3IgYW55IG90aGU"}}"#,
        );
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(
            asked,
            Directives {
                key: Some(SubmissionKey("ké".into())),
                on_conflict: Some(ConflictPolicy::DeadLetter),
                not_before: Timestamp::parse_iso8601("2026-11-23T10:00:00Z"),
                source: Some("crm".into()),
                replaces: "1-YW55IGNhcm5hbCBwbGVhc3VyZSwgb3IgYW55IG90aGU".parse().ok(),
            }
        );
        assert_eq!(read(r#"{"$outbox":{}}"#), (Directives::default(), Vec::new()));
        assert_eq!(
            read(r#"{"a":{"$outbox":{"key":1}}}"#),
            (Directives::default(), Vec::new())
        );
    }

    #[test]
    fn what_is_wrong_is_named_and_never_guessed() {
        let long = format!(r#"{{"key":"{}"}}"#, "k".repeat(KEY_BYTES_MAX + 1));
        let cases = [
            ("1", "$outbox: not a JSON object but a number"),
            ("null", "$outbox: not a JSON object but null"),
            (
                r#"{"kee":"x"}"#,
                "$outbox.kee: unknown directive; known: key, on_conflict",
            ),
            (r#"{"key":7}"#, "$outbox.key: is to be a string, not 7"),
            (r#"{"key":null}"#, "$outbox.key: is to be a string, not null"),
            (r#"{"key":""}"#, "$outbox.key: is empty"),
            (long.as_str(), "$outbox.key: has 513 bytes"),
            (r#"{"key":"a","key":"b"}"#, "$outbox: `key` stands twice"),
            (
                r#"{"on_conflict":"overwrite"}"#,
                "$outbox.on_conflict: `overwrite` is no conflict policy; known: override",
            ),
            (
                r#"{"not_before":"tomorrow"}"#,
                "$outbox.not_before: `tomorrow` is no time",
            ),
            (r#"{"not_before":"2026-11-23T10:00:00"}"#, "is no time with its zone"),
            (r#"{"not_before":"2026-11-23"}"#, "is no time with its zone"),
            (r#"{"not_before":1795428000}"#, "is to be a string, not 1795428000"),
            (r#"{"source":""}"#, "$outbox.source: is empty"),
            (
                r#"{"replaces":"4711"}"#,
                "$outbox.replaces: is no token that `reten-outbox export` writes",
            ),
            (r#"{"replaces":4711}"#, "$outbox.replaces: is to be a string"),
        ];
        for (member, expected) in cases {
            let (_, faults) = read(&format!(r#"{{"$outbox":{member}}}"#));
            assert_eq!(faults.len(), 1, "{member}: {faults:?}");
            assert!(faults[0].contains(expected), "{member}: {faults:?}");
        }
    }

    #[test]
    fn of_two_tokens_none_is_taken() {
        let token = "1-YW55IGNhcm5hbCBwbGVhc3VyZSwgb3IgYW55IG90aGU";
        for count in [2, 3] {
            let twice = vec![format!(r#""replaces":"{token}""#); count].join(",");
            let (asked, faults) = read(&format!(r#"{{"$outbox":{{{twice}}}}}"#));
            assert_eq!((asked.replaces, faults.len()), (None, 1), "{faults:?}");
        }
    }

    #[test]
    fn the_key_is_kept_where_another_directive_is_wrong() {
        let (asked, faults) = read(r#"{"$outbox":{"key":"k","on_conflict":1}}"#);
        assert_eq!((asked.key, faults.len()), (Some(SubmissionKey("k".into())), 1));
    }

    #[test]
    fn of_a_row_the_object_goes_before_the_columns() {
        let columns = RowColumns {
            submission_key: Column::Text("row".into()),
            on_conflict: Column::Text("override".into()),
            source: Column::Blob,
        };
        let object = Object::parse(r#"{"$outbox":{"key":"object","source":"crm"}}"#).unwrap();
        let (asked, faults) = directives(&object, Some(&columns));
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(asked.key, Some(SubmissionKey("object".into())));
        assert_eq!(asked.on_conflict, Some(ConflictPolicy::Override));
        assert_eq!(asked.source.as_deref(), Some("crm"));
        let (asked, faults) = of_columns(&columns);
        assert_eq!(asked.key, Some(SubmissionKey("row".into())));
        assert_eq!(faults, ["column source: is to be text, not a blob"]);
    }
}
