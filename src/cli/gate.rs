//! The gate as the outbox remembers it, for the commands that close and open it and for those that show it.

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

use crate::clock::Timestamp;
use crate::policy::gate::{GATE, GateName, GateRecord, PAUSE, PAUSE_IN_FORCE, PauseRecord};
use crate::store::{NodeState, NodeView, Outbox};

use super::context::Context;
use super::render::escape::visible;
use super::render::time::full;

/// How `status` shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ShownGate {
    /// `None` where the outbox cannot be read, shown as `unknown`.
    #[serde(rename = "gate", serialize_with = "by_name")]
    pub state: Option<GateName>,
    #[serde(rename = "gate_reason")]
    pub reason: Option<String>,
    #[serde(rename = "gate_hint")]
    pub hint: Option<String>,
    #[serde(rename = "gate_since")]
    pub since: Option<Timestamp>,
}

impl ShownGate {
    pub fn of(state: GateName) -> Self {
        Self {
            state: Some(state),
            ..Self::default()
        }
    }

    pub fn name(&self) -> &'static str {
        self.state.map_or("unknown", |state| state.into_str())
    }

    pub fn is_open(&self) -> bool {
        self.state.is_some_and(GateName::is_open)
    }

    /// Why it lets nothing through as usual, in words that go on after a comma.
    pub fn obstacle(&self) -> Option<String> {
        if self.is_open() {
            return None;
        }
        Some(match self.reason.as_deref() {
            // Who paused it says that it is.
            Some(why) if why.starts_with(self.name()) => format!("the gate is {}", visible(why)),
            Some(why) => format!("the gate is {} ({})", self.name(), visible(why)),
            None => format!("the gate is {}", self.name()),
        })
    }
}

/// As it is stored; a pause lies over the other states.
pub async fn view(outbox: &Outbox, now: Timestamp) -> anyhow::Result<ShownGate> {
    let beneath = remembered::<GateRecord>(outbox, GATE).await?;
    if let Some(pause) = remembered::<PauseRecord>(outbox, PAUSE).await? {
        let below = beneath
            .filter(|record| record.state != GateName::Open)
            .map(|record| format!("; beneath it is {}", record.state));
        return Ok(ShownGate {
            state: Some(GateName::Paused),
            reason: Some(describe(&pause, now) + &below.unwrap_or_default()),
            hint: Some("`reten-outbox resume` lets it go on".to_owned()),
            since: Some(Timestamp::from_millis(pause.at)),
        });
    }
    Ok(beneath.map_or_else(
        || ShownGate::of(GateName::Open),
        |record| ShownGate {
            state: Some(record.state),
            reason: Some(record.why).filter(|why| !why.is_empty()),
            hint: record.hint,
            since: Some(Timestamp::from_millis(record.since)),
        },
    ))
}

/// What an operator said and a running daemon has not taken notice of yet is shown as that.
pub async fn say_what_is_in_force(gate: &mut ShownGate, outbox: &Outbox) -> anyhow::Result<()> {
    let asked = outbox.recall(PAUSE).await?;
    if outbox.recall(PAUSE_IN_FORCE).await? == asked {
        return Ok(());
    }
    if asked.is_some() {
        let reason = gate.reason.get_or_insert_default();
        reason.push_str("; the daemon has not taken notice yet and may still send");
    } else {
        gate.state = Some(GateName::Paused);
        gate.reason = Some("resumed, but the daemon has not taken notice yet".to_owned());
        gate.hint = Some("it looks again by itself; the log says what hinders it".to_owned());
    }
    Ok(())
}

/// How many daemons are present.
pub fn live(nodes: &[NodeView]) -> usize {
    nodes.iter().filter(|node| node.state == NodeState::Live).count()
}

/// Why nothing is sent at present, in words that go on after a comma; `None` where nothing is in the way.
pub async fn obstacle(context: &Context, outbox: &Outbox) -> anyhow::Result<Option<String>> {
    if outbox.is_shared() {
        if live(&outbox.nodes().await?) == 0 {
            return Ok(Some("no daemon runs on any host".to_owned()));
        }
    } else if context.daemon().is_none() {
        return Ok(Some("the daemon is stopped".to_owned()));
    }
    Ok(view(outbox, context.now()).await?.obstacle())
}

#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for this form"
)]
fn by_name<S: Serializer>(state: &Option<GateName>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.map_or("unknown", |state| state.into_str()))
}

/// `paused by ana, 2026-… (4 min ago): why`, escaped.
pub fn describe(record: &PauseRecord, now: Timestamp) -> String {
    let why = match record.why.as_deref() {
        Some(why) => format!(": {}", visible(why)),
        None => ", no reason given".to_owned(),
    };
    format!(
        "paused by {}, {}{why}",
        visible(&record.by),
        full(Timestamp::from_millis(record.at), now)
    )
}

/// What the outbox remembers under a name.
pub async fn remembered<T: DeserializeOwned>(outbox: &Outbox, name: &str) -> anyhow::Result<Option<T>> {
    let Some(text) = outbox.recall(name).await? else {
        return Ok(None);
    };
    let value = serde_json::from_str(&text).with_context(|| {
        format!("what the outbox remembers as `{name}` is not readable; is it from a newer version?")
    })?;
    Ok(Some(value))
}
