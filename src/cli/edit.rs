//! `edit`: a corrected payload for a dead, parked or pending submission, by hand; or for many, by a command.

mod filter;
mod judge;
mod with;

use std::fs;
use std::io::{self, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use tempfile::TempPath;

use crate::delivery::catalogue::remembered;
use crate::model::{Act, ActName, Entry, Payload, SubmissionId};
use crate::store::{ActRequest, Acted, Outbox, Still, Story};

use super::act::{self, refusal};
use super::context::{Context, Global};
use super::exit::{CliError, Exit};
use super::output::note;
use super::render::escape::visible;
use super::render::pretty::pretty;
use super::show::find;
use judge::{judged, refused_because};

/// The options of `edit`.
#[derive(Debug, clap::Args)]
#[group(id = "edit")]
pub struct Args {
    #[command(flatten)]
    which: act::Args,

    /// Take the payload from this file instead of an editor; `-`: standard input
    #[arg(long, value_name = "FILE", conflicts_with = "with")]
    payload: Option<PathBuf>,

    /// Give each payload to this shell command on standard input, and take its output
    #[arg(long, value_name = "COMMAND")]
    with: Option<String>,
}

pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match &args.with {
        Some(command) => {
            args.which.check("edit", ActName::Edit.allowed_from())?;
            many(&args.which, command, global, out).await
        }
        None => one(&args, global, out).await,
    }
}

/// One, by an editor or from a file.
async fn one(args: &Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Some(id) = args.which.only().filter(|_| !args.which.dry_run) else {
        return Err(CliError::Usage(
            "edit takes one submission by its number: `reten-outbox edit 12`; for many, or a --dry-run, \
             give it a command: `reten-outbox edit --state dead --with 'jq -c …'`"
                .to_owned(),
        )
        .into());
    };
    // Before we become the outbox's owner, who may not be able to read it.
    let given = args.payload.as_deref().map(read_payload).transpose()?;
    let context = Context::enter(global)?;
    let Some(outbox) = context.change_existing().await? else {
        return Err(CliError::NoSuch(context.none_yet()).into());
    };
    let story = find(outbox.show(id).await?, id)?;
    if let Some(why) = refused_because(&story, args.which.force) {
        return Err(refused(id, &why).into());
    }
    let force = args.which.force;
    let changed = match given {
        Some(text) => replace(&outbox, &context, &story, &text, force).await.map(|()| true),
        None => in_editor(&outbox, &context, &story, force).await,
    };
    outbox.close().await;
    let done = if changed? { "edited and requeued" } else { "unchanged" };
    writeln!(out, "submission {id} {done}")?;
    Ok(Exit::Done)
}

/// Many, by a command.
async fn many(which: &act::Args, command: &str, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::enter(global)?;
    let Some(outbox) = context.change_existing().await? else {
        note(&context.none_yet());
        return Ok(if which.in_bulk() { Exit::Done } else { Exit::NoSuch });
    };
    let result_types = remembered(&outbox).await;
    let editing = with::Editing {
        outbox: &outbox,
        context: &context,
        args: which,
        command,
        result_types: result_types.as_deref(),
    };
    let exit = with::run(&editing, out).await;
    outbox.close().await;
    exit
}

fn refused(id: SubmissionId, acted: &Acted) -> CliError {
    let text = format!("submission {id} {}", refusal(ActName::Edit, acted));
    match acted {
        Acted::NoSuch => CliError::NoSuch(text),
        Acted::Done | Acted::Changed | Acted::WrongState(_) | Acted::Superseded(_) | Acted::HeldUntil(_) => {
            CliError::Refused(text)
        }
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

/// Opens the payload in an editor; whether it came back changed. What is refused stays in the file, so that no
/// typing is lost.
async fn in_editor(outbox: &Outbox, context: &Context, story: &Story, force: bool) -> anyhow::Result<bool> {
    let id = story.listed.id;
    let before = laid_out(&story.payload);
    let typed = type_in_editor(id, &before)?;
    if typed.text == before {
        return Ok(false);
    }
    match replace(outbox, context, story, &typed.text, force).await {
        Ok(()) => Ok(true),
        Err(error) => {
            note(&typed.keep(id)?);
            Err(error)
        }
    }
}

/// A payload as an editor shows it.
pub fn laid_out(payload: &Payload) -> String {
    let raw = payload.text();
    format!("{}\n", pretty(&raw).as_deref().unwrap_or(&raw))
}

/// What an operator has typed, in a file that goes with it unless it is kept.
pub struct Typed {
    pub text: String,
    path: TempPath,
}

impl Typed {
    /// Keeps the file; a line that says so.
    pub fn keep(self, id: SubmissionId) -> io::Result<String> {
        let kept = self.path.keep()?;
        Ok(format!(
            "your text is kept; mended, `reten-outbox edit {id} --payload {}` takes it",
            kept.display()
        ))
    }
}

/// Opens this text in the operator's editor.
pub fn type_in_editor(id: SubmissionId, before: &str) -> anyhow::Result<Typed> {
    let file = tempfile::Builder::new()
        .prefix(&format!("reten-outbox-{id}-"))
        .suffix(".json")
        .tempfile()?;
    // Closed, not deleted: some editors write a new file and rename it over this one.
    let path = file.into_temp_path();
    fs::write(&path, before)?;
    edit_file(&path)?;
    let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(Typed { text, path })
}

/// The entry that a typed payload makes, as intake judges it, with what is to be said of it; the error says why it is
/// refused.
pub async fn checked(
    outbox: &Outbox,
    context: &Context,
    id: SubmissionId,
    text: &str,
) -> Result<(Entry, Option<String>), CliError> {
    let result_types = remembered(outbox).await;
    judged(context, result_types.as_deref(), id, text).map_err(CliError::Refused)
}

/// Checks a payload as intake does, and puts it into the submission's place; unless another one came there
/// meanwhile.
async fn replace(outbox: &Outbox, context: &Context, story: &Story, text: &str, force: bool) -> anyhow::Result<()> {
    let id = story.listed.id;
    let (entry, warning) = checked(outbox, context, id, text).await?;
    if let Some(warning) = warning {
        note(&format!("warning: {}", visible(&warning)));
    }
    let request = ActRequest {
        ids: vec![id],
        still: Still {
            matches: None,
            payload: Some(story.payload.clone()),
        },
        act: Act::Edit(Box::new(entry)),
        actor: context.actor(),
        force,
        dry_run: false,
        now: context.now(),
    };
    for (id, acted) in outbox.act(request).await? {
        if acted != Acted::Done {
            return Err(refused(id, &acted).into());
        }
    }
    Ok(())
}

/// Runs the operator's editor, as git does: the variable may hold arguments, so the shell reads it.
fn edit_file(path: &Path) -> anyhow::Result<()> {
    let chosen = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()));
    let editor = match chosen {
        Some(editor) => editor,
        None if io::stdin().is_terminal() => "vi".to_owned(),
        None => {
            return Err(CliError::Usage(
                "there is no terminal to edit on; use --payload FILE, or set $EDITOR".to_owned(),
            )
            .into());
        }
    };
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$@\""))
        .arg("sh")
        .arg(path)
        .status();
    let status = status.with_context(|| format!("the editor `{editor}` cannot be started"))?;
    if !status.success() {
        return Err(CliError::Refused(format!(
            "the editor `{editor}` ended with {status}; nothing was changed"
        ))
        .into());
    }
    Ok(())
}
