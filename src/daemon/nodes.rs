//! What happens among the daemons that share an outbox, for the log.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::store::{NodeEvent, Outbox};
use crate::telemetry::events;

const EVERY: Duration = Duration::from_millis(500);

/// Tells until the end; at once where the outbox is this daemon's alone.
pub(super) async fn run(outbox: Outbox, mut shutdown: watch::Receiver<bool>) -> anyhow::Result<()> {
    while outbox.is_shared() {
        for event in outbox.node_events() {
            tell(event);
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            _ = shutdown.wait_for(|end| *end) => break,
        }
    }
    // A service that ends before it is asked to is a fault.
    drop(shutdown.wait_for(|end| *end).await);
    Ok(())
}

fn tell(event: NodeEvent) {
    match event {
        NodeEvent::BeatFailed(why) => events::storage_error(
            "beat",
            &why,
            "deliveries stop within 4 s and go on by themselves when the database is there again; results wait in the inbox, nothing is lost",
        ),
        NodeEvent::BeatsAgain => events::storage_resumed("the outbox's database is there again"),
        NodeEvent::Fenced => events::warning(
            "other daemons could not see this one live and took over what it had claimed; it goes on as a new one",
            "outcomes of what it had in flight change nothing; look at this host's load and its way to the database",
        ),
        NodeEvent::TakenOver { name, count } => events::warning(
            &format!(
                "the daemon {name} shows no sign of life: {count} submissions that it had claimed are pending again, maybe sent"
            ),
            "look at that host: `reten-outbox status` says when it was last seen; it goes on by itself when it is back",
        ),
        NodeEvent::VacuumHeld(by) => events::warning(
            "the database server cannot clear dead rows away: the outbox grows and gets slower",
            &by,
        ),
        NodeEvent::Unsafe { what, hint } => events::warning(&what, hint),
    }
}
