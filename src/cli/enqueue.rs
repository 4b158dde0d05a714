//! `enqueue`: results from files or standard input, durably in the outbox.
//!
//! Everything is checked before anything is taken: a bad result means that none is. Where this user may not write the
//! outbox, results go to the row inbox, as any producer's do.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::Access;

use crate::config::OutboxSettings;
use crate::intake::entry::entry;
use crate::intake::open_file::{CHUNK_BYTES, CHUNK_RESULTS};
use crate::intake::parse::{ParseFault, RawResult};
use crate::intake::result_reader::{ReadError, ResultReader};
use crate::intake::rows;
use crate::model::{Admitted, Entry, Figures};
use crate::policy::validate::Criteria;
use crate::store::{Minute, Outbox, StoreError};
use crate::telemetry::counters;

use super::context::{Context, Global};
use super::exit::{CliError, Exit};
use super::input::{ResultFile, open_all};
use super::output::{self, Lasting, note};
use super::render::escape::visible;
use super::terminal::ProgressLine;
use super::validate::result_types;

mod once;

use once::Once;

/// The options of `enqueue`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files of results; none, or `-`: standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    // Before we become the outbox's owner, who may not be able to read them.
    let sources = open_all(&args.files)?;
    let context = Context::enter(global)?;
    let progress = ProgressLine::new("bytes");
    // Whoever reads the lines may leave, or have no room for them: that is no reason to leave the rest out.
    let mut lines = Lasting::new(out);
    let taken = enqueue(&sources, &context, &|done, total| progress.at(done, total), &mut lines).await;
    drop(progress);
    let lost = lines.finish();
    let taken = taken?;
    if let Some((into, results, _)) = taken {
        note(&describe_place(results, into, &context));
    }
    if let Some(error) = lost {
        note(&format!(
            "not every line of it could be told: {}",
            output::describe(&error)
        ));
        return Ok(Exit::Failed);
    }
    let all_good = taken.is_some_and(|(_, _, all_good)| all_good);
    Ok(if all_good { Exit::Done } else { Exit::Failed })
}

/// Where results were put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Outbox,
    Rows,
}

/// Where they are now, by name: an operator may have meant another outbox, or none that anybody sends from.
fn describe_place(results: u64, into: Door, context: &Context) -> String {
    let config = &context.config;
    let (noun, them) = if results == 1 {
        ("result is", "it")
    } else {
        ("results are", "them")
    };
    match into {
        Door::Rows => format!(
            "{results} {noun} in the row inbox {}, since this user may not write the outbox {}; \
             its daemon takes {them} from there",
            config.inbox.database.display(),
            config.outbox.database
        ),
        Door::Outbox => {
            let nobody = if context.daemon().is_some() {
                ""
            } else if config.outbox.database.server().is_some() {
                "; no daemon runs on this host, `reten-outbox status` names those of others"
            } else {
                "; no daemon holds it, so nothing is sent until one is started (`systemctl start reten-outbox`, \
                 or by hand `reten-outbox run`)"
            };
            format!("{results} {noun} in the outbox {}{nobody}", config.outbox.database)
        }
    }
}

/// One line a result. Where they went, how many, and whether all are in as they should be; `None`: something is wrong
/// with them, and none was taken.
async fn enqueue(
    sources: &[ResultFile],
    context: &Context,
    progress: &dyn Fn(u64, u64),
    out: &mut dyn Write,
) -> anyhow::Result<Option<(Door, u64, bool)>> {
    let types = result_types(context).await;
    let criteria = Criteria::new(&context.config.validation, types, context.now());
    // Each input is read twice.
    let total = 2 * sources.iter().map(|source| source.size).sum::<u64>();
    let mut reading = Enqueuing {
        context,
        criteria,
        done: 0,
        results: 0,
        unsure: 0,
        figures: Figures::default(),
        progress: &|done| progress(done, total),
    };
    let mut wrong = 0_u64;
    for source in sources {
        wrong += reading.check(source, out)?;
    }
    if wrong > 0 {
        note("nothing was taken; mend what is named, and try again");
        return Ok(None);
    }
    let into = if may_write(&context.config.outbox) {
        Door::Outbox
    } else {
        Door::Rows
    };
    let taken = match into {
        Door::Rows => reading.all_as_rows(sources, out).await.map(|()| true),
        Door::Outbox => reading.all_to_outbox(sources, out).await,
    };
    let (results, unsure) = (reading.results, reading.unsure);
    let all_good = taken.with_context(|| match unsure {
        0 => format!("{results} of the results are in, the rest is not"),
        unsure => format!(
            "{results} of the results are in; whether the next {unsure} are is not known (look with `reten-outbox \
             list` before you give them again), the rest is not"
        ),
    })?;
    Ok(Some((into, results, all_good)))
}

