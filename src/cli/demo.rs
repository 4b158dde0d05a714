//! `demo`: the whole job, on this machine.

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
    let _keep = args.keep;
    anyhow::bail!("the demo is not part of this build yet")
}
