//! What is done with a file whose results are all committed: its bad lines go to `rejected/`, it is looked at once
//! more, set aside, and removed unless somebody opened it before that. Blocking, and without the store.

use std::ffi::{OsStr, OsString};
use std::io;

use crate::clock::Timestamp;

use super::folder::{Folder, Look, hidden};
use super::pieces::ReadError;
use super::reject::{self, Reason};
use super::remove::{self, SetAside, give_back, let_go, set_aside};
use super::taking::Taking;

/// How often a file is looked at again whose times change although its bytes do not; then it waits for another day.
const LOOKS_MAX: u32 = 3;
/// So many names are tried for what is put back.
const RETURNS_MAX: u64 = 100;

/// A file on its way out.
#[derive(Debug)]
pub struct Leaving {
    taking: Taking,
    rejected: Option<(OsString, Reason)>,
    step: Step,
    /// Whether it got its name from us again on the way, or another file did.
    was_renamed: bool,
}

#[derive(Debug)]
enum Step {
    /// It lies aside.
    Aside(OsString),
    /// It goes no further.
    Ended(Fate),
}

impl Leaving {
    /// Its name in the inbox.
    pub fn name(&self) -> &OsStr {
        &self.taking.name
    }
}

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
    /// Whether a file got this name from us.
    pub was_renamed: bool,
}

/// How it ended.
#[derive(Debug)]
pub enum Fate {
    /// It is gone; its receipt may be forgotten once the directory is synced.
    Gone,
    /// The same, and its name belongs to another file now.
    Replaced,
    /// The same, but in the very moment of its removal somebody wrote to it. What came is back in the inbox, under this
    /// name.
    Returned(OsString),
    /// It has more than was taken: it stays with its receipt, and is read on.
    Grown(Look),
    /// Somebody opened it while it had its name: it stays with its receipt.
    Opened(Look),
    /// It holds other bytes than were taken: a new file under an old inode. Its receipt is to be forgotten.
    Rewritten(Look),
    /// It could not be removed: it stays with its receipt.
    Failed(io::Error),
}

/// Writes the bad lines of some files, and sets them aside, where nobody can open them by their names any more.
pub fn set_aside_all(inbox: &Folder, takings: Vec<Taking>, now: Timestamp) -> Vec<Leaving> {
    takings
        .into_iter()
        .map(|taking| set_one_aside(inbox, taking, now))
        .collect()
}

fn set_one_aside(inbox: &Folder, taking: Taking, now: Timestamp) -> Leaving {
    let mut leaving = Leaving {
        taking,
        rejected: None,
        step: Step::Ended(Fate::Gone),
        was_renamed: false,
    };
    leaving.step = bad_lines(inbox, &leaving.taking, now)
        .and_then(|bad| {
            leaving.rejected = bad;
            leave(inbox, &mut leaving)
        })
        .unwrap_or_else(|error| Step::Ended(Fate::Failed(error)));
    leaving
}

/// Files that were let go.
#[derive(Debug)]
pub struct LetGo {
    /// What became of each.
    pub finished: Vec<Finished>,
    /// Whether the directory is synced: only then receipts may be forgotten.
    pub synced: io::Result<()>,
    /// To be closed where nobody waits for it: with the last descriptor of a file its blocks are freed.
    pub closing: Vec<Taking>,
}

/// Lets them go, but for those that are `true`: somebody opened them by their names. Syncs the directory once.
pub fn let_go_all(inbox: &Folder, leaving: Vec<(Leaving, bool)>) -> LetGo {
    let (finished, closing) = leaving
        .into_iter()
        .map(|(leaving, is_open)| let_one_go(inbox, leaving, is_open))
        .unzip();
    // Power cut before this: names may come back, and their receipts say that they are taken.
    LetGo {
        finished,
        synced: remove::sync(inbox),
        closing,
    }
}

fn let_one_go(inbox: &Folder, mut leaving: Leaving, is_open: bool) -> (Finished, Taking) {
    let step = std::mem::replace(&mut leaving.step, Step::Ended(Fate::Gone));
    let fate = match step {
        Step::Ended(fate) => fate,
        Step::Aside(aside) => go(inbox, &mut leaving, &aside, is_open).unwrap_or_else(Fate::Failed),
    };
    let finished = Finished {
        inode: leaving.taking.look.inode,
        name: leaving.taking.name.clone(),
        rejected: leaving.rejected,
        fate,
        was_renamed: leaving.was_renamed,
    };
    (finished, leaving.taking)
}

/// The last steps of a file that lies aside.
fn go(inbox: &Folder, leaving: &mut Leaving, aside: &OsStr, is_open: bool) -> io::Result<Fate> {
    let taking = &leaving.taking;
    let look = Look::at(taking.file())?;
    if is_open || !look.is_same_content(&taking.look) {
        leaving.was_renamed = give_back(inbox, aside, &taking.name)?;
        return Ok(if is_open { Fate::Opened(look) } else { Fate::Grown(look) });
    }
    let_go(inbox, aside)?;
    // Who was about to open it in the very moment in which it lost its name may have done so, and written. Crash here:
    // that is lost, as it would be with a file that its producer removed himself.
    let look = Look::at(taking.file())?;
    if look.is_same_content(&taking.look) {
        return Ok(Fate::Gone);
    }
    Ok(put_back(inbox, taking)?.map_or(Fate::Gone, Fate::Returned))
}

