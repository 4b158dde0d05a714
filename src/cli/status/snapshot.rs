//! A snapshot of the queue, the gate, the daemon and what was rejected.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::gate::{self, ShownGate, remembered};
use crate::cli::render::outcome::{error_of, status_of};
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::delivery::meters::LastError;
use crate::delivery::meters::Pulse;
use crate::delivery::pulse::{PULSE, Vitals};
use crate::intake::{self, Inventory};
use crate::model::{StateName, SubmissionId};
use crate::policy::gate::GateName;
use crate::store::{self, NodeState, NodeView, Outbox, Tally};

use super::dead::{self, Dead};
use super::hindered::{self, Hindered};

/// A daemon holds the lock.
pub const RUNNING: &str = "running";
/// None does.
pub const STOPPED: &str = "stopped";

/// What a snapshot shows; also what `--json` prints.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Status {
    pub daemon: &'static str,
    pub daemon_pid: Option<u32>,
    /// What keeps the queue from getting on.
    pub hindrances: Vec<Hindered>,
    /// `None` where the outbox cannot be read.
    pub counts: Option<StateCounts>,
    pub oldest_pending_seconds: Option<u64>,
    pub next_due_at: Option<Timestamp>,
    pub oldest_dead_seconds: Option<u64>,
    /// What the newest dead letters have in common.
    pub dead_by: Option<Dead>,
    #[serde(flatten)]
    pub gate: ShownGate,
    pub in_flight: Option<u64>,
    pub delivered_per_minute: Option<u64>,
    /// The daemons that share the outbox; empty where only one can use it.
    pub nodes: Vec<ShownNode>,
    pub last_error: Option<LastError>,
    /// Of what lies in the inbox, `None` where it cannot be told.
    pub rejected_files: Option<u64>,
    pub rejected_rows: Option<u64>,
    pub waiting_files: Option<u64>,
    pub waiting_rows: Option<u64>,
    /// Since the oldest file was last changed.
    pub oldest_waiting_file_seconds: Option<u64>,
    /// Since rows have waited, as far as that is known: a row does not say its age.
    pub oldest_waiting_row_seconds: Option<u64>,
    /// What is wrong with the configuration; only there where it is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration_error: Option<String>,
    /// Why a check fails; only there under `--check`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problems: Option<Vec<String>>,
    /// When it was seen.
    pub at: Timestamp,
}

/// A daemon that shares the outbox, as the others last saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownNode {
    pub name: String,
    pub version: String,
    pub since: Timestamp,
    pub last_seen: Timestamp,
    pub in_flight: u32,
    pub gate: String,
    pub state: &'static str,
}

impl ShownNode {
    fn of(node: NodeView) -> Self {
        Self {
            name: node.name,
            version: node.version,
            since: node.since,
            last_seen: node.last_seen,
            in_flight: node.in_flight,
            gate: node.gate,
            state: node.state.into_str(),
        }
    }

    /// It was taken over and has not come back.
    pub fn is_lost(&self) -> bool {
        self.state == NodeState::Lost.into_str()
    }
}

/// How many in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct StateCounts {
    pub pending: u64,
    pub sending: u64,
    pub delivered: u64,
    pub dead: u64,
    pub parked: u64,
    pub dismissed: u64,
}

impl StateCounts {
    fn of(tally: &Tally) -> Self {
        Self {
            pending: tally.count(StateName::Pending),
            sending: tally.count(StateName::Sending),
            delivered: tally.count(StateName::Delivered),
            dead: tally.count(StateName::Dead),
            parked: tally.count(StateName::Parked),
            dismissed: tally.count(StateName::Dismissed),
        }
    }
}

impl StateCounts {
    pub const fn of_state(&self, state: StateName) -> u64 {
        match state {
            StateName::Pending => self.pending,
            StateName::Sending => self.sending,
            StateName::Delivered => self.delivered,
            StateName::Dead => self.dead,
            StateName::Parked => self.parked,
            StateName::Dismissed => self.dismissed,
        }
    }
}

impl Status {
    /// Whether a daemon of this host runs.
    pub fn is_running(&self) -> bool {
        self.daemon == RUNNING
    }

    /// What may be sent or is on its way; none where that cannot be told.
    pub fn unsent(&self) -> u64 {
        self.counts.map_or(0, |counts| counts.pending + counts.sending)
    }
}

/// What is seen, and why not everything could be. Before the first start everything is zero. What cannot be read keeps
/// nothing else from being shown.
pub async fn snapshot(context: &Context) -> (Status, Option<anyhow::Error>) {
    let opened = context.open_to_read().await;
    let (failed, outbox) = match opened {
        Ok(outbox) => (None, outbox),
        Err(error) => (Some(error), None),
    };
    let seen = seen(context, outbox.as_ref(), failed, dead::LOOK_MAX).await;
    if let Some(outbox) = outbox {
        outbox.close().await;
    }
    seen
}

