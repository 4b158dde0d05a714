//! What only reads, from the last commit.

pub(crate) mod attempts;
pub(crate) mod contents;
pub(crate) mod dead;
pub(crate) mod list;
pub(crate) mod minutes;
pub(crate) mod recent;
pub(crate) mod relations;
pub(crate) mod show;
pub(crate) mod sources;
pub(crate) mod tally;

use crate::model::{FileReceipt, Payload, SubmissionId};
use crate::store::sqlite::Database;
use crate::store::{Filter, Listed, StoreError};

use super::opening::inspect;
use super::operations::{notes, receipts};

/// What the writer's own steps read too; the other methods are beside their queries.
impl Database {
    /// The numbers of what matches, oldest first.
    pub async fn select(&self, filter: &Filter) -> Result<Vec<SubmissionId>, StoreError> {
        Ok(list::select(&mut *self.reader().await?, filter).await?)
    }

    /// What matches, newest first, at most `limit`, with numbers below `before` (to page through any number of them).
    pub async fn list(
        &self,
        filter: &Filter,
        before: Option<SubmissionId>,
        limit: u32,
    ) -> Result<Vec<Listed>, StoreError> {
        Ok(list::list(&mut *self.reader().await?, filter, before, limit).await?)
    }

    /// What goes next, at most `limit` of each kind.
    pub async fn next_up(&self, limit: u32) -> Result<Vec<Listed>, StoreError> {
        Ok(list::next_up(&mut *self.reader().await?, limit).await?)
    }

    /// Dead letters that are `invalid` by the tenant's list of result types alone, with numbers above `after`, oldest
    /// first, at most `limit`.
    pub async fn refused_by_result_types(
        &self,
        after: SubmissionId,
        limit: u32,
    ) -> Result<Vec<(SubmissionId, Payload)>, StoreError> {
        Ok(list::refused_by_result_types(&mut *self.reader().await?, after, limit).await?)
    }

    /// The file receipts that are still there: what a crash may have left in the inbox although it is taken.
    pub async fn file_receipts(&self) -> Result<Vec<FileReceipt>, StoreError> {
        Ok(receipts::all_files(&mut *self.reader().await?).await?)
    }

    /// A value that was remembered.
    pub async fn recall(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(notes::recall(&mut *self.reader().await?, name).await?)
    }

    /// Reads the pages of a database of middling size that the start did not wait for; what is wrong with them.
    pub async fn check_further(&self) -> Result<Option<String>, StoreError> {
        let bytes = std::fs::metadata(&self.inner.path).map_or(0, |file| file.len());
        Ok(inspect::check_further(&mut *self.reader().await?, bytes).await?)
    }
}
