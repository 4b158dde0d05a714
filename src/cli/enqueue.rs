//! `enqueue`: results from files or standard input, durably in the outbox.

use std::io::Write;
use std::path::PathBuf;

use super::Global;
use super::context::Context;
use super::exit::Exit;
use super::terminal::Progress;

/// The options of `enqueue`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files of results; none, or `-`: standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Puts in.
pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::enter(global)?;
    let progress = Progress::new("bytes");
    let all_in = enqueue(args.files, &context.config, &|done, total| progress.at(done, total), out).await?;
    Ok(if all_in { Exit::Done } else { Exit::Failed })
}

async fn enqueue(
    _files: Vec<PathBuf>,
    _config: &crate::config::Config,
    _progress: &dyn Fn(u64, u64),
    _out: &mut dyn Write,
) -> anyhow::Result<bool> {
    anyhow::bail!("`enqueue` is not part of this build yet")
}
