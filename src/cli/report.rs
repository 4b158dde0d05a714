//! `report`: what happened in a time, on one page for whoever was not there: a post-mortem, a customer, a manager.

mod chart;
mod failures;
mod gather;
mod page;
mod series;

use std::io::Write;
use std::path::PathBuf;

use super::context::{Context, Global};
use super::draft_file::DraftFile;
use super::exit::{CliError, Exit};
use super::filter::{SinceArg, parse_since};
use super::output::note;
use super::owner;
use super::render::escape;
use gather::Report;

/// For its owner and their group: messages of the API are in it.
const MODE: u32 = 0o640;

/// The options of `report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// From when on: a time (2026-11-23T10:00:00Z) or an age (24h, 7d)
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_since)]
    since: SinceArg,

    /// Write it into this file, as a whole; what was there is replaced
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Show payloads of the examples too. They are not shown otherwise
    #[arg(long)]
    with_payloads: bool,

    /// The same numbers as one JSON object
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Some(path) = &args.out else {
        let context = Context::enter(global)?;
        let text = Box::pin(make(&args, &context)).await?;
        out.write_all(text.as_bytes())?;
        return Ok(Exit::Done);
    };
    let context = Context::to_look(global)?;
    let draft = DraftFile::begin(path, MODE, "reten-outbox.html")?;
    let database = context.config.outbox.database.anchor().to_owned();
    let text = Box::pin(owner::as_owner_of(&database, make(&args, &context))).await??;
    draft.finish(text.as_bytes())?;
    note(&format!("the report is in {}", path.display()));
    Ok(Exit::Done)
}

async fn make(args: &Args, context: &Context) -> anyhow::Result<String> {
    let from = args.since.before(context.now());
    if from >= context.now() {
        return Err(CliError::Usage("--since names a time that is still to come".to_owned()).into());
    }
    let Some(outbox) = context.open_to_read().await? else {
        return Err(CliError::Refused(context.none_yet()).into());
    };
    let report = Report::gather(&outbox, from, context.now(), args.with_payloads).await;
    outbox.close().await;
    let report = report?;
    if args.json {
        return Ok(escape::json(&serde_json::to_string_pretty(&report)?).into_owned() + "\n");
    }
    page::html(&report)
}
