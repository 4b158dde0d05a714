//! What operators and rules may do to a submission, and how one starts anew.

use std::collections::{HashMap, HashSet};

use crate::clock::Timestamp;
use crate::model::{Act, ActName, Actor, DeadReason, State, StateName, SubmissionId, Undo};
use crate::store::{ActRequest, Acted};

use super::words::without_nul;

/// What is known of a submission before an act.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) state: State,
    pub(crate) lane: Option<i64>,
    /// The newest delivered one of its activity.
    pub(crate) delivered_last: Option<SubmissionId>,
    /// Where it is pending: what of its `not_before` still has to be waited for.
    pub(crate) held_until: Option<Timestamp>,
    /// Its `not_before` as it was asked for.
    pub(crate) asked: Option<Timestamp>,
    /// Attempts charged since it last started anew.
    pub(crate) tries: u32,
}

/// One answer an id, in order.
pub(crate) fn answers(
    request: &ActRequest,
    found: &HashMap<SubmissionId, Found>,
    changed: &HashSet<SubmissionId>,
    there: Option<SubmissionId>,
) -> Vec<(SubmissionId, Acted)> {
    let decide = |id: &SubmissionId| match found.get(id) {
        None => (*id, Acted::NoSuch),
        Some(_) if changed.contains(id) => (*id, Acted::Changed),
        Some(found) => (*id, decide(request, *id, found, there)),
    };
    request.ids.iter().map(decide).collect()
}

fn decide(request: &ActRequest, id: SubmissionId, found: &Found, there: Option<SubmissionId>) -> Acted {
    if !is_allowed(&request.act, &found.state) {
        return Acted::WrongState(found.state);
    }
    if matches!(request.act, Act::Undo(_)) && found.state.name() == StateName::Pending && found.tries > 0 {
        return Acted::Changed;
    }
    let later = found.delivered_last.max(there).filter(|delivered| *delivered > id);
    match later {
        Some(later) if !request.force && sends_again(&request.act) => Acted::Superseded(later),
        Some(_) | None => match held(found, request.now) {
            Some(until) if !request.force && request.act == Act::Requeue => Acted::HeldUntil(until),
            Some(_) | None => Acted::Done,
        },
    }
}

/// Until when a pending one is held. A dead or parked one is nothing yet: it leaves that state, and is held then.
fn held(found: &Found, now: Timestamp) -> Option<Timestamp> {
    found
        .held_until
        .filter(|until| found.state.name() == StateName::Pending && *until > now)
}

/// A rule takes less than an operator may: what an operator took in hand since it was looked at is that operator's.
fn is_allowed(act: &Act, state: &State) -> bool {
    match act {
        Act::Revalidate => *state == State::Dead(DeadReason::Invalid),
        Act::Undo(undo) => undo.decision.leads_to() == state.name(),
        Act::Requeue | Act::Override | Act::Accept | Act::Dismiss | Act::Edit(_) => {
            ActName::from(act).allowed_from().contains(&state.name())
        }
    }
}

/// Whether an act could send an old result after a newer one. To close a superseded one is just what should be done
/// with it.
fn sends_again(act: &Act) -> bool {
    match act {
        Act::Requeue | Act::Revalidate | Act::Override | Act::Edit(_) => true,
        Act::Accept | Act::Dismiss | Act::Undo(_) => false,
    }
}

/// Those whose `not_before` an operator lifts.
pub(crate) fn lifted(request: &ActRequest, doing: &[(SubmissionId, Found)]) -> Vec<i64> {
    let lifts = match request.act {
        Act::Requeue | Act::Override => request.force,
        Act::Revalidate | Act::Accept | Act::Dismiss | Act::Edit(_) | Act::Undo(_) => false,
    };
    let lies_ahead = |found: &Found| found.asked.is_some_and(|asked| asked > request.now);
    let lifted = doing.iter().filter(|(_, found)| lifts && lies_ahead(found));
    lifted.map(|(id, _)| id.0).collect()
}

/// The last line of a submission's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastLine {
    pub(crate) at: Timestamp,
    pub(crate) actor: String,
    pub(crate) what: String,
}

/// Whether this decision is still the last word on a submission: neither a rule nor another operator spoke since. That
/// an attempt speaks too is seen by its state and its tries.
pub(crate) fn is_last_word(undo: &Undo, actor: &Actor, last: &LastLine) -> bool {
    last.at == undo.at && last.what == undo.decision.act().recorded() && last.actor == without_nul(&actor.to_string())
}

/// What history says of an act beyond its name.
pub(crate) fn detail(request: &ActRequest) -> Option<&'static str> {
    match request.act {
        Act::Revalidate => Some("the list of result types has changed, and it is valid now"),
        // Counted by [`Act::Undo`] itself: which of an operator's words to override still hold.
        Act::Undo(undo) => Some(undo.decision.act().recorded()),
        Act::Requeue | Act::Override | Act::Accept | Act::Dismiss | Act::Edit(_) => request.force.then_some("forced"),
    }
}

/// How a submission starts anew.
pub(crate) struct Fresh {
    pub(crate) now: Timestamp,
    /// An operator says that ours replaces the registered one.
    pub(crate) overriding: bool,
    pub(crate) was_unauthorized: bool,
    /// An operator says that `not_before` holds no longer.
    pub(crate) lift: bool,
    /// The states it may come from, and of a dead one the reason.
    pub(crate) from: &'static [&'static str],
    pub(crate) reason: Option<&'static str>,
}

impl Fresh {
    pub(crate) fn by_operator(now: Timestamp, lift: bool) -> Self {
        Self {
            now,
            overriding: false,
            was_unauthorized: false,
            lift,
            from: &["head", "waiting", "dead", "parked"],
            reason: None,
        }
    }

    pub(crate) fn overriding(now: Timestamp, lift: bool) -> Self {
        Self {
            overriding: true,
            from: &["parked"],
            ..Self::by_operator(now, lift)
        }
    }

    /// What another list of result types puts back.
    pub(crate) fn by_result_types(now: Timestamp) -> Self {
        Self {
            from: &["dead"],
            reason: Some("invalid"),
            ..Self::by_operator(now, false)
        }
    }

    /// What the gate's opening puts back.
    pub(crate) fn by_gate(now: Timestamp) -> Self {
        Self {
            was_unauthorized: true,
            from: &["dead"],
            reason: Some("unauthorized"),
            ..Self::by_operator(now, false)
        }
    }
}
