//! What happened to a submission, in plain words: each step of its story in a sentence, and why a 409 may be our own
//! doing.

use crate::model::{Attempt, EndingName, FaultKind};
use crate::store::{Event, Story};

use super::escape::visible;
use super::outcome::{error_of_attempt, status_of};
use super::time::elapsed;

/// The name of a correction in history.
const EDITED: &str = "edited";

/// An attempt: what went out, what came back, and what followed.
pub fn attempt(attempt: &Attempt) -> String {
    let with = if attempt.hard_override {
        " with hard_override"
    } else {
        ""
    };
    let took = if attempt.elapsed_ms > 0 {
        format!(" ({})", elapsed(attempt.elapsed_ms))
    } else {
        String::new()
    };
    let lost = if attempt.lost_response {
        "; it may have been registered all the same"
    } else {
        ""
    };
    let number = attempt.number.0;
    let by = attempt.node.as_deref().map(|node| format!(" on {}", visible(node)));
    let by = by.unwrap_or_default();
    format!(
        "attempt {number}{by}{with}: {}{took}; {}{lost}",
        came_back(attempt),
        followed(attempt.outcome)
    )
}

fn came_back(attempt: &Attempt) -> String {
    let error = error_of_attempt(attempt);
    if let Some(fault) = &attempt.fault {
        let message = visible(&fault.message);
        return match (fault.kind, fault.status) {
            (FaultKind::Interrupted, _) => message.into_owned(),
            (_, Some(status)) => format!("the answer, {status}, broke off: {message}"),
            (kind, None) => format!("no answer, {}: {message}", kind.into_str()),
        };
    }
    match (error, status_of(attempt)) {
        (Some(error), Some(status)) if error.status_code == Some(status) => visible(&error.line()).into_owned(),
        (Some(error), Some(status)) => format!("{status}, {}", visible(&error.line())),
        (Some(error), None) => visible(&error.line()).into_owned(),
        (None, Some(status)) => status.to_string(),
        (None, None) => "not sent".to_owned(),
    }
}

const fn followed(outcome: EndingName) -> &'static str {
    match outcome {
        EndingName::Delivered => "delivered",
        EndingName::Accepted => "taken for our own earlier success, so delivered",
        EndingName::Retry => "to be tried again",
        EndingName::Override => "to be sent again with hard_override",
        EndingName::Dead => "a dead letter",
        EndingName::Parked => "parked for a person to decide",
        EndingName::Released => "given back, and not counted as a try",
        EndingName::Interrupted => "to be sent again",
    }
}

/// The name of a restore in history.
const RESTORED: &str = "restored";

/// Any other change, with who made it.
pub fn event(event: &Event) -> String {
    let what = match event.what.as_str() {
        "override" => "requeued, to replace the registered result,".into(),
        "accepted" => "the registered result was taken for ours".into(),
        "recovered" => "taken up again".into(),
        "undone" => "the decision was taken back, and it is parked again,".into(),
        "replaces" => "took the place of another".into(),
        EDITED => "edited and requeued".into(),
        other => visible(other),
    };
    let detail = event.detail.as_deref().map(|detail| format!(": {}", visible(detail)));
    format!("{what} by {}{}", visible(&event.actor), detail.unwrap_or_default())
}

/// Why a result that is registered already may be this very one, where an answer of ours was lost: which request, and
/// how.
pub fn why_likely_ours(story: &Story) -> Option<String> {
    if !story.listed.lost_response {
        return None;
    }
    // An edit makes another payload of it: what was lost before was another one's answer.
    let since = story
        .history
        .iter()
        .rev()
        .find(|event| event.what == EDITED)
        .map(|event| event.at);
    let counts = |attempt: &&Attempt| attempt.lost_response && since.is_none_or(|since| attempt.started_at >= since);
    let lost: Vec<&Attempt> = story.attempts.iter().filter(counts).collect();
    let restored = story.history.iter().rev().find(|event| event.what == RESTORED);
    if let Some(restored) = restored.filter(|restored| since.is_none_or(|since| restored.at >= since)) {
        let detail = restored
            .detail
            .as_deref()
            .unwrap_or("from a backup, and may have been sent since");
        return Some(format!("it was restored {}", visible(detail)));
    }
    let (first, others) = lost.split_first()?;
    let others = match others.len() {
        0 => String::new(),
        1 => " (one more went likewise)".to_owned(),
        count => format!(" ({count} more went likewise)"),
    };
    Some(format!(
        "the request of attempt {} went out, but {}{others}, so the API may have registered it unseen",
        first.number.0,
        how_lost(first)
    ))
}

