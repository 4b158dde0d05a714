//! Receipts: proof that a file or a row was taken, committed with what was taken.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use crate::model::{Digest, FileReceipt, Receipt, RowReceipt};

use super::{batch, trouble};

pub(super) const SAME_FILE: &str = "SELECT 1 FROM receipt_file \
     WHERE inbox = ?1 AND name = ?2 AND inode = ?3 AND modified_ns = ?4 AND taken = ?5 AND digest = ?6";

/// Whether all these file receipts (there is at least one) stand in the outbox exactly so: the admission was committed before, and its
/// answer was lost.
pub(super) async fn is_known_file(conn: &mut SqliteConnection, receipts: &[Receipt]) -> Result<bool, sqlx::Error> {
    let mut any = false;
    for file in files(receipts) {
        any = true;
        let known = sqlx::query(SAME_FILE)
            .bind(inbox(file))
            .bind(file.name.as_bytes())
            .bind(file.inode.cast_signed())
            .bind(file.modified_ns.to_string())
            .bind(file.taken.cast_signed())
            .bind(file.digest.0.to_vec())
            .fetch_optional(&mut *conn)
            .await?;
        if known.is_none() {
            return Ok(false);
        }
    }
    Ok(any)
}

pub(super) const KNOWN_ROWS: &str = "SELECT j.value ->> 0 AS place FROM json_each(?1) AS j \
      CROSS JOIN receipt_row AS r \
         ON r.inbox = unhex(j.value ->> 1) AND r.row = j.value ->> 2 AND r.digest = unhex(j.value ->> 3)";

/// The places of the row receipts that are known, counted among the row receipts: the entry at that place has been taken.
pub(super) async fn known_rows(conn: &mut SqliteConnection, receipts: &[Receipt]) -> Result<HashSet<usize>, sqlx::Error> {
    let rows = row_texts(receipts);
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let found = sqlx::query(KNOWN_ROWS).bind(batch::json(&rows)?).fetch_all(conn).await?;
    found
        .iter()
        .map(|row| Ok(usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX)))
        .collect()
}

pub(super) const KEEP_FILE: &str = "INSERT INTO receipt_file (inbox, name, inode, modified_ns, taken, lines, digest, result_bytes_max) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
     ON CONFLICT (inbox, name, inode) DO UPDATE SET modified_ns = ?4, taken = ?5, lines = ?6, digest = ?7, result_bytes_max = ?8";
pub(super) const KEEP_ROWS: &str = "INSERT INTO receipt_row (inbox, row, digest) \
     SELECT unhex(value ->> 1), value ->> 2, unhex(value ->> 3) FROM json_each(?1) WHERE true \
     ON CONFLICT DO NOTHING";

/// Keeps receipts; a file's newer one replaces its older one.
pub(super) async fn keep(conn: &mut SqliteConnection, receipts: &[Receipt]) -> Result<(), sqlx::Error> {
    for file in files(receipts) {
        sqlx::query(KEEP_FILE)
            .bind(inbox(file))
            .bind(file.name.as_bytes())
            .bind(file.inode.cast_signed())
            .bind(file.modified_ns.to_string())
            .bind(file.taken.cast_signed())
            .bind(file.lines.cast_signed())
            .bind(file.digest.0.to_vec())
            .bind(file.result_bytes_max.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)))
            .execute(&mut *conn)
            .await?;
    }
    let rows = row_texts(receipts);
    if !rows.is_empty() {
        sqlx::query(KEEP_ROWS).bind(batch::json(&rows)?).execute(conn).await?;
    }
    Ok(())
}

pub(super) const FORGET_FILE: &str = "DELETE FROM receipt_file WHERE inbox = ?1 AND name = ?2 AND inode = ?3";
pub(super) const FORGET_ROWS: &str = "DELETE FROM receipt_row WHERE (inbox, row, digest) IN ( \
     SELECT unhex(value ->> 1), value ->> 2, unhex(value ->> 3) FROM json_each(?1))";

/// Forgets receipts whose sources are durably gone.
pub(super) async fn forget(conn: &mut SqliteConnection, receipts: &[Receipt]) -> Result<(), sqlx::Error> {
    for file in files(receipts) {
        sqlx::query(FORGET_FILE)
            .bind(inbox(file))
            .bind(file.name.as_bytes())
            .bind(file.inode.cast_signed())
            .execute(&mut *conn)
            .await?;
    }
    let rows = row_texts(receipts);
    if !rows.is_empty() {
        sqlx::query(FORGET_ROWS).bind(batch::json(&rows)?).execute(conn).await?;
    }
    Ok(())
}

/// Few at any time: files that are being taken, or were when the daemon ended.
pub(super) const ALL_FILES: &str = "SELECT inbox, name, inode, modified_ns, taken, lines, digest, result_bytes_max \
     FROM receipt_file ORDER BY inbox, name, inode";

/// Every file receipt that is still there.
pub(super) async fn all_files(conn: &mut SqliteConnection) -> Result<Vec<FileReceipt>, sqlx::Error> {
    let rows = sqlx::query(ALL_FILES).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let modified: &str = row.try_get("modified_ns")?;
            let digest: &[u8] = row.try_get("digest")?;
            let inbox: &[u8] = row.try_get("inbox")?;
            Ok(FileReceipt {
                // Its length is checked by the table; an empty one is of version 1.
                inbox: inbox.try_into().ok(),
                name: OsString::from_vec(row.try_get("name")?),
                inode: row.try_get::<i64, _>("inode")?.cast_unsigned(),
                modified_ns: modified.parse().map_err(|_| trouble::odd("modification time", modified))?,
                taken: row.try_get::<i64, _>("taken")?.cast_unsigned(),
                lines: row.try_get::<i64, _>("lines")?.cast_unsigned(),
                digest: Digest(digest.try_into().map_err(|_| trouble::odd("digest", "a blob of another length"))?),
                result_bytes_max: row
                    .try_get::<Option<i64>, _>("result_bytes_max")?
                    .and_then(|bytes| usize::try_from(bytes).ok()),
            })
        })
        .collect()
}

/// The id as it is stored: none is empty, for a key has no NULL.
fn inbox(file: &FileReceipt) -> Vec<u8> {
    file.inbox.map_or_else(Vec::new, |id| id.to_vec())
}

fn files(receipts: &[Receipt]) -> impl Iterator<Item = &FileReceipt> {
    receipts.iter().filter_map(|receipt| match receipt {
        Receipt::File(file) => Some(file),
        Receipt::Row(_) => None,
    })
}

/// Row receipts for `json_each`: place, inbox, row and digest, bytes in hexadecimal.
fn row_texts(receipts: &[Receipt]) -> Vec<(usize, String, i64, String)> {
    receipts
        .iter()
        .filter_map(|receipt| match receipt {
            Receipt::Row(row) => Some(row),
            Receipt::File(_) => None,
        })
        .enumerate()
        .map(|(place, RowReceipt { inbox, row, digest })| (place, hexadecimal(inbox), *row, hexadecimal(&digest.0)))
        .collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
