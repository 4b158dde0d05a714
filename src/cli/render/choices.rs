//! What can be done about a submission: the commands that apply to it, each with what it does.

use crate::clock::Timestamp;
use crate::model::{ActName, DeadReason, ParkReason, State};
use crate::store::Story;

use super::outcome::next_attempt_at;

/// The commands that apply to it now, each with what it does; of a parked one the likely one first, and why it is.
pub fn commands(story: &Story, now: Timestamp) -> Vec<(String, String)> {
    let id = story.listed.id;
    let state = story.listed.state.name();
    let is_held = next_attempt_at(&story.listed).is_some_and(|at| at > now && story.listed.not_before == Some(at));
    let again = match story.listed.state {
        State::Pending { .. } if is_held => "send it now, whatever its `not_before` says",
        State::Pending { .. } => "send it as soon as possible",
        State::Dead(DeadReason::Invalid) => "send it as it is",
        State::Sending | State::Delivered | State::Dead(_) | State::Parked(_) | State::Dismissed => {
            "send it again as it is"
        }
    };
    let mut acts = vec![
        (ActName::Edit, "edit", "correct the payload and send it".to_owned()),
        (ActName::Requeue, "requeue", again.to_owned()),
        (
            ActName::Override,
            "override",
            "replace the registered result by ours".to_owned(),
        ),
        (
            ActName::Accept,
            "accept",
            "the registered result is ours: delivered".to_owned(),
        ),
        (ActName::Dismiss, "dismiss", "close it without delivering".to_owned()),
    ];
    if let State::Parked(reason) = story.listed.state {
        let (likely, why) = likely(reason, story);
        // What sends it as it is would most likely meet the same answer.
        acts.sort_by_key(|(act, ..)| {
            let sends_as_it_is = matches!(act, ActName::Edit | ActName::Requeue);
            (*act != likely, sends_as_it_is, *act == ActName::Accept)
        });
        acts[0].2 = format!("likely: {why}");
    }
    let force = |act: &ActName| match act {
        ActName::Requeue if is_held => " --force",
        ActName::Edit | ActName::Requeue | ActName::Override if story.superseded_by.is_some() => " --force",
        _ => "",
    };
    acts.into_iter()
        .filter(|(act, ..)| act.allowed_from().contains(&state))
        .map(|(act, verb, does)| (format!("reten-outbox {verb} {id}{}", force(&act)), does))
        .collect()
}

/// What most likely is right for a parked one: the decision and why; `None` for what is not parked.
pub fn likely_decision(story: &Story) -> Option<String> {
    match story.listed.state {
        State::Parked(reason) => {
            let (act, why) = likely(reason, story);
            Some(format!("{}: {why}", act.into_str()))
        }
        State::Pending { .. } | State::Sending | State::Delivered | State::Dead(_) | State::Dismissed => None,
    }
}

/// What most likely is right for a parked one, with the reason.
fn likely(reason: ParkReason, story: &Story) -> (ActName, String) {
    if let Some(later) = story.superseded_by {
        return (
            ActName::Dismiss,
            format!("submission {later} of its activity came later and is delivered"),
        );
    }
    if story.attempts.last().is_some_and(|last| last.hard_override) {
        return (
            ActName::Dismiss,
            "the API does not let it replace what is registered".to_owned(),
        );
    }
    match reason {
        ParkReason::ConflictAfterLostResponse => (
            ActName::Accept,
            "what is registered is this very one, whose answer was lost; nothing is sent again".to_owned(),
        ),
        ParkReason::Conflict if story.registered_by_us => (
            ActName::Override,
            "what is registered is an older one of ours; this one replaces it".to_owned(),
        ),
        ParkReason::Conflict => (
            ActName::Override,
            "what is registered came from elsewhere; this one replaces it (`dismiss` leaves it)".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::sample;
    use crate::model::SubmissionId;

    const NOW: Timestamp = Timestamp::from_millis(1_795_428_100_000);

    fn verbs(state: State) -> Vec<String> {
        let mut story = sample::story("{}");
        story.listed.state = state;
        let commands = commands(&story, NOW);
        commands
            .iter()
            .filter_map(|(command, _)| command.split(' ').nth(1))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn only_the_commands_that_apply_are_named() {
        assert_eq!(verbs(State::Dead(DeadReason::Rejected)), ["edit", "requeue", "dismiss"]);
        assert_eq!(
            verbs(State::Parked(ParkReason::Conflict)),
            ["override", "dismiss", "accept", "edit", "requeue"]
        );
        assert_eq!(verbs(State::Pending { due: NOW }), ["edit", "requeue", "dismiss"]);
        assert!(
            verbs(State::Sending).is_empty()
                && verbs(State::Delivered).is_empty()
                && verbs(State::Dismissed).is_empty()
        );
    }

    #[test]
    fn the_likely_act_of_a_parked_one_comes_first_with_its_reason() {
        let first = |story: &Story| commands(story, NOW).remove(0);
        let mut story = sample::story("{}");
        story.listed.state = State::Parked(ParkReason::ConflictAfterLostResponse);
        assert_eq!(first(&story).0, "reten-outbox accept 12");
        assert!(
            first(&story)
                .1
                .starts_with("likely: what is registered is this very one"),
            "{:?}",
            first(&story)
        );
        story.listed.state = State::Parked(ParkReason::Conflict);
        assert!(
            first(&story).1.contains("from elsewhere") && first(&story).0.contains("override"),
            "{:?}",
            first(&story)
        );
        story.registered_by_us = true;
        assert!(first(&story).1.contains("an older one of ours"), "{:?}", first(&story));
        story.attempts[0].hard_override = true;
        assert_eq!(first(&story).0, "reten-outbox dismiss 12");
        story.superseded_by = Some(SubmissionId(13));
        assert!(first(&story).1.contains("submission 13"), "{:?}", first(&story));
    }

    #[test]
    fn what_is_superseded_needs_force_where_it_would_be_sent() {
        let mut story = sample::story("{}");
        story.superseded_by = Some(SubmissionId(13));
        let commands: Vec<String> = commands(&story, NOW).into_iter().map(|(command, _)| command).collect();
        assert_eq!(
            commands,
            [
                "reten-outbox edit 12 --force",
                "reten-outbox requeue 12 --force",
                "reten-outbox dismiss 12"
            ]
        );
    }

    #[test]
    fn what_not_before_holds_is_sent_by_force_alone() {
        let mut story = sample::story("{}");
        let due = Timestamp::from_millis(NOW.millis() + 1);
        (story.listed.not_before, story.listed.state) = (Some(due), State::Pending { due });
        assert!(
            commands(&story, NOW)
                .iter()
                .any(|(command, _)| command == "reten-outbox requeue 12 --force")
        );
    }
}
