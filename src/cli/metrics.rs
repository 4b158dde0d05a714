//! `metrics`: the state of the queue and what was counted, in the text formats of Prometheus.

mod page;

use std::io::Write;
use std::path::PathBuf;

use crate::model::{Address, Figures};
use crate::store::free_bytes;

use super::context::{Context, Global};
use super::draft_file::DraftFile;
use super::exit::{CliError, Exit};
use super::owner;
use super::status;
use page::Measured;

/// Readable for everybody: the collector runs as another user, and there is nothing of a result in it.
const MODE: u32 = 0o644;

/// The options of `metrics`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write it into this file instead, which has to end in .prom, for the textfile collector of Prometheus's node
    /// exporter: as a whole, and in the format that it reads
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Some(path) = args.out else {
        let context = Context::enter(global)?;
        let measured = Box::pin(measure(&context)).await?;
        out.write_all(page::open_metrics(&measured)?.as_bytes())?;
        return Ok(Exit::Done);
    };
    // The collector passes over every other name, without a word.
    if path.extension().is_none_or(|end| end != "prom") {
        let shown = path.display();
        return Err(CliError::Usage(format!(
            "{shown}: node_exporter reads files that end in .prom alone; name one, as in {shown}.prom"
        ))
        .into());
    }
    let context = Context::to_look(global)?;
    let draft = DraftFile::begin(&path, MODE, "reten-outbox.prom")?;
    let database = context.config.outbox.database.anchor().to_owned();
    let measured = Box::pin(owner::as_owner_of(&database, measure(&context))).await??;
    draft.finish(page::prometheus(&measured)?.as_bytes())?;
    Ok(Exit::Done)
}

/// Everything that is shown. Where the outbox cannot be read nothing is: zeros would be taken for an empty queue.
async fn measure(context: &Context) -> anyhow::Result<Measured> {
    let outbox = context.open_to_read().await?;
    let (status, failed) = Box::pin(status::seen(context, outbox.as_ref(), None, 1)).await;
    let totals = match outbox {
        Some(outbox) => {
            let totals = outbox.totals().await;
            outbox.close().await;
            totals
        }
        None => Ok(Figures::default()),
    };
    if let Some(failed) = failed {
        return Err(failed);
    }
    let totals = totals?;
    let config = &context.config;
    let length = |path: PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
    let (outbox_bytes, wal_bytes, outbox_free) = match &config.outbox.database {
        Address::File(path) => {
            let mut wal = path.clone().into_os_string();
            wal.push("-wal");
            (
                Some(length(path.clone())),
                Some(length(wal.into())),
                path.parent().and_then(free_bytes),
            )
        }
        Address::Server(_) => (None, None, None),
    };
    Ok(Measured {
        status,
        totals,
        outbox_bytes,
        wal_bytes,
        free_bytes: [("outbox", outbox_free), ("inbox", free_bytes(&config.inbox.dir))],
        now: context.now(),
    })
}
