//! Dead letters sorted by what went wrong: a thousand that failed for one reason are one line. Pure; what it is given is
//! bounded by who asks the outbox ([`LOOK_MAX`]).

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::model::SubmissionId;
use crate::policy::hint::ApiError;
use crate::store::DeadLetter;

/// So many of the newest are looked at. What went wrong last is among them, and a million others cost nothing.
pub const LOOK_MAX: u32 = 10_000;

/// So many numbers of a group are shown as examples.
pub const EXAMPLES: usize = 5;

/// What is put for a word that differs from one to the next.
const BLANK: &str = "#";

/// What dead letters of one group have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct FailureKind {
    /// By its public name.
    pub reason: String,
    /// The status of the last answer; of what the check refused none.
    pub http_status: Option<u16>,
    /// The API's `error`.
    pub error: Option<String>,
    /// The API's `message`, else what the check or the fault says, without what differs; not escaped.
    pub message: Option<String>,
}

/// Dead letters of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// Newest first.
    pub ids: Vec<SubmissionId>,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// Whose they are, the most frequent first; `None`: of no source. Not escaped.
    pub producers: Vec<(Option<String>, u64)>,
}

impl Failure {
    /// The newest of them.
    pub fn examples(&self) -> &[SubmissionId] {
        &self.ids[..self.ids.len().min(EXAMPLES)]
    }
}

/// Sorts them, which come newest first: the most frequent kind first, of those that are equally many the newest.
pub fn grouped(newest: &[DeadLetter]) -> Vec<Failure> {
    let mut places: HashMap<FailureKind, usize> = HashMap::new();
    let mut failures: Vec<Failure> = Vec::new();
    for one in newest {
        let kind = kind(one);
        let place = *places.entry(kind).or_insert_with_key(|kind| {
            failures.push(Failure {
                kind: kind.clone(),
                ids: Vec::new(),
                first_seen: one.at,
                last_seen: one.at,
                producers: Vec::new(),
            });
            failures.len() - 1
        });
        let failure = &mut failures[place];
        failure.ids.push(one.id);
        failure.first_seen = failure.first_seen.min(one.at);
        failure.last_seen = failure.last_seen.max(one.at);
        match failure.producers.iter_mut().find(|(source, _)| *source == one.source) {
            Some((_, count)) => *count += 1,
            None => failure.producers.push((one.source.clone(), 1)),
        }
    }
    for failure in &mut failures {
        failure.producers.sort_by_key(|(_, count)| Reverse(*count));
    }
    // Stable.
    failures.sort_by_key(|failure| Reverse(failure.ids.len()));
    failures
}

fn kind(one: &DeadLetter) -> FailureKind {
    let is_invalid = one.reason == "invalid";
    let told = one.body.as_deref().filter(|_| !is_invalid).and_then(ApiError::parse);
    FailureKind {
        reason: one.reason.clone(),
        http_status: one.http_status.filter(|_| !is_invalid),
        error: told.as_ref().and_then(|told| told.error.clone()),
        message: message(one).map(|message| blanked(&message)),
    }
}

/// What the check, the API or the fault says of one.
pub fn message(one: &DeadLetter) -> Option<String> {
    let documented = || {
        one.body
            .as_deref()
            .and_then(ApiError::parse)
            .and_then(|error| error.message)
    };
    one.invalid
        .clone()
        .filter(|_| one.reason == "invalid")
        .or_else(documented)
        .or_else(|| one.fault.clone())
}

/// Without what differs from one to the next: a word with a digit is a number, an id, a UUID or a time. Signs round
/// it stay, so that the sentence does.
pub fn blanked(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        if !word.contains(|c: char| c.is_ascii_digit()) {
            return word.to_owned();
        }
        let is_sign = |c: char| !c.is_alphanumeric();
        let before = word.len() - word.trim_start_matches(is_sign).len();
        let after = word.trim_end_matches(is_sign).len();
        format!("{}{BLANK}{}", &word[..before], &word[after..])
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(id: i64, message: &str, source: Option<&str>) -> DeadLetter {
        let body = format!("{{\"statusCode\":404,\"error\":\"Not Found\",\"message\":\"{message}\"}}");
        DeadLetter {
            id: SubmissionId(id),
            at: Timestamp::from_millis(id * 1000),
            reason: "rejected".to_owned(),
            http_status: Some(404),
            source: source.map(str::to_owned),
            invalid: None,
            body: Some(body.into_bytes()),
            fault: None,
        }
    }

    #[test]
    fn what_differs_from_one_to_the_next_is_left_out() {
        for (text, expected) in [
            ("Activity act-17 not found", "Activity # not found"),
            (
                "activity 0b9f5a8e-6a3e-4a53-9f0e-7d4f0f2c9b11 is closed",
                "activity # is closed",
            ),
            ("limit of 300 (of 200), since 10:04:11Z.", "limit of # (of #), since #."),
            ("\"act-1\": no such", "\"#\": no such"),
            ("no digits at all", "no digits at all"),
            ("12", "#"),
            ("", ""),
        ] {
            assert_eq!(blanked(text), expected);
        }
    }

    #[test]
    fn one_kind_is_one_group_with_its_numbers_times_and_producers() {
        let mut letters: Vec<DeadLetter> = (1..=7)
            .rev()
            .map(|id| {
                rejected(
                    id,
                    &format!("Activity act-{id} not found"),
                    Some(if id == 3 { "web" } else { "crm" }),
                )
            })
            .collect();
        letters.push(rejected(8, "Unknown task", None));
        letters.push(DeadLetter {
            reason: "invalid".to_owned(),
            invalid: Some("status: \"X1\" is unknown".to_owned()),
            ..rejected(9, "an answer to an earlier payload", None)
        });
        let failures = grouped(&letters);
        assert_eq!(failures.len(), 3);
        let first = &failures[0];
        assert_eq!(first.kind.message.as_deref(), Some("Activity # not found"));
        assert_eq!(
            (first.kind.http_status, first.kind.error.as_deref()),
            (Some(404), Some("Not Found"))
        );
        assert_eq!(first.ids.len(), 7);
        assert_eq!(first.examples(), [7, 6, 5, 4, 3].map(SubmissionId));
        assert_eq!(first.first_seen, Timestamp::from_millis(1000));
        assert_eq!(first.last_seen, Timestamp::from_millis(7000));
        assert_eq!(
            first.producers,
            [(Some("crm".to_owned()), 6), (Some("web".to_owned()), 1)]
        );
        let invalid = &failures[2].kind;
        assert_eq!((invalid.http_status, invalid.error.as_deref()), (None, None));
        assert_eq!(invalid.message.as_deref(), Some("status: \"#\" is unknown"));
        assert_eq!(grouped(&[]), []);
    }
}