/// What came into a file that is removed by now becomes a file of its own: what stands behind that which was taken, or
/// all of it where that is not what was taken.
fn put_back(inbox: &Folder, taking: &Taking) -> io::Result<Option<OsString>> {
    let from = if taking.is_as_taken()? {
        taking.receipt().taken
    } else {
        0
    };
    let size = Look::at(taking.file())?.size;
    if size <= from {
        return Ok(None);
    }
    let workshop = inbox.workshop()?;
    let draft = hidden("rest", taking.look.inode);
    workshop.remove(&draft)?;
    let mut file = workshop.create(&draft)?;
    reject::copy(taking.file(), &mut file, from..size, taking.pulse())?;
    file.sync_all()?;
    for number in 1..=RETURNS_MAX {
        let name = reject::numbered(&taking.name, number);
        if workshop.rename(&draft, inbox, &name)? {
            return Ok(Some(name));
        }
    }
    Err(io::Error::other(format!(
        "what was written to it while it was removed lies in {}",
        workshop.path().join(draft).display()
    )))
}

/// Crash after this: the bad lines are durably in `rejected/`, and are not written there twice, for the next take is a
/// resumed one.
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
fn all_lines(
    inbox: &Folder,
    taking: &Taking,
    limits: (usize, u64),
    now: Timestamp,
) -> Result<Option<(OsString, Reason)>, ReadError> {
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

fn leave(inbox: &Folder, leaving: &mut Leaving) -> io::Result<Step> {
    let taking = &mut leaving.taking;
    for _ in 0..LOOKS_MAX {
        let look = Look::at(taking.file())?;
        if taking.was_written || !look.is_same_content(&taking.look) {
            if !taking.is_as_taken()? {
                // Durable before its receipt goes: else a power cut could bring the old bytes back without it.
                taking.file().sync_all()?;
                return Ok(Step::Ended(Fate::Rewritten(look)));
            }
            taking.look = look;
            taking.was_written = false;
        }
        if look.size > taking.receipt().taken {
            return Ok(Step::Ended(Fate::Grown(look)));
        }
        match set_aside(inbox, &taking.name, &taking.look)? {
            SetAside::Aside(aside) => return Ok(Step::Aside(aside)),
            SetAside::Gone => return Ok(Step::Ended(Fate::Gone)),
            SetAside::Replaced => return Ok(Step::Ended(Fate::Replaced)),
            SetAside::Written => {}
        }
    }
    Ok(Step::Ended(Fate::Grown(Look::at(taking.file())?)))
}

/// Only NDJSON is read here, which is never bad as a whole, except when it is emptied under our eyes.
fn io_error(error: ReadError) -> io::Error {
    match error {
        ReadError::Io(error) => error,
        ReadError::Bad(bad) => io::Error::other(bad.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write as _;
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::intake::taking::{Opened, Standards};
    use crate::intake::tests::{NOW, result};

    /// A file with one line, taken to its end, and its writer.
    fn taken(inbox: &Folder) -> (Taking, File) {
        let path = inbox.path().join("a.ndjson");
        fs::write(&path, result("a") + "\n").unwrap();
        let writer = File::options().append(true).open(path).unwrap();
        let Opened::Taking(mut taking) = Taking::open(inbox, "a.ndjson".into(), None, 1 << 20).unwrap() else {
            panic!("it is there")
        };
        let standards = Standards {
            config: Arc::new(Config::defaults().unwrap()),
            result_types: None,
            now: NOW,
        };
        taking.chunk(&standards).unwrap();
        (*taking, writer)
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
            let (taking, mut writer) = taken(&inbox);
            let leaving = set_aside_all(&inbox, vec![taking], NOW);
            assert_eq!(content(&inbox, "a.ndjson"), None);
            if is_written {
                writer.write_all(b"more").unwrap();
            }
            let LetGo { finished, synced, .. } =
                let_go_all(&inbox, leaving.into_iter().map(|one| (one, is_open)).collect());
            synced.unwrap();
            let stays = is_open || is_written;
            assert_eq!(finished[0].was_renamed, stays);
            match &finished[0].fate {
                Fate::Opened(_) => assert!(is_open),
                Fate::Grown(look) => assert!(!is_open && is_written && look.size > 4),
                Fate::Gone => assert!(!stays),
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
        let (taking, mut writer) = taken(&inbox);
        fs::remove_file(inbox.path().join("a.ndjson")).unwrap();
        assert_eq!(put_back(&inbox, &taking).unwrap(), None);
        writer.write_all(b"more\n").unwrap();
        // Behind what was taken.
        assert_eq!(put_back(&inbox, &taking).unwrap().unwrap(), "a.ndjson");
        assert_eq!(content(&inbox, "a.ndjson").unwrap(), "more\n");
        // All of it, where that is another one by now; and never over another file.
        writer.set_len(0).unwrap();
        writer.write_all(b"new\n").unwrap();
        assert_eq!(put_back(&inbox, &taking).unwrap().unwrap(), "a.2.ndjson");
        assert_eq!(content(&inbox, "a.2.ndjson").unwrap(), "new\n");
    }
}
