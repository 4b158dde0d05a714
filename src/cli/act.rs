//! `requeue`, `override`, `accept`, `dismiss`: what an operator does to submissions, by their numbers or by a filter.

mod report;
mod select;

use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use crate::clock::Timestamp;
use crate::model::{Act, ActName, Actor, SubmissionId};
use crate::store::{ACT_IDS_MAX, ActRequest, Acted, Outbox};

use super::context::{Context, Global};
use super::exit::Exit;
use super::output::note;
use super::terminal::{ProgressLine, confirm};
use report::ActReport;
pub use report::{refusal, summary};
pub use select::{Args, Selection};

/// The least pause between two transactions, which is else as long as the one before it: the daemon has the outbox for
/// itself half of the time, and whoever waits for SQLite's lock only looks from time to time whether it is free.
const GAP_MIN: Duration = Duration::from_millis(20);

pub async fn run(act: Act, args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let name = ActName::from(&act);
    let from = name.allowed_from();
    args.check(name.into_str(), from)?;
    let in_bulk = args.in_bulk();
    let context = Context::enter(global)?;
    let Some(outbox) = context.change_existing().await? else {
        note(&context.none_yet());
        return Ok(if in_bulk { Exit::Done } else { Exit::NoSuch });
    };
    let selection = args.selected(&outbox, from, context.now()).await?;
    let count = selection.found.len();
    if in_bulk && count > 1 && !args.yes && !args.dry_run {
        confirm(&format!("{} would touch {count} submissions.", name.into_str()))?;
    }
    let progress = ProgressLine::new("submissions");
    let manner = Manner {
        actor: context.actor(),
        force: args.force,
        dry_run: args.dry_run,
        now: context.now(),
    };
    let told = |done, total| progress.at(done as u64, total as u64);
    let acted = perform(&outbox, &act, &selection, &manner, told).await;
    drop(progress);
    outbox.close().await;
    let mut acted = acted?;
    if in_bulk {
        acted.sort_by_key(|(id, _)| *id);
    }
    let report = ActReport::of(&acted);
    report.write(name, &args, out)?;
    Ok(report.exit(in_bulk))
}

/// By whom and how it is done.
#[derive(Debug)]
pub struct Manner {
    pub actor: Actor,
    /// Also superseded ones, and those that a `not_before` holds.
    pub force: bool,
    pub dry_run: bool,
    pub now: Timestamp,
}

/// Does an act on what is chosen, a piece at a time; what became of each. `told` hears how many are done of how many.
pub async fn perform(
    outbox: &Outbox,
    act: &Act,
    selection: &Selection,
    manner: &Manner,
    told: impl Fn(usize, usize),
) -> anyhow::Result<Vec<(SubmissionId, Acted)>> {
    let total = selection.found.len();
    let mut acted = Vec::with_capacity(total);
    for (state, ids) in selection.pieces(ACT_IDS_MAX) {
        let began = Instant::now();
        let request = ActRequest {
            ids,
            still: selection.still(state),
            act: act.clone(),
            actor: manner.actor.clone(),
            force: manner.force,
            dry_run: manner.dry_run,
            now: manner.now,
        };
        // Each piece is a transaction of its own: what an error leaves undone can be asked for again.
        let answers = outbox.act(request).await;
        acted.extend(answers.with_context(|| format!("{} of {total} were done before", acted.len()))?);
        told(acted.len(), total);
        if acted.len() < total && !manner.dry_run {
            sleep(began.elapsed().max(GAP_MIN)).await;
        }
    }
    Ok(acted)
}
