//! From the text of one result to the [`Entry`] that the outbox takes: directives, facts, digest, and whether it is
//! `invalid`. Pure. Files, rows, `enqueue` and `edit` all come through here, so that one text means the same whichever
//! way it comes.
//!
//! A text that is no JSON object is not ours to decide about ([`NotAnObject`]): a file rejects it, a row keeps it
//! ([`not_an_object`]), a command refuses it.

use crate::config::ValidationMode;
use crate::model::payload::{DIRECTIVES, NotAnObject, Object};
use crate::model::{Digest, Entry, Facts, Origin, Payload};
use crate::policy::validate::{Criteria, Rule, Violation, refusal, validate};

use super::directives::{RowColumns, directives, of_columns};

/// The most faults that are named of one submission: the line is for an operator to read.
const FAULTS_NAMED: usize = 10;

/// An entry, and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub entry: Entry,
    /// Under `validation.mode = "warn"`: what breaks the API's contract although it is sent.
    pub warning: Option<String>,
    /// Whether its result type is not in the list: a reason to fetch the list again.
    pub has_unknown_code: bool,
}

/// Judges the text of one result. `columns` are those of a row.
pub fn entry(
    text: &str,
    origin: Origin,
    columns: Option<&RowColumns>,
    criteria: &Criteria,
) -> Result<Judged, NotAnObject> {
    let object = Object::parse(text)?;
    let (directives, mut faults) = directives(&object, columns);
    let violations = violations(&object, criteria);
    let by_result_types = faults.is_empty() && violations.iter().all(Violation::is_of_result_types);
    faults.extend(refusal(&violations, criteria.settings.mode));
    let warning = match criteria.settings.mode {
        ValidationMode::Warn if faults.is_empty() && !violations.is_empty() => {
            Some(in_one_line(&messages(&violations)))
        }
        ValidationMode::Strict | ValidationMode::Warn | ValidationMode::Off => None,
    };
    let payload = object.payload();
    Ok(Judged {
        entry: Entry {
            digest: directives.key.as_ref().map(|_| payload.digest()),
            payload,
            facts: object.facts(),
            directives,
            origin,
            by_result_types: by_result_types && !faults.is_empty(),
            invalid: (!faults.is_empty()).then(|| in_one_line(&faults)),
        },
        warning,
        has_unknown_code: violations
            .iter()
            .any(|violation| matches!(violation.rule, Rule::NoResultType(_))),
    })
}

/// Everything that is wrong with an object, one line each: for `validate`, which shows all of it.
pub fn problems(object: &Object<'_>, criteria: &Criteria) -> Vec<String> {
    let (_, mut faults) = directives(object, None);
    faults.extend(messages(&violations(object, criteria)));
    faults
}

/// The entry of a row that is no JSON object: a dead letter that keeps the text, where it can be mended.
pub fn not_an_object(text: &str, why: &NotAnObject, origin: Origin, columns: &RowColumns) -> Entry {
    let (directives, mut faults) = of_columns(columns);
    faults.insert(0, why.to_string());
    Entry {
        payload: Payload::from_text(text),
        facts: Facts::default(),
        // Nothing in it has a meaning, so only the very same text is the same result.
        digest: directives.key.as_ref().map(|_| Digest::of(text.as_bytes())),
        directives,
        origin,
        invalid: Some(in_one_line(&faults)),
        by_result_types: false,
    }
}

/// What breaks the API's contract. That `$outbox` is there twice is said with the directives: it holds in every mode.
fn violations(object: &Object<'_>, criteria: &Criteria) -> Vec<Violation> {
    let mut violations = validate(object, criteria);
    violations.retain(|violation| violation.rule != Rule::Duplicate || violation.path != DIRECTIVES);
    violations
}

fn messages(violations: &[Violation]) -> Vec<String> {
    violations.iter().map(ToString::to_string).collect()
}

