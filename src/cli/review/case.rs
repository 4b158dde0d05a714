//! A parked submission as it is put before an operator: ours, what is known of the registered one, and what differs.

use sha2::{Digest as _, Sha256};

use crate::cli::render::escape::{self, visible};
use crate::cli::render::outcome::{error_of, status_of};
use crate::cli::render::pretty::pretty;
use crate::cli::render::time::ago;
use crate::cli::render::{choices, story};
use crate::clock::Timestamp;
use crate::model::{ParkReason, Payload, State, SubmissionId};
use crate::store::Story;

use super::compare::{Comparison, Difference, compare, members};

/// The lines of the API's answer that are kept: what does not fit is in `show`.
const ANSWER_LINES_MAX: usize = 200;

/// What is known of the result that the API has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// No delivered one of ours: it came from elsewhere, or from before this outbox. The API's answer is all there is.
    Unknown,
    /// We delivered it last, and retention has taken it away since.
    Gone(SubmissionId),
    /// We delivered it last, at this time.
    Kept(SubmissionId, Timestamp),
}

/// Those with the same are alike: source, reason, what is known of the registered one, and which members differ.
pub type Likeness = [u8; 32];

/// What is kept of each parked one, however many there are: enough to decide it and to take that back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub id: SubmissionId,
    pub reason: ParkReason,
    /// What of its activity was delivered last.
    pub delivered_before: Option<SubmissionId>,
    pub likeness: Likeness,
    /// When it was parked: where that changes, it is another conflict.
    pub parked_at: Timestamp,
}

/// One parked submission. All text in it but the payload is safe for a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub seen: Seen,
    pub payload: Payload,
    pub source: Option<String>,
    /// What names its activity.
    pub activity: String,
    pub attempts: u32,
    pub taken_in: Timestamp,
    /// The last answer in a line: `409 Conflict: Activity already has a result`.
    pub answer: String,
    /// Its body, laid out.
    pub answer_lines: Vec<String>,
    /// Why it is parked, in a sentence.
    pub why: String,
    /// The likely decision, with why.
    pub likely: Option<String>,
    pub registered: Registered,
    pub superseded_by: Option<SubmissionId>,
    pub comparison: Comparison,
}

impl Case {
    /// The case of a story; `None` where it is not parked. `registered` is the story of [`Story::delivered_last`],
    /// where that is kept.
    pub fn of(story: &Story, registered: Option<&Story>) -> Option<Self> {
        let listed = &story.listed;
        let State::Parked(reason) = listed.state else {
            return None;
        };
        let known = match (story.delivered_last, registered) {
            (None, _) => Registered::Unknown,
            (Some(last), Some(theirs)) if theirs.listed.id == last => Registered::Kept(last, theirs.listed.updated_at),
            (Some(last), _) => Registered::Gone(last),
        };
        let ours = story.payload.text();
        let comparison = match (&known, registered) {
            (Registered::Kept(..), Some(theirs)) => compare(&ours, &theirs.payload.text()),
            (Registered::Kept(..) | Registered::Unknown | Registered::Gone(_), _) => Comparison {
                rows: members(&ours),
                difference: Difference::new(),
            },
        };
        let seen = Seen {
            id: listed.id,
            reason,
            delivered_before: story.delivered_last,
            likeness: likeness(listed.source.as_deref(), reason, &known, &comparison.difference),
            parked_at: listed.updated_at,
        };
        let activity = listed.facts.activity().map(|activity| activity.text().to_owned());
        Some(Self {
            seen,
            payload: story.payload.clone(),
            source: listed.source.as_deref().map(safe),
            activity: activity.map_or_else(|| "(none)".to_owned(), |activity| safe(&activity)),
            attempts: listed.attempts,
            taken_in: listed.created_at,
            answer: answer(story),
            answer_lines: answer_lines(story),
            why: story::why_parked(reason, story),
            likely: choices::likely_decision(story),
            registered: known,
            superseded_by: story.superseded_by,
            comparison,
        })
    }

    /// What is known of the registered one, as a heading.
    pub fn registered_heading(&self, now: Timestamp) -> String {
        match &self.registered {
            Registered::Unknown => "REGISTERED: not by us".to_owned(),
            Registered::Gone(id) => format!("REGISTERED: {id}, not kept"),
            Registered::Kept(id, at) => format!("REGISTERED: {id}, {}", ago(*at, now)),
        }
    }
}

fn safe(text: &str) -> String {
    visible(text).into_owned()
}

