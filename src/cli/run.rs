//! `run`: the daemon, in the foreground.

use super::Global;
use super::exit::Exit;

/// Runs until a signal ends it.
pub async fn run(global: &Global) -> anyhow::Result<Exit> {
    let _loaded = global.load()?;
    anyhow::bail!("the daemon is not part of this build yet")
}
