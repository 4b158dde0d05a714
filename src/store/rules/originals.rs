//! Whose place a twin takes, by the token that it brings: pure, from what the database said.
//!
//! A token may come again. The export that held it may be dropped twice, and then its twin is there already and nothing
//! is to be doubled; or it may be mended once more, since the first twin was refused too, and then that one is out of
//! date like the original.

use std::collections::HashMap;

use crate::model::{Digest, Entry, REPLACEABLE, StateName, SubmissionId};

/// One that may be replaced, or that took another's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: StateName,
    /// The twin that took its place last.
    pub(crate) replaced_by: Option<SubmissionId>,
    /// What it is, where it is on its way or delivered: to know it again.
    pub(crate) digest: Option<Digest>,
}

/// What is known of the tokens that the entries of an admission bring.
#[derive(Debug, Default)]
pub(crate) struct Originals {
    /// By the places of the entries, those whose marks are right.
    pub(crate) named: HashMap<usize, SubmissionId>,
    /// They and their twins.
    pub(crate) standing: HashMap<SubmissionId, Standing>,
    /// What was delivered last of the activities of these entries.
    pub(crate) delivered: HashMap<i64, SubmissionId>,
}

/// What a token means for the entry that brings it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Replacing {
    /// It takes the place of these (of none: it brings no token).
    Of(Vec<SubmissionId>),
    /// The twin is there already, with the same object.
    Taken(SubmissionId),
    /// It cannot: what is wrong.
    Refused(String),
}

/// The same for a number that is not there and for a mark that is wrong: nobody learns which numbers there are.
const UNKNOWN: &str = "$outbox.replaces: no submission of this outbox has this token; \
     only `reten-outbox export` writes one, and it holds as long \
     as that submission is kept";

impl Originals {
    /// Whose place the entry takes.
    pub(crate) fn place_of(&self, place: usize, entry: &Entry) -> Replacing {
        if entry.directives.replaces.is_none() {
            return Replacing::Of(Vec::new());
        }
        let found = self
            .named
            .get(&place)
            .and_then(|id| Some((*id, *self.standing.get(id)?)));
        let Some((original, standing)) = found else {
            return Replacing::Refused(UNKNOWN.to_owned());
        };
        if !REPLACEABLE.contains(&standing.state) {
            return Replacing::Refused(format!(
                "$outbox.replaces: submission {original} is {}; only what is dead, parked or dismissed can be replaced",
                standing.state
            ));
        }
        if let Some(later) = self.later(original, entry) {
            return Replacing::Refused(format!(
                "$outbox.replaces: submission {original} is superseded: submission {later} of this activity came later \
                 and is delivered; `reten-outbox requeue` sends this one all the same"
            ));
        }
        let Some((twin, standing)) = self.last_twin(original) else {
            return Replacing::Of(vec![original]);
        };
        match standing.state {
            StateName::Pending | StateName::Sending | StateName::Delivered
                if standing.digest == Some(entry.payload.digest()) =>
            {
                Replacing::Taken(twin)
            }
            // Another correction, of what is on its way: it is one more result of its activity, and goes after that
            // one.
            StateName::Pending | StateName::Sending | StateName::Delivered | StateName::Dismissed => {
                Replacing::Of(vec![original])
            }
            StateName::Dead | StateName::Parked => Replacing::Of(vec![original, twin]),
        }
    }

    /// What was delivered of the entry's activity after the original (or its twin) came.
    fn later(&self, original: SubmissionId, entry: &Entry) -> Option<SubmissionId> {
        let lane = entry.facts.activity()?.lane().0;
        // Its own twins are no strangers: they were sent in its place.
        let newest = self.last_twin(original).map_or(original, |(twin, _)| twin);
        self.delivered.get(&lane).copied().filter(|later| *later > newest)
    }

    /// The end of the chain of twins. Numbers ascend along it, so it has one.
    fn last_twin(&self, original: SubmissionId) -> Option<(SubmissionId, Standing)> {
        let mut last = None;
        let mut at = original;
        while let Some(twin) = self
            .standing
            .get(&at)
            .and_then(|standing| standing.replaced_by)
            .filter(|twin| *twin > at)
            && let Some(standing) = self.standing.get(&twin)
        {
            last = Some((twin, *standing));
            at = twin;
        }
        last
    }

    /// Remembers, for the entries after it, that a new one took the places of these.
    pub(crate) fn take(&mut self, old: &[SubmissionId], new: SubmissionId, entry: &Entry, is_dead: bool) {
        for id in old {
            if let Some(standing) = self.standing.get_mut(id) {
                standing.state = StateName::Dismissed;
                standing.replaced_by = Some(new);
            }
        }
        let state = if is_dead { StateName::Dead } else { StateName::Pending };
        let digest = (!is_dead).then(|| entry.payload.digest());
        let standing = Standing {
            state,
            replaced_by: None,
            digest,
        };
        self.standing.insert(new, standing);
    }
}
