//! Statements that carry many rows. A row a statement tops out at some 15,000 rows a second, whatever the disk does; a
//! hundred rows a statement reach ten times that.
//!
//! Two ways, by what is carried. Numbers and our own words go as one JSON text into `json_each(?1)`: the SQL stays a
//! constant. Texts and bytes from outside go as multi-row VALUES, since JSON would have to escape them and cannot carry
//! a NUL.

use std::fmt::Write as _;

use serde::Serialize;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::{Sqlite, SqliteArguments};

/// The sizes of a multi-row VALUES. Only these occur, so that a connection keeps six prepared statements a table and
/// not one for every number of rows. 256 rows of 22 columns stay far below SQLite's 32,766 parameters.
pub(crate) const SIZES: [usize; 6] = [1, 8, 32, 64, 128, 256];

/// Cuts `items` into pieces, each with the smallest size that holds it: one statement for 62 rows, since each is a way
/// to SQLite's thread and back, which costs more than the two rows that stay empty.
pub(crate) fn pieces<T>(mut items: &[T]) -> impl Iterator<Item = (&[T], usize)> {
    std::iter::from_fn(move || {
        let largest = SIZES[SIZES.len() - 1];
        let size = SIZES.into_iter().find(|size| *size >= items.len()).unwrap_or(largest);
        let (piece, rest) = items.split_at(items.len().min(size));
        items = rest;
        (!piece.is_empty()).then_some((piece, size))
    })
}

/// `head` (a table and its columns) for so many rows of so many columns. The parameters are in the order in which
/// they are bound; what is not bound is NULL, and a row whose first column is NULL is none.
pub(crate) fn insert(head: &str, columns: usize, rows: usize) -> sqlx::query::Query<'_, Sqlite, SqliteArguments> {
    sqlx::query(AssertSqlSafe(insert_sql(head, columns, rows)))
}

pub(crate) fn insert_sql(head: &str, columns: usize, rows: usize) -> String {
    let rows = values(columns, rows);
    format!("{head} SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL")
}

/// The rows of a VALUES. Their parameters have no names: SQLite looks a name up in the list of all of them, which is
/// quadratic in what is bound, and took half of the time of a drain.
pub(crate) fn values(columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    vec![row; rows].join(",")
}

/// A statement whose parameters `$1` to `$9` come after so many others of the same query, which have no names. As
/// `$N`: of `?N`, SQLite counts all below the highest, and in a query of several statements sqlx would bind those to
/// others.
pub(crate) fn behind(sql: &str, others: usize) -> String {
    let mut parts = sql.split('$');
    let mut shifted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_at(1);
        let number = number.parse::<usize>().unwrap_or_default() + others;
        // Writing to a String cannot fail.
        let _ = write!(shifted, "${number}{rest}");
    }
    shifted
}

/// Rows for `json_each(?1)`.
pub(crate) fn json<T: Serialize>(rows: &[T]) -> Result<String, sqlx::Error> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_behind_others() {
        assert_eq!(behind("a = $1 AND b < $9", 22), "a = $23 AND b < $31");
        assert_eq!(behind("SELECT 1", 22), "SELECT 1");
    }

    #[test]
    fn pieces_have_few_sizes_and_lose_nothing() {
        let items: Vec<u32> = (0..300).collect();
        let sizes = |count: usize| {
            pieces(&items[..count])
                .map(|(piece, size)| (piece.len(), size))
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(147), [(147, 256)]);
        assert_eq!((sizes(62), sizes(9)), (vec![(62, 64)], vec![(9, 32)]));
        assert_eq!(
            (sizes(8), sizes(2), sizes(1)),
            (vec![(8, 8)], vec![(2, 8)], vec![(1, 1)])
        );
        assert_eq!(
            pieces(&items).flat_map(|(piece, _)| piece).copied().collect::<Vec<_>>(),
            items
        );
        assert_eq!(pieces::<u32>(&[]).count(), 0);
    }
}