/// Whether this user may write the outbox, or create it. Not asked of the database: SQLite would take the refusal for
/// corruption. Of a server, who may neither read the password nor write what this host keeps of it is a producer.
fn may_write(outbox: &OutboxSettings) -> bool {
    let is_forbidden = outbox.password_error.as_ref().is_some_and(|error| error.is_forbidden);
    !is_forbidden && may_write_at(outbox.database.anchor())
}

fn may_write_at(database: &Path) -> bool {
    let directory = database.parent().unwrap_or_else(|| Path::new("."));
    let is_refused = |path: &Path, access: Access| {
        let outcome = rustix::fs::access(path, access);
        outcome.is_err_and(|error| io::Error::from(error).kind() == io::ErrorKind::PermissionDenied)
    };
    !is_refused(directory, Access::WRITE_OK | Access::EXEC_OK)
        && !is_refused(database, Access::READ_OK | Access::WRITE_OK)
}

struct Enqueuing<'a> {
    context: &'a Context,
    criteria: Criteria,
    /// Bytes read of the inputs before the present one, in both passes.
    done: u64,
    /// Results that are durably in.
    results: u64,
    /// Results of which nobody knows whether they are.
    unsure: usize,
    /// What became of those that went into the outbox.
    figures: Figures,
    progress: &'a dyn Fn(u64),
}

