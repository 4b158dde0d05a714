//! Statements that carry many rows. A row a statement tops out at some 15,000 rows a second, whatever the disk does; a hundred rows a
//! statement reach ten times that.
//!
//! Two ways, by what is carried. Numbers and our own words go as one JSON text into `json_each(?1)`: the SQL stays a constant. Texts and
//! bytes from outside go as multi-row VALUES, since JSON would have to escape them and cannot carry a NUL.

use serde::Serialize;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::{Sqlite, SqliteArguments};

/// The sizes of a multi-row VALUES, largest first. Only these occur, so that a connection keeps three prepared statements a table and not
/// one for every number of rows. 64 rows of 15 columns stay far below SQLite's 32,766 parameters.
const SIZES: [usize; 3] = [64, 8, 1];

/// Cuts `items` into pieces of the sizes that statements are prepared for.
pub(super) fn pieces<T>(mut items: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= items.len())?;
        let (piece, rest) = items.split_at(size);
        items = rest;
        Some(piece)
    })
}

/// `head` (up to and with the word VALUES) for so many rows of so many columns. The parameters stand in the order in which they are bound.
pub(super) fn insert(head: &str, columns: usize, rows: usize) -> sqlx::query::Query<'_, Sqlite, SqliteArguments> {
    let row = format!("({})", vec!["?"; columns].join(","));
    sqlx::query(AssertSqlSafe(format!("{head} {}", vec![row; rows].join(","))))
}

/// Rows for `json_each(?1)`.
pub(super) fn json<T: Serialize>(rows: &[T]) -> Result<String, sqlx::Error> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_few_sizes_and_lose_nothing() {
        let items: Vec<u32> = (0..147).collect();
        let sizes: Vec<usize> = pieces(&items).map(<[u32]>::len).collect();
        assert_eq!(sizes, [64, 64, 8, 8, 1, 1, 1]);
        assert_eq!(pieces(&items).flatten().copied().collect::<Vec<_>>(), items);
        assert_eq!(pieces::<u32>(&[]).count(), 0);
    }
}
