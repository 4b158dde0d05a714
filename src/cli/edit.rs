//! `edit`: a corrected payload for a dead, parked or pending submission.

use std::fs;
use std::io::{self, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::delivery::catalogue::remembered;
use crate::intake::entry::{Judge, Judged, entry};
use crate::model::{Entry, Origin, SubmissionId, Transition};
use crate::policy::validate::ResultType;
use crate::store::{Act, ActRequest, Acted, Outbox, Story};

use super::act::refusal;
use super::context::Context;
use super::exit::{CliError, Exit};
use super::render::escape::visible;
use super::render::pretty::pretty;
use super::show::find;
use super::{Global, note};

/// The options of `edit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The submission's number
    #[arg(value_name = "ID")]
    id: SubmissionId,

    /// Take the payload from this file instead of an editor; `-`: standard input
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,

    /// Also if a later one of its activity has been delivered
    #[arg(long)]
    force: bool,
}

/// Edits.
pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    // Before we become the outbox's owner, who may not be able to read it.
    let given = args.payload.as_deref().map(read_payload).transpose()?;
    let context = Context::enter(global)?;
    let Some(outbox) = context.change_existing().await? else {
        return Err(CliError::NoSuch(context.none_yet()).into());
    };
    let story = find(outbox.show(args.id).await?, args.id)?;
    may_edit(&story, args.force)?;
    let exit = match given {
        Some(text) => replace(&outbox, &context, &args, &text).await.map(|()| true),
        None => in_editor(&outbox, &context, &args, &story).await,
    };
    outbox.close().await;
    let told = if exit? { "edited and requeued" } else { "unchanged" };
    writeln!(out, "submission {} {told}", args.id)?;
    Ok(Exit::Done)
}

/// Refuses before anybody types for nothing.
fn may_edit(story: &Story, force: bool) -> Result<(), CliError> {
    let state = story.listed.state;
    if !Transition::Edit.allowed_from().contains(&state.name()) {
        return Err(refused(story.listed.id, &Acted::WrongState(state)));
    }
    match story.superseded_by {
        Some(later) if !force => Err(refused(story.listed.id, &Acted::Superseded(later))),
        _ => Ok(()),
    }
}

fn refused(id: SubmissionId, acted: &Acted) -> CliError {
    let text = format!("submission {id} {}", refusal("edit", &Transition::Edit, acted));
    match acted {
        Acted::NoSuch => CliError::NoSuch(text),
        Acted::Done | Acted::WrongState(_) | Acted::Superseded(_) | Acted::HeldUntil(_) => CliError::Refused(text),
    }
}

fn read_payload(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin()
            .lock()
            .read_to_string(&mut text)
            .context("standard input cannot be read")?;
    } else {
        text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    }
    Ok(text)
}

/// Opens the payload in an editor; whether it came back changed. What is refused stays in the file, so that no typing is lost.
async fn in_editor(outbox: &Outbox, context: &Context, args: &Args, story: &Story) -> anyhow::Result<bool> {
    let raw = story.payload.text();
    let before = format!("{}\n", pretty(&raw).as_deref().unwrap_or(&raw));
    let file = tempfile::Builder::new()
        .prefix(&format!("reten-outbox-{}-", args.id))
        .suffix(".json")
        .tempfile()?;
    // Closed, not deleted: some editors write a new file and rename it over this one.
    let path = file.into_temp_path();
    fs::write(&path, &before)?;
    edit_file(&path)?;
    let after = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    if after == before {
        return Ok(false);
    }
    match replace(outbox, context, args, &after).await {
        Ok(()) => Ok(true),
        Err(error) => {
            let kept = path.keep()?;
            note(&format!(
                "your text is kept; mended, `reten-outbox edit {} --payload {}` takes it",
                args.id,
                kept.display()
            ));
            Err(error)
        }
    }
}

/// Runs the person's editor, as git does: the variable may hold arguments, so the shell reads it.
fn edit_file(path: &Path) -> anyhow::Result<()> {
    let chosen = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()));
    let editor = match chosen {
        Some(editor) => editor,
        None if io::stdin().is_terminal() => "vi".to_owned(),
        None => return Err(CliError::Usage("there is no terminal to edit on; use --payload FILE, or set $EDITOR".to_owned()).into()),
    };
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$@\""))
        .arg("sh")
        .arg(path)
        .status();
    let status = status.with_context(|| format!("the editor `{editor}` cannot be started"))?;
    if !status.success() {
        return Err(CliError::Refused(format!("the editor `{editor}` ended with {status}; nothing was changed")).into());
    }
    Ok(())
}

/// Checks a payload as intake does, and puts it into the submission's place.
async fn replace(outbox: &Outbox, context: &Context, args: &Args, text: &str) -> anyhow::Result<()> {
    let result_types = remembered(outbox).await;
    let entry = judged(context, result_types.as_deref(), text)?;
    let request = ActRequest {
        ids: vec![args.id],
        act: Act::Edit(Box::new(entry)),
        actor: context.actor(),
        force: args.force,
        dry_run: false,
        now: context.now,
    };
    for (id, acted) in outbox.act(request).await? {
        if acted != Acted::Done {
            return Err(refused(id, &acted).into());
        }
    }
    Ok(())
}

/// The entry that this text makes; refused where intake would call it `invalid`.
fn judged(context: &Context, result_types: Option<&[ResultType]>, text: &str) -> anyhow::Result<Entry> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let limit = context.config.inbox.max_result_size;
    if text.trim().len() > limit {
        return Err(CliError::Refused(format!("the payload is longer than inbox.max_result_size, {limit} bytes")).into());
    }
    let judge = Judge {
        settings: &context.config.validation,
        result_types: result_types.filter(|_| context.config.validation.result_types),
        now: context.now,
    };
    let origin = Origin::User {
        name: context.user.clone(),
        line: None,
    };
    let Judged { entry, warning, .. } =
        entry(text, origin, None, &judge).map_err(|why| CliError::Refused(format!("the payload is {why}")))?;
    if let Some(why) = &entry.invalid {
        return Err(CliError::Refused(format!("the payload is invalid: {}", visible(why))).into());
    }
    if let Some(warning) = warning {
        note(&format!("warning: {}", visible(&warning)));
    }
    Ok(entry)
}
