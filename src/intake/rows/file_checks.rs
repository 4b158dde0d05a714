//! What is looked at before SQLite opens the row inbox: the file, and the two files that SQLite may find beside it.
//! Anybody who drops rows may have put them there.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::error::RowsError;

/// For owner and group: producers are members of the group.
const MODE: u32 = 0o660;

/// The device and inode of the file that the path names. Nothing is opened: opening a FIFO would hang, closing a second
/// descriptor of a database drops its locks.
pub fn file_id(path: &Path, outbox: &Path) -> Result<Option<(u64, u64)>, RowsError> {
    let shown = path.display();
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RowsError::Broken(format!("{shown}: {error}"))),
    };
    if !found.is_file() {
        return Err(RowsError::Refused(format!(
            "{shown}: not a regular file; inbox.database must name a file of its own"
        )));
    }
    let file = (found.dev(), found.ino());
    let is_outbox = fs::metadata(outbox).is_ok_and(|outbox| (outbox.dev(), outbox.ino()) == file);
    if is_outbox {
        return Err(RowsError::Misplaced(format!(
            "{shown}: this is the outbox; inbox.database must name a file of its own"
        )));
    }
    if found.nlink() > 1 {
        // Under another name other processes keep other journals beside it, and a crash of theirs corrupts it.
        return Err(RowsError::Refused(format!(
            "{shown}: the file has more than one name; remove the other links"
        )));
    }
    Ok(Some(file))
}

/// Creates an empty file, which SQLite takes for an empty database. Its journal gets the same rights from SQLite.
pub fn create(path: &Path) -> Result<(), RowsError> {
    let shown = path.display();
    match OpenOptions::new().write(true).create_new(true).mode(MODE).open(path) {
        // Whatever the umask says: without the group nobody but us could drop rows.
        Ok(_) => Ok(fs::set_permissions(path, Permissions::from_mode(MODE))?),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(RowsError::Misplaced(format!(
            "{shown}: cannot be created: {error}; the daemon's user must be able to write in its directory"
        ))),
        Err(error) => Err(RowsError::Broken(format!("{shown}: cannot be created: {error}"))),
    }
}

/// The journal and the write-ahead log, which SQLite would believe. Asked before each look, for it believes them then,
/// too. Whoever swaps them between this and SQLite's own look is stopped by [`super::confine`] alone.
pub fn beside(path: &Path) -> Result<(), RowsError> {
    let wal = named(path, "-wal");
    if fs::symlink_metadata(&wal).is_ok() {
        return Err(turned_to_wal(path));
    }
    let journal = named(path, "-journal");
    let Some(super_journal) = super_journal(&journal)? else {
        return Ok(());
    };
    Err(RowsError::SuperJournal(format!(
        "{}: the journal names the super-journal {super_journal:?}, which a rollback would delete; \
         only a program that writes several databases in one transaction \
         makes such a journal, and ends it when it opens them again. Where there is none, \
         move {} and its journal away; a new one is created",
        journal.display(),
        path.display()
    )))
}

/// The file's own mark of its journal mode. Before SQLite opens it, for closing a second descriptor drops SQLite's
/// locks.
pub fn header(path: &Path) -> Result<(), RowsError> {
    // The write and the read version: 1 with a rollback journal, 2 with a write-ahead log.
    const VERSIONS: std::ops::Range<usize> = 18..20;
    let mut header = [0; 20];
    match regular(path)?.map(|mut file| file.read_exact(&mut header)) {
        // Too short for one: empty, or no database, which SQLite says better.
        None | Some(Err(_)) => Ok(()),
        Some(Ok(())) if !header.starts_with(b"SQLite format 3\0") || header[VERSIONS] == [1, 1] => Ok(()),
        Some(Ok(())) => Err(turned_to_wal(path)),
    }
}

/// What is said of a file in WAL mode.
pub fn turned_to_wal(path: &Path) -> RowsError {
    let shown = path.display();
    RowsError::Refused(format!(
        "{shown}: somebody turned it to WAL, which is not read: its -wal and -shm are in the hands of whoever made \
         them; turn it back with `sqlite3 {shown} 'PRAGMA journal_mode=DELETE'`, its rows stay"
    ))
}

/// The journal's last bytes, where it ends with the name of a super-journal: the name, its length, a sum, and this
/// mark.
const MARK: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
const TRAILER_BYTES: u64 = 16;
/// So much of the name is told.
const NAME_BYTES_MAX: u64 = 512;

fn super_journal(journal: &Path) -> Result<Option<String>, RowsError> {
    let Some(mut file) = regular(journal)? else {
        return Ok(None);
    };
    let size = file.metadata()?.len();
    if size < TRAILER_BYTES {
        return Ok(None);
    }
    let mut trailer = [0; 16];
    file.seek(SeekFrom::Start(size - TRAILER_BYTES))?;
    if file.read_exact(&mut trailer).is_err() || trailer[8..] != MARK {
        return Ok(None);
    }
    let length = u64::from(u32::from_be_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]));
    let length = length.min(size - TRAILER_BYTES);
    let mut name = Vec::new();
    file.seek(SeekFrom::Start(size - TRAILER_BYTES - length))?;
    file.take(length.min(NAME_BYTES_MAX)).read_to_end(&mut name)?;
    Ok(Some(String::from_utf8_lossy(&name).into_owned()))
}

/// Opens a regular file for reading, following nothing; `None` where there is none.
fn regular(path: &Path) -> Result<Option<File>, RowsError> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(RowsError::Refused(format!("{shown}: not a regular file; remove it"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RowsError::Broken(format!("{shown}: {error}"))),
    }
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(RowsError::Broken(format!("{shown}: {error}"))),
    }
}

/// A file that SQLite keeps beside the database.
pub fn named(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}
