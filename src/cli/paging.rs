//! Submissions that match a filter, read in pages.

use crate::model::SubmissionId;
use crate::store::{Filter, Listed, Outbox};

/// Read at a time: bounds the memory of a list of any length, and holds no read transaction over a slow pager.
const PAGE: u32 = 500;

/// What matches, page by page, up to a limit.
pub struct PagedList<'a> {
    outbox: &'a Outbox,
    filter: &'a Filter,
    before: Option<SubmissionId>,
    left: Option<u32>,
    ended: bool,
}

impl<'a> PagedList<'a> {
    /// `limit` of `None`: all.
    pub fn new(outbox: &'a Outbox, filter: &'a Filter, limit: Option<u32>) -> Self {
        Self {
            outbox,
            filter,
            before: None,
            left: limit,
            ended: false,
        }
    }

    /// The next page; `None` at the end or at the limit. Never an empty one.
    pub async fn next(&mut self) -> anyhow::Result<Option<Vec<Listed>>> {
        let wanted = self.left.map_or(PAGE, |left| left.min(PAGE));
        if self.ended || wanted == 0 {
            return Ok(None);
        }
        let page = self.outbox.list(self.filter, self.before, wanted).await?;
        let count = u32::try_from(page.len()).unwrap_or(u32::MAX);
        self.left = self.left.map(|left| left.saturating_sub(count));
        self.ended = count < wanted;
        self.before = page.last().map(|listed| listed.id).or(self.before);
        Ok(Some(page).filter(|page| !page.is_empty()))
    }

    /// Whether something lies beyond the limit.
    pub async fn has_more(&self) -> anyhow::Result<bool> {
        Ok(!self.ended && !self.outbox.list(self.filter, self.before, 1).await?.is_empty())
    }
}
