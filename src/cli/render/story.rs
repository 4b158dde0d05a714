//! A submission's life in order: its attempts and every other change, told in plain words.

use crate::clock::Timestamp;
use crate::model::{ActName, Attempt, DeadReason, EndingName, Origin, ParkReason, REPLACED, State, StateName};
use crate::store::{Event, Listed, Story};

use super::escape::visible;
use super::outcome::next_attempt_at;
use super::time::{ago, due, due_in_full};
use super::words;

/// The first step of every story.
pub const TAKEN: &str = "taken in";

/// One thing that happened.
#[derive(Debug, Clone, Copy)]
pub enum StoryStep<'a> {
    /// It was taken in.
    Taken(&'a Listed),
    Attempt(&'a Attempt),
    Event(&'a Event),
}

impl StoryStep<'_> {
    fn at(&self) -> Timestamp {
        match self {
            Self::Taken(listed) => listed.created_at,
            Self::Attempt(attempt) => attempt.started_at,
            Self::Event(event) => event.at,
        }
    }
}

/// What happened, by its time. What an operator did comes before the attempt of the same millisecond, which it caused.
pub fn steps(story: &Story) -> Vec<StoryStep<'_>> {
    let mut steps = vec![StoryStep::Taken(&story.listed)];
    steps.extend(story.history.iter().map(StoryStep::Event));
    steps.extend(story.attempts.iter().map(StoryStep::Attempt));
    // The first is the first, also where the clock was set back later.
    steps[1..].sort_by_key(StoryStep::at);
    steps
}

/// When a step happened, and what it was in plain words.
pub fn line(step: &StoryStep<'_>) -> (Timestamp, String) {
    let words = match step {
        StoryStep::Taken(listed) => {
            let wrong = listed
                .invalid
                .as_deref()
                .map(|why| format!(", and found invalid: {}", visible(why)));
            format!("{TAKEN} from {}{}", origin(&listed.origin), wrong.unwrap_or_default())
        }
        StoryStep::Attempt(attempt) => words::attempt(attempt),
        StoryStep::Event(event) => words::event(event),
    };
    (step.at(), words)
}

/// The state with its reason: `dead: rejected`.
pub fn state(listed: &Listed) -> String {
    let name = listed.state.name();
    listed
        .state
        .reason()
        .map_or_else(|| name.to_string(), |reason| format!("{name}: {reason}"))
}

/// Where it came from, in words.
pub fn origin(origin: &Origin) -> String {
    let (name, place) = match origin {
        Origin::File { name, line, item } => {
            let line = line.map(|line| format!(", line {line}"));
            (
                format!("file {name}"),
                line.or_else(|| item.map(|item| format!(", item {item}"))),
            )
        }
        Origin::Row { id } => (format!("row {id} of the inbox database"), None),
        Origin::User { name, line } => (format!("user {name}"), line.map(|line| format!(", line {line}"))),
    };
    visible(&(name + &place.unwrap_or_default())).into_owned()
}

/// What happens next, in a few sentences. `obstacle` says why nothing is sent at present, where that is so.
pub fn next(story: &Story, obstacle: Option<&str>, now: Timestamp) -> String {
    let listed = &story.listed;
    match &listed.state {
        State::Pending { .. } => pending(story, obstacle, now),
        State::Sending => "A request is under way, and its outcome comes before anything else. \
             Should the daemon have ended meanwhile, its next \
             start takes it up again."
            .to_owned(),
        State::Delivered => delivered(story),
        State::Dead(reason) => format!("Nothing, until a person acts: {}{}", dead(*reason), may_be_ours(story)),
        State::Parked(reason) => format!("Nothing, until a person decides: {}", why_parked(*reason, story)),
        State::Dismissed => dismissed(story),
    }
}

