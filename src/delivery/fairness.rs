//! Whose turn it is while everything is rejected: the producer that was tried longest ago, so that one bad producer
//! does not hold up the good ones. Remembered in this process only; a restart begins with whoever has the least tried
//! submission.

use crate::model::SubmissionId;
use crate::store::{Outbox, SourceCursor, StoreError};

/// How many producers are told apart; beyond it the one tried longest ago counts as never tried.
const SOURCES_MAX: usize = 64;

/// The producers that had their turn.
#[derive(Debug, Default)]
pub(super) struct Fairness {
    /// By name, empty for none; the latest last.
    tried: Vec<String>,
    /// The walk through everything that is pending, where one is under way.
    walk: Walk,
}

/// How far a walk is, and the producers that it has met, each with its least tried submission. All of them had their
/// turn, so they are at most [`SOURCES_MAX`].
#[derive(Debug, Default)]
struct Walk {
    after: SourceCursor,
    met: Vec<(String, SubmissionId)>,
}

/// What a look at one stretch of the backlog found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Candidate {
    /// This submission is tried next; its producer.
    Found(SubmissionId, String),
    /// The walk is not at its end: the next look goes on.
    Further,
    Nothing,
}

impl Fairness {
    /// Goes a stretch further in the search for the submission to try next; never more than that, since everything else
    /// waits meanwhile. A producer that was not tried yet ends it; only when all have had their turn is everything that
    /// is pending gone through, once a minute.
    pub(super) async fn search(&mut self, outbox: &Outbox) -> Result<Candidate, StoreError> {
        let stretch = outbox.find_sources(self.walk.after).await?;
        for (source, id) in stretch.sources {
            if !self.tried.contains(&source) {
                self.walk = Walk::default();
                return Ok(Candidate::Found(id, source));
            }
            if !self.walk.met.iter().any(|(known, _)| *known == source) {
                self.walk.met.push((source, id));
            }
        }
        if let Some(end) = stretch.end {
            self.walk.after = end;
            return Ok(Candidate::Further);
        }
        let met = std::mem::take(&mut self.walk).met;
        let longest_ago = |(source, _): &(String, SubmissionId)| self.tried.iter().position(|tried| tried == source);
        Ok(match met.into_iter().min_by_key(longest_ago) {
            Some((source, id)) => Candidate::Found(id, source),
            None => Candidate::Nothing,
        })
    }

    /// This producer had its turn. A walk under way begins anew: it goes by who had one.
    pub(super) fn tried(&mut self, source: String) {
        self.walk = Walk::default();
        self.tried.retain(|known| *known != source);
        if self.tried.len() == SOURCES_MAX {
            self.tried.remove(0);
        }
        self.tried.push(source);
    }
}
