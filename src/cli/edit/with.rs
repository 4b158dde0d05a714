//! `edit --with 'COMMAND'`: many payloads, each through a command of the operator's own.
//!
//! A command that fails, or whose output is not valid, leaves its submission alone. What is changed is stored in pieces
//! while the next payloads are read, so that memory is bounded whatever the number, and an end in the middle leaves
//! whole submissions behind.

use std::io::{self, Write};
use std::thread;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};

use crate::cli::act::{self, Selection};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::output::note;
use crate::cli::render::diff;
use crate::cli::render::escape::{self, visible};
use crate::cli::render::pretty::pretty;
use crate::cli::terminal::{ProgressLine, confirm};
use crate::model::{Act, ActName, Directives, Payload, StateName, SubmissionId};
use crate::policy::validate::ResultType;
use crate::store::{ActRequest, Acted, Outbox};

use super::filter::filtered;
use super::judge::{judged, refused_because};

/// Corrections that are stored in one commit: keeps the write lock short.
const PIECE: usize = 100;
/// And of so many bytes at most, give or take one payload.
const PIECE_BYTES: usize = 4 << 20;
/// Commands at one time, where the machine has as many processors.
const COMMANDS_MAX: usize = 8;
/// Differences that a dry run shows; the rest is counted.
const DIFFERENCES_SHOWN: usize = 3;
/// What is left alone is told one by one up to so many, and counted.
const LEFT_SHOWN: usize = 20;

/// The way of each payload.
pub struct Editing<'a> {
    pub outbox: &'a Outbox,
    pub context: &'a Context,
    pub args: &'a act::Args,
    pub command: &'a str,
    pub result_types: Option<&'a [ResultType]>,
}

/// A correction that is not stored yet.
struct Correction {
    id: SubmissionId,
    state: Option<StateName>,
    from: Payload,
    act: Act,
}

/// What became of one payload.
enum Edited {
    Changed(Box<Correction>),
    Unchanged,
    /// The store's rules speak against it.
    Skipped(SubmissionId, Acted),
    /// The command failed, or what it said is no result.
    Failed(SubmissionId, String),
}

/// How many went which way.
#[derive(Debug, Default)]
struct Count {
    done: u64,
    unchanged: u64,
    skipped: u64,
    failed: u64,
    /// Told one by one so far.
    reported: usize,
    shown: usize,
}

/// Edits what the arguments select, in order.
pub async fn run(editing: &Editing<'_>, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let (args, context) = (editing.args, editing.context);
    let selection = args
        .selected(editing.outbox, ActName::Edit.allowed_from(), context.now())
        .await?;
    let total = selection.found.len();
    if args.in_bulk() && total > 1 && !args.yes && !args.dry_run {
        confirm(&format!(
            "edit would give {total} payloads to `{}` and send what it changes again.",
            editing.command
        ))?;
    }
    let mut count = Count::default();
    let outcome = through(editing, &selection, &mut count, out).await;
    let line = count.line(args.dry_run);
    if let Err(error) = outcome {
        return Err(error.context(format!("stopped; before that {line}")));
    }
    writeln!(out, "{line}")?;
    let is_refused = count.failed > 0 || (count.skipped > 0 && !args.in_bulk());
    Ok(if is_refused { Exit::Failed } else { Exit::Done })
}

async fn through(
    editing: &Editing<'_>,
    selection: &Selection,
    count: &mut Count,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let progress = ProgressLine::new("payloads");
    let at_once = thread::available_parallelism().map_or(1, usize::from).min(COMMANDS_MAX);
    let mut edited = stream::iter(&selection.found)
        .map(|(id, state)| editing.edited(*id, *state))
        .buffered(at_once);
    let mut waiting: Vec<Correction> = Vec::new();
    let (mut bytes, mut done) = (0, 0_u64);
    while let Some(one) = edited.next().await {
        match one? {
            Edited::Changed(correction) => {
                if editing.args.dry_run {
                    count.show(&correction, out)?;
                }
                bytes += correction.from.bytes().len();
                waiting.push(*correction);
            }
            Edited::Unchanged => count.unchanged += 1,
            Edited::Skipped(id, why) => count.skip(id, &why),
            Edited::Failed(id, why) => count.fail(id, &why),
        }
        if waiting.len() >= PIECE || bytes >= PIECE_BYTES {
            editing.store(selection, std::mem::take(&mut waiting), count).await?;
            bytes = 0;
        }
        done += 1;
        progress.at(done, selection.found.len() as u64);
    }
    editing.store(selection, waiting, count).await
}

