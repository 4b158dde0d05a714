//! Receipts: proof that a file or a row was taken, committed with what was taken. Each names the inbox it is of.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::model::{Digest, FileReceipt, Receipt, RowReceipt};
use crate::store::rules::words::Corrupt;

pub(super) const FILE: &str =
    "SELECT modified_ns, taken, digest FROM receipt_file WHERE inbox = $1 AND inode = $2 AND name = $3";

/// Whether these file receipts stand in the outbox exactly so, all of them: the admission was committed before, and its
/// answer was lost.
pub(super) async fn are_known(conn: &mut PgConnection, receipts: &[Receipt]) -> Result<bool, sqlx::Error> {
    let mut is_any = false;
    for receipt in files(receipts) {
        is_any = true;
        let row = sqlx::query(FILE)
            .bind(inbox(receipt))
            .bind(receipt.inode.cast_signed())
            .bind(receipt.name.as_bytes())
            .fetch_optional(&mut *conn)
            .await?;
        let Some(row) = row else { return Ok(false) };
        let (modified, taken, digest): (&str, i64, &[u8]) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if modified != receipt.modified_ns.to_string()
            || taken != receipt.taken.cast_signed()
            || digest != receipt.digest.0
        {
            return Ok(false);
        }
    }
    Ok(is_any)
}

pub(super) const KNOWN_ROWS: &str = "SELECT \"row\", digest FROM receipt_row WHERE inbox = $1 AND \"row\" = ANY ($2)";

/// The places of the row receipts that are known, counted among the row receipts: the entry at that place has been
/// taken.
pub(super) async fn known_rows(conn: &mut PgConnection, receipts: &[Receipt]) -> Result<Vec<usize>, sqlx::Error> {
    let rows: Vec<&RowReceipt> = rows(receipts).collect();
    let Some(first) = rows.first() else {
        return Ok(Vec::new());
    };
    let numbers: Vec<i64> = rows.iter().map(|row| row.row).collect();
    // An admission's rows are of one inbox.
    let found = sqlx::query(KNOWN_ROWS)
        .bind(first.inbox.as_slice())
        .bind(numbers)
        .fetch_all(conn)
        .await?;
    let known = found
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get::<&[u8], _>(1)?.to_vec())))
        .collect::<Result<std::collections::HashSet<(i64, Vec<u8>)>, sqlx::Error>>()?;
    let is_known = |row: &RowReceipt| known.contains(&(row.row, row.digest.0.to_vec()));
    Ok(rows
        .iter()
        .enumerate()
        .filter(|(_, row)| is_known(row))
        .map(|(place, _)| place)
        .collect())
}

/// A file's newer one replaces its older one.
pub(super) const KEEP_FILE: &str = "INSERT INTO receipt_file (inbox, name, inode, modified_ns, taken, lines, digest, result_bytes_max) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
     ON CONFLICT (inbox, inode, name) DO UPDATE SET modified_ns = excluded.modified_ns, taken = excluded.taken, \
         lines = excluded.lines, digest = excluded.digest, result_bytes_max = excluded.result_bytes_max";
pub(super) const KEEP_ROWS: &str = "INSERT INTO receipt_row (inbox, \"row\", digest) \
     SELECT i, r, d FROM unnest($1::bytea[], $2::bigint[], $3::bytea[]) AS t (i, r, d) ON CONFLICT DO NOTHING";

/// Keeps them.
pub(super) async fn keep(conn: &mut PgConnection, receipts: &[Receipt]) -> Result<(), sqlx::Error> {
    for receipt in files(receipts) {
        sqlx::query(KEEP_FILE)
            .bind(inbox(receipt))
            .bind(receipt.name.as_bytes())
            .bind(receipt.inode.cast_signed())
            .bind(receipt.modified_ns.to_string())
            .bind(receipt.taken.cast_signed())
            .bind(receipt.lines.cast_signed())
            .bind(receipt.digest.0.as_slice())
            .bind(
                receipt
                    .result_bytes_max
                    .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            )
            .execute(&mut *conn)
            .await?;
    }
    let (inboxes, numbers, digests) = columns(receipts);
    if !numbers.is_empty() {
        sqlx::query(KEEP_ROWS)
            .bind(inboxes)
            .bind(numbers)
            .bind(digests)
            .execute(conn)
            .await?;
    }
    Ok(())
}

