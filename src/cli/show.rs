//! `show`: everything about one submission, told in order, and what can be done about it.

use std::io::{self, Write};

use crate::clock::Timestamp;
use crate::config::Keep;
use crate::model::{Answer, DeadReason, State, SubmissionId};
use crate::store::{Listed, Story};

use super::context::{Context, Global};
use super::exit::{CliError, Exit};
use super::gate;
use super::render::escape::{self, visible};
use super::render::outcome::hint_of;
use super::render::pretty::pretty;
use super::render::table::wrap;
use super::render::time::full;
use super::render::{choices, json, story};

/// The lines of a story or an answer that are shown; of longer ones the beginning and the end. `--json` has all.
const LINES_MAX: usize = 60;

/// Of those, so many are the beginning.
const LINES_FIRST: usize = 15;

/// Where sentences are broken, on a terminal of any width.
const TEXT_WIDTH: usize = 80;

/// The options of `show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The submission's number, as `list` shows it
    #[arg(value_name = "ID")]
    id: SubmissionId,

    /// One JSON object, for scripts
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::enter(global)?;
    let Some(outbox) = context.open_to_read().await? else {
        return Err(CliError::NoSuch(context.none_yet()).into());
    };
    let story = find(outbox.show(args.id).await?, args.id)?;
    if args.json {
        writeln!(out, "{}", json::story(&story)?)?;
        return Ok(Exit::Done);
    }
    let obstacle = gate::obstacle(&context, &outbox).await?;
    write_all(&story, obstacle.as_deref(), &context, out)?;
    Ok(Exit::Done)
}

/// The story, or that there is none.
pub fn find(story: Option<Story>, id: SubmissionId) -> Result<Story, CliError> {
    story.ok_or_else(|| {
        CliError::NoSuch(format!(
            "there is no submission {id}; retention removes what is delivered or dismissed"
        ))
    })
}

/// The same in lines, for who shows it in a window of their own.
pub fn page(story: &Story, obstacle: Option<&str>, context: &Context) -> io::Result<Vec<String>> {
    let mut text = Vec::new();
    write_all(story, obstacle, context, &mut text)?;
    Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}

/// In the order in which an operator wants to know: which one, what is in it, what happened, and at the end, where
/// the eye rests, what happens next and what can be done.
fn write_all(story: &Story, obstacle: Option<&str>, context: &Context, out: &mut dyn Write) -> io::Result<()> {
    let (listed, now) = (&story.listed, context.now());
    writeln!(out, "Submission {}, {}\n", listed.id, story::state(listed))?;
    for (name, value) in facts(listed, now) {
        writeln!(out, "  {name:<12} {value}")?;
    }
    writeln!(out, "\nPayload")?;
    for line in laid_out(&story.payload.text()) {
        writeln!(out, "  {line}")?;
    }
    if let Some(answer) = listed.last.as_ref().and_then(|last| last.answer.as_ref()) {
        section(
            out,
            &answer_title(answer),
            &laid_out(&String::from_utf8_lossy(&answer.body)),
        )?;
    }
    let steps: Vec<String> = story::steps(story).iter().map(describe).collect();
    section(out, "Story", &steps)?;
    writeln!(out, "\nWhat happens next")?;
    for sentence in sentences(story, obstacle, context) {
        write!(out, "{}", wrap(&sentence, "  ", TEXT_WIDTH))?;
    }
    commands(story, context.now(), out)
}

/// A step with its time before it, broken under itself.
fn describe(step: &story::StoryStep<'_>) -> String {
    let (at, what) = story::line(step);
    let at = at.to_string();
    let below = " ".repeat(2 + at.len() + 2);
    format!("{at}  {}", wrap(&what, &below, TEXT_WIDTH).trim())
}

