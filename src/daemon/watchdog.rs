//! Signs of life for the service manager, given only while every loop gets on: a daemon that answers signals and no
//! longer takes in, or no longer sends, is to be started anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::telemetry::systemd::Notifier;
use crate::telemetry::{SaidOnce, events};

/// How many looks there are between two signs that are expected ([`Notifier::watchdog_interval`], itself half of what
/// is tolerated): a loop that turned just after a look is seen soon after.
pub(super) const LOOKS: u32 = 4;

/// Where nobody expects a sign, a loop that stands still for so long is worth an entry of the log.
const EXPECTED_BY_NOBODY: Duration = Duration::from_secs(90);

/// Gives signs as long as the daemon ends, which has a limit of its own. Never returns.
pub(super) async fn while_stopping(notifier: &Notifier) {
    let Some(expected) = notifier.watchdog_interval() else {
        return std::future::pending().await;
    };
    let mut signs = interval(expected);
    loop {
        signs.tick().await;
        notifier.watchdog();
    }
}

/// How often it is said that the outbox is still being opened: at first to the service manager, which would end what
/// takes too long.
const OPENING_SAID: Duration = Duration::from_secs(10);

/// Asks for time as long as the outbox is being opened: a large one is checked, and one of an older version brought up
/// to date, which takes the longer the more there is. Never returns.
pub(super) async fn while_opening(notifier: &Notifier) {
    let began = Instant::now();
    let mut signs = interval(OPENING_SAID);
    // The first is at once, and nothing to tell.
    signs.tick().await;
    loop {
        signs.tick().await;
        notifier.extend_timeout(OPENING_SAID * 6);
        notifier.status("opening the outbox: a large one is checked, one of an older version is brought up to date");
        events::opening(began.elapsed());
    }
}

/// A loop that counts its turns, and turns every few seconds even when it has nothing to do.
#[derive(Debug)]
pub(super) struct Watched {
    /// As an operator knows it.
    pub(super) name: &'static str,
    /// What the loop counts up.
    pub(super) turns: Arc<AtomicU64>,
    /// The count at the last sign.
    seen: u64,
    /// Whether it was said that it stands still.
    said: SaidOnce,
}

impl Watched {
    pub(super) fn new(name: &'static str, turns: &Arc<AtomicU64>) -> Self {
        Self {
            name,
            turns: Arc::clone(turns),
            // The first turn counts.
            seen: 0,
            said: SaidOnce::default(),
        }
    }

    fn stands_still(&self) -> bool {
        self.turns.load(Ordering::Relaxed) == self.seen
    }
}

/// Feeds the service manager's watchdog, where it has one.
#[derive(Debug)]
pub(super) struct Watchdog {
    notifier: Arc<Notifier>,
    watched: Vec<Watched>,
    looks: Interval,
    /// After so long without a sign, who stands still is named in the log: the process may be gone before it could say
    /// more.
    patience: Duration,
    fed: Instant,
}

impl Watchdog {
    pub(super) fn new(notifier: Arc<Notifier>, watched: Vec<Watched>) -> Self {
        let expected = notifier.watchdog_interval().unwrap_or(EXPECTED_BY_NOBODY);
        let mut looks = interval(expected / LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            notifier,
            watched,
            looks,
            patience: expected,
            fed: Instant::now(),
        }
    }

    /// Waits for the next look, and gives a sign if every loop has turned since the last one.
    pub(super) async fn turn(&mut self) {
        self.looks.tick().await;
        self.check(Instant::now());
    }

    fn check(&mut self, now: Instant) {
        if self.watched.iter().any(Watched::stands_still) {
            let silence = now.duration_since(self.fed);
            for watched in &mut self.watched {
                if silence >= self.patience && watched.stands_still() && watched.said.begins() {
                    events::stuck(watched.name, silence);
                }
            }
            return;
        }
        for watched in &mut self.watched {
            watched.seen = watched.turns.load(Ordering::Relaxed);
            if watched.said.ends() {
                events::recovered(&format!("{} gets on again", watched.name));
            }
        }
        self.fed = now;
        self.notifier.watchdog();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn watchdog(loops: &[Arc<AtomicU64>]) -> Watchdog {
        let watched = loops.iter().map(|turns| Watched::new("a loop", turns)).collect();
        Watchdog {
            patience: PATIENCE,
            ..Watchdog::new(Arc::default(), watched)
        }
    }

    fn is_said(watchdog: &Watchdog, index: usize) -> bool {
        watchdog.watched[index].said != SaidOnce::default()
    }

    #[tokio::test]
    async fn one_loop_that_stands_still_starves_the_watchdog_whatever_the_others_do() {
        let loops = [Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(1))];
        let mut watchdog = watchdog(&loops);
        let start = watchdog.fed;
        let at = |seconds| start + Duration::from_secs(seconds);
        watchdog.check(at(1));
        assert_eq!(watchdog.fed, at(1), "both turned");
        loops[0].fetch_add(100, Ordering::Relaxed);
        watchdog.check(at(2));
        assert_eq!(watchdog.fed, at(1), "the second did not");
        assert!(!is_said(&watchdog, 1));
        watchdog.check(at(31));
        assert!(
            is_said(&watchdog, 1) && !is_said(&watchdog, 0),
            "only who stands still is named"
        );
        loops[1].fetch_add(1, Ordering::Relaxed);
        watchdog.check(at(32));
        assert_eq!(watchdog.fed, at(32), "it came back");
        assert!(!is_said(&watchdog, 1));
    }
}
