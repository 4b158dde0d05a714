//! What the daemon and its worker say to one another: requests and answers, each a frame of JSON after its length in
//! four bytes.
//!
//! The worker reads a file that anybody who drops rows may have written, so nothing that comes from it is trusted: a
//! frame has a limit, an answer that was not asked for ends the worker, and what it says is checked by who asked (see
//! [`super::worker`]).

use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::model::InboxId;

use super::error::RowsError;
use super::row::InboxRow;

/// The longest frame: a batch with one row of 16 MiB in it, where JSON needs six bytes for each of the row's.
pub const FRAME_BYTES_MAX: usize = 128 << 20;

/// What the worker is asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Open the row inbox, or open it anew. The first request of all; the worker shuts itself into the directory of the
    /// first one.
    Open {
        path: PathBuf,
        /// The outbox, which it must not be.
        outbox: PathBuf,
    },
    Poll {
        /// The version of the file (`data_version`) at which nothing was left: nothing is read where it is still that
        /// one.
        seen: Option<i64>,
        /// The id after which is read.
        after: i64,
        bytes_max: usize,
    },
    /// Take out of the inbox what is in the outbox.
    Delete {
        /// Ids and digests as they were read, in the order of the ids.
        rows: Vec<(i64, [u8; 32])>,
        /// `inbox.max_result_size` of the reading: it decides what is compared.
        bytes_max: usize,
        /// The present, for what moves to `rejected`.
        now: String,
    },
    /// Count what waits and what was rejected.
    Count,
    /// Insert results, as any producer could.
    Insert { texts: Vec<String> },
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    Opened {
        /// The row inbox's own random id.
        inbox: InboxId,
        /// Whether the kernel keeps the worker in the directory (Landlock).
        confined: bool,
    },
    /// The path names another file by now, or none: it is to be opened anew.
    Replaced,
    /// Nothing was written since [`Request::Poll::seen`].
    Unchanged,
    Rows(RowBatch),
    /// What was deleted or moved.
    Deleted {
        /// How many of the rows that were named this speaks of, from the first one on.
        done: usize,
        /// Those of them that are gone. One that a producer changed meanwhile is another one, and stays.
        gone: Vec<DeletedRow>,
    },
    Counted {
        /// Rows that will be taken.
        waiting: u64,
        /// Rows that could not be taken.
        rejected: u64,
    },
    /// The ids of the rows that were inserted.
    Inserted(Vec<i64>),
    /// It could not be done.
    Failed(RowsError),
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RowBatch {
    /// The version of the file, asked before the reading: what is committed since then changes it again.
    pub version: i64,
    /// In the order of their ids.
    pub rows: Vec<InboxRow>,
    /// Whether nothing comes after them.
    pub is_all: bool,
    /// A row that nobody can take or move, with its bytes: longer than the table's own CHECK allows.
    pub oversized: Option<(i64, u64)>,
}

/// A row that has left the inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedRow {
    pub id: i64,
    /// Why it lies in `rejected` now; `None` where it is in the outbox.
    pub rejected: Option<String>,
}

/// Reads a frame; `None` when the other side is gone.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = limited(length)?;
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    parsed(&bytes, length).map(Some)
}

pub fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&frame(message)?)
}

/// The same, where others go on meanwhile. The memory for it grows with what comes, not with what was announced.
pub async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await?;
    let length = limited(length)?;
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes).await?;
    parsed(&bytes, length)
}

pub async fn send(to: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    to.write_all(&frame(message)?).await
}

fn limited(length: [u8; 4]) -> io::Result<u64> {
    let length = u64::from(u32::from_be_bytes(length));
    if length > FRAME_BYTES_MAX as u64 {
        return Err(wrong(format!("a frame of {length} bytes")));
    }
    Ok(length)
}

fn parsed<T: DeserializeOwned>(bytes: &[u8], length: u64) -> io::Result<T> {
    if bytes.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // Where it is wrong, not what is there: it may hold a payload.
    serde_json::from_slice(bytes)
        .map_err(|error| wrong(format!("a frame that cannot be read at byte {}", error.column())))
}

fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    let announced = u32::try_from(length).ok().filter(|_| length <= FRAME_BYTES_MAX);
    let announced = announced.ok_or_else(|| wrong(format!("{length} bytes are too many for a frame")))?;
    frame[..4].copy_from_slice(&announced.to_be_bytes());
    Ok(frame)
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_end_is_no_frame() {
        let mut bytes = Vec::new();
        write(&mut bytes, &Request::Count).unwrap();
        write(&mut bytes, &Reply::Inserted(vec![7])).unwrap();
        let mut from = bytes.as_slice();
        assert!(matches!(read(&mut from).unwrap(), Some(Request::Count)));
        assert!(matches!(read(&mut from).unwrap(), Some(Reply::Inserted(ids)) if ids == [7]));
        assert!(read::<Reply>(&mut from).unwrap().is_none());
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_cut_off_or_no_answer_is_an_error() {
        for bytes in [
            &b"\xff\xff\xff\xff{}"[..],
            b"\x00\x00\x00\x10{}",
            b"\x00\x00\x00\x02{}",
            b"\x00\x00\x00\x07\"Count\"",
            b"\x00\x00\x00\x06\"\xff\xff\xff\xff\"",
        ] {
            assert!(receive::<Reply>(&mut &bytes[..]).await.is_err(), "{bytes:?}");
        }
        let deep = [&u32::to_be_bytes(1 << 20)[..], "[".repeat(1 << 20).as_bytes()].concat();
        assert!(receive::<Reply>(&mut deep.as_slice()).await.is_err());
    }
}
