//! `demo`: the whole job on this machine, with no account. The sandbox, the daemon's rooms and sample results in a
//! temporary directory; what becomes of each is told in plain words, checked, and shown in a table at the end.
//!
//! - `stage`: what it runs on. `samples`: the results. `story`: what is done with them and what has to come of it.
//!   `tell`: the words.
//!
//! Nothing is left behind, however it ends. The configuration and the key are the demo's own: neither
//! `/etc/reten-outbox` nor the environment is read, so that it can never send a sample to a real API.

mod samples;
mod stage;
mod story;
mod tell;

use std::io::{self, Write};

use tokio::time::Instant;

use crate::daemon::Signals;
use crate::telemetry;
use stage::Stage;

/// Shows it. `keep` stays up afterwards, until Ctrl-C. An error is an expectation that was not met, or an interruption.
pub async fn run(keep: bool) -> anyhow::Result<()> {
    // Before there is anything to leave behind.
    let mut signals = Signals::listen()?;
    let mut out = io::stdout();
    let began = Instant::now();
    let mut stage = Stage::set().await?;
    let told = tokio::select! {
        told = story::tell(&mut stage, began, &mut out) => told,
        _ = signals.next() => Err(anyhow::anyhow!("the demo was interrupted; nothing is left behind")),
    };
    let kept = match told {
        Ok(()) if keep => stay(&mut stage, &mut signals, &mut out).await,
        told => told,
    };
    let struck = stage.strike().await;
    kept.and(struck)
}

/// `--keep`: the daemon's log lines from here on, until Ctrl-C.
async fn stay(stage: &mut Stage, signals: &mut Signals, out: &mut dyn Write) -> anyhow::Result<()> {
    tell::invitation(stage, out)?;
    let telemetry = telemetry::init(&stage.config().log)?;
    let ended = tokio::select! {
        _ = signals.next() => Ok(()),
        ended = stage.ended() => Err(ended.into()),
    };
    drop(telemetry);
    writeln!(out, "\nStopped; {} is removed.", stage.dir().display())?;
    ended
}
