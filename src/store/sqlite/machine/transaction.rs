//! An open write transaction, and what it changes in the counts.

use std::sync::LazyLock;
use strum::VariantArray as _;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::model::StateName;

use super::batch;
use super::maintenance::DATA_VERSION;

/// What operations work in. The counts by state are gathered here and written once, at the end: status reads six rows
/// and never counts.
pub(crate) struct Transaction<'c> {
    pub(crate) conn: &'c mut SqliteConnection,
    changes: [i64; StateName::VARIANTS.len()],
    /// A settlement met a count that would have fallen below nothing.
    pub(crate) is_short: bool,
}

/// What a commit tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Committed {
    /// The `data_version`, which tells of other processes' commits.
    pub(crate) version: Option<i64>,
    /// Whether a count would have fallen below nothing.
    pub(crate) is_short: bool,
}

pub(crate) const BEGIN: &str = "BEGIN IMMEDIATE";
pub(crate) const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";
/// Counts that would fall below nothing: another hand has changed states without them.
pub(crate) const SHORT: &str = "SELECT count(*) FROM json_each(?1) AS j \
     CROSS JOIN tally AS t ON t.state = j.value ->> 0 WHERE t.n + (j.value ->> 1) < 0";
/// Never below nothing, which a CHECK would refuse: what was delivered must be settled, whatever anybody counted.
pub(crate) const COUNT: &str = "UPDATE tally SET n = max(n + j.by, 0) \
     FROM (SELECT value ->> 0 AS state, value ->> 1 AS by FROM json_each(?1)) AS j \
     WHERE tally.state = j.state";

impl<'c> Transaction<'c> {
    /// Takes the write lock at once: a transaction that begins by reading ignores the busy timeout when it comes to
    /// write.
    pub(crate) async fn begin(conn: &'c mut SqliteConnection) -> Result<Self, sqlx::Error> {
        sqlx::query(BEGIN).execute(&mut *conn).await?;
        Ok(Self {
            conn,
            changes: [0; StateName::VARIANTS.len()],
            is_short: false,
        })
    }

    /// So many moved between two states, came in (`from` is `None`) or left (`to` is `None`).
    pub(crate) fn moved(&mut self, from: Option<StateName>, to: Option<StateName>, count: u64) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        // What is being sent is pending in this table; how many those are, `flight` says.
        let counted = |state| {
            if state == StateName::Sending {
                StateName::Pending
            } else {
                state
            }
        };
        for (state, by) in [(from, -count), (to, count)] {
            if let Some(place) = StateName::VARIANTS
                .iter()
                .position(|known| Some(*known) == state.map(counted))
            {
                self.changes[place] += by;
            }
        }
    }

    /// The count of a state was found to be wrong by so much.
    pub(crate) fn miscounted(&mut self, state: StateName, by: i64) {
        if let Some(place) = StateName::VARIANTS.iter().position(|known| *known == state) {
            self.changes[place] += by;
        }
    }

    /// Writes the counts and commits. An error says nothing of the outcome: the commit may be there on reopening.
    pub(crate) async fn commit(self) -> Result<Committed, sqlx::Error> {
        // The commit comes last: nothing that fails after it may pass for its failure. While the write lock is held no
        // other process changes the version, and our own commit does not.
        static COUNT_AND_COMMIT: LazyLock<String> =
            LazyLock::new(|| format!("{SHORT}; {COUNT}; {DATA_VERSION}; {COMMIT}"));
        let changes: Vec<(&str, i64)> = StateName::VARIANTS
            .iter()
            .zip(self.changes)
            .filter(|(_, by)| *by != 0)
            .map(|(state, by)| (state.into_str(), by))
            .collect();
        let last = sqlx::query(COUNT_AND_COMMIT.as_str()).bind(batch::json(&changes)?);
        // All of it, to the end: the two rows come before the commit.
        let rows = last.fetch_all(&mut *self.conn).await?;
        let said = |place: usize| rows.get(place).and_then(|row| row.try_get::<i64, _>(0).ok());
        Ok(Committed {
            version: said(1),
            is_short: self.is_short || said(0).is_some_and(|short| short > 0),
        })
    }
}

/// Takes the write lock for an instant, to know that writing is possible before anything is. Writes nothing.
pub(crate) async fn try_lock(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query(BEGIN).execute(&mut *conn).await?;
    roll_back(conn).await;
    Ok(())
}

/// Ends whatever transaction is open. SQLite may have ended it by itself (a full disk, an I/O error), and then says
/// that there is none: either way none is open afterwards.
pub(crate) async fn roll_back(conn: &mut SqliteConnection) {
    drop(sqlx::query(ROLLBACK).execute(conn).await);
}
