//! A loop that waits is not a loop that stands still: it counts turns meanwhile, for whoever watches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The longest that one piece of work passes for a patient one: several times as long as the outbox waits for a lock.
/// Beyond it the loop counts as stuck, which is what a watchdog is for.
const PATIENT_MAX: Duration = Duration::from_mins(2);

/// Does this, and counts a turn as often as `every` says while it waits: behind an operator's backup, or a disk that
/// takes its time, we are alive.
pub async fn lively<T>(turns: &AtomicU64, every: Duration, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    let begun = Instant::now();
    loop {
        tokio::select! {
            // In this order: what is done at once needs no timer.
            biased;
            done = &mut work => return done,
            () = sleep(every) => {
                if begun.elapsed() < PATIENT_MAX {
                    turns.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_counts_turns() {
        let turns = AtomicU64::new(0);
        let three = async {
            while turns.load(Ordering::Relaxed) < 3 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = lively(&turns, Duration::from_millis(1), std::future::pending()) => {}
            () = three => {}
        }
        assert_eq!(lively(&turns, Duration::from_hours(1), async { 7 }).await, 7);
    }
}
