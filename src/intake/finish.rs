//! What is done with a file whose results are all committed: its bad lines go to `rejected/`, it is looked at once
//! more, set aside, and removed unless somebody opened it before that. Blocking, and without the store.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};

use crate::clock::Timestamp;

use super::folder::{FileStat, Folder, hidden};
use super::open_file::OpenFile;
use super::reject::{self, RejectReport};
use super::remove::{self, SetAside, give_back, let_go, set_aside};
use super::result_reader::{ReadError, read_blocks};

/// How often a file is looked at again whose times change although its bytes do not; then it waits for another day.
const LOOKS_MAX: u32 = 3;
/// So many names are tried for what is put back.
const RETURNS_MAX: u64 = 100;

/// A file on its way out.
#[derive(Debug)]
pub struct Leaving {
    open_file: OpenFile,
    rejected: Option<(OsString, RejectReport)>,
    /// The name under which it lies aside, or what became of it before that.
    aside: Result<OsString, RemovalOutcome>,
}

impl Leaving {
    /// Its name in the inbox.
    pub fn name(&self) -> &OsStr {
        &self.open_file.name
    }
}

/// What became of a file that was taken.
#[derive(Debug)]
pub struct Finished {
    /// Its name in the inbox.
    pub name: OsString,
    pub inode: u64,
    /// Where its bad lines are, and what is said about them.
    pub rejected: Option<(OsString, RejectReport)>,
    pub fate: RemovalOutcome,
    /// Whether a file got this name from us.
    pub was_renamed: bool,
}

#[derive(Debug)]
pub enum RemovalOutcome {
    /// It is gone; its receipt may be forgotten once the directory is synced.
    Gone,
    /// The same, and its name belongs to another file now.
    Replaced,
    /// The same, but in the very moment of its removal somebody wrote to it. What came is back in the inbox, under this
    /// name.
    Returned(OsString),
    /// It has more than was taken: it stays with its receipt, and is read on.
    Grown(FileStat),
    /// Somebody opened it while it had its name: it stays with its receipt.
    Opened(FileStat),
    /// It holds other bytes than were taken: a new file under an old inode. Its receipt is to be forgotten.
    Rewritten(FileStat),
    /// It could not be removed: it stays with its receipt.
    Failed(io::Error),
}

/// Writes the bad lines of some files, and sets them aside, where nobody can open them by their names any more.
pub fn set_aside_all(inbox: &Folder, open_files: Vec<OpenFile>, now: Timestamp) -> Vec<Leaving> {
    open_files
        .into_iter()
        .map(|open_file| set_one_aside(inbox, open_file, now))
        .collect()
}

fn set_one_aside(inbox: &Folder, mut open_file: OpenFile, now: Timestamp) -> Leaving {
    let mut rejected = None;
    let aside = bad_lines(inbox, &open_file, now).and_then(|bad| {
        rejected = bad;
        leave(inbox, &mut open_file)
    });
    Leaving {
        open_file,
        rejected,
        aside: aside.unwrap_or_else(|error| Err(RemovalOutcome::Failed(error))),
    }
}

/// Lets them go, but for those that are `true`: somebody opened them by their names. Syncs the directory once: only
/// where that was done may receipts be forgotten. The files are to be closed where nobody waits for it: with the last
/// descriptor of a file its blocks are freed.
pub fn let_go_all(inbox: &Folder, leaving: Vec<(Leaving, bool)>) -> (Vec<Finished>, Vec<OpenFile>, io::Result<()>) {
    let (finished, closing) = leaving
        .into_iter()
        .map(|(leaving, is_open)| let_one_go(inbox, leaving, is_open))
        .unzip();
    // Power cut before this: names may come back, and their receipts say that they are taken.
    (finished, closing, remove::sync(inbox))
}

fn let_one_go(inbox: &Folder, leaving: Leaving, is_open: bool) -> (Finished, OpenFile) {
    let open_file = leaving.open_file;
    let (fate, was_renamed) = match leaving.aside {
        Ok(aside) => {
            go(inbox, &open_file, &aside, is_open).unwrap_or_else(|error| (RemovalOutcome::Failed(error), false))
        }
        Err(fate) => (fate, false),
    };
    let finished = Finished {
        inode: open_file.stat.inode,
        name: open_file.name.clone(),
        rejected: leaving.rejected,
        fate,
        was_renamed,
    };
    (finished, open_file)
}

