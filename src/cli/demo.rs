//! `demo`: the whole job on this machine, with no account. The sandbox, the daemon's services and sample results in a
//! temporary directory; what becomes of each is told in plain words, checked, and shown in a table at the end.
//!
//! - `stage`: what it runs on. `samples`: the results. `story`: what is done with them and what has to come of it.
//!   `narrator`: the words.
//!
//! Nothing is left behind, however it ends. The configuration and the key are the demo's own: neither
//! `/etc/reten-outbox` nor the environment is read, so that it can never send a sample to a real API.

mod narrator;
mod samples;
mod stage;
mod story;

use std::io::{self, Write};

use tokio::time::Instant;

use crate::daemon::Signals;
use crate::telemetry;

use super::exit::Exit;
use stage::DemoStage;

/// The options of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stay up, and say where to drop files and what to type
    #[arg(long)]
    keep: bool,
}

/// An error is an expectation that was not met, or an interruption.
pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    // Before there is anything to leave behind.
    let mut signals = Signals::listen()?;
    let mut out = io::stdout();
    let began = Instant::now();
    let mut stage = DemoStage::build().await?;
    let played = tokio::select! {
        played = story::play(&mut stage, began, &mut out) => played,
        _ = signals.next() => Err(anyhow::anyhow!("the demo was interrupted; nothing is left behind")),
    };
    let ended = match played {
        Ok(()) if args.keep => stay_up(&mut stage, &mut signals, &mut out).await,
        played => played,
    };
    let removed = stage.remove().await;
    ended.and(removed)?;
    Ok(Exit::Done)
}

/// `--keep`: the daemon's log lines from here on, until Ctrl-C.
async fn stay_up(stage: &mut DemoStage, signals: &mut Signals, out: &mut dyn Write) -> anyhow::Result<()> {
    narrator::invitation(stage, out)?;
    let telemetry = telemetry::init(&stage.config().log)?;
    let ended = tokio::select! {
        _ = signals.next() => Ok(()),
        ended = stage.ended() => Err(ended.into()),
    };
    drop(telemetry);
    writeln!(out, "\nStopped; {} is removed.", stage.dir().display())?;
    ended
}
