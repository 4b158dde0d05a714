//! How the rows' loop waits for somebody else: with signs of life, for a limited time, and not beyond a shutdown.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::intake::context::IntakeContext;

/// How often a loop that waits says that it is alive, at least.
const SIGN: Duration = Duration::from_secs(1);
/// So long what is under way may still take when the daemon ends.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Waits for this, at most `limit`; `None` when it did not come in time.
pub async fn patiently<T>(context: &IntakeContext, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut until = Instant::now() + limit;
    let mut is_ending = false;
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Some(done),
            () = sleep_until(until) => return None,
            () = sleep(SIGN.min(context.turn_max)) => context.turn(),
            () = context.ending(), if !is_ending => {
                is_ending = true;
                until = until.min(Instant::now() + STOP_GRACE);
            }
        }
    }
}

/// Waits for so long, or until the daemon ends.
pub async fn pause(context: &IntakeContext, duration: Duration) {
    let until = Instant::now() + duration;
    while Instant::now() < until && !context.is_ending() {
        context
            .sleep(SIGN.min(context.turn_max).min(until - Instant::now()))
            .await;
        context.turn();
    }
}
