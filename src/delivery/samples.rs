//! Whose turn it is while everything is rejected: the producer that was tried longest ago, so that one bad producer does not hold up the good
//! ones. Remembered in this process only; a restart begins with whoever has the least tried submission.

use crate::model::SubmissionId;
use crate::store::{Outbox, SourceFound, SourceLook, StoreError};

/// How many producers are told apart; beyond it the one tried longest ago counts as never tried.
const SOURCES_MAX: usize = 64;

/// The producers that had their turn.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// By name, empty for none; the latest last.
    tried: Vec<String>,
}

impl Samples {
    /// The submission to try next and its producer; `None` where nothing is pending. The first look that meets a producer not tried yet ends
    /// it; only when all have had their turn is everything that is pending gone through, once a minute, a stretch at a time.
    pub(super) async fn next(&self, outbox: &Outbox) -> Result<Option<(SubmissionId, String)>, StoreError> {
        if let Some((id, source, _)) = find(outbox, SourceLook::except(self.tried.clone())).await? {
            return Ok(Some((id, source)));
        }
        let mut met: Vec<(SubmissionId, String)> = Vec::new();
        let mut look = SourceLook::except(Vec::new());
        while let Some((id, source, at)) = find(outbox, look.clone()).await? {
            look.except.push(source.clone());
            look.after = at;
            met.push((id, source));
        }
        met.sort_by_key(|(_, source)| self.tried.iter().position(|tried| tried == source));
        Ok(met.into_iter().next())
    }

    /// This producer had its turn.
    pub(super) fn tried(&mut self, source: String) {
        self.tried.retain(|known| *known != source);
        if self.tried.len() == SOURCES_MAX {
            self.tried.remove(0);
        }
        self.tried.push(source);
    }
}

/// The next head of a producer that is not excepted, and where it stands.
async fn find(outbox: &Outbox, mut look: SourceLook) -> Result<Option<(SubmissionId, String, (u32, SubmissionId))>, StoreError> {
    loop {
        match outbox.look_for_source(&look).await? {
            SourceFound::Another { id, source, at } => return Ok(Some((id, source, at))),
            SourceFound::Further(after) => look.after = after,
            SourceFound::End => return Ok(None),
        }
    }
}