impl Enqueuing<'_> {
    /// Reads one input; what is wrong with it is told, and counted.
    fn check(&mut self, source: &ResultFile, out: &mut dyn Write) -> anyhow::Result<u64> {
        let mut pieces = source.pieces(self.context.config.inbox.max_result_size)?;
        let mut wrong = 0;
        loop {
            match pieces.read_next() {
                Ok(Some(piece)) => {
                    if let Err(line) = self.judge(source, &piece) {
                        writeln!(out, "{line}")?;
                        wrong += 1;
                    }
                    (self.progress)(self.done + piece.span.end);
                }
                Ok(None) => break,
                Err(ReadError::Bad(bad)) => {
                    writeln!(out, "{}", source.wrong(&bad))?;
                    wrong += 1;
                    break;
                }
                Err(ReadError::Io(error)) => return Err(unreadable(source, error)),
            }
        }
        self.done += source.size;
        Ok(wrong)
    }

    /// The entry of a piece, or the line that says why there is none.
    fn judge(&self, source: &ResultFile, piece: &RawResult) -> Result<Entry, String> {
        let text = piece.text.as_deref().map_err(|bad| source.wrong(bad))?;
        let origin = source.origin(piece.place, &self.context.user);
        let judged = entry(text, origin, None, &self.criteria)
            .map_err(|why| source.wrong(&piece.place.bad(text, &why, piece.ended)))?;
        match &judged.entry.invalid {
            Some(why) => Err(source.says(piece.place, &format!("invalid: {why}"))),
            None => Ok(judged.entry),
        }
    }

    async fn all_to_outbox(&mut self, sources: &[ResultFile], out: &mut dyn Write) -> anyhow::Result<bool> {
        let outbox = self.context.change().await?;
        let mut once = Once::new();
        let mut all_good = true;
        let mut taken = Ok(());
        for source in sources {
            match self.admit_to_outbox(source, &outbox, &mut once, out).await {
                Ok(good) => all_good &= good,
                Err(error) => {
                    taken = Err(error);
                    break;
                }
            }
        }
        if taken.is_ok() {
            once.forget(&outbox).await;
        }
        // In figures that no delivery depends on: where they cannot be stored, the results are in all the same.
        let figures = std::mem::take(&mut self.figures);
        if !figures.is_empty() {
            drop(
                outbox
                    .record(vec![Minute::of_command(figures, self.context.now())])
                    .await,
            );
        }
        outbox.close().await;
        taken.map(|()| all_good)
    }

    async fn all_as_rows(&mut self, sources: &[ResultFile], out: &mut dyn Write) -> anyhow::Result<()> {
        for source in sources {
            self.insert_as_rows(source, out).await?;
        }
        Ok(())
    }

    async fn admit_to_outbox(
        &mut self,
        source: &ResultFile,
        outbox: &Outbox,
        once: &mut Once,
        out: &mut dyn Write,
    ) -> anyhow::Result<bool> {
        let mut pieces = source.pieces(self.context.config.inbox.max_result_size)?;
        let mut all_in = true;
        loop {
            let mut entries = Vec::new();
            let (mut bytes, mut end) = (0, 0);
            while entries.len() < CHUNK_RESULTS
                && bytes < CHUNK_BYTES
                && let Some(piece) = read_again(source, &mut pieces)?
            {
                let entry = self.judge(source, &piece).map_err(CliError::Refused).context(CHANGED)?;
                bytes += entry.payload.bytes().len();
                end = piece.span.end;
                entries.push(entry);
            }
            if entries.is_empty() {
                break;
            }
            // Each line that is printed is a result that is durably in; an error between two chunks leaves no doubt
            // about the others.
            let admitted = once.admit(outbox, &entries, self.context.now()).await;
            if let Err(StoreError::Away(_)) = &admitted {
                self.unsure = entries.len();
            }
            let outcomes = admitted?;
            self.results += outcomes.len() as u64;
            self.figures.add_all(&counters::admitted(&entries, &outcomes));
            for (entry, outcome) in entries.iter().zip(&outcomes) {
                all_in &= write_outcome(entry, outcome, out)?;
            }
            (self.progress)(self.done + end);
        }
        self.done += source.size;
        Ok(all_in)
    }

    async fn insert_as_rows(&mut self, source: &ResultFile, out: &mut dyn Write) -> anyhow::Result<()> {
        let config = &self.context.config;
        let mut pieces = source.pieces(config.inbox.max_result_size)?;
        loop {
            let mut texts = Vec::new();
            let (mut bytes, mut end) = (0, 0);
            while texts.len() < CHUNK_RESULTS
                && bytes < CHUNK_BYTES
                && let Some(piece) = read_again(source, &mut pieces)?
            {
                end = piece.span.end;
                let text = piece
                    .text
                    .map_err(|bad| CliError::Refused(source.wrong(&bad)))
                    .context(CHANGED)?;
                bytes += text.len();
                texts.push(text);
            }
            if texts.is_empty() {
                break;
            }
            let ids = rows::insert(&config.inbox.database, config.outbox.database.anchor(), &texts).await;
            let ids =
                ids.with_context(|| format!("{} may not be written by this user, and", config.outbox.database))?;
            self.results += ids.len() as u64;
            for id in ids {
                writeln!(out, "accepted as row {id}")?;
            }
            (self.progress)(self.done + end);
        }
        self.done += source.size;
        Ok(())
    }
}

/// A piece of the second reading, which finds nothing wrong unless the file was changed.
fn read_again(source: &ResultFile, pieces: &mut ResultReader) -> anyhow::Result<Option<RawResult>> {
    let changed = |bad: ParseFault| anyhow::Error::from(CliError::Refused(source.wrong(&bad))).context(CHANGED);
    pieces.read_next().map_err(|error| match error {
        ReadError::Bad(bad) => changed(bad),
        ReadError::Io(error) => unreadable(source, error),
    })
}

/// What is said when the second reading differs from the first.
const CHANGED: &str = "the file was changed while it was read";

fn unreadable(source: &ResultFile, error: io::Error) -> anyhow::Error {
    anyhow::Error::from(error).context(format!("{} cannot be read", source.shown))
}

/// The line of one result; whether it is in as it should be.
fn write_outcome(entry: &Entry, outcome: &Admitted, out: &mut dyn Write) -> io::Result<bool> {
    let activity = entry.facts.activity();
    let name = entry.directives.key.as_ref().map(|key| key.0.as_str());
    let name = name
        .or_else(|| activity.as_ref().map(crate::model::ActivityKey::text))
        .unwrap_or("-");
    let name = visible(name);
    match outcome {
        Admitted::Accepted(id) => writeln!(out, "accepted {id} {name}")?,
        Admitted::Duplicate { of } => writeln!(out, "duplicate of {of} {name}")?,
        Admitted::AlreadyTaken => writeln!(out, "taken before {name}")?,
        Admitted::Invalid { id, why } => {
            writeln!(out, "invalid {id} {name}: {}", visible(why))?;
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
