//! What an outcome does to its submission.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::model::{Ending, StateName, SubmissionId};
use crate::store::{Settled, Settlement};

use super::words::HEAD;

/// What a settlement writes into its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) state: &'static str,
    pub(crate) reason: Option<&'static str>,
    /// Due then.
    pub(crate) due: Option<i64>,
    /// Due then, or when it was due before, whichever is earlier.
    pub(crate) latest: Option<i64>,
    /// The try is given back, and nothing is remembered of the attempt.
    pub(crate) is_released: bool,
    pub(crate) overriding: bool,
    /// The opening of the gate puts it back.
    pub(crate) of_episode: bool,
    pub(crate) at: i64,
}

/// The place of the one settlement of a submission that can do something: of its latest claim the first word. What
/// speaks of an earlier claim comes too late, wherever in a group it stands; after a failover that lost commits it may
/// even have the number of a later one's attempt.
fn words(settlements: &[&(Arc<Settlement>, Timestamp)]) -> HashMap<SubmissionId, usize> {
    let claim = |place: usize| {
        let record = &settlements[place].0.record;
        (record.number, record.started_at)
    };
    let mut words = HashMap::with_capacity(settlements.len());
    for (place, (settlement, _)) in settlements.iter().enumerate() {
        let word = words.entry(settlement.id).or_insert(place);
        if claim(place) > claim(*word) {
            *word = place;
        }
    }
    words
}

/// Which settlements can do something: not the second word on a submission in one group, which comes too late as it
/// would alone.
pub(crate) fn worth_asking<'s>(
    settlements: &[&'s (Arc<Settlement>, Timestamp)],
) -> Vec<&'s (Arc<Settlement>, Timestamp)> {
    let words = words(settlements);
    let is_word = |(place, one): &(usize, &&'s (Arc<Settlement>, Timestamp))| words.get(&one.0.id) == Some(place);
    settlements
        .iter()
        .enumerate()
        .filter(is_word)
        .map(|(_, one)| *one)
        .collect()
}

/// One answer a settlement, in order, from the ids of those that were fenced and stored.
pub(crate) fn answers(settlements: &[&(Arc<Settlement>, Timestamp)], done: &HashSet<i64>) -> Vec<Settled> {
    let words = words(settlements);
    let answer = |(place, (settlement, _)): (usize, &&(Arc<Settlement>, Timestamp))| {
        if done.contains(&settlement.id.0) && words.get(&settlement.id) == Some(&place) {
            Settled::Done
        } else {
            Settled::Stale
        }
    };
    settlements.iter().enumerate().map(answer).collect()
}

/// What becomes of it.
pub(crate) fn effect(settlement: &Settlement, now: Timestamp) -> Effect {
    let mut effect = Effect {
        state: match settlement.ending.state() {
            StateName::Pending => HEAD,
            final_state => final_state.into_str(),
        },
        reason: None,
        due: None,
        latest: None,
        is_released: false,
        overriding: false,
        of_episode: false,
        at: now.millis(),
    };
    match settlement.ending {
        // What of the wait is served is known, and counted, at the next claim.
        Ending::Retry { wait } | Ending::Interrupted { wait } => effect.due = Some(now.plus(wait).millis()),
        // It had its turn already: with its old due time it stands before everything that became due since.
        Ending::Override => {
            effect.latest = Some(now.millis());
            effect.overriding = true;
        }
        Ending::Dead {
            reason,
            requeue_on_opening,
        } => {
            effect.reason = Some(reason.into_str());
            effect.of_episode = requeue_on_opening;
        }
        Ending::Parked(reason) => effect.reason = Some(reason.into_str()),
        // The try is given back; the attempt's number is not, or a late outcome of this attempt would pass for the next
        // one's. Nothing is remembered of it.
        Ending::Released => effect.is_released = true,
        Ending::Delivered | Ending::Accepted => {}
    }
    effect
}
