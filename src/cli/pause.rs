//! `pause` and `resume`: the gate, by hand.

use std::io::Write;

use anyhow::Context as _;
use serde::de::DeserializeOwned;

use crate::clock::Timestamp;
use crate::policy::gate::{ASK, GATE, GateRecord, PAUSE, PauseRecord};
use crate::store::Outbox;

use super::context::Context;
use super::exit::Exit;
use super::render::escape::visible;
use super::render::time::full;
use super::{Global, note, status};

/// The options of `pause`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Why, for those who find the gate closed
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

/// Closes the gate over whatever state it is in.
pub async fn pause(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::enter(global)?;
    let outbox = context.change().await?;
    if let Some(record) = remembered::<PauseRecord>(&outbox, PAUSE).await? {
        writeln!(out, "already {}", told(&record, context.now))?;
        return Ok(Exit::Done);
    }
    let record = record(&context, args.why);
    outbox.remember(PAUSE, Some(serde_json::to_string(&record)?), context.now).await?;
    outbox.close().await;
    writeln!(out, "paused: nothing is sent until `reten-outbox resume`; taking in goes on")?;
    Ok(Exit::Done)
}

/// Takes a pause away, and has a gate that is closed beneath it asked at once.
pub async fn resume(global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let context = Context::enter(global)?;
    let Some(outbox) = context.change_existing().await? else {
        note(&context.none_yet());
        return Ok(Exit::Done);
    };
    let paused = remembered::<PauseRecord>(&outbox, PAUSE).await?;
    let gate = remembered::<GateRecord>(&outbox, GATE)
        .await?
        .filter(|gate| !status::is_open(&gate.state));
    if paused.is_some() {
        outbox.remember(PAUSE, None, context.now).await?;
    }
    if gate.is_some() {
        let ask = serde_json::to_string(&record(&context, None))?;
        outbox.remember(ASK, Some(ask), context.now).await?;
    }
    outbox.close().await;
    match &paused {
        Some(pause) => writeln!(out, "resumed; it was {}", told(pause, context.now))?,
        None => writeln!(out, "it was not paused")?,
    }
    if let Some(gate) = &gate {
        writeln!(
            out,
            "the gate is {}: {}; the daemon tries it at once",
            visible(&gate.state),
            visible(&gate.why)
        )?;
    }
    if status::daemon(&context.config).is_none() {
        note("the daemon is not running: nothing is sent until it is started");
    }
    Ok(Exit::Done)
}

fn record(context: &Context, why: Option<String>) -> PauseRecord {
    PauseRecord {
        by: context.user.clone(),
        at: context.now.millis(),
        why: why.filter(|why| !why.trim().is_empty()),
    }
}

/// `paused by ana, 2026-… (4 min ago): why`, escaped.
pub fn told(record: &PauseRecord, now: Timestamp) -> String {
    let why = record.why.as_deref().map(|why| format!(": {}", visible(why))).unwrap_or_default();
    format!(
        "paused by {}, {}{why}",
        visible(&record.by),
        full(Timestamp::from_millis(record.at), now)
    )
}

/// What the outbox remembers under a name.
pub async fn remembered<T: DeserializeOwned>(outbox: &Outbox, name: &str) -> anyhow::Result<Option<T>> {
    let Some(text) = outbox.recall(name).await? else { return Ok(None) };
    let value = serde_json::from_str(&text)
        .with_context(|| format!("what the outbox remembers as `{name}` is not readable; is it from a newer version?"))?;
    Ok(Some(value))
}
