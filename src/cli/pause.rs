//! `pause` and `resume`: the gate, by hand.

use std::io::Write;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clock::Timestamp;
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
    let mut closing = close(&outbox, &context, args.why, &note).await?;
    if closing.notice == Notice::NotYet {
        outbox.close().await;
        note(NOT_IN_FORCE);
        return Ok(Exit::Unavailable);
    }
    writeln!(out, "{}", closing.line(context.now()))?;
    if closing.before.is_none() {
        give_reason(&outbox, &mut closing.ours, &context).await?;
    }
    outbox.close().await;
    Ok(Exit::Done)
}

/// What is to be known of a pause that no daemon has confirmed.
pub const NOT_IN_FORCE: &str = "the pause is stored, but the daemon has not taken notice and may still send; \
     `reten-outbox status` shows when it has";

/// A pause that is stored.
#[derive(Debug)]
pub struct Closing {
    /// The one that was there already, which stays.
    before: Option<PauseRecord>,
    ours: PauseRecord,
    pub notice: Notice,
}

impl Closing {
    /// What was done, in a line.
    pub fn line(&self, now: Timestamp) -> String {
        self.before.as_ref().map_or_else(
            || "paused: nothing is sent until `reten-outbox resume`; taking in goes on".to_owned(),
            |record| format!("already {}", gate::describe(record, now)),
        )
    }
}

/// Stores a pause, and waits until the daemons go by it. `said` hears what is waited for.
pub async fn close(
    outbox: &Outbox,
    context: &Context,
    why: Option<String>,
    said: &impl Fn(&str),
) -> anyhow::Result<Closing> {
    let before = remembered::<PauseRecord>(outbox, PAUSE).await?;
    let ours = record(context, why);
    if before.is_none() {
        outbox
            .remember(PAUSE, Some(serde_json::to_string(&ours)?), context.now())
            .await?;
    }
    let notice = notice(outbox, context, said).await?;
    Ok(Closing { before, ours, notice })
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
            .remember(PAUSE, Some(serde_json::to_string(record)?), context.now())
            .await?;
        // So that what is in force and what is stored are the same words again.
        notice(outbox, context, &note).await?;
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
    let opening = reopen(&outbox, &context, &placed, &note).await;
    outbox.close().await;
    let opening = opening?;
    for line in &opening.done {
        writeln!(out, "{line}")?;
    }
    opening.beside.map(note);
    Ok(Exit::Done)
}

/// What came of a resumption.
#[derive(Debug)]
pub struct Reopening {
    /// What was done, a line each, escaped.
    pub done: Vec<String>,
    /// What is to be known beside it.
    pub beside: Option<&'static str>,
}

/// Takes a pause away, and has a gate that is closed beneath it asked. `said` hears what is waited for.
pub async fn reopen(
    outbox: &Outbox,
    context: &Context,
    placed: &Placed,
    said: &impl Fn(&str),
) -> anyhow::Result<Reopening> {
    let paused = remembered::<PauseRecord>(outbox, PAUSE).await?;
    let closed = remembered::<GateRecord>(outbox, GATE)
        .await?
        .filter(|record| !record.state.is_open());
    // First what is asked for beneath the pause: killed between the two, the command is simply run again.
    if closed.is_some() {
        let ask = serde_json::to_string(&record(context, None))?;
        outbox.remember(ASK, Some(ask), context.now()).await?;
    }
    if paused.is_some() {
        outbox.remember(PAUSE, None, context.now()).await?;
    }
    let notice = notice(outbox, context, said).await?;
    let now_open = match remembered::<GateRecord>(outbox, GATE).await? {
        Some(record) => record.state.is_open(),
        None => true,
    };
    let is_unauthorized = !now_open
        && closed
            .as_ref()
            .is_some_and(|record| record.state == GateName::Unauthorized);
    let key = placed.compare(outbox, context, is_unauthorized).await?;
    let mut done = vec![match &paused {
        Some(pause) => format!("resumed; it was {}", gate::describe(pause, context.now())),
        None => "it was not paused".to_owned(),
    }];
    done.extend(closed.as_ref().map(|record| of_gate(record, now_open, notice)));
    done.extend(key);
    let beside = match notice {
        Notice::Taken => None,
        Notice::NoDaemon => Some("the daemon is not running: nothing is sent until it is started"),
        // Nothing goes wrong where it comes later: it is stored, and the daemon looks again by itself.
        Notice::NotYet => {
            Some("it is stored, but the daemon has not taken notice; `reten-outbox status` shows when it has")
        }
    };
    Ok(Reopening { done, beside })
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
pub enum Notice {
    Taken,
    NotYet,
    /// There is none: its next start does.
    NoDaemon,
}

/// Waits until the daemon has taken notice of what is stored. Where none runs, this process says in its place what will
/// be in force.
async fn notice(outbox: &Outbox, context: &Context, said: &impl Fn(&str)) -> anyhow::Result<Notice> {
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
            outbox.remember(PAUSE_IN_FORCE, pause, context.now()).await?;
            return Ok(Notice::NoDaemon);
        }
        if !outbox.is_shared() && outbox.recall(PAUSE_IN_FORCE).await? == pause && outbox.recall(ASK).await?.is_none() {
            return Ok(Notice::Taken);
        }
        let waited = began.elapsed();
        if waited >= NOTICE_TIMEOUT {
            if !late.is_empty() {
                let late: Vec<String> = late.iter().map(|name| visible(name).into_owned()).collect();
                said(&format!("not yet heard by: {}", late.join(", ")));
            }
            return Ok(Notice::NotYet);
        }
        if waited >= NOTICE_SAID_AFTER && !is_said {
            said("it is stored; waiting until the daemon has taken notice");
            is_said = true;
        }
        sleep(QUERY_EVERY).await;
    }
}

fn record(context: &Context, why: Option<String>) -> PauseRecord {
    PauseRecord {
        by: context.user.clone(),
        at: context.now().millis(),
        why: why.filter(|why| !why.trim().is_empty()),
    }
}
