//! A look at every name of the inbox: which files are the oldest that may be taken, and which names cannot be. What may
//! not be read leaves the list before it is cut to its limit, however much of it there is; a name at which a look fails
//! is passed over. One walk, a look at each file, and memory for twice the limit.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Access, AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;

use super::folder::{FileStat, Folder};

/// A file as it is now: the inode's number and its change time. Another mode, owner, name or content is another stamp.
pub type FileVersion = (u64, i128);

impl FileStat {
    /// The file as it is now.
    pub fn stamp(&self) -> FileVersion {
        (self.inode, self.changed_ns)
    }
}

#[derive(Debug, Default)]
pub struct Search {
    /// The most files that are wanted.
    pub limit: usize,
    /// Files that are passed over.
    pub resting: HashSet<FileVersion>,
    /// Names of which it was said that they stay.
    pub said: HashSet<OsString>,
    /// The most names more of which that can be said.
    pub named_max: usize,
}

#[derive(Debug, Default)]
pub struct Listing {
    /// The oldest, by change time and name.
    pub files: Vec<(OsString, FileStat)>,
    pub more: bool,
    /// Those of [`Search::said`] that are still there.
    pub still: HashSet<OsString>,
    /// Those of [`Search::resting`] that are still there.
    pub resting: HashSet<FileVersion>,
    /// Others that cannot be taken, and why: the first [`Search::named_max`].
    pub refused: Vec<(OsString, io::Error)>,
    /// How many cannot be taken, in all.
    pub refused_count: u64,
}

impl Folder {
    /// Every name, in no order.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        self.each(|name, _| {
            names.push(name.to_owned());
            Ok(())
        })?;
        Ok(names)
    }

    /// The oldest regular files whose names `wanted` likes.
    pub fn oldest(&self, search: &Search, wanted: impl Fn(&OsStr) -> bool) -> io::Result<Listing> {
        let mut listing = Listing::default();
        self.each(|name, kind| {
            // A directory may be another file system, whose owner decides what a look at it does. What needs no look
            // gets none.
            if !wanted(name) || !matches!(kind, FileType::RegularFile | FileType::Unknown) {
                return Ok(());
            }
            // A network's file system may need a minute and more for so many looks.
            self.progress.tick();
            match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => listing.saw(self, name, &found, search),
                Err(Errno::NOENT) => {}
                Err(error) => {
                    self.is_in_order()?;
                    listing.refuse(name, error, search);
                }
            }
            Ok(())
        })?;
        listing.cut(search.limit);
        Ok(listing)
    }

    /// Whether the directory itself answers: else it is not the one name that is wrong.
    fn is_in_order(&self) -> io::Result<()> {
        rustix::fs::statat(&self.fd, ".", AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// Whether a file may certainly not be read. Its mode tells most of the time; where it does not (another owner, an
    /// ACL), the kernel is asked.
    fn is_forbidden(&self, name: &OsStr, found: &Stat) -> bool {
        let for_all = 0o444;
        found.st_mode & for_all != for_all
            && matches!(
                rustix::fs::accessat(&self.fd, name, Access::READ_OK, AtFlags::EACCESS),
                Err(Errno::ACCESS)
            )
    }

    /// Visits every name but `.` and `..`, in no order, with the kind that the directory itself tells.
    pub fn each(&self, mut visit: impl FnMut(&OsStr, FileType) -> io::Result<()>) -> io::Result<()> {
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                visit(name, entry.file_type())?;
            }
        }
        Ok(())
    }
}

impl Listing {
    fn saw(&mut self, folder: &Folder, name: &OsStr, found: &Stat, search: &Search) {
        let stat = FileStat::of(found);
        if !stat.is_file {
            return;
        }
        if search.said.contains(name) {
            self.still.insert(name.to_owned());
        }
        if search.resting.contains(&stat.stamp()) {
            self.resting.insert(stat.stamp());
            self.refused_count += 1;
        } else if folder.is_forbidden(name, found) {
            self.refuse(name, Errno::ACCESS, search);
        } else {
            self.files.push((name.to_owned(), stat));
            // Twice the limit at most is held, however many there are.
            if self.files.len() >= search.limit.saturating_mul(2) {
                self.cut(search.limit);
            }
        }
    }

    fn refuse(&mut self, name: &OsStr, error: Errno, search: &Search) {
        self.refused_count += 1;
        if search.said.contains(name) {
            self.still.insert(name.to_owned());
        } else if self.refused.len() < search.named_max {
            self.refused.push((name.to_owned(), error.into()));
        }
    }

    fn cut(&mut self, limit: usize) {
        in_order(&mut self.files);
        self.more |= self.files.len() > limit;
        self.files.truncate(limit);
    }
}

/// Intake order: by change time, then by name.
pub fn in_order(files: &mut [(OsString, FileStat)]) {
    files.sort_unstable_by(|(name, stat), (other_name, other)| {
        stat.changed_ns
            .cmp(&other.changed_ns)
            .then_with(|| name.cmp(other_name))
    });
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn search(limit: usize) -> Search {
        Search {
            limit,
            named_max: 10,
            ..Search::default()
        }
    }

    #[test]
    fn the_oldest_come_first_however_many_there_are_and_strangers_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        for n in 0..25 {
            fs::write(dir.path().join(format!("{n:02}")), "").unwrap();
        }
        fs::create_dir(dir.path().join("000")).unwrap();
        symlink("00", dir.path().join("001")).unwrap();
        let found = folder.oldest(&search(4), |name| name != "01").unwrap();
        let names: Vec<_> = found.files.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        // Files of one tick of the clock have one change time; their names decide then, and here they agree.
        assert_eq!((names.as_slice(), found.more), (&["00", "02", "03", "04"][..], true));
        assert!(!folder.oldest(&search(24), |name| name != "01").unwrap().more);
    }

    #[test]
    fn what_rests_leaves_the_list_before_the_limit_bites_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        for n in 0..10 {
            fs::write(dir.path().join(format!("{n}")), "").unwrap();
        }
        let all = folder.oldest(&search(10), |_| true).unwrap();
        let search = Search {
            resting: all.files[..8].iter().map(|(_, stat)| stat.stamp()).collect(),
            said: ["0".into(), "gone".into()].into(),
            ..search(2)
        };
        let found = folder.oldest(&search, |_| true).unwrap();
        let names = |found: &Listing| found.files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(
            (names(&found), found.more, found.refused_count),
            (vec!["8".into(), "9".into()], false, 8)
        );
        assert_eq!((found.resting.len(), found.still.len()), (8, 1));
        fs::set_permissions(
            dir.path().join("3"),
            fs::metadata(dir.path().join("3")).unwrap().permissions(),
        )
        .unwrap();
        let found = folder.oldest(&search, |_| true).unwrap();
        assert!(found.more && found.refused_count == 7, "{found:?}");
    }
}