/// The last steps of a file that lies aside, and whether it got its name from us again.
fn go(inbox: &Folder, open_file: &OpenFile, aside: &OsStr, is_open: bool) -> io::Result<(RemovalOutcome, bool)> {
    let stat = FileStat::at(open_file.file())?;
    if is_open || !stat.is_same_content(&open_file.stat) {
        let was_renamed = give_back(inbox, aside, &open_file.name)?;
        let fate = if is_open {
            RemovalOutcome::Opened(stat)
        } else {
            RemovalOutcome::Grown(stat)
        };
        return Ok((fate, was_renamed));
    }
    let_go(inbox, aside)?;
    // Who was about to open it in the very moment in which it lost its name may have done so, and written. Crash here:
    // that is lost, as it would be with a file that its producer removed himself.
    let stat = FileStat::at(open_file.file())?;
    if stat.is_same_content(&open_file.stat) {
        return Ok((RemovalOutcome::Gone, false));
    }
    let back = put_back(inbox, open_file)?;
    Ok((back.map_or(RemovalOutcome::Gone, RemovalOutcome::Returned), false))
}

/// What came into a file that is removed by now becomes a file of its own: what follows that which was taken, or
/// all of it where that is not what was taken.
fn put_back(inbox: &Folder, open_file: &OpenFile) -> io::Result<Option<OsString>> {
    let from = if open_file.is_as_taken()? {
        open_file.receipt().taken
    } else {
        0
    };
    let size = FileStat::at(open_file.file())?.size;
    if size <= from {
        return Ok(None);
    }
    let private_dir = inbox.private_dir()?;
    let draft = hidden("rest", open_file.stat.inode);
    private_dir.remove(&draft)?;
    let mut file = private_dir.create(&draft)?;
    read_blocks(open_file.file(), from..size, open_file.progress(), |block| {
        file.write_all(block)
    })?;
    file.sync_all()?;
    for number in 1..=RETURNS_MAX {
        let name = reject::numbered(&open_file.name, number);
        if private_dir.rename(&draft, inbox, &name)? {
            return Ok(Some(name));
        }
    }
    Err(io::Error::other(format!(
        "what was written to it while it was removed lies in {}",
        private_dir.path().join(draft).display()
    )))
}

/// Crash after this: the bad lines are durably in `rejected/`, and are not written there twice, for the next take is a
/// resumed one.
fn bad_lines(inbox: &Folder, open_file: &OpenFile, now: Timestamp) -> io::Result<Option<(OsString, RejectReport)>> {
    let stat = FileStat::at(open_file.file())?;
    if open_file.bad_lines == 0 || stat.size > open_file.receipt().taken {
        return Ok(None); // What grows is finished when it has come to its end.
    }
    if !stat.is_same_content(&open_file.stat) && !open_file.is_as_taken()? {
        return Ok(None); // What was written anew is another file, and is judged as that.
    }
    let limits = (open_file.result_bytes_max(), open_file.receipt().taken);
    let outcome = if open_file.results == 0 && !open_file.is_resumed {
        all_lines(inbox, open_file, limits, now)
    } else {
        reject::lines(
            inbox,
            &open_file.name,
            open_file.file(),
            limits,
            (now, open_file.is_resumed),
        )
        .map(Some)
    };
    outcome.map_err(io_error)
}

/// Not one line can be taken: the file itself goes.
fn all_lines(
    inbox: &Folder,
    open_file: &OpenFile,
    limits: (usize, u64),
    now: Timestamp,
) -> Result<Option<(OsString, RejectReport)>, ReadError> {
    let bad = reject::collect(open_file.file(), io::sink(), limits, open_file.progress())?;
    let why = format!("none of its {} lines can be taken", bad.1);
    let report = RejectReport::whole(&open_file.name, why, bad, now);
    let moved = reject::whole(inbox, &open_file.name, &open_file.stat, &report)?;
    Ok(moved.map(|moved| (moved, report)))
}

