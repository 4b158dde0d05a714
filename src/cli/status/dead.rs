//! What the dead letters have in common: the newest ones, by why they are dead and by whose they are.

use serde::Serialize;

use crate::cli::failures;
use crate::store::DeadLetter;

/// So many of the newest are looked at: what went wrong last is among them, and a million others cost nothing.
pub const LOOK_MAX: u32 = 1000;

/// So many kinds are shown; the others are counted.
const KINDS_MAX: usize = 3;

/// The most characters of a message that are shown.
const MESSAGE_CHARS_MAX: usize = 60;

/// How the newest dead letters are spread.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dead {
    /// So many were looked at.
    pub of_newest: u64,
    /// The most frequent first.
    pub reasons: Vec<DeadKind>,
    /// The most frequent first; of those without one the name is null.
    pub sources: Vec<Producer>,
}

/// Those that are dead for the same reason, with the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadKind {
    pub count: u64,
    pub reason: String,
    pub http_status: Option<u16>,
    /// What the API, the fault or the check said; words with digits are a `#`.
    pub message: Option<String>,
}

/// Those of one producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Producer {
    pub count: u64,
    pub source: Option<String>,
}

/// Sorts them; `None` where there are none.
pub fn what_they_have_in_common(newest: &[DeadLetter]) -> Option<Dead> {
    if newest.is_empty() {
        return None;
    }
    let mut dead = Dead {
        of_newest: newest.len() as u64,
        ..Dead::default()
    };
    for one in newest {
        let message = failures::message(one).map(|message| short(&message));
        let same = |kind: &&mut DeadKind| {
            kind.reason == one.reason && kind.http_status == one.http_status && kind.message == message
        };
        match dead.reasons.iter_mut().find(same) {
            Some(kind) => kind.count += 1,
            None => dead.reasons.push(DeadKind {
                count: 1,
                reason: one.reason.clone(),
                http_status: one.http_status,
                message,
            }),
        }
        match dead.sources.iter_mut().find(|producer| producer.source == one.source) {
            Some(producer) => producer.count += 1,
            None => dead.sources.push(Producer {
                count: 1,
                source: one.source.clone(),
            }),
        }
    }
    // Stable: of those that are equally many the newest comes first.
    dead.reasons.sort_by_key(|kind| std::cmp::Reverse(kind.count));
    dead.sources.sort_by_key(|producer| std::cmp::Reverse(producer.count));
    Some(dead)
}

/// Without what differs from one to the next, and cut.
fn short(message: &str) -> String {
    let text = failures::blanked(message);
    match text.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

impl Dead {
    /// In a line each: by reason, by producer. `dead` is how many there are. Not escaped.
    pub fn lines(&self, dead: u64) -> [String; 2] {
        let of = if dead > self.of_newest {
            format!("of the newest {}: ", self.of_newest)
        } else {
            String::new()
        };
        let reasons = self.reasons.iter().map(|kind| {
            let status = kind.http_status.map(|status| format!(" {status}")).unwrap_or_default();
            let message = kind
                .message
                .as_ref()
                .map(|message| format!(" ({message})"))
                .unwrap_or_default();
            format!("{} {}{status}{message}", kind.count, kind.reason)
        });
        let sources = self.sources.iter().map(|producer| {
            let of = producer
                .source
                .as_ref()
                .map_or_else(|| "of no source".to_owned(), |source| format!("of {source}"));
            format!("{} {of}", producer.count)
        });
        [of.clone() + &first(reasons), of + &first(sources)]
    }
}

fn first(parts: impl ExactSizeIterator<Item = String>) -> String {
    let more = parts.len().saturating_sub(KINDS_MAX);
    let mut shown: Vec<String> = parts.take(KINDS_MAX).collect();
    if more > 0 {
        shown.push(format!("{more} more kinds (`reten-outbox list --state dead`)"));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::model::SubmissionId;

    fn letter(reason: &str, message: &str, source: Option<&str>) -> DeadLetter {
        let is_invalid = reason == "invalid";
        let body = format!("{{\"statusCode\":404,\"error\":\"Not Found\",\"message\":\"{message}\"}}");
        DeadLetter {
            id: SubmissionId(1),
            at: Timestamp::from_millis(1),
            reason: reason.to_owned(),
            http_status: (!is_invalid).then_some(404),
            source: source.map(str::to_owned),
            invalid: is_invalid.then(|| message.to_owned()),
            body: (!is_invalid).then(|| body.into_bytes()),
            fault: None,
        }
    }

    #[test]
    fn the_dead_are_told_apart_by_reason_answer_message_and_source() {
        assert_eq!(what_they_have_in_common(&[]), None);
        let letters = [
            letter("invalid", "occurred_at is missing", None),
            letter("rejected", "Activity act-17 not found", Some("crm")),
            letter("rejected", "Activity act-18 not found", Some("crm")),
        ];
        let dead = what_they_have_in_common(&letters).unwrap();
        assert_eq!(
            dead.lines(3),
            [
                "2 rejected 404 (Activity # not found), 1 invalid (occurred_at is missing)",
                "2 of crm, 1 of no source"
            ]
        );
        assert!(dead.lines(5000)[0].starts_with("of the newest 3: "));
    }

    #[test]
    fn many_kinds_are_counted_and_long_messages_cut() {
        let letters: Vec<DeadLetter> = ["a", "b", "c", "d", "e"]
            .map(|one| letter("rejected", one, Some(one)))
            .to_vec();
        let [reasons, _] = what_they_have_in_common(&letters).unwrap().lines(5);
        assert!(
            reasons.ends_with("2 more kinds (`reten-outbox list --state dead`)"),
            "{reasons}"
        );
        assert_eq!(short(&"é".repeat(100)).chars().count(), MESSAGE_CHARS_MAX + 1);
    }
}
