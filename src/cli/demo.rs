//! `demo`: the whole job, on this machine.

use crate::demo;

use super::exit::Exit;

/// The options of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stay up, and say where to drop files and what to type
    #[arg(long)]
    keep: bool,
}

/// Shows it.
pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    demo::run(args.keep).await?;
    Ok(Exit::Done)
}