fn leave(inbox: &Folder, open_file: &mut OpenFile) -> io::Result<Result<OsString, RemovalOutcome>> {
    for _ in 0..LOOKS_MAX {
        let stat = FileStat::at(open_file.file())?;
        if open_file.was_written || !stat.is_same_content(&open_file.stat) {
            if !open_file.is_as_taken()? {
                // Durable before its receipt goes: else a power cut could bring the old bytes back without it.
                open_file.file().sync_all()?;
                return Ok(Err(RemovalOutcome::Rewritten(stat)));
            }
            open_file.stat = stat;
            open_file.was_written = false;
        }
        if stat.size > open_file.receipt().taken {
            return Ok(Err(RemovalOutcome::Grown(stat)));
        }
        match set_aside(inbox, &open_file.name, &open_file.stat)? {
            SetAside::Aside(aside) => return Ok(Ok(aside)),
            SetAside::Gone => return Ok(Err(RemovalOutcome::Gone)),
            SetAside::Replaced => return Ok(Err(RemovalOutcome::Replaced)),
            SetAside::Written => {}
        }
    }
    Ok(Err(RemovalOutcome::Grown(FileStat::at(open_file.file())?)))
}

/// Only NDJSON is read here, which is never bad as a whole, except when it is emptied while it is read.
fn io_error(error: ReadError) -> io::Error {
    match error {
        ReadError::Io(error) => error,
        ReadError::Bad(bad) => io::Error::other(bad.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;
    use crate::config::Config;
    use crate::intake::tests::{NOW, result};
    use crate::policy::validate::Criteria;

    /// A file with one line, taken to its end, and its writer.
    fn taken(inbox: &Folder) -> (OpenFile, File) {
        let path = inbox.path().join("a.ndjson");
        fs::write(&path, result("a") + "\n").unwrap();
        let writer = File::options().append(true).open(path).unwrap();
        let Some(mut open_file) = OpenFile::open(inbox, "a.ndjson".into(), None, 1 << 20).unwrap() else {
            panic!("it is there")
        };
        let criteria = Criteria::new(&Config::defaults().unwrap().validation, None, NOW);
        open_file.chunk(&criteria).unwrap();
        (*open_file, writer)
    }

    fn inbox() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        (dir, folder)
    }

    fn content(inbox: &Folder, name: &str) -> Option<String> {
        fs::read_to_string(inbox.path().join(name)).ok()
    }

    #[test]
    fn what_is_open_or_written_while_it_lies_aside_gets_its_name_again() {
        for (is_open, is_written) in [(true, false), (true, true), (false, true), (false, false)] {
            let (_dir, inbox) = inbox();
            let (open_file, mut writer) = taken(&inbox);
            let leaving = set_aside_all(&inbox, vec![open_file], NOW);
            assert_eq!(content(&inbox, "a.ndjson"), None);
            if is_written {
                writer.write_all(b"more").unwrap();
            }
            let (finished, _, synced) = let_go_all(&inbox, leaving.into_iter().map(|one| (one, is_open)).collect());
            synced.unwrap();
            let stays = is_open || is_written;
            assert_eq!(finished[0].was_renamed, stays);
            match &finished[0].fate {
                RemovalOutcome::Opened(_) => assert!(is_open),
                RemovalOutcome::Grown(stat) => assert!(!is_open && is_written && stat.size > 4),
                RemovalOutcome::Gone => assert!(!stays),
                other => panic!("{other:?}"),
            }
            assert_eq!(
                content(&inbox, "a.ndjson").is_some_and(|text| text.ends_with("more") == is_written),
                stays
            );
        }
    }

    #[test]
    fn what_came_into_a_file_that_is_removed_by_now_is_a_file_of_its_own() {
        let (_dir, inbox) = inbox();
        let (open_file, mut writer) = taken(&inbox);
        fs::remove_file(inbox.path().join("a.ndjson")).unwrap();
        assert_eq!(put_back(&inbox, &open_file).unwrap(), None);
        writer.write_all(b"more\n").unwrap();
        // What follows what was taken.
        assert_eq!(put_back(&inbox, &open_file).unwrap().unwrap(), "a.ndjson");
        assert_eq!(content(&inbox, "a.ndjson").unwrap(), "more\n");
        // All of it, where that is another one by now; and never over another file.
        writer.set_len(0).unwrap();
        writer.write_all(b"new\n").unwrap();
        assert_eq!(put_back(&inbox, &open_file).unwrap().unwrap(), "a.2.ndjson");
        assert_eq!(content(&inbox, "a.2.ndjson").unwrap(), "new\n");
    }
}
