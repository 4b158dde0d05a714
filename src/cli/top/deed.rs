//! Does what an operator asks for, by the same code as the commands.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::cli::act::{self, Manner, Selection};
use crate::cli::context::Context;
use crate::cli::new_key::Placed;
use crate::cli::pause::{self, Notice};
use crate::model::ActName;
use crate::store::Filter;

use super::view::{ActDeed, Deed, Event};

/// Does it; what came of it, or why it could not be done, goes to the view.
pub async fn perform(deed: Deed, context: Arc<Context>, placed: Arc<Placed>, events: mpsc::Sender<Event>) {
    let told = attempt(deed, &context, &placed, &events).await;
    let words = told.unwrap_or_else(|error| format!("{error:#}"));
    // Nobody is left to hear it.
    let _ = events.send(Event::Done(words)).await;
}

async fn attempt(
    deed: Deed,
    context: &Context,
    placed: &Placed,
    events: &mpsc::Sender<Event>,
) -> anyhow::Result<String> {
    let Some(outbox) = context.change_existing().await? else {
        return Ok(context.none_yet());
    };
    // A wait is told by what the view shows meanwhile.
    let said = |_: &str| {};
    let told = match deed {
        Deed::Act(deed) => on_submissions(&outbox, deed, context, events).await,
        Deed::Pause { why } => pause::close(&outbox, context, why, &said).await.map(|closing| {
            if closing.notice == Notice::NotYet {
                pause::NOT_IN_FORCE.to_owned()
            } else {
                closing.line(context.now())
            }
        }),
        Deed::Resume => pause::reopen(&outbox, context, placed, &said).await.map(|opening| {
            let beside = opening.beside.map(str::to_owned);
            opening.done.into_iter().chain(beside).collect::<Vec<_>>().join("; ")
        }),
    };
    outbox.close().await;
    told
}

async fn on_submissions(
    outbox: &crate::store::Outbox,
    deed: ActDeed,
    context: &Context,
    events: &mpsc::Sender<Event>,
) -> anyhow::Result<String> {
    let name = ActName::from(&deed.act);
    let filter = Filter {
        states: vec![deed.state],
        reason: deed.kind.as_ref().map(|kind| kind.reason.clone()),
        http_status: deed.kind.as_ref().and_then(|kind| kind.http_status),
        ..Filter::default()
    };
    let selection = Selection::seen(deed.ids, deed.state, filter);
    let manner = Manner {
        actor: context.actor(),
        force: false,
        dry_run: false,
        now: context.now(),
    };
    let progress = |done, total| {
        // Where it cannot be taken, the next one says more.
        let _ = events.try_send(Event::Progress(done, total));
    };
    let acted = act::perform(outbox, &deed.act, &selection, &manner, progress).await?;
    Ok(act::summary(name, &acted))
}
