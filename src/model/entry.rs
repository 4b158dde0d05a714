//! What intake hands to the store: results with their directives, and the receipts that make taking them happen exactly
//! once.

use std::ffi::OsString;

use crate::clock::Timestamp;

use super::activity::{Digest, SubmissionKey};
use super::payload::{Facts, Payload};
use super::submission::{ConflictPolicy, SubmissionId};
use super::token::ReplaceToken;

/// Where a result came from. Serialized it is the `origin` of `list --json` and `show --json`, without what says
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Origin {
    /// A file of the inbox (or of `enqueue`): its name, escaped where it is no UTF-8, and the line of an NDJSON or the
    /// item of an array, from 1.
    File {
        /// The file's name without its directory.
        #[serde(rename = "file")]
        name: String,
        /// The line of an NDJSON file.
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<u64>,
        /// The place in a JSON array, from 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        item: Option<u64>,
    },
    /// A row of the inbox database.
    Row {
        #[serde(rename = "row")]
        id: i64,
    },
    /// An operator's command: the name of the user, and the line or item of what was read.
    User {
        /// Who ran `enqueue` on standard input.
        #[serde(rename = "user")]
        name: String,
        /// The line or item, from 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<u64>,
    },
}

/// The `$outbox` member of a result, or the columns of a row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives {
    /// Unique as long as the submission is kept.
    pub key: Option<SubmissionKey>,
    /// Goes before the rules and the policy when a 409 comes.
    pub on_conflict: Option<ConflictPolicy>,
    /// No attempt before this.
    pub not_before: Option<Timestamp>,
    pub source: Option<String>,
    /// Whose place it takes.
    pub replaces: Option<ReplaceToken>,
}

/// One result on its way into the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What will be sent, letter for letter; for a row that is no JSON object, its text.
    pub payload: Payload,
    /// What the outbox needs to know of it.
    pub facts: Facts,
    /// What the producer asked of the outbox.
    pub directives: Directives,
    /// Where it came from.
    pub origin: Origin,
    /// Digest of the object's members and values in any order, without `$outbox` ([`Payload::digest`]); there when a
    /// key is. Two entries of one key are the same result when it is equal.
    pub digest: Option<Digest>,
    /// What is wrong with it, in one line, where it is to become a dead letter, `invalid`.
    pub invalid: Option<String>,
    /// Of an invalid one: whether nothing but the tenant's list of result types speaks against it. A changed list may
    /// make it valid.
    pub by_result_types: bool,
}

/// Proof that something was taken out of the inbox: committed with what it proves, forgotten only after the source is
/// durably gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// Of a file, or of its beginning.
    File(FileReceipt),
    Row(RowReceipt),
}

/// The random number of an inbox, of files or of rows.
pub type InboxId = [u8; 16];

/// How far a file has been taken. A file found again after a crash is the one of this receipt when its name and inode
/// are the same and its first `taken` bytes have this digest; where nothing follows them, its modification time
/// must be the same too, so that an equal file dropped later under the same name is not mistaken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReceipt {
    /// The inbox directory's own random id. The path may name another directory at the next start; `None`: of an outbox
    /// of version 1, which knew none.
    pub inbox: Option<InboxId>,
    /// The name in `inbox.dir`, as bytes.
    pub name: OsString,
    pub inode: u64,
    /// Modification time in nanoseconds since 1970 when it was last looked at.
    pub modified_ns: i128,
    /// How many of its bytes are in the outbox (or in `rejected/`).
    pub taken: u64,
    /// How many lines or items those bytes held.
    pub lines: u64,
    /// Digest of those bytes.
    pub digest: Digest,
    /// The largest result in bytes (`inbox.max_result_size`) when the file was first read; all of it is judged by that.
    /// `None`: of version 1.
    pub result_bytes_max: Option<usize>,
}

/// A row taken. After a power cut SQLite may give a rolled-back id out again: the same id with another digest is a new
/// row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowReceipt {
    /// The inbox database's own random id.
    pub inbox: InboxId,
    pub row: i64,
    /// Digest of its columns.
    pub digest: Digest,
}

/// Results with the receipts that prove them taken: one transaction. Admitting the same receipts again is a no-op.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admission {
    /// The results, in intake order.
    pub entries: Vec<Entry>,
    /// For rows: one an entry, in the same order (an entry whose receipt is known already is skipped). For files: the
    /// new state of each file's receipt, replacing the older one of the same name and inode.
    pub receipts: Vec<Receipt>,
}

/// What became of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted {
    /// It is in the outbox, pending.
    Accepted(SubmissionId),
    /// It is in the outbox as a dead letter, `invalid`; why, in one line (the entry's own reason, or that its key
    /// belongs to another object).
    Invalid { id: SubmissionId, why: String },
    /// Dropped: the same key with the same object is kept already.
    Duplicate {
        /// The one that is kept.
        of: SubmissionId,
    },
    /// Its receipt was known: it had been taken before a crash.
    AlreadyTaken,
}
