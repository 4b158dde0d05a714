//! `backup`: a consistent copy of the outbox, made while the daemon runs.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::NamedTempFile;

use crate::clock;
use crate::model::Server;
use crate::store::Backup;

use super::context::Global;
use super::database_file::{beside, describe, sum_of};
use super::exit::{CliError, Exit};
use super::render::escape::visible;
use super::{owner, postgres_tools};

/// The options of `backup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it goes: a file that is not there yet
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Replace FILE, once the new backup is whole
    #[arg(long, alias = "force")]
    overwrite: bool,
}

/// Makes one. As root the outbox is read as its owner, and FILE is root's: neither can reach into the other's
/// directory.
///
/// Crash at any point: FILE is as it was, and a draft whose name begins with a dot and ends in `.tmp` may lie beside
/// it.
pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let outbox = global.load()?.config.outbox.database;
    let instead = |server: &Server| postgres_tools::backup_words(server, &args.file);
    let database = postgres_tools::file_of(&outbox, "backup", instead)?;
    let draft = prepare(&args.file, args.overwrite, database)?;
    let source = owner::as_owner_of(database, Backup::open(database)).await??;
    let counts = source.copy_into(draft.path(), clock::now()).await?;
    let (bytes, sum) = keep(draft, &args.file, args.overwrite)?;
    let total: u64 = counts.values().sum();
    writeln!(
        out,
        "backup of {} in {}: {total} submissions ({}), {bytes} bytes, read and whole\nsha256 {sum}",
        visible(&database.display().to_string()),
        visible(&args.file.display().to_string()),
        describe(&counts),
    )?;
    Ok(Exit::Done)
}

/// A draft beside the file that is to be made, for its owner alone from the first byte on.
fn prepare(path: &Path, overwrite: bool, database: &Path) -> anyhow::Result<NamedTempFile> {
    let shown = path.display().to_string();
    let name = path.file_name().filter(|_| !path.is_dir()).ok_or_else(|| {
        CliError::Usage(format!(
            "{shown} is a directory; name a file in it, as in {shown}/outbox-backup.db"
        ))
    })?;
    refuse_parts_of_the_outbox(path, database)?;
    if !overwrite && fs::symlink_metadata(path).is_ok() {
        return Err(CliError::Refused(format!(
            "{shown} is there already, and was not touched; choose another name, or add --overwrite"
        ))
        .into());
    }
    if let Some(left) = leftover(path) {
        return Err(CliError::Refused(format!(
            "{} lies there from another database of this name, and SQLite would read it as a part of the backup; \
             move it away first",
            left.display()
        ))
        .into());
    }
    let directory = directory_of(path);
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".tmp")
        .tempfile_in(directory)
        .with_context(|| {
            format!(
                "{}: this user cannot write there; choose another directory",
                directory.display()
            )
        })
}

/// Gives the draft its name, durably; its length and its sum.
fn keep(mut draft: NamedTempFile, path: &Path, overwrite: bool) -> anyhow::Result<(u64, String)> {
    let shown = path.display().to_string();
    let file = draft.as_file_mut();
    file.sync_all().with_context(|| format!("{shown}: cannot be written"))?;
    let (bytes, sum) = sum_of(file).with_context(|| format!("{shown}: cannot be read again"))?;
    let kept = if overwrite {
        draft.persist(path)
    } else {
        draft.persist_noclobber(path)
    };
    kept.map_err(|error| error.error)
        .with_context(|| format!("{shown}: cannot be made, and nothing of it was kept"))?;
    File::open(directory_of(path))?.sync_all()?;
    Ok((bytes, sum))
}

/// A backup under a name that belongs to the outbox would destroy it.
fn refuse_parts_of_the_outbox(path: &Path, database: &Path) -> Result<(), CliError> {
    let real = |path: &Path| -> PathBuf {
        let directory = fs::canonicalize(directory_of(path)).unwrap_or_else(|_| directory_of(path).to_owned());
        fs::canonicalize(path).unwrap_or_else(|_| directory.join(path.file_name().unwrap_or_default()))
    };
    let (path, database) = (real(path), real(database));
    let rest = path
        .as_os_str()
        .as_encoded_bytes()
        .strip_prefix(database.as_os_str().as_encoded_bytes());
    match rest {
        Some(b"" | b"-wal" | b"-shm" | b"-journal" | b".lock" | b"-use.lock" | b".restoring") => Err(CliError::Usage(
            format!("{} is a part of the outbox itself; name another file", path.display()),
        )),
        Some(_) | None => Ok(()),
    }
}

/// What lies beside a database and would be taken for a part of it.
fn leftover(path: &Path) -> Option<PathBuf> {
    ["-wal", "-journal", "-shm"]
        .iter()
        .map(|end| beside(path, end))
        .find(|left| fs::symlink_metadata(left).is_ok())
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        Some(_) | None => Path::new("."),
    }
}
