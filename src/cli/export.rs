//! `export`: submissions as NDJSON in inbox form, so that they can be mended and dropped in again.

use std::io::{IsTerminal as _, Write};

use serde::Serialize;

use crate::clock::Timestamp;
use crate::model::ConflictPolicy;
use crate::model::payload::{DIRECTIVES, Object};
use crate::store::Story;

use super::context::Context;
use super::exit::Exit;
use super::filter::FilterArgs;
use super::render::escape;
use super::{Global, note};

/// The options of `export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,

    /// Only the N oldest
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Exports. A payload that is no JSON object cannot be said in inbox form: it is named, and the exit code says that it is missing.
pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::enter(global)?;
    let Some(outbox) = context.look().await? else {
        note(&context.none_yet());
        return Ok(Exit::Done);
    };
    let on_terminal = std::io::stdout().is_terminal();
    let mut exit = Exit::Done;
    let ids = outbox.select(&args.filter.at(context.now)).await?;
    for id in ids.into_iter().take(args.limit.unwrap_or(usize::MAX)) {
        // Retention may have taken it meanwhile.
        let Some(story) = outbox.show(id).await? else { continue };
        match line(&story)? {
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
    Ok(exit)
}

/// The directives as a producer writes them.
#[derive(Serialize)]
struct Directives<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_conflict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
}

/// The payload in one line with its directives as the first member; `None` where it is no object.
fn line(story: &Story) -> serde_json::Result<Option<String>> {
    let listed = &story.listed;
    let directives = Directives {
        key: listed.key.as_ref().map(|key| key.0.as_str()),
        on_conflict: listed.on_conflict.map(ConflictPolicy::name),
        not_before: listed.not_before,
        source: listed.source.as_deref(),
    };
    let directives = serde_json::to_string(&directives)?;
    let payload = story.payload.in_one_line();
    let Ok(object) = Object::parse(&payload) else { return Ok(None) };
    let Some((before, members)) = payload.split_once('{') else {
        return Ok(None);
    };
    if directives == "{}" {
        return Ok(Some(payload));
    }
    let comma = if object.members().is_empty() { "" } else { "," };
    Ok(Some(format!("{before}{{\"{DIRECTIVES}\":{directives}{comma}{members}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::sample::story;
    use crate::model::{Payload, SubmissionKey};

    #[test]
    fn the_directives_come_first_and_the_payload_stays_as_it_is() {
        let mut story = story(r#"{"n":1.50, "b":[]}"#);
        assert_eq!(line(&story).unwrap().as_deref(), Some(r#"{"n":1.50, "b":[]}"#));
        story.listed.key = Some(SubmissionKey("k\"1".into()));
        story.listed.on_conflict = Some(ConflictPolicy::DeadLetter);
        story.listed.not_before = Some(Timestamp::from_millis(0));
        story.listed.source = Some("crm".into());
        assert_eq!(
            line(&story).unwrap().as_deref(),
            Some(
                r#"{"$outbox":{"key":"k\"1","on_conflict":"dead_letter","not_before":"1970-01-01T00:00:00.000Z","source":"crm"},"n":1.50, "b":[]}"#
            )
        );
        story.payload = Payload::from_text("{\n }");
        let exported = line(&story).unwrap().unwrap();
        assert!(
            exported.ends_with("\"source\":\"crm\"}  }") && !exported.contains('\n'),
            "{exported}"
        );
        assert_eq!(Object::parse(&exported).unwrap().payload().in_one_line(), "{  }");
    }

    #[test]
    fn what_is_no_object_has_no_line() {
        assert_eq!(line(&story("not json")).unwrap(), None);
        assert_eq!(line(&story("[1]")).unwrap(), None);
    }
}
