//! What of an outbox is carried to another kind of store: its tables in one common form, row by row, without SQL. Each
//! store reads its own tables as these and writes these as its own.
//!
//! Not carried: what one process keeps for itself (its pulse, nodes, who sent an attempt), and what follows from the rest
//! (counts, the numbers that SQLite gives to lanes).

use ring::digest::{Context, SHA256};

use super::rules::words::without_nul;

/// A value, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    /// Yes or no: 1 or 0.
    Flag,
    /// As PostgreSQL can keep one: UTF-8 without a NUL.
    Text,
    /// A text that has to be kept letter for letter, whatever is in it.
    Letters,
    Bytes,
}

/// One table in the common form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Table {
    Submission,
    /// Where each submission is. `lane` is the hash; nothing is `sending`. The final states keep no due time.
    Standing,
    /// The newest delivered one of each activity that has one.
    Lane,
    Attempt,
    History,
    Episode,
    ReceiptFile,
    ReceiptRow,
    Minute,
    Total,
}

impl Table {
    /// Its columns, in order.
    pub(crate) const fn columns(self) -> &'static [(&'static str, Kind)] {
        use Kind::{Bytes, Flag, Letters, Number, Text};
        match self {
            Self::Submission => &[
                ("id", Number),
                ("created_at", Number),
                ("not_before", Number),
                ("replaced_by", Number),
                ("activity_id", Text),
                ("provider_activity_id", Text),
                ("commerce_external_id", Text),
                ("submission_key", Letters),
                ("holds_key", Flag),
                ("digest", Bytes),
                ("source", Text),
                ("on_conflict", Text),
                ("origin", Text),
                ("invalid", Text),
                ("by_result_types", Flag),
                ("payload", Letters),
            ],
            Self::Standing => &[
                ("id", Number),
                ("lane", Number),
                ("state", Text),
                ("reason", Text),
                ("next_at", Number),
                ("not_before", Number),
                ("waited_ms", Number),
                ("updated_at", Number),
                ("attempts", Number),
                ("tries", Number),
                ("http_status", Number),
                ("hard_override", Number),
                ("lost_response", Flag),
                ("was_unauthorized", Flag),
                ("requeued", Flag),
            ],
            Self::Lane => &[("lane", Number), ("delivered_id", Number)],
            Self::Attempt => &[
                ("submission", Number),
                ("number", Number),
                ("started_at", Number),
                ("elapsed_ms", Number),
                ("hard_override", Flag),
                ("lost_response", Flag),
                ("status", Number),
                ("body_length", Number),
                ("outcome", Text),
                ("headers", Text),
                ("body", Bytes),
                ("fault", Text),
                ("fault_message", Text),
            ],
            Self::History => &[
                ("submission", Number),
                ("at", Number),
                ("actor", Text),
                ("what", Text),
                ("detail", Text),
                ("old_payload", Letters),
            ],
            Self::Episode => &[("id", Number)],
            Self::ReceiptFile => &[
                ("inbox", Bytes),
                ("name", Bytes),
                ("inode", Number),
                ("taken", Number),
                ("lines", Number),
                ("result_bytes_max", Number),
                ("modified_ns", Text),
                ("digest", Bytes),
            ],
            Self::ReceiptRow => &[("inbox", Bytes), ("row", Number), ("digest", Bytes)],
            Self::Minute => &[
                ("until", Number),
                ("since", Number),
                ("node", Text),
                ("name", Text),
                ("counts", Text),
                ("pending", Number),
                ("sending", Number),
                ("delivered", Number),
                ("dead", Number),
                ("parked", Number),
                ("dismissed", Number),
                ("oldest_pending", Number),
                ("oldest_due", Number),
                ("oldest_dead", Number),
                ("in_flight", Number),
                ("gate", Text),
                ("gate_changes", Text),
            ],
            Self::Total => &[("figure", Text), ("value", Number)],
        }
    }

    /// By which of its columns it is walked through. A line of the history has no number of its own in this form: only
    /// the order of the lines of one submission says anything.
    pub(crate) const fn key(self) -> &'static [&'static str] {
        match self {
            Self::Submission | Self::Standing | Self::Episode => &["id"],
            Self::Lane => &["lane"],
            Self::Attempt => &["submission", "number"],
            Self::History => &["submission", "seq"],
            Self::ReceiptFile => &["inbox", "name", "inode"],
            Self::ReceiptRow => &["inbox", "row", "digest"],
            Self::Minute => &["until", "node"],
            Self::Total => &["figure"],
        }
    }
}