fn pending(story: &Story, obstacle: Option<&str>, now: Timestamp) -> String {
    let listed = &story.listed;
    if let Some(earlier) = listed.waits_behind {
        return format!(
            "It waits behind submission {earlier} of the same activity, which goes first: \
             `reten-outbox show {earlier}`."
        );
    }
    let when = match (next_attempt_at(listed), obstacle) {
        (Some(at), _) if at > now && listed.not_before == Some(at) => {
            format!("Its `not_before` holds it; it is due {}.", due_in_full(at, now))
        }
        (Some(at), Some(obstacle)) if at > now => format!("It is due {}, but {obstacle}.", due_in_full(at, now)),
        (_, Some(obstacle)) => format!("It is due, but {obstacle}."),
        (Some(at), None) if at > now => format!("It is sent {}.", due_in_full(at, now)),
        (_, None) => "It is due: it is sent as soon as a slot is free.".to_owned(),
    };
    when + &may_be_ours(story)
}

/// What a 409 would mean, where an answer was lost. It means nothing to one that goes out with `hard_override`.
fn may_be_ours(story: &Story) -> String {
    let by_operator = story
        .history
        .last()
        .is_some_and(|last| last.what == ActName::Override.recorded());
    let by_policy = story
        .attempts
        .last()
        .is_some_and(|last| last.outcome == EndingName::Override);
    if by_operator || by_policy {
        return String::new();
    }
    words::why_likely_ours(story).map_or_else(String::new, |why| {
        format!(" Should the API say then that the activity has a result already, it is likely this very one: {why}.")
    })
}

/// By whom it was replaced, where it was: then that one is to be looked at.
fn dismissed(story: &Story) -> String {
    let replaced = story.history.last().filter(|last| last.what == REPLACED);
    match replaced.and_then(|last| last.detail.as_deref()) {
        Some(how) => format!("Nothing: {}.", visible(how)),
        None => "Nothing: it was closed without being delivered.".to_owned(),
    }
}

fn delivered(story: &Story) -> String {
    let accepted = story
        .attempts
        .last()
        .is_some_and(|last| last.outcome == EndingName::Accepted);
    match words::why_likely_ours(story).filter(|_| accepted) {
        Some(why) => format!(
            "Nothing: the API has it. It said that the activity has a result already, \
             and conflict.after_lost_response takes that for ours: {why}."
        ),
        None => "Nothing: the API has it.".to_owned(),
    }
}

const fn dead(reason: DeadReason) -> &'static str {
    match reason {
        DeadReason::Rejected => "the API refuses it as it is, and would refuse it again.",
        DeadReason::Invalid => "it breaks the API's contract, and was not sent.",
        DeadReason::Conflict => "its activity already has a result, and the policy does not replace it.",
        DeadReason::RetriesExhausted => "it was tried for as long, or as often, as the configuration allows.",
        DeadReason::Unauthorized => {
            "the API refused our key. When a working key opens the gate it is requeued by itself, \
             unless auth.requeue is off."
        }
    }
}

/// Why it is parked, in a sentence that goes on from a colon.
pub fn why_parked(reason: ParkReason, story: &Story) -> String {
    match (reason, words::why_likely_ours(story)) {
        (ParkReason::Conflict, _) => "its activity already has a result, which was not ours to replace.".to_owned(),
        (ParkReason::ConflictAfterLostResponse, Some(why)) => {
            format!(
                "its activity already has a result, and that is likely this very one: {why}. If so, accept it; \
                 nothing is sent again then."
            )
        }
        (ParkReason::ConflictAfterLostResponse, None) => {
            "its activity already has a result, which may be this very one: the answer to an earlier request was lost."
                .to_owned()
        }
    }
}