fn how_lost(attempt: &Attempt) -> String {
    match (&attempt.fault, &attempt.answer) {
        (Some(fault), _) => match fault.kind {
            FaultKind::Timeout => "no whole answer came within api.timeout".to_owned(),
            FaultKind::CutOff => "its answer broke off".to_owned(),
            FaultKind::Interrupted => "the daemon ended before its answer came".to_owned(),
            FaultKind::Reset | FaultKind::Connect | FaultKind::Dns | FaultKind::Tls => {
                "the connection ended before its answer".to_owned()
            }
        },
        (None, Some(answer)) if (200..=299).contains(&answer.status) => {
            format!("a page that is not the API's came back ({})", answer.status)
        }
        (None, Some(answer)) => format!("a {} came back, which does not say how far it had come", answer.status),
        (None, None) => "its answer was never seen".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::sample;
    use crate::clock::Timestamp;
    use crate::model::{AttemptNumber, Fault};

    fn lost(number: u32, kind: FaultKind) -> Attempt {
        Attempt {
            number: AttemptNumber(number),
            lost_response: true,
            outcome: EndingName::Retry,
            answer: None,
            fault: Some(Fault {
                kind,
                message: "as it was".to_owned(),
                status: None,
            }),
            ..sample::attempt()
        }
    }

    #[test]
    fn an_attempt_says_what_came_back_and_what_followed() {
        assert_eq!(
            attempt(&sample::attempt()),
            "attempt 1: 400 Bad Request: commerce \\u{202e}unknown (412 ms); a dead letter"
        );
        assert_eq!(
            attempt(&lost(2, FaultKind::Reset)),
            "attempt 2: no answer, reset: as it was (412 ms); to be tried again; it may have been registered all the same"
        );
        let on_one_of_several = Attempt {
            node: Some("alpha".to_owned()),
            hard_override: true,
            ..sample::attempt()
        };
        let told = attempt(&on_one_of_several);
        assert!(told.starts_with("attempt 1 on alpha with hard_override: 400"), "{told}");
    }

    #[test]
    fn every_way_to_lose_an_answer_has_its_words() {
        let mut story = sample::story("{}");
        assert_eq!(why_likely_ours(&story), None);
        story.listed.lost_response = true;
        for (kind, words) in [
            (FaultKind::Timeout, "within api.timeout"),
            (FaultKind::Reset, "the connection ended"),
            (FaultKind::CutOff, "broke off"),
            (FaultKind::Interrupted, "the daemon ended"),
        ] {
            story.attempts = vec![sample::attempt(), lost(2, kind)];
            let why = why_likely_ours(&story).unwrap();
            assert!(why.contains("attempt 2") && why.contains(words), "{why}");
        }
        for (status, words) in [(502, "a 502 came back"), (200, "a page that is not the API's")] {
            let mut answered = sample::attempt();
            answered.lost_response = true;
            answered.answer.as_mut().unwrap().status = status;
            story.attempts = vec![answered, lost(2, FaultKind::Reset), lost(3, FaultKind::Reset)];
            let why = why_likely_ours(&story).unwrap();
            assert!(why.contains(words) && why.contains("2 more"), "{why}");
        }
    }

    #[test]
    fn what_was_lost_before_an_edit_counts_no_more() {
        let mut story = sample::story("{}");
        story.listed.lost_response = true;
        story.attempts = vec![lost(1, FaultKind::Reset), lost(2, FaultKind::Timeout)];
        story.history[0].what = EDITED.to_owned();
        story.attempts[1].started_at = Timestamp::from_millis(story.history[0].at.millis() + 1);
        assert!(why_likely_ours(&story).unwrap().contains("attempt 2"));
    }
}