impl Editing<'_> {
    /// Reads one payload, gives it to the command, and judges what comes back.
    async fn edited(&self, id: SubmissionId, state: Option<StateName>) -> anyhow::Result<Edited> {
        let Some(story) = self.outbox.show(id).await? else {
            return Ok(Edited::Skipped(id, Acted::NoSuch));
        };
        if let Some(why) = refused_because(&story, self.args.force) {
            return Ok(Edited::Skipped(id, why));
        }
        let limit = self.context.config.inbox.max_result_size;
        let text = match filtered(self.command, &story.payload, limit).await? {
            Ok(text) => text,
            Err(why) => return Ok(Edited::Failed(id, why)),
        };
        let entry = match judged(self.context, self.result_types, id, &text) {
            Ok((entry, _warning)) => entry,
            Err(why) => return Ok(Edited::Failed(id, why)),
        };
        if entry.directives == Directives::default() && entry.payload.digest() == story.payload.digest() {
            return Ok(Edited::Unchanged);
        }
        Ok(Edited::Changed(Box::new(Correction {
            id,
            state,
            from: story.payload,
            act: Act::Edit(Box::new(entry)),
        })))
    }

    /// Stores corrections. Asked for at once, they come into one commit; each looks again at what it was made for.
    async fn store(
        &self,
        selection: &Selection,
        corrections: Vec<Correction>,
        count: &mut Count,
    ) -> anyhow::Result<()> {
        let act = |correction: Correction| {
            let mut still = selection.still(correction.state);
            still.payload = Some(correction.from);
            self.outbox.act(ActRequest {
                ids: vec![correction.id],
                still,
                act: correction.act,
                actor: self.context.actor(),
                force: self.args.force,
                dry_run: self.args.dry_run,
                now: self.context.now(),
            })
        };
        // Each is told of, also where another one failed.
        let mut failure = None;
        for answers in join_all(corrections.into_iter().map(act)).await {
            match answers {
                Ok(answers) => answers.iter().for_each(|(id, acted)| match acted {
                    Acted::Done => count.done += 1,
                    why => count.skip(*id, why),
                }),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }
}

impl Count {
    fn skip(&mut self, id: SubmissionId, why: &Acted) {
        self.skipped += 1;
        self.report(id, &act::refusal(ActName::Edit, why));
    }

    fn fail(&mut self, id: SubmissionId, why: &str) {
        self.failed += 1;
        self.report(id, &format!("is left alone: {}", visible(why)));
    }

    fn report(&mut self, id: SubmissionId, what: &str) {
        if self.reported < LEFT_SHOWN {
            note(&format!("submission {id} {what}"));
        } else if self.reported == LEFT_SHOWN {
            note("more are left alone; they are counted");
        }
        self.reported += 1;
    }

    /// The first differences, for a dry run.
    fn show(&mut self, correction: &Correction, out: &mut dyn Write) -> io::Result<()> {
        self.shown += 1;
        if self.shown > DIFFERENCES_SHOWN {
            return Ok(());
        }
        let Act::Edit(entry) = &correction.act else {
            return Ok(());
        };
        writeln!(out, "submission {}", correction.id)?;
        for line in diff::lines(&laid_out(&correction.from), &laid_out(&entry.payload)) {
            writeln!(out, "  {}", escape::json(&line))?;
        }
        Ok(())
    }

    fn line(&self, dry_run: bool) -> String {
        let noun = if self.done == 1 { "submission" } else { "submissions" };
        let would = if dry_run { "would be " } else { "" };
        let others = [
            (self.unchanged, "unchanged"),
            (self.skipped, "skipped"),
            (
                self.failed,
                "left alone, since the command failed or its output is not valid",
            ),
        ];
        let mut parts = vec![format!("{} {noun} {would}edited and requeued", self.done)];
        parts.extend(
            others
                .iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| format!("{count} {what}")),
        );
        parts.join(", ")
    }
}

fn laid_out(payload: &Payload) -> String {
    let text = payload.text();
    pretty(&text).unwrap_or_else(|| escape::lines(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_every_way() {
        let count = Count {
            done: 1,
            unchanged: 2,
            failed: 3,
            ..Count::default()
        };
        assert_eq!(
            count.line(true),
            "1 submission would be edited and requeued, 2 unchanged, 3 left alone, since the command failed or its output is not valid"
        );
        assert_eq!(Count::default().line(false), "0 submissions edited and requeued");
    }
}
