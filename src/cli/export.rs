//! `export`: submissions as NDJSON in inbox form, so that they can be mended and dropped in again.

use std::io::{IsTerminal as _, Write};

use crate::model::REPLACEABLE;
use crate::store::{Marks, Outbox, Story};

use super::context::{Context, Global};
use super::exit::Exit;
use super::filter::FilterArgs;
use super::inbox_form::{self, DirectivesView};
use super::output::note;
use super::render::escape;

/// The options of `export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,

    /// Only the N oldest
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Exports. A payload that is no JSON object cannot be said in inbox form: it is named, and the exit code says that it
/// is missing.
pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::enter(global)?;
    let Some(outbox) = context.open_to_read().await? else {
        note(&context.none_yet());
        return Ok(Exit::Done);
    };
    let on_terminal = std::io::stdout().is_terminal();
    let marks = marks(&context, &outbox).await;
    let mut exit = Exit::Done;
    let mut superseded = 0_u64;
    let ids = outbox.select(&args.filter.at(context.now())).await?;
    for id in ids.into_iter().take(args.limit.unwrap_or(usize::MAX)) {
        // Retention may have taken it meanwhile.
        let Some(story) = outbox.show(id).await? else { continue };
        superseded += u64::from(marks.is_some() && is_replaceable(&story) && story.superseded_by.is_some());
        match line(&story, marks.as_ref())? {
            // To a file or a pipe it goes byte for byte.
            Some(line) if on_terminal => writeln!(out, "{}", escape::json(&line))?,
            Some(line) => writeln!(out, "{line}")?,
            None => {
                note(&format!(
                    "{id} is left out: its payload is no JSON object; `reten-outbox edit {id}` mends it"
                ));
                exit = Exit::Failed;
            }
        }
    }
    if superseded > 0 {
        note(&format!(
            "{superseded} of them are superseded, a later one of their activity is delivered: \
             dropped in again they become dead letters that say so"
        ));
    }
    Ok(exit)
}

/// What makes tokens. An outbox that no daemon of this version has opened yet gets its secret here, where this user may
/// write it.
async fn marks(context: &Context, outbox: &Outbox) -> Option<Marks> {
    if let Ok(Some(marks)) = outbox.marks(context.now()).await {
        return Some(marks);
    }
    let made = async {
        let outbox = context.change().await?;
        let marks = outbox.marks(context.now()).await;
        outbox.close().await;
        anyhow::Ok(marks?)
    };
    match made.await {
        Ok(Some(marks)) => return Some(marks),
        Ok(None) => {
            note("the system has no random numbers to give: the lines do not say which submissions they replace");
        }
        Err(error) => note(&format!(
            "the lines do not say which submissions they replace, since the outbox cannot be written: {error:#}"
        )),
    }
    None
}

/// Whether a twin of it may take its place.
fn is_replaceable(story: &Story) -> bool {
    REPLACEABLE.contains(&story.listed.state.name())
}

/// The payload in one line with its directives as the first member; `None` where it is no object.
fn line(story: &Story, marks: Option<&Marks>) -> serde_json::Result<Option<String>> {
    let listed = &story.listed;
    let directives = DirectivesView {
        key: listed.key.as_ref().map(|key| key.0.as_str()),
        on_conflict: listed.on_conflict.map(|one| one.into_str()),
        not_before: listed.not_before,
        source: listed.source.as_deref(),
        replaces: marks
            .filter(|_| is_replaceable(story))
            .map(|marks| marks.token(listed.id, listed.created_at).to_string()),
    };
    inbox_form::line(&story.payload, &directives)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::sample::story;
    use crate::clock::Timestamp;
    use crate::model::ConflictPolicy;
    use crate::model::payload::Object;
    use crate::model::{Payload, SubmissionKey};

    #[test]
    fn the_directives_come_first_and_the_payload_stays_as_it_is() {
        let mut story = story(r#"{"n":1.50, "b":[]}"#);
        assert_eq!(line(&story, None).unwrap().as_deref(), Some(r#"{"n":1.50, "b":[]}"#));
        story.listed.key = Some(SubmissionKey("k\"1".into()));
        story.listed.on_conflict = Some(ConflictPolicy::DeadLetter);
        story.listed.not_before = Some(Timestamp::from_millis(0));
        story.listed.source = Some("crm".into());
        assert_eq!(
            line(&story, None).unwrap().as_deref(),
            Some(
                r#"{"$outbox":{"key":"k\"1","on_conflict":"dead_letter","not_before":"1970-01-01T00:00:00.000Z","source":"crm"},"n":1.50, "b":[]}"#
            )
        );
        story.payload = Payload::from_text("{\n }");
        let exported = line(&story, None).unwrap().unwrap();
        assert!(
            exported.ends_with("\"source\":\"crm\"}  }") && !exported.contains('\n'),
            "{exported}"
        );
        assert_eq!(Object::parse(&exported).unwrap().payload().in_one_line(), "{  }");
    }

    #[test]
    fn what_is_no_object_has_no_line() {
        assert_eq!(line(&story("not json"), None).unwrap(), None);
        assert_eq!(line(&story("[1]"), None).unwrap(), None);
    }
}
