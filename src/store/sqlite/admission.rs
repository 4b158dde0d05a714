//! What an admission will do, decided before anything is written: pure, from what the database said.

use std::collections::{HashMap, HashSet};

use crate::model::{Admitted, Digest, Entry, SubmissionId};

use super::lanes;
use super::row::{HEAD, WAITING};

/// What has to be known of the outbox to decide about an admission.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The places of entries whose receipt is there.
    pub(super) taken: HashSet<usize>,
    /// Who holds the keys that entries bring.
    pub(super) holders: HashMap<String, Holder>,
    /// The activities that are there already, by their hash.
    pub(super) lanes: HashMap<i64, lanes::Known>,
    /// The next number.
    pub(super) next_id: i64,
}

/// Who holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) id: SubmissionId,
    pub(super) digest: Option<Digest>,
    /// Dead or dismissed: a new one of the same key takes its place.
    pub(super) yields: bool,
}

/// A row to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NewRow<'e> {
    pub(super) id: SubmissionId,
    pub(super) entry: &'e Entry,
    /// The number of its activity.
    pub(super) lane: Option<i64>,
    /// `head`, `waiting` or `dead`.
    pub(super) state: &'static str,
    pub(super) invalid: Option<String>,
    pub(super) holds_key: bool,
    pub(super) digest: Option<Digest>,
}

/// What will be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan<'e> {
    pub(super) answers: Vec<Admitted>,
    pub(super) rows: Vec<NewRow<'e>>,
    /// Activities that are new: hash and number.
    pub(super) founded: Vec<(i64, i64)>,
    /// Which yields its key to which.
    pub(super) replaced: Vec<(SubmissionId, SubmissionId)>,
}

/// The state of a row that will never be sent as it is.
pub(super) const DEAD: &str = "dead";

/// Decides about each entry in order: one of them may hold the key that the next one brings.
pub(super) fn plan(entries: &[Entry], mut known: Known) -> Plan<'_> {
    let mut plan = Plan::default();
    for (place, entry) in entries.iter().enumerate() {
        if known.taken.contains(&place) {
            plan.answers.push(Admitted::AlreadyTaken);
            continue;
        }
        let digest = entry
            .directives
            .key
            .as_ref()
            .map(|_| entry.digest.unwrap_or_else(|| entry.payload.digest()));
        let key = entry.directives.key.as_ref().map(|key| key.0.as_str());
        let holder = key.and_then(|key| known.holders.get(key).copied());
        let id = SubmissionId(known.next_id);
        let (invalid, holds_key) = match holder {
            None => (entry.invalid.clone(), key.is_some()),
            Some(first) if first.yields => {
                plan.replaced.push((first.id, id));
                plan.rows
                    .iter_mut()
                    .filter(|row| row.id == first.id)
                    .for_each(|row| row.holds_key = false);
                (entry.invalid.clone(), true)
            }
            Some(first) if first.digest == digest => {
                plan.answers.push(Admitted::Duplicate { of: first.id });
                continue;
            }
            Some(first) => (
                Some(belongs_to_another(key.unwrap_or_default(), first.id, entry.invalid.as_deref())),
                false,
            ),
        };
        known.next_id += 1;
        if let (Some(key), true) = (key, holds_key) {
            let yields = invalid.is_some();
            known.holders.insert(key.to_owned(), Holder { id, digest, yields });
        }
        plan.answers
            .push(invalid.clone().map_or(Admitted::Accepted(id), |why| Admitted::Invalid { id, why }));
        let lane = entry.facts.activity().map(|activity| {
            let hash = activity.lane().0;
            known.lanes.entry(hash).or_insert_with(|| {
                plan.founded.push((hash, id.0));
                lanes::Known {
                    number: id.0,
                    is_busy: false,
                }
            })
        });
        plan.rows.push(NewRow {
            id,
            entry,
            lane: lane.as_ref().map(|lane| lane.number),
            state: first_state(lane, invalid.is_some()),
            invalid,
            holds_key,
            digest,
        });
    }
    plan
}

/// An invalid one takes no place in its activity.
fn first_state(lane: Option<&mut lanes::Known>, invalid: bool) -> &'static str {
    match lane {
        _ if invalid => DEAD,
        None => HEAD,
        Some(lane) if lane.is_busy => WAITING,
        Some(lane) => {
            lane.is_busy = true;
            HEAD
        }
    }
}

fn belongs_to_another(key: &str, first: SubmissionId, own: Option<&str>) -> String {
    let why = format!("its key {key:?} belongs to submission {first}, which is another result");
    own.map_or(why.clone(), |own| format!("{own}; {why}"))
}

#[cfg(test)]
mod tests;
