//! One way in which an object breaks the contract, in words that say what would be right.

use std::fmt;

use crate::config::ValidationMode;

/// The longest value that a message repeats, in characters: enough to recognise it; a result's body is never shown in a
/// log.
const SHOWN_CHARS_MAX: usize = 60;
/// The most names that a message lists; a tenant may have hundreds of result types.
const LISTED_MAX: usize = 20;

/// What is wrong with one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where: `status`, `task_result.result`.
    pub path: String,
    pub rule: Rule,
    /// The member's raw text; `None` where it is absent, `null`, or there twice.
    pub found: Option<String>,
}

/// What a member has to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// It is there once.
    Duplicate,
    /// It is there, and not empty.
    Missing,
    /// `activity_id` or `provider_activity_id` is there.
    NoActivity,
    /// It is of this kind: `a string`, `an object`, `true or false`.
    NotA(&'static str),
    /// It is a UUID.
    NotAUuid,
    /// It is one of these.
    NotOneOf(Vec<String>),
    /// It is one of the tenant's result types, which are these. A reason to fetch the list again before it is believed.
    NoResultType(Vec<String>),
    /// It is an ISO 8601 date.
    NotADate,
    /// It lies in the future, as the result type of this code requires.
    NotInFuture(String),
    /// It is there, as the result type of this code requires.
    ScheduleRequired(String),
}

impl Violation {
    /// Whether it is the tenant's list of result types that is broken: with another list it may be none.
    pub const fn is_of_result_types(&self) -> bool {
        match self.rule {
            Rule::NoResultType(_) | Rule::NotInFuture(_) | Rule::ScheduleRequired(_) => true,
            Rule::Duplicate
            | Rule::Missing
            | Rule::NoActivity
            | Rule::NotA(_)
            | Rule::NotAUuid
            | Rule::NotOneOf(_)
            | Rule::NotADate => false,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", one_line(&self.path))?;
        let found = self.found.as_deref().map_or_else(|| "it".to_owned(), shown);
        match &self.rule {
            Rule::Duplicate => write!(f, "stands more than once; keep one of them"),
            Rule::Missing => write!(f, "is missing or empty; it is required"),
            Rule::NoActivity => write!(f, "is missing, and so is provider_activity_id; one of them is required"),
            Rule::NotA(kind) => write!(f, "{found} is not {kind}"),
            Rule::NotAUuid => write!(
                f,
                "{found} is not a UUID; an id of your own system goes into provider_activity_id"
            ),
            Rule::NotOneOf(known) => write!(f, "{found} is not one of {}", listed(known)),
            Rule::NoResultType(known) => {
                write!(f, "{found} is no result type of this tenant; known: {}", listed(known))
            }
            Rule::NotADate => write!(f, "{found} is not an ISO 8601 date; write it as 2026-11-23T10:00:00Z"),
            Rule::NotInFuture(code) => write!(f, "{found} is not in the future, as {} requires", one_line(code)),
            Rule::ScheduleRequired(code) => write!(f, "is missing; {} requires a date in the future", one_line(code)),
        }
    }
}

/// Why these violations make a result `invalid`, in one line; `None` where it is to be sent all the same.
pub fn refusal(violations: &[Violation], mode: ValidationMode) -> Option<String> {
    let refuses = |violation: &&Violation| match mode {
        ValidationMode::Strict => true,
        ValidationMode::Warn => violation.rule == Rule::Duplicate,
        ValidationMode::Off => false,
    };
    let why: Vec<String> = violations.iter().filter(refuses).map(Violation::to_string).collect();
    (!why.is_empty()).then(|| why.join("; "))
}

/// A member's text as a message shows it: an object or array is named, not repeated.
fn shown(raw: &str) -> String {
    match raw.bytes().next() {
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "an array".to_owned(),
        _ => one_line(raw),
    }
}

/// Escaped, so that no line break or direction of writing leaves the message, and cut.
fn one_line(text: &str) -> String {
    let escaped = text.chars().flat_map(|c| {
        let as_it_is = matches!(c, '"' | '\'' | '\\');
        let escaped = (!as_it_is).then(|| c.escape_debug());
        as_it_is.then_some(c).into_iter().chain(escaped.into_iter().flatten())
    });
    let mut line: String = escaped.take(SHOWN_CHARS_MAX + 1).collect();
    if let Some((cut, _)) = line.char_indices().nth(SHOWN_CHARS_MAX) {
        line.truncate(cut);
        line.push('…');
    }
    line
}

fn listed(names: &[String]) -> String {
    let mut list: Vec<String> = names.iter().take(LISTED_MAX).map(|name| one_line(name)).collect();
    if names.len() > LISTED_MAX {
        list.push(format!("and {} more", names.len() - LISTED_MAX));
    }
    list.join(", ")
}
