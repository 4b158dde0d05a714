//! `run`: the daemon, in the foreground.

use crate::config::Environment;
use crate::daemon::{self, Source, Start};

use super::context::Global;
use super::exit::Exit;

/// Runs until a signal ends it.
pub async fn run(global: &Global) -> anyhow::Result<Exit> {
    let source = Source {
        explicit: global.config.clone(),
        environment: Environment::of_process(),
        level: global.log_level,
    };
    let loaded = source.load()?;
    loaded.home().make()?;
    let start = Start {
        loaded,
        source,
        seed: fastrand::u64(..),
    };
    daemon::run(start).await?;
    Ok(Exit::Done)
}