/// A row: a cell a column.
pub(crate) type Row = Vec<Cell>;

/// The next rows of a table.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    /// The key of the last one; `None` where there was none.
    pub(crate) last: Option<Row>,
}

/// The most rows that are at hand at a time, and the bytes of theirs after which no more are added: one row may have the
/// size of a payload.
pub(crate) const PAGE_ROWS_MAX: usize = 500;
pub(crate) const PAGE_BYTES_ENOUGH: usize = 4 << 20;

impl Page {
    /// Adds a row with its key; whether there is room for more.
    pub(crate) fn push(&mut self, row: Row, key: Row, bytes: &mut usize) -> bool {
        *bytes += row.iter().map(Cell::bytes).sum::<usize>();
        self.rows.push(row);
        self.last = Some(key);
        self.rows.len() < PAGE_ROWS_MAX && *bytes < PAGE_BYTES_ENOUGH
    }
}

impl Cell {
    /// A text as both stores can keep one. Bytes that are no UTF-8 (other hands) are replacement characters, as they
    /// are shown.
    pub(crate) fn text(bytes: &[u8]) -> Self {
        Self::Text(without_nul(&String::from_utf8_lossy(bytes)).into_owned())
    }

    pub(crate) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Null | Self::Text(_) | Self::Bytes(_) => None,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Null | Self::Number(_) => 8,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// One of the few remembered values, under the name that it has where only one daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) name: String,
    pub(crate) value: String,
    /// Milliseconds since 1970.
    pub(crate) at: i64,
}

/// How many rows of a table, and the sum of all that is in them, in order.
#[derive(Clone)]
pub(crate) struct Sum {
    pub(crate) rows: u64,
    context: Context,
}

impl Sum {
    pub(crate) fn new() -> Self {
        Self {
            rows: 0,
            context: Context::new(&SHA256),
        }
    }

    /// Every cell with its kind and length before it: no two rows have the same letters.
    pub(crate) fn add(&mut self, row: &[Cell]) {
        self.rows += 1;
        for cell in row {
            let number;
            let (kind, bytes): (u8, &[u8]) = match cell {
                Cell::Null => (0, &[]),
                Cell::Number(value) => {
                    number = value.to_be_bytes();
                    (1, &number)
                }
                Cell::Text(text) => (2, text.as_bytes()),
                Cell::Bytes(bytes) => (3, bytes),
            };
            self.context.update(&[kind]);
            self.context.update(&(bytes.len() as u64).to_be_bytes());
            self.context.update(bytes);
        }
    }
}

impl PartialEq for Sum {
    fn eq(&self, other: &Self) -> bool {
        let sum = |sum: &Self| sum.context.clone().finish();
        self.rows == other.rows && sum(self).as_ref() == sum(other).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(rows: &[Row]) -> Sum {
        let mut sum = Sum::new();
        for row in rows {
            sum.add(row);
        }
        sum
    }

    #[test]
    fn a_sum_tells_apart_what_moved_between_cells_kinds_and_rows() {
        let text = |text: &str| Cell::Text(text.to_owned());
        let all = [
            vec![vec![text("ab"), text("c")]],
            vec![vec![text("a"), text("bc")]],
            vec![vec![Cell::Bytes(b"ab".to_vec()), text("c")]],
            vec![vec![text("ab")], vec![text("c")]],
            vec![vec![text("c")], vec![text("ab")]],
            vec![vec![text(""), Cell::Number(0)]],
            vec![vec![Cell::Null, Cell::Number(0)]],
        ];
        for (place, one) in all.iter().enumerate() {
            for (other_place, other) in all.iter().enumerate() {
                assert_eq!(sum(one) == sum(other), place == other_place, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_page_ends_by_rows_or_by_bytes() {
        let (mut page, mut bytes) = (Page::default(), 0);
        let row = || vec![Cell::Bytes(vec![0; PAGE_BYTES_ENOUGH / 2])];
        assert!(page.push(row(), vec![Cell::Number(1)], &mut bytes));
        assert!(!page.push(row(), vec![Cell::Number(2)], &mut bytes));
        assert_eq!(page.last, Some(vec![Cell::Number(2)]));
    }
}