fn likeness(source: Option<&str>, reason: ParkReason, known: &Registered, difference: &Difference) -> Likeness {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update(bytes.len().to_be_bytes());
        hash.update(bytes);
    };
    part(if source.is_some() { b"source" } else { b"none" });
    part(source.unwrap_or_default().as_bytes());
    part(reason.into_str().as_bytes());
    part(match known {
        Registered::Unknown => b"unknown",
        Registered::Gone(_) => b"gone",
        Registered::Kept(..) => b"kept",
    });
    for (member, mark) in difference {
        part(member.as_bytes());
        part(&[mark.sign() as u8]);
    }
    hash.finalize().into()
}

fn answer(story: &Story) -> String {
    let said = error_of(&story.listed).map(|error| safe(&error.line()));
    let status = || {
        story
            .listed
            .last
            .as_ref()
            .and_then(status_of)
            .map(|status| status.to_string())
    };
    said.or_else(status).unwrap_or_else(|| "no answer is kept".to_owned())
}

fn answer_lines(story: &Story) -> Vec<String> {
    let Some(answer) = story.listed.last.as_ref().and_then(|last| last.answer.as_ref()) else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&answer.body);
    let laid_out = pretty(&text).map_or_else(|| escape::lines(&text), |laid_out| escape::json(&laid_out).into_owned());
    let mut lines: Vec<String> = laid_out.lines().take(ANSWER_LINES_MAX).map(safe).collect();
    if answer.is_truncated() || laid_out.lines().nth(ANSWER_LINES_MAX).is_some() {
        lines.push("…".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::sample;

    fn parked(payload: &str, last: Option<i64>) -> Story {
        let mut story = sample::story(payload);
        story.listed.state = State::Parked(ParkReason::Conflict);
        story.delivered_last = last.map(SubmissionId);
        story
    }

    fn delivered(id: i64, payload: &str) -> Story {
        let mut story = sample::story(payload);
        (story.listed.id, story.listed.state) = (SubmissionId(id), State::Delivered);
        story
    }

    #[test]
    fn only_what_is_parked_is_a_case() {
        assert_eq!(Case::of(&sample::story("{}"), None), None);
    }

    #[test]
    fn what_is_known_of_the_registered_one_is_told_apart() {
        let now = Timestamp::from_millis(1_795_428_100_000);
        let heading = |last, kept: Option<&Story>| {
            let case = Case::of(&parked("{}", last), kept).unwrap();
            case.registered_heading(now)
        };
        assert_eq!(heading(None, None), "REGISTERED: not by us");
        assert!(heading(Some(7), None).contains("7, not kept"));
        assert_eq!(heading(Some(7), Some(&delivered(7, "{}"))), "REGISTERED: 7, 1 min ago");
    }

    #[test]
    fn alike_are_those_of_one_source_and_reason_that_differ_in_the_same_members() {
        let registered = delivered(7, r#"{"a":1,"b":1}"#);
        let likeness = |payload: &str, source: Option<&str>, reason, known: bool| {
            let mut story = parked(payload, Some(7));
            story.listed.source = source.map(str::to_owned);
            story.listed.state = State::Parked(reason);
            Case::of(&story, known.then_some(&registered)).unwrap().seen.likeness
        };
        let plain = |payload| likeness(payload, None, ParkReason::Conflict, true);
        assert_eq!(plain(r#"{"a":2,"b":1}"#), plain(r#"{"b":1,"a":3}"#));
        assert_ne!(plain(r#"{"a":2,"b":1}"#), plain(r#"{"a":2,"b":2}"#));
        assert_ne!(plain(r#"{"a":2,"b":1}"#), plain(r#"{"b":1}"#));
        let first = r#"{"a":2,"b":1}"#;
        for other in [
            likeness(first, Some("crm"), ParkReason::Conflict, true),
            likeness(first, None, ParkReason::ConflictAfterLostResponse, true),
            likeness(first, None, ParkReason::Conflict, false),
        ] {
            assert_ne!(other, plain(first));
        }
    }

    #[test]
    fn nothing_of_the_answer_reaches_a_terminal_as_it_came() {
        let mut story = parked("{}", None);
        let hostile = "{\"message\":\"\u{202e}x\\u001b[2J\"}";
        for body in [hostile, "<html>\u{1b}[31m\u{202e}\n\r"] {
            let mut attempt = sample::attempt();
            if let Some(answer) = &mut attempt.answer {
                answer.body = body.as_bytes().to_vec().into();
            }
            story.listed.last = Some(attempt);
            let case = Case::of(&story, None).unwrap();
            let mut shown = case.answer_lines.clone();
            shown.push(case.answer);
            assert!(
                shown
                    .iter()
                    .all(|line| !line.contains(|c: char| c.is_control() || c == '\u{202e}')),
                "{shown:?}"
            );
        }
    }
}
