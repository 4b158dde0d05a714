//! `salvage`: what a damaged or replaced outbox still holds, and this one lacks, as NDJSON that the inbox takes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::clock::{self, Timestamp};
use crate::config::OutboxSettings;
use crate::model::{Address, Digest, SubmissionId};
use crate::store::{Content, Found, OpenError, Outbox, Role, Wreck, wreck};

use super::context::Global;
use super::database_file::{beside, describe};
use super::exit::{CliError, Exit};
use super::inbox_form::{self, DirectivesView};
use super::output::note;
use super::owner;

/// Read of this outbox at a time.
const STRETCH: u32 = 500;

/// The most numbers that are named in a sentence.
const NAMED_MAX: usize = 20;

/// The options of `salvage`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The database that is damaged, or was put aside
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Also what this outbox has
    #[arg(long)]
    all: bool,
}

/// Salvages. The exit code is 1 where something is known to be lost.
pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let outbox = global.load()?.config.outbox;
    let (file, wal) = open(&args.file)?;
    owner::become_owner_of(outbox.database.anchor())?;
    let is_same = is_same_file(&args.file, outbox.database.anchor());
    let wreck = Wreck::read(file, wal)
        .map_err(|error| CliError::Refused(format!("{}: cannot be read: {error}", args.file.display())))?;
    if !wreck.is_ours() {
        let shown = args.file.display();
        return Err(OpenError::Unusable(format!("{shown}: nothing of an outbox is to be found in it")).into());
    }
    let here = if args.all || is_same {
        Here::default()
    } else {
        Here::read(&outbox, &wreck.lineage()).await?
    };
    let report = salvage(&wreck, here, out)?;
    report.log(&args.file, &outbox.database, wreck.pages());
    Ok(if report.lost.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Opens what is to be read, as who runs this: it may lie where the outbox's owner cannot go. Not what somebody is
/// writing.
fn open(path: &Path) -> anyhow::Result<(File, Option<File>)> {
    let shown = path.display();
    let cannot = |error: io::Error| CliError::Refused(format!("{shown}: cannot be read: {error}"));
    if !fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(CliError::Usage(format!("{shown} is no file; name the damaged database")).into());
    }
    let file = File::open(path).map_err(cannot)?;
    if let Some(pid) = wreck::holder(&file) {
        return Err(OpenError::InUse(format!(
            "{shown}: process {pid} has it open; stop that first (systemctl stop reten-outbox)"
        ))
        .into());
    }
    let wal = beside(path, "-wal");
    let has_wal = fs::metadata(&wal).is_ok_and(|found| found.is_file() && found.len() > 0);
    let wal = has_wal.then(|| File::open(&wal)).transpose().map_err(cannot)?;
    Ok((file, wal))
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    identity(one).is_some_and(|found| Some(found) == identity(other))
}

/// What this outbox has.
#[derive(Default)]
struct Here {
    /// By number: what was there when the two parted.
    by_id: HashMap<SubmissionId, Content>,
    keys: HashMap<String, Option<Digest>>,
    /// What came in after they parted, by its text, and how often.
    newer: HashMap<Digest, u32>,
}

impl Here {
    /// Reads it; `lineage` is what lies in the other.
    async fn read(outbox: &OutboxSettings, lineage: &HashSet<(SubmissionId, Timestamp)>) -> anyhow::Result<Self> {
        let mut here = Self::default();
        let outbox = match Outbox::open(outbox.address()?, Role::Reader, clock::now()).await {
            Ok(outbox) => outbox,
            Err(OpenError::Missing(_)) => return Ok(here),
            Err(error) => {
                return Err(
                    anyhow::Error::from(error).context("--all reads the file without comparing it with the outbox")
                );
            }
        };
        let mut after = SubmissionId(0);
        loop {
            let stretch = outbox.contents(after, STRETCH).await?;
            let Some(last) = stretch.last() else { break };
            after = last.id;
            for content in stretch {
                if let Some(key) = &content.key {
                    here.keys.insert(key.0.clone(), content.object);
                }
                if !lineage.contains(&(content.id, content.created_at)) {
                    *here.newer.entry(content.text).or_default() += 1;
                }
                here.by_id.insert(content.id, content);
            }
        }
        outbox.close().await;
        Ok(here)
    }

