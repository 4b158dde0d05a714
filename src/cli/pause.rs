//! `pause` and `resume`: the gate, by hand.

use std::io::Write;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::policy::gate::{ASK, GATE, GateName, GateRecord, PAUSE, PAUSE_IN_FORCE, PauseRecord};
use crate::store::Outbox;

use super::context::{Context, Global};
use super::exit::Exit;
use super::gate::{self, remembered};
use super::new_key::Placed;
use super::output::note;
use super::render::escape::visible;
use super::terminal;

/// How long the daemon has to take notice before the command says that it has not. It does within 200 ms unless the
/// outbox is in trouble: an operator's backup may well hold it for some seconds.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(25);
/// After this long the operator reads what is being waited for.
const NOTICE_SAID_AFTER: Duration = Duration::from_secs(1);
/// Between two queries whether it has.
const QUERY_EVERY: Duration = Duration::from_millis(20);

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
    let before = remembered::<PauseRecord>(&outbox, PAUSE).await?;
    let mut ours = record(&context, args.why);
    if before.is_none() {
        outbox
            .remember(PAUSE, Some(serde_json::to_string(&ours)?), context.now)
            .await?;
    }
    if notice(&outbox, &context).await? == Notice::NotYet {
        outbox.close().await;
        note(
            "the pause is stored, but the daemon has not taken notice and may still send; \
             `reten-outbox status` shows when it has",
        );
        return Ok(Exit::Unavailable);
    }
    if let Some(record) = before {
        writeln!(out, "already {}", gate::describe(&record, context.now))?;
    } else {
        writeln!(
            out,
            "paused: nothing is sent until `reten-outbox resume`; taking in goes on"
        )?;
        give_reason(&outbox, &mut ours, &context).await?;
    }
    outbox.close().await;
    Ok(Exit::Done)
}

/// Asks for a reason where none was given, after the pause, which may be urgent; those who find it will want one. Not
/// where somebody has taken the pause away while it was typed.
async fn give_reason(outbox: &Outbox, record: &mut PauseRecord, context: &Context) -> anyhow::Result<()> {
    if record.why.is_some() {
        return Ok(());
    }
    record.why = terminal::ask("Why, for those who find it closed (Enter for no reason)?")?;
    let Some(now) = remembered::<PauseRecord>(outbox, PAUSE).await? else {
        return Ok(());
    };
    let is_ours = (&now.by, now.at) == (&record.by, record.at);
    if record.why.is_some() && is_ours {
        outbox
            .remember(PAUSE, Some(serde_json::to_string(record)?), context.now)
            .await?;
        // So that what is in force and what is stored are the same words again.
        notice(outbox, context).await?;
    }
    Ok(())
}

/// Takes a pause away, has a gate that is closed beneath it asked at once, and opens a blown fuse.
pub async fn resume(global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let placed = Placed::read(global)?;
    let context = Context::enter(global)?;
    let Some(outbox) = context.change_existing().await? else {
        note(&context.none_yet());
        return Ok(Exit::Done);
    };
    let paused = remembered::<PauseRecord>(&outbox, PAUSE).await?;
    let closed = remembered::<GateRecord>(&outbox, GATE)
        .await?
        .filter(|record| !record.state.is_open());
    // First what is asked for beneath the pause: killed between the two, the command is simply run again.
    if closed.is_some() {
        let ask = serde_json::to_string(&record(&context, None))?;
        outbox.remember(ASK, Some(ask), context.now).await?;
    }
    if paused.is_some() {
        outbox.remember(PAUSE, None, context.now).await?;
    }
    let notice = notice(&outbox, &context).await?;
    let now_open = match remembered::<GateRecord>(&outbox, GATE).await? {
        Some(record) => record.state.is_open(),
        None => true,
    };
    let is_unauthorized = !now_open
        && closed
            .as_ref()
            .is_some_and(|record| record.state == GateName::Unauthorized);
    let key = placed.compare(&outbox, &context, is_unauthorized).await?;
    outbox.close().await;
    match &paused {
        Some(pause) => writeln!(out, "resumed; it was {}", gate::describe(pause, context.now))?,
        None => writeln!(out, "it was not paused")?,
    }
    if let Some(record) = &closed {
        writeln!(out, "{}", of_gate(record, now_open, notice))?;
    }
    if let Some(key) = key {
        writeln!(out, "{key}")?;
    }
    match notice {
        Notice::Taken => Ok(Exit::Done),
        Notice::NoDaemon => {
            note("the daemon is not running: nothing is sent until it is started");
            Ok(Exit::Done)
        }
        Notice::NotYet => {
            // Nothing goes wrong where it comes later: it is stored, and the daemon looks again by itself.
            note("it is stored, but the daemon has not taken notice; `reten-outbox status` shows when it has");
            Ok(Exit::Done)
        }
    }
}

/// What becomes of a gate that was closed beneath the pause, or without one.
fn of_gate(gate: &GateRecord, now_open: bool, notice: Notice) -> String {
    let (state, why) = (gate.state, visible(&gate.why));
    match notice {
        Notice::Taken if now_open => format!("the gate was {state} ({why}) and is open now"),
        Notice::NoDaemon if gate.state == GateName::Rejecting => {
            format!("the gate is {state}: {why}; it opens when the daemon is started")
        }
        Notice::NoDaemon => format!("the gate is {state}: {why}; the daemon tries it as soon as it is started"),
        Notice::Taken | Notice::NotYet => format!("the gate is {state}: {why}; the daemon tries it at once"),
    }
}

/// Whether the daemon goes by what an operator has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notice {
    Taken,
    NotYet,
    /// There is none: its next start does.
    NoDaemon,
}

/// Waits until the daemon has taken notice of what is stored. Where none runs, this process says in its place what will
/// be in force.
async fn notice(outbox: &Outbox, context: &Context) -> anyhow::Result<Notice> {
    let began = Instant::now();
    let mut is_said = false;
    loop {
        let pause = outbox.recall(PAUSE).await?;
        let late = outbox.nodes_without(PAUSE_IN_FORCE, pause.as_deref()).await?;
        if outbox.is_shared() {
            if gate::live(&outbox.nodes().await?) == 0 {
                return Ok(Notice::NoDaemon);
            }
            if late.is_empty() && outbox.recall(ASK).await?.is_none() {
                return Ok(Notice::Taken);
            }
        } else if context.daemon().is_none() {
            outbox.remember(PAUSE_IN_FORCE, pause, context.now).await?;
            return Ok(Notice::NoDaemon);
        }
        if !outbox.is_shared() && outbox.recall(PAUSE_IN_FORCE).await? == pause && outbox.recall(ASK).await?.is_none() {
            return Ok(Notice::Taken);
        }
        let waited = began.elapsed();
        if waited >= NOTICE_TIMEOUT {
            if !late.is_empty() {
                let late: Vec<String> = late.iter().map(|name| visible(name).into_owned()).collect();
                note(&format!("not yet heard by: {}", late.join(", ")));
            }
            return Ok(Notice::NotYet);
        }
        if waited >= NOTICE_SAID_AFTER && !is_said {
            note("it is stored; waiting until the daemon has taken notice");
            is_said = true;
        }
        sleep(QUERY_EVERY).await;
    }
}

fn record(context: &Context, why: Option<String>) -> PauseRecord {
    PauseRecord {
        by: context.user.clone(),
        at: context.now.millis(),
        why: why.filter(|why| !why.trim().is_empty()),
    }
}
