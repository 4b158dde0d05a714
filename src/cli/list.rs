//! `list`: submissions, newest first.

pub mod group;

use std::io::Write;

use crate::clock::Timestamp;
use crate::model::{Attempt, EndingName};
use crate::store::{Filter, Listed, Outbox};

use super::context::{Context, Global};
use super::exit::Exit;
use super::filter::FilterArgs;
use super::output::note;
use super::paging::PagedList;
use super::render::escape::visible;
use super::render::outcome::{error_of, status_of};
use super::render::table::{Layout, TableColumn};
use super::render::{json, story};
use super::terminal;

/// What a table shows unless told otherwise: about what an operator reads.
const TABLE_LIMIT: u32 = 100;

/// The widest column that anything is lined up for: a server's message may be 64 KiB.
const CELL_MAX: usize = 200;

const COLUMNS: [TableColumn; 6] = [
    TableColumn {
        heading: "ID",
        right: true,
        least: None,
        most: 20,
    },
    TableColumn {
        heading: "STATE",
        right: false,
        least: Some(14),
        most: 23,
    },
    TableColumn {
        heading: "TRIES",
        right: true,
        least: None,
        most: 10,
    },
    TableColumn {
        heading: "WHEN",
        right: false,
        least: Some(9),
        most: 14,
    },
    TableColumn {
        heading: "ACTIVITY",
        right: false,
        least: Some(10),
        most: 36,
    },
    TableColumn {
        heading: "LAST ANSWER",
        right: false,
        least: Some(11),
        most: CELL_MAX,
    },
];

/// The options of `list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,

    /// What became of them: how many by state, reason, answer and source, and since when
    #[arg(long)]
    group: bool,

    /// At most this many, 0 for all [default: 100 in a table, else all]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,

    /// One JSON object a line, for scripts
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::enter(global)?;
    let Some(outbox) = context.open_to_read().await? else {
        note(&context.none_yet());
        return Ok(Exit::Done);
    };
    let filter = args.filter.at(context.now());
    let limit = match args.limit {
        Some(0) => None,
        Some(limit) => Some(limit),
        None if args.json || args.group => None,
        None => Some(TABLE_LIMIT),
    };
    let mut pages = PagedList::new(&outbox, &filter, limit);
    if args.group {
        group::run(&mut pages, args.json, context.now(), out).await?;
        return Ok(Exit::Done);
    }
    if args.json {
        while let Some(page) = pages.next().await? {
            for listed in &page {
                writeln!(out, "{}", json::listed(listed)?)?;
            }
        }
        return Ok(Exit::Done);
    }
    table(&mut pages, context.now(), out).await?;
    Ok(Exit::Done)
}

/// The table of everything, as `list` shows it without options; for `demo`.
pub async fn everything(outbox: &Outbox, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<()> {
    table(
        &mut PagedList::new(outbox, &Filter::default(), Some(TABLE_LIMIT)),
        now,
        out,
    )
    .await
}

async fn table(pages: &mut PagedList<'_>, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut layout: Option<Layout<'_>> = None;
    while let Some(page) = pages.next().await? {
        let rows: Vec<Vec<String>> = page.iter().map(|listed| row(listed, now)).collect();
        // The first page decides the widths of all: they must not jump in the middle.
        let layout = if let Some(layout) = &layout {
            layout
        } else {
            let fitted = layout.insert(Layout::fit(&COLUMNS, &rows, terminal::width()));
            writeln!(out, "{}", fitted.heading())?;
            fitted
        };
        for row in &rows {
            writeln!(out, "{}", layout.row(row))?;
        }
    }
    if layout.is_none() {
        note("no submission matches");
    }
    if pages.has_more().await? {
        note("there are more; --limit N shows as many, --limit 0 all");
    }
    Ok(())
}

/// The cells of a row, escaped.
fn row(listed: &Listed, now: Timestamp) -> Vec<String> {
    let activity = listed.facts.activity().map(|activity| activity.text().to_owned());
    let name = activity
        .or_else(|| listed.key.as_ref().map(|key| format!("key {key}")))
        .unwrap_or_default();
    vec![
        listed.id.to_string(),
        story::state(listed),
        listed.attempts.to_string(),
        story::when(listed, now),
        cell(&name),
        cell(&last_answer(listed)),
    ]
}

fn cell(text: &str) -> String {
    visible(text).into_owned()
}

fn last_answer(listed: &Listed) -> String {
    if let Some(error) = error_of(listed) {
        // The state says `invalid` already.
        return match (error.status_code, &error.message) {
            (None, Some(why)) if listed.invalid.is_some() => why.clone(),
            _ => error.line(),
        };
    }
    let outcome = |last: &Attempt| match status_of(last) {
        Some(status) => status.to_string(),
        None if last.outcome == EndingName::Interrupted => last.outcome.into_str().to_owned(),
        None => String::new(),
    };
    listed.last.as_ref().map(outcome).unwrap_or_default()
}
