//! Retention: what was delivered or dismissed long enough ago leaves the outbox, in small batches beside everything
//! else. And on its way, once a minute, how it went is written down.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use crate::clock::{self, Timestamp};
use crate::config::{Config, Keep};
use crate::model::StateName;
use crate::store::{Outbox, StoreError, Sweep};
use crate::telemetry::SaidOnce;

use super::minutes::Minutes;
use super::tasks::report_round;

/// How often there is a look at what may leave, and a checkpoint.
const ROUND: Duration = Duration::from_secs(30);

/// The same where `keep_delivered = "0"` (or its sibling) says that it leaves at once.
const ROUND_AT_ONCE: Duration = Duration::from_secs(1);

/// The most that leave in one transaction: some milliseconds of the writer's time, so that no delivery waits for it.
const SWEEP_ROWS_MAX: u32 = 500;

/// Between two batches the writer belongs to the others.
const BATCH_GAP: Duration = Duration::from_millis(20);

/// Sweeps and tidies until `shutdown` says so. The only error is an outbox whose writer has ended: with it the daemon
/// has to end.
///
/// `end`: who writes the last minute, when everything else has ended.
pub(super) async fn run(
    (mut minutes, end): (Minutes, oneshot::Sender<Minutes>),
    outbox: Outbox,
    mut config: watch::Receiver<Arc<Config>>,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), StoreError> {
    let mut fails = SaidOnce::default();
    loop {
        let before = keeps(&config.borrow_and_update());
        let at_once = before.iter().any(|(_, keep)| *keep == Keep::For(Duration::ZERO));
        tokio::select! {
            () = sleep(if at_once { ROUND_AT_ONCE } else { ROUND }) => {}
            () = reloaded(&mut config) => {}
            // An error is a sender that is gone: the end as well.
            _ = shutdown.wait_for(|stop| *stop) => break,
        }
        let keeps = keeps(&config.borrow());
        let round = tokio::select! {
            round = tidy_up(&outbox, &keeps, &mut minutes) => round,
            _ = shutdown.wait_for(|stop| *stop) => break,
        };
        let hint = "what should leave stays for now; every round tries again";
        report_round(&mut fails, round, ("retention", hint), "retention goes on")?;
    }
    // Nobody waits for them where the daemon ends in a hurry.
    drop(end.send(minutes));
    Ok(())
}

/// Waits for a new configuration; for ever where none can come any more.
async fn reloaded(config: &mut watch::Receiver<Arc<Config>>) {
    if config.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn tidy_up(outbox: &Outbox, keeps: &[(StateName, Keep)], minutes: &mut Minutes) -> Result<(), StoreError> {
    minutes.turn().await?;
    for (state, keep) in keeps {
        let Some(older_than) = older_than(*keep, clock::now()) else {
            continue;
        };
        let sweep = Sweep {
            state: *state,
            older_than,
            limit: SWEEP_ROWS_MAX,
        };
        while outbox.sweep(sweep).await? > 0 {
            minutes.turn().await?;
            sleep(BATCH_GAP).await;
        }
    }
    while outbox.tidy().await? {
        sleep(BATCH_GAP).await;
    }
    Ok(())
}

fn keeps(config: &Config) -> [(StateName, Keep); 2] {
    [
        (StateName::Delivered, config.outbox.keep_delivered),
        (StateName::Dismissed, config.outbox.keep_dismissed),
    ]
}

/// What was not changed since then may leave; `None`: nothing.
fn older_than(keep: Keep, now: Timestamp) -> Option<Timestamp> {
    match keep {
        Keep::Forever => None,
        Keep::For(span) => Some(now.minus(span)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_ever_never_leaves_and_the_rest_by_its_age() {
        let now = Timestamp::from_millis(1_000_000);
        assert_eq!(older_than(Keep::Forever, now), None);
        assert_eq!(older_than(Keep::For(Duration::ZERO), now), Some(now));
        assert_eq!(
            older_than(Keep::For(Duration::from_secs(1)), now),
            Some(Timestamp::from_millis(999_000))
        );
    }
}
