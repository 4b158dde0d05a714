//! What is done with a file whose results are all committed: its bad lines go to `rejected/`, it is looked at once more, and removed.
//! Blocking, and without the store.

use std::ffi::OsString;
use std::io;

use crate::clock::Timestamp;

use super::folder::{Folder, Look};
use super::pieces::ReadError;
use super::reject::{self, Reason};
use super::remove::{self, Removal, remove};
use super::taking::Taking;

/// How often a file is looked at again whose times change although its bytes do not; then it waits for another day.
const LOOKS_MAX: u32 = 3;

/// What became of a file that was taken.
#[derive(Debug)]
pub struct Finished {
    /// Its name in the inbox.
    pub name: OsString,
    /// Its inode.
    pub inode: u64,
    /// Where its bad lines are, and what is said about them.
    pub rejected: Option<(OsString, Reason)>,
    /// How it ended.
    pub fate: Fate,
}

/// How it ended.
#[derive(Debug)]
pub enum Fate {
    /// It is gone; its receipt may be forgotten once the directory is synced.
    Gone,
    /// It has more than was taken: it stays with its receipt, and is read on.
    Grown(Look),
    /// It holds other bytes than were taken: a new file under an old inode. Its receipt is to be forgotten.
    Rewritten(Look),
    /// It could not be removed: it stays with its receipt.
    Failed(io::Error),
}

/// Finishes some files, and syncs once: whether that is done says whether receipts may be forgotten.
pub fn finish_all(inbox: &Folder, takings: Vec<Taking>, now: Timestamp) -> (Vec<Finished>, io::Result<()>) {
    let finished = takings.into_iter().map(|taking| finish(inbox, taking, now)).collect();
    // Power cut before this: names may come back, and their receipts say that they are taken.
    (finished, remove::sync(inbox))
}

fn finish(inbox: &Folder, mut taking: Taking, now: Timestamp) -> Finished {
    let mut rejected = None;
    let fate = bad_lines(inbox, &taking, now)
        .and_then(|bad| {
            rejected = bad;
            leave(inbox, &mut taking)
        })
        .unwrap_or_else(Fate::Failed);
    Finished {
        inode: taking.look.inode,
        name: taking.name,
        rejected,
        fate,
    }
}

/// Crash after this: the bad lines are durably in `rejected/`, and are not written there twice, for the next take is a resumed one.
fn bad_lines(inbox: &Folder, taking: &Taking, now: Timestamp) -> io::Result<Option<(OsString, Reason)>> {
    let look = Look::at(taking.file())?;
    if taking.bad_lines == 0 || look.size > taking.receipt().taken {
        return Ok(None); // What grows is finished when it has come to its end.
    }
    if !look.is_same_content(&taking.look) && !taking.is_as_taken()? {
        return Ok(None); // What was written anew is another file, and is judged as that.
    }
    let limits = (taking.result_bytes_max(), taking.receipt().taken);
    let outcome = if taking.results == 0 && !taking.is_resumed {
        all_lines(inbox, taking, limits, now)
    } else {
        reject::lines(inbox, &taking.name, taking.file(), limits, (now, taking.is_resumed)).map(Some)
    };
    outcome.map_err(io_error)
}

/// Not one line can be taken: the file itself goes.
fn all_lines(inbox: &Folder, taking: &Taking, limits: (usize, u64), now: Timestamp) -> Result<Option<(OsString, Reason)>, ReadError> {
    let (lines, total_bad) = reject::collect(taking.file(), io::sink(), limits, taking.pulse())?;
    let reason = Reason {
        why: format!("none of its {total_bad} lines can be taken"),
        lines,
        total_bad,
        rejected_at: now,
        is_lines_alone: false,
    };
    let moved = reject::whole(inbox, &taking.name, &taking.look, &reason)?;
    Ok(moved.map(|moved| (moved, reason)))
}

fn leave(inbox: &Folder, taking: &mut Taking) -> io::Result<Fate> {
    for _ in 0..LOOKS_MAX {
        let look = Look::at(taking.file())?;
        if taking.was_written || !look.is_same_content(&taking.look) {
            if !taking.is_as_taken()? {
                // Durable before its receipt goes: else a power cut could bring the old bytes back without it.
                taking.file().sync_all()?;
                return Ok(Fate::Rewritten(look));
            }
            taking.look = look;
            taking.was_written = false;
        }
        if look.size > taking.receipt().taken {
            return Ok(Fate::Grown(look));
        }
        match remove(inbox, &taking.name, &taking.look)? {
            Removal::Gone | Removal::Replaced => return Ok(Fate::Gone),
            Removal::Written => {}
        }
    }
    Ok(Fate::Grown(Look::at(taking.file())?))
}

/// Only NDJSON is read here, which is never bad as a whole, except when it is emptied under our eyes.
fn io_error(error: ReadError) -> io::Error {
    match error {
        ReadError::Io(error) => error,
        ReadError::Bad(bad) => io::Error::other(bad.to_string()),
    }
}
