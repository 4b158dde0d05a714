//! Whether a submission may be edited, and whether a corrected text may take its place: as intake judges it.

use std::sync::Arc;

use crate::cli::context::Context;
use crate::cli::render::escape::visible;
use crate::intake::entry::{Judged, entry};
use crate::model::{ActName, Entry, Origin, SubmissionId};
use crate::policy::validate::{Criteria, ResultType};
use crate::store::{Acted, Story};

/// Why it may not be edited, found before anybody types for nothing.
pub fn refused_because(story: &Story, force: bool) -> Option<Acted> {
    let state = story.listed.state;
    if !ActName::Edit.allowed_from().contains(&state.name()) {
        return Some(Acted::WrongState(state));
    }
    story.superseded_by.filter(|_| !force).map(Acted::Superseded)
}

/// The entry that this text makes, with what is to be said of it; the error says why intake would not take it.
pub fn judged(
    context: &Context,
    result_types: Option<&[ResultType]>,
    id: SubmissionId,
    text: &str,
) -> Result<(Entry, Option<String>), String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let limit = context.config.inbox.max_result_size;
    if text.trim().len() > limit {
        return Err(format!(
            "the payload is longer than inbox.max_result_size, {limit} bytes"
        ));
    }
    let criteria = Criteria::new(&context.config.validation, result_types.map(Arc::from), context.now());
    let origin = Origin::User {
        name: context.user.clone(),
        line: None,
    };
    let Judged { mut entry, warning, .. } =
        entry(text, origin, None, &criteria).map_err(|why| format!("the payload is {why}"))?;
    // A line of `export` brings its own token, which has nothing more to say here.
    if let Some(token) = entry.directives.replaces.take()
        && token.id != id
    {
        return Err(format!(
            "the payload's `$outbox.replaces` names submission {}; this is {id}",
            token.id
        ));
    }
    match &entry.invalid {
        Some(why) => Err(format!("the payload is invalid: {}", visible(why))),
        None => Ok((entry, warning)),
    }
}
