//! What an admission will do, decided before anything is written: pure, from what the database said.

use std::collections::{HashMap, HashSet, VecDeque};

use super::originals::{Originals, Replacing};
use super::words::{DEAD, HEAD, WAITING};
use crate::model::{Admitted, Digest, Entry, SubmissionId};

/// What has to be known of the outbox to decide about an admission.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The places of entries whose receipt is there.
    pub(crate) taken: HashSet<usize>,
    /// Who holds the keys that entries bring.
    pub(crate) holders: HashMap<String, KeyHolder>,
    /// The activities that are there already, by their hash.
    pub(crate) lanes: HashMap<i64, KnownLane>,
    /// Numbers that nobody has yet, ascending: as many as there are entries. Those of entries that do not come in are
    /// never given out.
    pub(crate) ids: VecDeque<i64>,
    /// What the tokens of entries lead to.
    pub(crate) originals: Originals,
}

/// What intake has to know of an activity that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownLane {
    /// Its number.
    pub(crate) number: i64,
    /// Whether one is next or being sent: a new submission has to wait.
    pub(crate) is_busy: bool,
}

/// One whose place another takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub(crate) old: SubmissionId,
    pub(crate) new: SubmissionId,
    pub(crate) by: By,
}

/// By which directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Key,
    Token,
}

/// Who holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyHolder {
    pub(crate) id: SubmissionId,
    pub(crate) digest: Option<Digest>,
    /// Dead or dismissed: a new one of the same key takes its place.
    pub(crate) yields: bool,
}

/// A row to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NewRow<'e> {
    pub(crate) id: SubmissionId,
    pub(crate) entry: &'e Entry,
    /// The number of its activity.
    pub(crate) lane: Option<i64>,
    /// `head`, `waiting` or `dead`.
    pub(crate) state: &'static str,
    pub(crate) invalid: Option<String>,
    pub(crate) holds_key: bool,
    pub(crate) digest: Option<Digest>,
}

/// What will be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan<'e> {
    pub(crate) answers: Vec<Admitted>,
    pub(crate) rows: Vec<NewRow<'e>>,
    /// Activities that are new: hash and number.
    pub(crate) founded: Vec<(i64, i64)>,
    /// Which yields its place to which, in order.
    pub(crate) replaced: Vec<Replaced>,
}

/// Decides about each entry in order: one of them may hold the key that the next one brings, or stand in the place that
/// the next one takes.
pub(crate) fn plan(entries: &[Entry], mut known: Known) -> Plan<'_> {
    let mut plan = Plan::default();
    for (place, entry) in entries.iter().enumerate() {
        let decided = if known.taken.contains(&place) {
            Decided::Dropped(Admitted::AlreadyTaken)
        } else {
            decide(place, entry, &known)
        };
        match decided {
            Decided::Dropped(answer) => plan.answers.push(answer),
            Decided::Comes(coming) => plan.take(entry, coming, &mut known),
        }
    }
    // By hash, as they lie in their table.
    plan.founded.sort_unstable();
    plan
}

/// What becomes of an entry.
enum Decided {
    Dropped(Admitted),
    Comes(Coming),
}

/// How one comes in.
#[derive(Default)]
struct Coming {
    invalid: Option<String>,
    holds_key: bool,
    digest: Option<Digest>,
    replaced: Vec<(SubmissionId, By)>,
}

fn decide(place: usize, entry: &Entry, known: &Known) -> Decided {
    let (replaced, refused) = match known.originals.place_of(place, entry) {
        Replacing::Of(originals) => (originals, None),
        Replacing::Taken(of) => return Decided::Dropped(Admitted::Duplicate { of }),
        Replacing::Refused(why) => (Vec::new(), Some(why)),
    };
    let invalid = both(entry.invalid.clone(), refused);
    let by_token = replaced.iter().map(|id| (*id, By::Token)).collect();
    let Some(key) = entry.directives.key.as_ref().map(|key| key.0.as_str()) else {
        return Decided::Comes(Coming {
            invalid,
            replaced: by_token,
            ..Coming::default()
        });
    };
    let digest = Some(entry.digest.unwrap_or_else(|| entry.payload.digest()));
    let mut coming = Coming {
        invalid,
        holds_key: true,
        digest,
        replaced: by_token,
    };
    match known.holders.get(key) {
        None => {}
        Some(first) if replaced.contains(&first.id) => {}
        Some(first) if first.yields => coming.replaced.push((first.id, By::Key)),
        Some(first) if first.digest == digest => return Decided::Dropped(Admitted::Duplicate { of: first.id }),
        Some(first) => {
            coming.holds_key = false;
            coming.invalid = both(coming.invalid, Some(belongs_to_another(key, first.id)));
        }
    }
    Decided::Comes(coming)
}

impl<'e> Plan<'e> {
    /// Takes one in, and remembers it for the entries after it.
    fn take(&mut self, entry: &'e Entry, coming: Coming, known: &mut Known) {
        let Coming {
            invalid,
            holds_key,
            digest,
            replaced,
        } = coming;
        let id = SubmissionId(known.ids.pop_front().unwrap_or_default());
        let old: Vec<SubmissionId> = replaced.iter().map(|(old, _)| *old).collect();
        if !old.is_empty() {
            known.holders.retain(|_, holder| !old.contains(&holder.id));
            let gave_up = self.rows.iter_mut().filter(|row| old.contains(&row.id));
            gave_up.for_each(|row| row.holds_key = false);
            known.originals.take(&old, id, entry, invalid.is_some());
        }
        self.replaced
            .extend(replaced.into_iter().map(|(old, by)| Replaced { old, new: id, by }));
        if let (Some(key), true) = (entry.directives.key.as_ref(), holds_key) {
            let yields = invalid.is_some();
            known.holders.insert(key.0.clone(), KeyHolder { id, digest, yields });
        }
        self.answers.push(
            invalid
                .clone()
                .map_or(Admitted::Accepted(id), |why| Admitted::Invalid { id, why }),
        );
        let lane = entry.facts.activity().map(|activity| {
            let hash = activity.lane().0;
            known.lanes.entry(hash).or_insert_with(|| {
                self.founded.push((hash, id.0));
                KnownLane {
                    number: id.0,
                    is_busy: false,
                }
            })
        });
        self.rows.push(NewRow {
            id,
            entry,
            lane: lane.as_ref().map(|lane| lane.number),
            state: first_state(lane, invalid.is_some()),
            invalid,
            holds_key,
            digest,
        });
    }
}

/// An invalid one takes no place in its activity.
fn first_state(lane: Option<&mut KnownLane>, invalid: bool) -> &'static str {
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

fn belongs_to_another(key: &str, first: SubmissionId) -> String {
    format!("its key {key:?} belongs to submission {first}, which is another result")
}

/// Both faults in one line.
fn both(one: Option<String>, other: Option<String>) -> Option<String> {
    match (one, other) {
        (Some(one), Some(other)) => Some(format!("{one}; {other}")),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests;
