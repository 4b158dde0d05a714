//! `validate`: the checks of `enqueue`, and nothing else.

use std::io::Write;
use std::path::PathBuf;

use super::Global;
use super::context::Context;
use super::exit::Exit;

/// The options of `validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files of results; none, or `-`: standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Checks.
pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::enter(global)?;
    let all_good = validate(args.files, &context.config, out).await?;
    Ok(if all_good { Exit::Done } else { Exit::Failed })
}

async fn validate(_files: Vec<PathBuf>, _config: &crate::config::Config, _out: &mut dyn Write) -> anyhow::Result<bool> {
    anyhow::bail!("`validate` is not part of this build yet")
}
