//! `purge`: retention, by hand.

use std::io::Write;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use tokio::time::sleep;

use crate::clock::Timestamp;
use crate::model::StateName;
use crate::store::{Filter, Outbox, Sweep};

use super::context::{Context, Global};
use super::exit::Exit;
use super::filter::parse_age;
use super::output::note;
use super::paging::PagedList;
use super::terminal::{ProgressLine, confirm};

/// Deleted in one transaction: keeps the write lock short, so that the daemon beside us goes on.
const BATCH: u32 = 500;

/// Between two batches the daemon beside us can write: whoever waits for SQLite's lock only looks from time to time
/// whether it is free.
const BATCH_GAP: Duration = Duration::from_millis(20);

/// What may be purged: everything that nobody will send any more.
const PURGEABLE: [StateName; 4] = [
    StateName::Delivered,
    StateName::Dead,
    StateName::Parked,
    StateName::Dismissed,
];

/// The options of `purge`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Those in this state
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(PURGEABLE.map(|one| one.into_str()))
        .try_map(|name| name.parse::<StateName>()))]
    state: StateName,

    /// That have not changed for so long (7d, 12h; 0 for any age)
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    older_than: Duration,

    /// Only say how many they are
    #[arg(long)]
    dry_run: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::enter(global)?;
    let Some(outbox) = context.change_existing().await? else {
        note(&context.none_yet());
        return Ok(Exit::Done);
    };
    let older_than = context.now().minus(args.older_than);
    if args.dry_run || (needs_yes(args.state) && !args.yes) {
        let count = count(&outbox, args.state, older_than).await?;
        if args.dry_run {
            writeln!(out, "{count} {} would be deleted", args.state)?;
            return Ok(Exit::Done);
        }
        if count > 0 {
            confirm(&format!(
                "purge would delete {count} {} submissions, which were never delivered.",
                args.state
            ))?;
        }
    }
    let deleted = sweep(&outbox, args.state, older_than).await?;
    while outbox.tidy().await? {
        sleep(BATCH_GAP).await;
    }
    outbox.close().await;
    writeln!(out, "{deleted} {} deleted", args.state)?;
    Ok(Exit::Done)
}

/// Whether the API never got them, so that deleting them loses something.
fn needs_yes(state: StateName) -> bool {
    match state {
        StateName::Delivered | StateName::Dismissed => false,
        StateName::Pending | StateName::Sending | StateName::Dead | StateName::Parked => true,
    }
}

async fn count(outbox: &Outbox, state: StateName, older_than: Timestamp) -> anyhow::Result<usize> {
    let filter = Filter {
        states: vec![state],
        ..Filter::default()
    };
    let mut pages = PagedList::new(outbox, &filter, None);
    let mut count = 0;
    while let Some(page) = pages.next().await? {
        count += page.iter().filter(|listed| listed.updated_at <= older_than).count();
    }
    Ok(count)
}

async fn sweep(outbox: &Outbox, state: StateName, older_than: Timestamp) -> anyhow::Result<u64> {
    let progress = ProgressLine::new("submissions");
    let at_most = outbox.tally().await?.count(state);
    let mut deleted = 0;
    loop {
        let batch = outbox
            .sweep(Sweep {
                state,
                older_than,
                limit: BATCH,
            })
            .await?;
        deleted += batch;
        progress.at(deleted, at_most);
        if batch == 0 {
            return Ok(deleted);
        }
        sleep(BATCH_GAP).await;
    }
}
