//! `restore`: a backup in the place of the outbox, while the daemon is stopped.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::clock;
use crate::config::{AfterLostResponse, Config};
use crate::model::{Actor, ConflictPolicy, Server};
use crate::policy::gate::{PAUSE, PauseRecord};
use crate::store::{self, BackupFile, Restored};

use super::context::Global;
use super::database_file::{beside, describe, sum_of};
use super::exit::{CliError, Exit};
use super::output::note;
use super::render::escape::visible;
use super::{owner, postgres_tools};

/// The options of `restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Send nothing after the start until `reten-outbox resume`, so that it can be looked at first
    #[arg(long)]
    pause: bool,
}

/// Restores. The backup is opened by who runs this; everything else is done as the user whose directory the outbox lies
/// in, so that it is the daemon's whoever restores it.
pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let loaded = global.load()?;
    let outbox = loaded.config.outbox.database.clone();
    let instead = |server: &Server| postgres_tools::restore_words(server, &args.file);
    let database = postgres_tools::file_of(&outbox, "restore", instead)?;
    let (backup, sum) = open(&args.file, database)?;
    let has_wal = backup.wal.is_some();
    let user = owner::invoking_user();
    owner::become_owner_of_directory(database)?;
    loaded.home().make()?;
    let now = clock::now();
    let config = loaded.config;
    let pause = PauseRecord {
        by: user.clone(),
        at: now.millis(),
        why: Some("restored from a backup".to_owned()),
    };
    let pause = args.pause.then(|| serde_json::to_string(&pause)).transpose()?;
    let pause = pause.map(|text| (PAUSE, text));
    let is_paused = pause.is_some();
    let restored = store::restore(database, backup, &Actor::User(user), pause, now).await?;
    if has_wal {
        note("a -wal lay beside the backup, which was copied file by file: it was read in, and all is whole");
    }
    report(&restored, &args.file, &sum, &config, is_paused, out)?;
    Ok(Exit::Done)
}

/// Opens a backup, and what belongs to it.
fn open(path: &Path, database: &Path) -> anyhow::Result<(BackupFile, String)> {
    let shown = path.display();
    let refused = |why: String| anyhow::Error::from(CliError::Refused(why));
    let cannot = |error: io::Error| refused(format!("{shown}: cannot be read: {error}"));
    // Before it is opened: a FIFO would wait for ever.
    let found = fs::metadata(path).map_err(cannot)?;
    if !found.is_file() {
        return Err(CliError::Usage(format!("{shown} is no file; name the backup")).into());
    }
    if fs::metadata(database).is_ok_and(|outbox| (outbox.dev(), outbox.ino()) == (found.dev(), found.ino())) {
        return Err(CliError::Usage(format!("{shown} is the outbox itself; name a backup of it")).into());
    }
    let is_filled = |end: &str| fs::metadata(beside(path, end)).is_ok_and(|found| found.is_file() && found.len() > 0);
    if is_filled("-journal") {
        return Err(refused(format!(
            "{shown}-journal lies beside it: the copy was made in the middle of a write, and is only whole with it. \
             Open both once, `sqlite3 {shown} .tables`, which mends them, and restore again"
        )));
    }
    let mut database = File::open(path).map_err(cannot)?;
    let (_, sum) = sum_of(&mut database).map_err(cannot)?;
    let wal = is_filled("-wal")
        .then(|| File::open(beside(path, "-wal")))
        .transpose()
        .map_err(|error| refused(format!("{shown}-wal, which belongs to it, cannot be read: {error}")))?;
    let path = path.to_owned();
    Ok((BackupFile { path, database, wal }, sum))
}

fn report(
    restored: &Restored,
    file: &Path,
    sum: &str,
    config: &Config,
    is_paused: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let database = visible(&config.outbox.database.to_string()).into_owned();
    let made = restored.made_at.map_or_else(String::new, |at| format!(", made {at}"));
    let total: u64 = restored.counts.values().sum();
    writeln!(
        out,
        "restored {database} from {}{made}",
        visible(&file.display().to_string())
    )?;
    writeln!(out, "  sha256 {sum}, read and whole")?;
    writeln!(out, "  {total} submissions: {}", describe(&restored.counts))?;
    writeln!(
        out,
        "  {} of them are marked as maybe sent since then: a 409 to one of these parks it as\n  \
         conflict_after_lost_response",
        restored.marked
    )?;
    for kept in &restored.kept {
        writeln!(out, "  kept aside: {}", visible(&kept.display().to_string()))?;
    }
    writeln!(out, "\nWhat to do next")?;
    if restored.marked > 0 && may_override(config) {
        writeln!(
            out,
            "  [conflict] overrides what is registered: an older result could replace a newer one that was\n  \
             delivered since the backup. Set conflict.after_lost_response = \"accept\" before the start."
        )?;
    }
    if let Some(old) = restored.kept.first() {
        let old = visible(&old.display().to_string()).into_owned();
        writeln!(
            out,
            "  reten-outbox salvage {old} > rest.ndjson\n      \
             what the old outbox still holds and this one lacks; drop it into the inbox"
        )?;
    }
    writeln!(out, "  systemctl start reten-outbox")?;
    if is_paused {
        writeln!(out, "  reten-outbox resume\n      nothing is sent before")?;
    }
    writeln!(
        out,
        "  reten-outbox list --reason conflict_after_lost_response\n      \
         what was delivered since the backup; `reten-outbox accept` the ones that are yours"
    )
}

/// Whether a 409 to what is marked could be answered by overriding.
fn may_override(config: &Config) -> bool {
    let conflict = &config.conflict;
    let overrides = |policy: ConflictPolicy| policy == ConflictPolicy::Override;
    conflict.after_lost_response == AfterLostResponse::Policy
        && (overrides(conflict.policy) || conflict.rules.iter().any(|rule| overrides(rule.policy)))
}