/// The same in an outbox that is open; `failed` is why it could not be opened. At most `dead_max` of the newest dead
/// letters are looked at.
pub async fn seen(
    context: &Context,
    outbox: Option<&Outbox>,
    failed: Option<anyhow::Error>,
    dead_max: u32,
) -> (Status, Option<anyhow::Error>) {
    let config = &context.config;
    let daemon = context.daemon();
    let vitals = store::read_note(config.outbox.database.anchor()).and_then(|note| Vitals::parse(&note));
    let inbox = intake::inventory(&config.inbox, config.outbox.database.anchor()).await;
    let mut status = Status {
        daemon: if daemon.is_some() { RUNNING } else { STOPPED },
        daemon_pid: daemon.and_then(|daemon| daemon.pid),
        rejected_files: inbox.rejected_files,
        rejected_rows: inbox.rejected_rows,
        waiting_files: inbox.waiting_files,
        waiting_rows: inbox.waiting_rows,
        at: context.now(),
        ..Status::default()
    };
    let failed = match (failed, outbox) {
        (Some(failed), _) => Some(failed),
        (None, Some(outbox)) => in_outbox(&mut status, outbox, vitals.as_ref(), dead_max).await.err(),
        (None, None) => {
            status.gate = ShownGate::of(GateName::Open);
            status.counts = Some(StateCounts::default());
            None
        }
    };
    // What another process left behind is no news of this one.
    let vitals = vitals.filter(|vitals| daemon.is_some() && daemon.and_then(|daemon| daemon.pid) == Some(vitals.pid));
    waiting(&mut status, &inbox, vitals.as_ref(), config);
    status.hindrances = hindered::all(
        status.daemon_pid,
        status.counts.map_or(0, |counts| counts.pending),
        vitals.as_ref(),
        config,
        failed.as_ref(),
    )
    .await;
    (status, failed)
}

async fn in_outbox(status: &mut Status, outbox: &Outbox, vitals: Option<&Vitals>, dead_max: u32) -> anyhow::Result<()> {
    let now = status.at;
    let tally = outbox.tally().await?;
    queue(status, &tally, now);
    status.nodes = outbox.nodes().await?.into_iter().map(ShownNode::of).collect();
    status.gate = ShownGate::of(GateName::Open);
    status.gate = gate::view(outbox, now).await?;
    if status.daemon == RUNNING {
        gate::say_what_is_in_force(&mut status.gate, outbox).await?;
    }
    pulse(status, outbox, vitals).await?;
    let newest = outbox.newest_dead(dead_max).await?;
    status.dead_by = dead::what_they_have_in_common(&newest);
    if let Some(newest) = newest.first() {
        error_of_dead(status, outbox, newest.id).await?;
    }
    Ok(())
}

fn queue(status: &mut Status, tally: &Tally, now: Timestamp) {
    let seconds = |since: Option<Timestamp>| since.map(|since| now.since(since).as_secs());
    status.counts = Some(StateCounts::of(tally));
    status.oldest_pending_seconds = seconds(tally.oldest_pending);
    status.next_due_at = tally.oldest_due;
    status.oldest_dead_seconds = seconds(tally.oldest_dead);
}

/// How long what lies in the inbox has waited. Of rows the daemon says it; without one, the file's last change is the
/// least.
fn waiting(status: &mut Status, inbox: &Inventory, vitals: Option<&Vitals>, config: &Config) {
    let by_files = |since: Timestamp| clock::here().since(since).as_secs();
    status.oldest_waiting_file_seconds = inbox.oldest_file.map(by_files);
    if inbox.waiting_rows.is_some_and(|rows| rows > 0) {
        let noted = vitals
            .and_then(|vitals| vitals.rows_wait_since)
            .map(Timestamp::from_millis);
        let changed = || {
            Some(Timestamp::from_millis(
                fs::metadata(&config.inbox.database).ok()?.mtime().saturating_mul(1000),
            ))
        };
        let noted = noted.map(|since| status.at.since(since).as_secs());
        status.oldest_waiting_row_seconds = noted.or_else(|| changed().map(by_files));
    }
}

/// How it goes: as the daemon says at present, else as it was remembered last.
async fn pulse(status: &mut Status, outbox: &Outbox, vitals: Option<&Vitals>) -> anyhow::Result<()> {
    let remembered = remembered::<Pulse>(outbox, PULSE).await?;
    let said = vitals.map(|vitals| vitals.pulse.clone());
    let Some(pulse) = remembered.into_iter().chain(said).max_by_key(|pulse| pulse.at) else {
        return Ok(());
    };
    status.last_error = pulse.last_error;
    if status.daemon == RUNNING {
        status.delivered_per_minute = Some(pulse.delivered_per_minute);
        status.in_flight = Some(pulse.in_flight);
    }
    Ok(())
}

/// The newest dead letter is as good an error, and it is in the outbox at once; one that was never sent is known to
/// nobody else.
async fn error_of_dead(status: &mut Status, outbox: &Outbox, id: SubmissionId) -> anyhow::Result<()> {
    let Some(story) = outbox.show(id).await? else {
        return Ok(());
    };
    let (at, error) = (story.listed.updated_at, error_of(&story.listed));
    if status.last_error.as_ref().is_some_and(|known| known.at >= at.millis()) {
        return Ok(());
    }
    let answered = story.listed.last.as_ref().and_then(status_of);
    status.last_error = error.map(|error| LastError {
        at: at.millis(),
        submission: id.0,
        status: error.status_code.or(answered),
        error: error.error,
        message: error.message,
    });
    Ok(())
}
