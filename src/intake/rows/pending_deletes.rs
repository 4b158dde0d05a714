//! The rows that are in the outbox and still in the inbox: when they are deleted.
//!
//! Deleting each batch at once would meet every producer that inserts row after row: of 200 plain `sqlite3` processes
//! in a row, 29 found the database locked. So it waits until the file has been quiet for a moment, and no longer than a
//! second.

use std::time::Duration;

use tokio::time::Instant;

use super::row::InboxRow;

/// Longer than a producer needs from one row to the next, so that between two of them nothing is locked.
const QUIET: Duration = Duration::from_millis(40);
/// However busy the producers are, the table is emptied so often.
const DELAY_MAX: Duration = Duration::from_secs(1);
/// The most rows that wait: a table must not grow while its rows are long in the outbox.
const ROWS_MAX: usize = 2_000;
/// The most bytes of payloads that are held for them.
const BYTES_MAX: usize = 8 << 20;

/// Rows on their way out.
#[derive(Debug, Default)]
pub(super) struct PendingDeletes {
    /// In the order of their ids.
    pub(super) rows: Vec<InboxRow>,
    /// The `inbox.max_result_size` with which they were read: it decides what is compared.
    pub(super) bytes_max: usize,
    bytes: usize,
    /// When the first of them came.
    since: Option<Instant>,
    /// When the file was last seen touched.
    touched: Option<Instant>,
}

impl PendingDeletes {
    pub(super) fn add(&mut self, rows: Vec<InboxRow>, bytes_max: usize, now: Instant) {
        self.bytes += bytes(&rows);
        self.rows.extend(rows);
        self.bytes_max = bytes_max;
        self.since.get_or_insert(now);
        self.touched = Some(now);
    }

    /// The first ones are dealt with; the others wait for the next quiet moment.
    pub(super) fn drop_first(&mut self, count: usize, now: Instant) {
        let dropped: Vec<InboxRow> = self.rows.drain(..count.min(self.rows.len())).collect();
        self.bytes -= bytes(&dropped);
        if self.rows.is_empty() {
            *self = Self::default();
        } else {
            self.touched = Some(now);
        }
    }

    /// The id after which the next ones are read.
    pub(super) fn last_id(&self) -> i64 {
        self.rows.last().map_or(i64::MIN, |row| row.id)
    }

    pub(super) fn postpone(&mut self, now: Instant) {
        self.touched = Some(now);
    }

    /// When they are to be deleted; `None` where there are none.
    pub(super) fn due(&self) -> Option<Instant> {
        let since = self.since?;
        Some((self.touched.unwrap_or(since) + QUIET).min(since + DELAY_MAX))
    }

    /// When to look whether they can be deleted. Where it was time already and a producer's transaction stood in the
    /// way, only after another quiet moment: looking without a pause would meet its commit for certain.
    pub(super) fn poll_at(&self, now: Instant) -> Option<Instant> {
        self.due().map(|due| if due > now { due } else { now + QUIET })
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// Whether no more of them may wait.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= ROWS_MAX || self.bytes >= BYTES_MAX
    }
}

fn bytes(rows: &[InboxRow]) -> usize {
    rows.iter().map(InboxRow::bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::directives::RowColumns;

    fn row(id: i64) -> InboxRow {
        InboxRow {
            id,
            payload: Ok("{}".into()),
            columns: RowColumns::default(),
            digest: [0; 32],
        }
    }

    #[test]
    fn they_wait_for_a_quiet_moment_and_no_longer_than_a_second() {
        let start = Instant::now();
        let mut taken = PendingDeletes::default();
        assert_eq!((taken.due(), taken.last_id()), (None, i64::MIN));
        taken.add(vec![row(3), row(4)], 100, start);
        assert_eq!((taken.due(), taken.last_id()), (Some(start + QUIET), 4));
        assert_eq!(taken.poll_at(start), taken.due());
        let late = start + DELAY_MAX;
        assert_eq!(
            taken.poll_at(late),
            Some(late + QUIET),
            "a long transaction is not met by a look without a pause"
        );
        for turn in 1..100 {
            taken.postpone(start + QUIET / 2 * turn);
        }
        assert_eq!(taken.due(), Some(start + DELAY_MAX));
        assert!(taken.is_due(start + DELAY_MAX) && !taken.is_due(start + QUIET) && !taken.is_full());
        taken.add((5..2_010).map(row).collect(), 100, start);
        assert!(taken.is_full());
        taken.drop_first(2_000, start);
        assert_eq!(
            (taken.rows.len(), taken.is_full(), taken.due().is_some()),
            (7, false, true)
        );
        taken.drop_first(7, start);
        assert_eq!((taken.due(), taken.last_id(), taken.bytes), (None, i64::MIN, 0));
    }
}