/// A short word for when: what is pending waits, everything else changed.
pub fn when(listed: &Listed, now: Timestamp) -> String {
    match (listed.state.name(), listed.waits_behind, next_attempt_at(listed)) {
        (StateName::Pending, Some(earlier), _) => format!("after {earlier}"),
        (StateName::Pending, None, Some(at)) => due(at, now),
        _ => ago(listed.updated_at, now),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::render::sample;
    use crate::model::SubmissionId;

    const NOW: Timestamp = Timestamp::from_millis(1_795_428_100_000);

    #[test]
    fn what_not_before_holds_says_until_when() {
        let mut story = sample::story("{}");
        let due = Timestamp::parse_iso8601("2099-01-01T00:00:00Z").unwrap();
        (story.listed.not_before, story.listed.state) = (Some(due), State::Pending { due });
        let told = next(&story, Some("the gate is paused"), NOW);
        assert!(
            told.contains("`not_before` holds it; it is due on 2099-01-01T00:00:00.000Z"),
            "{told}"
        );
        assert_eq!(when(&story.listed, NOW), "on 2099-01-01");
    }

    #[test]
    fn what_was_replaced_names_its_twin() {
        let mut story = sample::story("{}");
        story.listed.state = State::Dismissed;
        assert!(next(&story, None, NOW).contains("closed without being delivered"));
        story.history[0].what = "replaced".into();
        story.history[0].detail = Some("submission 13 took its place".into());
        assert_eq!(next(&story, None, NOW), "Nothing: submission 13 took its place.");
    }

    #[test]
    fn a_pending_one_says_what_it_waits_for() {
        let mut story = sample::story("{}");
        story.listed.state = State::Pending {
            due: NOW.plus(Duration::from_secs(12)),
        };
        assert!(next(&story, None, NOW).contains("in 12 s"));
        story.listed.not_before = Some(NOW.minus(Duration::from_hours(2)));
        assert!(
            next(&story, None, NOW).contains("in 12 s"),
            "what was waited for is over"
        );
        let due = NOW.plus(Duration::from_hours(2));
        (story.listed.not_before, story.listed.state) = (Some(due), State::Pending { due });
        assert!(
            next(&story, None, NOW).contains("in 2 h"),
            "{}",
            next(&story, None, NOW)
        );
        story.listed.not_before = None;
        let told = next(&story, Some("the gate is paused"), NOW);
        assert!(
            told.contains("in 2 h") && told.contains("but the gate is paused"),
            "{told}"
        );
        story.listed.waits_behind = Some(SubmissionId(7));
        assert!(next(&story, None, NOW).contains("submission 7"));
        assert_eq!(when(&story.listed, NOW), "after 7");
    }

    #[test]
    fn a_conflict_after_a_lost_response_says_why_it_is_likely_ours() {
        let mut story = sample::story("{}");
        story.listed.state = State::Parked(ParkReason::ConflictAfterLostResponse);
        story.listed.lost_response = true;
        story.attempts[0].lost_response = true;
        let told = next(&story, None, NOW);
        assert!(
            told.contains("likely this very one: the request of attempt 1 went out"),
            "{told}"
        );
        story.listed.state = State::Delivered;
        assert_eq!(next(&story, None, NOW), "Nothing: the API has it.");
        story.attempts[0].outcome = EndingName::Accepted;
        assert!(next(&story, None, NOW).contains("takes that for ours"));
    }

    #[test]
    fn a_step_is_one_escaped_line() {
        let story = sample::story("{}");
        let lines: Vec<String> = steps(&story).iter().map(|step| line(step).1).collect();
        assert_eq!(lines[0], "taken in from file batch.ndjson, line 3");
        assert!(
            lines[1].starts_with("attempt 1: 400 Bad Request: commerce \\u{202e}unknown"),
            "{lines:?}"
        );
        assert_eq!(lines[2], "requeued by user ana");
    }

    #[test]
    fn an_origin_names_file_and_place() {
        assert_eq!(origin(&sample::story("{}").listed.origin), "file batch.ndjson, line 3");
        assert_eq!(origin(&Origin::Row { id: 4 }), "row 4 of the inbox database");
    }
}