fn in_one_line(faults: &[String]) -> String {
    let mut line = faults
        .iter()
        .take(FAULTS_NAMED)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("; ");
    if faults.len() > FAULTS_NAMED {
        line = format!("{line}; and {} more", faults.len() - FAULTS_NAMED);
    }
    line.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::config::ValidationSettings;
    use crate::intake::directives::Column;
    use crate::model::SubmissionKey;

    const GOOD: &str = r#"{"provider_activity_id":"act-1","commerce_external_id":"c","occurred_at":"2026-11-01T00:00:00Z","status":"EFFECTIVE","task_result":{"result":"NO_CONTACT"}}"#;

    fn settings(mode: ValidationMode) -> ValidationSettings {
        ValidationSettings {
            mode,
            result_types: true,
            refresh: Duration::from_hours(1),
            statuses: vec!["EFFECTIVE".into(), "NOT_EFFECTIVE".into(), "PENDING".into()],
        }
    }

    fn judged(text: &str, mode: ValidationMode) -> Judged {
        let now = Timestamp::parse_iso8601("2026-11-23T00:00:00Z").unwrap();
        let criteria = Criteria::new(&settings(mode), None, now);
        entry(text, Origin::Row { id: 1 }, None, &criteria).unwrap()
    }

    fn with(member: &str) -> String {
        GOOD.replacen('{', &format!("{{{member},"), 1)
    }

    #[test]
    fn a_good_one_has_its_facts_and_no_digest_without_a_key() {
        let Judged { entry, warning, .. } = judged(GOOD, ValidationMode::Strict);
        assert_eq!((entry.invalid, warning, entry.digest), (None, None, None));
        assert_eq!(entry.payload.text(), GOOD);
        assert_eq!(entry.facts.provider_activity_id.as_deref(), Some("act-1"));
    }

    #[test]
    fn with_a_key_the_digest_is_that_of_the_body_without_its_directives() {
        let entry = judged(&with(r#""$outbox":{"key":"k"}"#), ValidationMode::Strict).entry;
        assert_eq!(entry.payload.text(), GOOD);
        assert_eq!(entry.digest, Some(Payload::from_text(GOOD).digest()));
    }

    #[test]
    fn the_mode_decides_about_violations() {
        let text = GOOD.replace("commerce_external_id", "x");
        let strict = judged(&text, ValidationMode::Strict);
        assert!(strict.entry.invalid.unwrap().contains("commerce_external_id"));
        let warn = judged(&text, ValidationMode::Warn);
        assert_eq!(warn.entry.invalid, None);
        assert!(warn.warning.unwrap().contains("commerce_external_id"));
        let off = judged(&text, ValidationMode::Off);
        assert_eq!((off.entry.invalid, off.warning), (None, None));
    }

    #[test]
    fn wrong_directives_are_invalid_in_every_mode() {
        let cases = [
            (with(r#""$outbox":{},"$outbox":{}"#), "$outbox: stands twice"),
            (
                with(r#""$outbox":{"key":"a","key":"b"}"#),
                "$outbox: `key` stands twice",
            ),
            (with(r#""$outbox":7"#), "$outbox: not a JSON object"),
        ];
        for (text, expected) in cases {
            for mode in [ValidationMode::Strict, ValidationMode::Warn, ValidationMode::Off] {
                let why = judged(&text, mode).entry.invalid.unwrap();
                assert!(
                    why.contains(expected) && !why.contains("more than once"),
                    "{text}: {why}"
                );
            }
        }
    }

    #[test]
    fn a_member_that_stands_twice_is_invalid_unless_nothing_is_looked_at() {
        for text in [
            with(r#""status":"PENDING""#),
            GOOD.replace(r#""result":"#, r#""result":"A","result":"#),
        ] {
            assert!(judged(&text, ValidationMode::Strict).entry.invalid.is_some(), "{text}");
            assert!(judged(&text, ValidationMode::Warn).entry.invalid.is_some(), "{text}");
            assert_eq!(judged(&text, ValidationMode::Off).entry.invalid, None, "{text}");
        }
    }

    #[test]
    fn duplicates_elsewhere_are_the_producers_own_affair() {
        let judged = judged(&with(r#""raw_payload":{"a":1,"a":2}"#), ValidationMode::Strict);
        assert_eq!(judged.entry.invalid, None);
    }

    #[test]
    fn a_row_that_is_no_object_keeps_its_text_and_its_key() {
        let columns = RowColumns {
            submission_key: Column::Text("k".into()),
            ..RowColumns::default()
        };
        let why = Object::parse("[1,2]").unwrap_err();
        let entry = not_an_object("[1,2]", &why, Origin::Row { id: 4 }, &columns);
        assert_eq!(entry.payload.text(), "[1,2]");
        assert_eq!(entry.directives.key, Some(SubmissionKey("k".into())));
        assert!(entry.digest.is_some() && entry.invalid.unwrap().contains("an array"));
    }

    #[test]
    fn a_line_names_so_many_faults_and_no_more() {
        let many: Vec<String> = (0..14).map(|n| format!("f{n}")).collect();
        assert!(in_one_line(&many).ends_with("f9; and 4 more"));
    }
}
