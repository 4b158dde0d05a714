//! Receipts: proof that a file or a row was taken, committed with what was taken.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::model::{Digest, FileReceipt, Receipt, RowReceipt, hexadecimal};
use crate::store::sqlite::machine::{batch, trouble};

/// How many of these file receipts are in the outbox exactly so. All of them: the admission was committed before, and
/// its answer was lost.
pub(crate) const SAME_FILES: &str = "SELECT count(*) AS same FROM json_each($1) AS j CROSS JOIN receipt_file AS r \
         ON r.inbox = unhex(j.value ->> 0) AND r.name = unhex(j.value ->> 1) AND r.inode = j.value ->> 2 \
        AND r.modified_ns = j.value ->> 3 AND r.taken = j.value ->> 4 AND r.digest = unhex(j.value ->> 6)";

/// The places of the row receipts that are known, counted among the row receipts: the entry at that place has been
/// taken.
pub(crate) const KNOWN_ROWS: &str = "SELECT j.value ->> 0 AS place FROM json_each($1) AS j \
      CROSS JOIN receipt_row AS r \
         ON r.inbox = unhex(j.value ->> 1) AND r.row = j.value ->> 2 AND r.digest = unhex(j.value ->> 3)";

/// The place in a row of [`KNOWN_ROWS`].
pub(crate) fn place(row: &SqliteRow) -> Result<usize, sqlx::Error> {
    Ok(usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX))
}

/// A file's newer one replaces its older one.
pub(crate) const KEEP_FILES: &str = "INSERT INTO receipt_file (inbox, name, inode, modified_ns, taken, lines, digest, \
     result_bytes_max) \
     SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5, \
     unhex(value ->> 6), value ->> 7 FROM json_each($1) WHERE true \
     ON CONFLICT (inbox, name, inode) DO UPDATE SET modified_ns = excluded.modified_ns, taken = excluded.taken, \
         lines = excluded.lines, digest = excluded.digest, result_bytes_max = excluded.result_bytes_max";
pub(crate) const KEEP_ROWS: &str = "INSERT INTO receipt_row (inbox, row, digest) \
     SELECT unhex(value ->> 1), value ->> 2, unhex(value ->> 3) FROM json_each($1) WHERE true \
     ON CONFLICT DO NOTHING";

pub(crate) const FORGET_FILES: &str = "DELETE FROM receipt_file WHERE (inbox, name, inode) IN ( \
     SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2 FROM json_each(?1))";
pub(crate) const FORGET_ROWS: &str = "DELETE FROM receipt_row WHERE (inbox, row, digest) IN ( \
     SELECT unhex(value ->> 1), value ->> 2, unhex(value ->> 3) FROM json_each(?1))";

/// Forgets receipts whose sources are durably gone.
pub(crate) async fn forget(conn: &mut SqliteConnection, receipts: &[Receipt]) -> Result<(), sqlx::Error> {
    let files = file_texts(receipts);
    if !files.is_empty() {
        sqlx::query(FORGET_FILES)
            .bind(batch::json(&files)?)
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
pub(crate) const ALL_FILES: &str = "SELECT inbox, name, inode, modified_ns, taken, lines, digest, result_bytes_max \
     FROM receipt_file ORDER BY inbox, name, inode";

/// Every file receipt that is still there.
pub(crate) async fn all_files(conn: &mut SqliteConnection) -> Result<Vec<FileReceipt>, sqlx::Error> {
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
                modified_ns: modified
                    .parse()
                    .map_err(|_| trouble::corrupt("modification time", modified))?,
                taken: row.try_get::<i64, _>("taken")?.cast_unsigned(),
                lines: row.try_get::<i64, _>("lines")?.cast_unsigned(),
                digest: Digest(
                    digest
                        .try_into()
                        .map_err(|_| trouble::corrupt("digest", "a blob of another length"))?,
                ),
                result_bytes_max: row
                    .try_get::<Option<i64>, _>("result_bytes_max")?
                    .and_then(|bytes| usize::try_from(bytes).ok()),
            })
        })
        .collect()
}

/// A file receipt for `json_each`: inbox, name, inode, modification time, bytes and lines taken, digest, the largest
/// result. Bytes in hexadecimal, for a name may be no text.
pub(crate) type FileText = (String, String, i64, String, i64, i64, String, Option<i64>);

/// The file receipts among these.
pub(crate) fn file_texts(receipts: &[Receipt]) -> Vec<FileText> {
    let files = receipts.iter().filter_map(|receipt| match receipt {
        Receipt::File(file) => Some(file),
        Receipt::Row(_) => None,
    });
    files
        .map(|file| {
            (
                // None is an empty one, for a key has no NULL.
                file.inbox.map_or_else(String::new, |id| hexadecimal(&id)),
                hexadecimal(file.name.as_bytes()),
                file.inode.cast_signed(),
                file.modified_ns.to_string(),
                file.taken.cast_signed(),
                file.lines.cast_signed(),
                hexadecimal(&file.digest.0),
                file.result_bytes_max
                    .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            )
        })
        .collect()
}

/// Row receipts for `json_each`: place, inbox, row and digest, bytes in hexadecimal.
pub(crate) fn row_texts(receipts: &[Receipt]) -> Vec<(usize, String, i64, String)> {
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