/// What happens next and why, a paragraph each.
fn sentences(story: &Story, obstacle: Option<&str>, context: &Context) -> Vec<String> {
    let listed = &story.listed;
    let mut sentences = vec![story::next(story, obstacle, context.now())];
    sentences.extend(leaves(listed, context));
    sentences.extend(story.superseded_by.map(|later| {
        format!("It is superseded: submission {later} of the same activity came later and is delivered.")
    }));
    match listed.state {
        State::Dead(DeadReason::Invalid) => {
            sentences.extend(
                listed
                    .invalid
                    .as_deref()
                    .map(|why| format!("Wrong in it: {}", visible(why))),
            );
        }
        // The commands below say it all.
        State::Parked(_) => {}
        State::Pending { .. } | State::Sending | State::Delivered | State::Dead(_) | State::Dismissed => {
            sentences.extend(hint_of(listed).map(|hint| format!("Hint: {}", visible(&hint))));
        }
    }
    sentences
}

/// When retention takes it away.
fn leaves(listed: &Listed, context: &Context) -> Option<String> {
    let (keep, name) = match listed.state {
        State::Delivered => (context.config.outbox.keep_delivered, "outbox.keep_delivered"),
        State::Dismissed => (context.config.outbox.keep_dismissed, "outbox.keep_dismissed"),
        State::Pending { .. } | State::Sending | State::Dead(_) | State::Parked(_) => return None,
    };
    match keep {
        Keep::Forever => None,
        Keep::For(span) => {
            let at = listed.updated_at.plus(span);
            let when = if at > context.now() {
                full(at, context.now())
            } else {
                "soon".to_owned()
            };
            Some(format!("It leaves the outbox {when}, by {name}."))
        }
    }
}

fn commands(story: &Story, now: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    let commands = choices::commands(story, now);
    if !commands.is_empty() {
        writeln!(out, "\nWhat you can do")?;
    }
    let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    for (command, does) in commands {
        let below = " ".repeat(2 + width + 2);
        writeln!(out, "  {command:<width$}  {}", wrap(&does, &below, TEXT_WIDTH).trim())?;
    }
    Ok(())
}

/// Name and value of what is known, escaped; what is absent is left out.
fn facts(listed: &Listed, now: Timestamp) -> Vec<(&'static str, String)> {
    let text = |value: Option<&str>| value.map(|value| visible(value).into_owned());
    let id = listed.facts.activity_id.as_deref();
    let rows = [
        ("Activity", text(id)),
        ("Provider id", text(listed.facts.provider_activity_id.as_deref())),
        ("Commerce", text(listed.facts.commerce_external_id.as_deref())),
        ("Key", text(listed.key.as_ref().map(|key| key.0.as_str()))),
        ("Source", text(listed.source.as_deref())),
        (
            "On conflict",
            listed.on_conflict.map(|policy| policy.into_str().to_owned()),
        ),
        ("Not before", listed.not_before.map(|at| full(at, now))),
        ("Came from", Some(story::origin(&listed.origin))),
        ("Taken in", Some(full(listed.created_at, now))),
        ("Changed", Some(full(listed.updated_at, now))),
        ("Attempts", Some(listed.attempts.to_string())),
    ];
    rows.into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

fn answer_title(answer: &Answer) -> String {
    let kind = answer
        .header("content-type")
        .map(|kind| format!(", {}", visible(kind)))
        .unwrap_or_default();
    let length = if answer.is_truncated() {
        format!("the first {} of {} bytes", answer.body.len(), answer.body_length)
    } else {
        format!("{} bytes", answer.body_length)
    };
    format!("Last answer: {}{kind}, {length}", answer.status)
}

/// Text in lines, escaped: JSON laid out and in JSON's own way, so that it can be copied.
fn laid_out(text: &str) -> Vec<String> {
    let shown = pretty(text).map_or_else(|| escape::lines(text), |laid_out| escape::json(&laid_out).into_owned());
    shown.lines().map(str::to_owned).collect()
}

fn section(out: &mut dyn Write, title: &str, lines: &[String]) -> io::Result<()> {
    writeln!(out, "\n{title}")?;
    if lines.len() <= LINES_MAX {
        return lines.iter().try_for_each(|line| writeln!(out, "  {line}"));
    }
    let last = lines.len() - (LINES_MAX - LINES_FIRST);
    lines[..LINES_FIRST]
        .iter()
        .try_for_each(|line| writeln!(out, "  {line}"))?;
    writeln!(out, "  … {} more lines; --json has them", last - LINES_FIRST)?;
    lines[last..].iter().try_for_each(|line| writeln!(out, "  {line}"))
}