pub(super) const FORGET_FILE: &str = "DELETE FROM receipt_file WHERE inbox = $1 AND inode = $2 AND name = $3";
pub(super) const FORGET_ROWS: &str = "DELETE FROM receipt_row WHERE (inbox, \"row\", digest) IN ( \
     SELECT i, r, d FROM unnest($1::bytea[], $2::bigint[], $3::bytea[]) AS t (i, r, d))";

/// Forgets receipts whose sources are durably gone.
pub(super) async fn forget(conn: &mut PgConnection, receipts: &[Receipt]) -> Result<(), sqlx::Error> {
    for receipt in files(receipts) {
        sqlx::query(FORGET_FILE)
            .bind(inbox(receipt))
            .bind(receipt.inode.cast_signed())
            .bind(receipt.name.as_bytes())
            .execute(&mut *conn)
            .await?;
    }
    let (inboxes, numbers, digests) = columns(receipts);
    if !numbers.is_empty() {
        sqlx::query(FORGET_ROWS)
            .bind(inboxes)
            .bind(numbers)
            .bind(digests)
            .execute(conn)
            .await?;
    }
    Ok(())
}

pub(super) const ALL_FILES: &str = "SELECT inbox, name, inode, modified_ns, taken, lines, digest, result_bytes_max \
     FROM receipt_file ORDER BY inbox, name, inode";

/// Every file receipt that is still there, of every inbox: whoever asks knows its own.
pub(super) async fn all_files(conn: &mut PgConnection) -> Result<Vec<FileReceipt>, sqlx::Error> {
    let rows = sqlx::query(ALL_FILES).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let (modified, digest): (&str, &[u8]) = (row.try_get("modified_ns")?, row.try_get("digest")?);
            Ok(FileReceipt {
                inbox: row.try_get::<&[u8], _>("inbox")?.try_into().ok(),
                name: OsString::from_vec(row.try_get("name")?),
                inode: row.try_get::<i64, _>("inode")?.cast_unsigned(),
                modified_ns: modified
                    .parse()
                    .map_err(|_| Corrupt::new("modification time", modified))?,
                taken: row.try_get::<i64, _>("taken")?.cast_unsigned(),
                lines: row.try_get::<i64, _>("lines")?.cast_unsigned(),
                digest: Digest(
                    digest
                        .try_into()
                        .map_err(|_| Corrupt::new("digest", "a value of another length"))?,
                ),
                result_bytes_max: row
                    .try_get::<Option<i64>, _>("result_bytes_max")?
                    .and_then(|bytes| usize::try_from(bytes).ok()),
            })
        })
        .collect()
}

fn inbox(receipt: &FileReceipt) -> &[u8] {
    receipt.inbox.as_ref().map_or(&[], |id| id.as_slice())
}

fn files(receipts: &[Receipt]) -> impl Iterator<Item = &FileReceipt> {
    receipts.iter().filter_map(|receipt| match receipt {
        Receipt::File(file) => Some(file),
        Receipt::Row(_) => None,
    })
}

fn rows(receipts: &[Receipt]) -> impl Iterator<Item = &RowReceipt> {
    receipts.iter().filter_map(|receipt| match receipt {
        Receipt::Row(row) => Some(row),
        Receipt::File(_) => None,
    })
}

/// Of the row receipts, each column.
fn columns(receipts: &[Receipt]) -> (Vec<&[u8]>, Vec<i64>, Vec<&[u8]>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for RowReceipt { inbox, row, digest } in rows(receipts) {
        columns.0.push(inbox.as_slice());
        columns.1.push(*row);
        columns.2.push(digest.0.as_slice());
    }
    columns
}