    /// Whether it has this one, or what it has instead.
    fn has(&mut self, found: &Found, key: &str) -> Has {
        let text = Digest::of(found.payload.bytes());
        if let Some(same) = self
            .by_id
            .get(&found.id)
            .filter(|here| here.created_at == found.created_at)
        {
            return if same.text == text { Has::It } else { Has::BeforeAnEdit };
        }
        let held = self.keys.get(key);
        // Of a key of ours the name is enough; of a producer's the object counts, as at intake.
        if held.is_some_and(|object| found.key.is_none() || *object == found.digest) {
            return Has::It;
        }
        match self.newer.get_mut(&text) {
            Some(left @ 1..) => {
                *left -= 1;
                Has::It
            }
            Some(_) | None => Has::Not,
        }
    }
}

enum Has {
    It,
    BeforeAnEdit,
    Not,
}

#[derive(Default)]
struct SalvageReport {
    written: BTreeMap<String, u64>,
    there: u64,
    edited: Vec<SubmissionId>,
    maybe_sent: Vec<SubmissionId>,
    lost: Vec<SubmissionId>,
    no_objects: Vec<SubmissionId>,
}

fn salvage(wreck: &Wreck, mut here: Here, out: &mut dyn Write) -> anyhow::Result<SalvageReport> {
    let mut report = SalvageReport::default();
    for id in wreck.open_ids() {
        let Some(found) = wreck.find(id) else {
            report.lost.push(id);
            continue;
        };
        let key = found.key.as_ref().map_or_else(
            || format!("salvaged-{}-{id}", found.created_at.millis()),
            |key| key.0.clone(),
        );
        match here.has(&found, &key) {
            Has::It => {
                report.there += 1;
                continue;
            }
            Has::BeforeAnEdit => report.edited.push(id),
            Has::Not => {}
        }
        let Some(line) = line(&found, &key)? else {
            report.no_objects.push(id);
            continue;
        };
        writeln!(out, "{line}")?;
        let state = found.state.map_or("of unknown state", |state| state.into_str());
        *report.written.entry(state.to_owned()).or_default() += 1;
        if found.maybe_sent {
            report.maybe_sent.push(id);
        }
    }
    out.flush()?;
    Ok(report)
}

impl SalvageReport {
    fn log(&self, file: &Path, outbox: &Address, (pages, damaged): (u64, u64)) {
        let total: u64 = self.written.values().sum();
        note(&format!(
            "{}: {damaged} of {pages} pages cannot be read; {total} salvaged ({}), {} are in {} already",
            file.display(),
            describe(&self.written),
            self.there,
            outbox
        ));
        for (ids, what) in [
            (&self.lost, "were not final, and cannot be read: they are lost"),
            (&self.no_objects, "are no JSON objects, or no longer: they are left out"),
            (
                &self.edited,
                "were edited after the backup that this outbox came from: it has the old payload too, \
                 for you to dismiss",
            ),
            (
                &self.maybe_sent,
                "may have been sent: a 409 to one of these may be your own result",
            ),
        ] {
            if !ids.is_empty() {
                note(&format!("{} {what}: {}", ids.len(), named(ids)));
            }
        }
    }
}

fn named(ids: &[SubmissionId]) -> String {
    let shown: Vec<String> = ids.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = ids.len().saturating_sub(NAMED_MAX);
    let more = if more == 0 {
        String::new()
    } else {
        format!(" and {more} more")
    };
    shown.join(", ") + &more
}

fn line(found: &Found, key: &str) -> serde_json::Result<Option<String>> {
    let directives = DirectivesView {
        key: Some(key),
        on_conflict: found.on_conflict.map(|one| one.into_str()),
        not_before: found.not_before,
        source: found.source.as_deref(),
        replaces: None,
    };
    inbox_form::line(&found.payload, &directives)
}
