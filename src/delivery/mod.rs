//! The sending engine: takes what is due out of the outbox, submits it, and stores what came of it.
//!
//! - `dispatcher`: the loop, and the only owner of the gate: allowance, claim, request, outcome.
//! - `attempt`: one request from its body to its verdict. `settle`: from the verdict to the commit, and only then to
//!   the log.
//! - `gatekeeper`: the gate's memory and an operator's acts on it. `probe`: how a refused key is found to work again.
//! - `fairness`: whose turn it is while everything is rejected.
//! - `pacer`: `delivery.max_per_second`. `catalogue`: the tenant's result types; `revalidate`: what another list makes
//!   valid. `meters`, `pulse`: how it goes, for those who watch.
//!
//! No queue lives here: what is claimed has a sender, and what came of it waits for its commit only. A crash at any
//! line leaves submissions in `sending`; the next start recovers them, each with a lost response.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::store::StoreError;
use crate::telemetry::liveness::lively;

mod attempt;
pub mod catalogue;
mod dispatcher;
mod fairness;
mod gatekeeper;
mod links;
pub mod meters;
mod pacer;
mod probe;
pub mod pulse;
mod revalidate;
mod settle;
mod store_retry;
#[cfg(test)]
mod tests;

pub use dispatcher::{Dispatcher, StartError, Step, key_scope};
pub use links::Links;
pub use meters::Meters;
use store_retry::StoreRetry;

/// How long the end waits for the last pulse, which is a convenience.
const LAST_PULSE_MAX: Duration = Duration::from_secs(1);

/// The dispatcher, once the outbox has said how the gate was left; `None` where the end comes first. A server that is
/// away in this very moment is waited for, as it is in every later one: it ends no daemon.
async fn begun(context: &Links) -> Result<Option<Dispatcher>, StartError> {
    let mut shutdown = context.shutdown.clone();
    let mut hindered = StoreRetry::new(context.meters.hindrances());
    loop {
        let error = match Dispatcher::new(context.clone()).await {
            Err(StartError::Store(error @ StoreError::Away(_))) => error,
            outcome => {
                hindered.worked();
                return outcome.map(Some);
            }
        };
        let pause = hindered.failed("recall", &error, Instant::now());
        tokio::select! {
            () = sleep(pause) => {}
            _ = shutdown.wait_for(|end| *end) => return Ok(None),
        }
    }
}

/// Delivers until `shutdown`. When it returns, every outcome is stored, but for those that the outbox refused to the
/// end; what was still on the wire stays `sending`, and the next start recovers it.
pub async fn run(context: Links) -> Result<(), StartError> {
    let Some(mut dispatcher) = lively(&context.progress, context.turn_max, begun(&context)).await? else {
        return Ok(());
    };
    let mut beside = JoinSet::new();
    beside.spawn(catalogue::keep(context.clone()));
    beside.spawn(pulse::keep(context.outbox.clone(), Arc::clone(&context.meters)));

    let mut arrived = Box::pin(context.arrivals.notified());
    loop {
        // Before looking: what arrives while we look must wake us.
        if arrived.as_mut().enable() {
            arrived.set(context.arrivals.notified());
            arrived.as_mut().enable();
            dispatcher.query_again();
        }
        match lively(&context.progress, context.turn_max, dispatcher.step()).await {
            Step::Sent(_) => {}
            Step::Idle { until } => dispatcher.wait(arrived.as_mut(), until).await,
            Step::Closed => break,
        }
    }
    dispatcher.finish().await;
    beside.shutdown().await;
    let last = context.meters.pulse(crate::clock::now());
    // Where it takes longer, whoever looks sees the one before it.
    drop(timeout(LAST_PULSE_MAX, pulse::store(&context.outbox, &last)).await);
    Ok(())
}
