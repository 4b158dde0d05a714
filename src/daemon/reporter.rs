//! What the daemon says of itself while it runs: the line of `systemctl status`, for the operator who looks there
//! first; the note for `status`, which is another process and may find a database that can be neither written nor
//! opened; and the summary of the log, every `log.summary_interval` in which something changed. One loop, one view of
//! the queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::delivery::Meters;
use crate::delivery::pulse::Vitals;
use crate::model::StateName;
use crate::policy::gate::GateName;
use crate::policy::hint;
use crate::store::{Outbox, StoreError, Tally, free_bytes};
use crate::telemetry::SaidOnce;
use crate::telemetry::events::{self, Summary};
use crate::telemetry::hindrance::{Cause, Hindrance};
use crate::telemetry::systemd::Notifier;

use super::tasks::report_round;

/// How often there is a look while requests are in flight or something hinders, which is not always heard of: as often
/// as an operator looks.
const EVERY: Duration = Duration::from_secs(1);
/// How often where nothing is on its way: whatever begins is heard of.
const AT_REST: Duration = Duration::from_secs(30);

/// Between two looks, however much happens.
const GAP: Duration = Duration::from_millis(200);

/// How often the line is made anew where nothing was written: its ages grow, and the deliveries of the last minute
/// become fewer.
const AGES_EVERY: Duration = Duration::from_secs(5);

/// The most characters of a reason in the line.
const WHY_CHARS_MAX: usize = 120;

/// The states in a summary; another one is due when a count of them changes.
const SUMMARISED: [StateName; 4] = [
    StateName::Pending,
    StateName::Sending,
    StateName::Dead,
    StateName::Parked,
];

/// Watches the queue, and reports what is new.
#[derive(Debug)]
pub(super) struct Reporter {
    outbox: Outbox,
    config: watch::Receiver<Arc<Config>>,
    meters: Arc<Meters>,
    notifier: Arc<Notifier>,
    /// What the last note said.
    vitals: Option<Vitals>,
    /// The last line that systemd was given.
    line: String,
    /// The queue as it was last counted; `None` where the outbox could not be read.
    tally: Option<Tally>,
    /// After how many commits that was, and when.
    counted: Option<(u64, Instant)>,
    /// What the last summary was made of. An empty outbox with an open gate is nothing to report.
    summarised: (Tally, GateName),
    summary_due: Instant,
    summary_fails: SaidOnce,
}

impl Reporter {
    pub(super) fn new(
        outbox: Outbox,
        config: watch::Receiver<Arc<Config>>,
        meters: Arc<Meters>,
        notifier: Arc<Notifier>,
    ) -> Self {
        Self {
            outbox,
            config,
            meters,
            notifier,
            vitals: None,
            line: String::new(),
            tally: None,
            counted: None,
            summarised: (Tally::default(), GateName::Open),
            // The first one as soon as the gate is recalled: what is there when the daemon comes up.
            summary_due: Instant::now(),
            summary_fails: SaidOnce::default(),
        }
    }

    /// Reports until `shutdown` says so. The only error is an outbox that is closed.
    pub(super) async fn run(mut self, mut shutdown: watch::Receiver<bool>) -> Result<(), StoreError> {
        loop {
            let began = Instant::now();
            self.note_lock();
            self.leave_note().await;
            if let Some(gate) = self.meters.gate().filter(|_| self.summary_due <= began) {
                self.summary_due = began + self.config.borrow().log.summary_interval;
                let counted = self.count().await;
                let is_counted = counted.is_ok();
                let hint = "it is tried again at every log.summary_interval";
                report_round(
                    &mut self.summary_fails,
                    counted,
                    ("summary", hint),
                    "the summary can be made again",
                )?;
                if is_counted {
                    self.summarise(gate);
                }
            }
            if let Some(gate) = self.meters.gate().filter(|_| self.notifier.is_heard()) {
                self.show_line(gate).await?;
            }
            tokio::select! {
                () = self.rest(began) => {}
                // An error is a sender that is gone: the end as well.
                _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    }

    /// Until there is news, but not at once again.
    async fn rest(&mut self, began: Instant) {
        let every = self.every();
        tokio::select! {
            () = self.meters.hindrances().news() => {}
            () = self.outbox.stirred() => {}
            () = sleep(every) => {}
            // Before the gate is recalled none is made, and that is heard of.
            () = sleep_until(self.summary_due), if self.meters.gate().is_some() => {}
            // A reload may have changed the interval.
            Ok(()) = self.config.changed() => {
                let interval = self.config.borrow().log.summary_interval;
                self.summary_due = self.summary_due.min(Instant::now() + interval);
            }
        }
        sleep_until(began + GAP).await;
    }

    /// How long until the next turn, where nothing is heard of.
    fn every(&self) -> Duration {
        let Some(vitals) = &self.vitals else { return EVERY };
        if vitals.pulse.in_flight > 0 || !vitals.hindrances.is_empty() {
            return EVERY;
        }
        let has_ages = self.tally.as_ref().is_some_and(|tally| tally.oldest_pending.is_some());
        if has_ages || vitals.pulse.delivered_per_minute > 0 {
            AGES_EVERY
        } else {
            AT_REST
        }
    }

    /// Who waits for the outbox gives up late, and says so then; what is in the way is known much earlier.
    fn note_lock(&self) {
        let hindrances = self.meters.hindrances();
        match self.outbox.locked_for() {
            Some(span) => {
                let why = format!(
                    "the outbox is locked by another process, for {} s by now",
                    span.as_secs()
                );
                hindrances.met(Cause::Lock, "", &why, hint::LOCKED);
            }
            None => hindrances.over(Cause::Lock),
        }
    }

    /// In place and unsynced, so that it costs next to nothing; where there is no room for it, `status` goes by what
    /// the database says.
    async fn leave_note(&mut self) {
        let vitals = Vitals::of(&self.meters, clock::now());
        if self.vitals.as_ref().is_some_and(|last| last.says_the_same(&vitals)) {
            return;
        }
        let Some(text) = vitals.text() else { return };
        if self.outbox.note(text).await {
            self.vitals = Some(vitals);
        }
    }

    async fn count(&mut self) -> Result<(), StoreError> {
        self.counted = Some((self.outbox.commits(), Instant::now()));
        self.tally = None;
        self.tally = Some(self.outbox.tally().await?);
        Ok(())
    }

    fn summarise(&mut self, gate: GateName) {
        let Some(tally) = &self.tally else { return };
        let (last, last_gate) = &self.summarised;
        let since = self.meters.take();
        let is_known = gate == *last_gate
            && tally.oldest_dead == last.oldest_dead
            && SUMMARISED.iter().all(|state| tally.count(*state) == last.count(*state));
        if is_known && since.delivered == 0 && since.failed == 0 {
            return;
        }
        let free_disk = free_bytes(self.config.borrow().disk());
        events::summary(&Summary {
            counts: SUMMARISED.map(|state| tally.count(state)),
            since,
            oldest_due: tally.oldest_due,
            oldest_dead: tally.oldest_dead,
            gate: gate.into_str(),
            free_disk,
        });
        self.summarised = (tally.clone(), gate);
    }

    async fn show_line(&mut self, gate: GateName) -> Result<(), StoreError> {
        let commits = self.outbox.commits();
        let is_fresh = |(seen, at): (u64, Instant)| seen == commits && at.elapsed() < AGES_EVERY;
        if !self.counted.is_some_and(is_fresh) {
            match self.count().await {
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                // Whoever needs the outbox says so in the log, and the line says what hinders.
                Ok(())
                | Err(StoreError::Busy(_) | StoreError::Away(_) | StoreError::Full(_) | StoreError::Broken(_)) => {}
            }
        }
        let line = line(
            self.tally.as_ref(),
            gate.into_str(),
            &self.meters.hindrances().all(),
            clock::now(),
        );
        if line != self.line {
            self.notifier.status(&line);
            self.line = line;
        }
        Ok(())
    }
}

fn line(tally: Option<&Tally>, gate: &str, hindrances: &[Hindrance], now: Timestamp) -> String {
    let mut line = match tally {
        Some(tally) => counts(tally, now),
        None => "the outbox cannot be read".to_owned(),
    };
    line.push_str(" · gate ");
    line.push_str(gate);
    let hindered = hindrances.iter().map(|one| {
        let why: String = one.why.chars().take(WHY_CHARS_MAX).collect();
        format!(" · {} hindered: {why}", one.cause.what())
    });
    line.extend(hindered);
    line
}

fn counts(tally: &Tally, now: Timestamp) -> String {
    let oldest = tally
        .oldest_pending
        .map_or_else(String::new, |since| format!(" (oldest {})", age(now.since(since))));
    let pending = tally.count(StateName::Pending) + tally.count(StateName::Sending);
    let (dead, parked) = (tally.count(StateName::Dead), tally.count(StateName::Parked));
    format!("pending {pending}{oldest} · dead {dead} · parked {parked}")
}

/// To the unit that an operator would say it in.
fn age(age: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match age.as_secs() {
        seconds @ ..MINUTE => format!("{seconds} s"),
        seconds @ MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        seconds @ HOUR..DAY => format!("{} h", seconds / HOUR),
        seconds => format!("{} d", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_a_person_asks_first() {
        let now = Timestamp::from_millis(1_795_428_000_000);
        let tally = Tally {
            counts: vec![
                (StateName::Pending, 11),
                (StateName::Sending, 1),
                (StateName::Dead, 3),
                (StateName::Parked, 1),
            ],
            oldest_pending: Some(Timestamp::from_millis(1_795_428_000_000 - 299_000)),
            ..Tally::default()
        };
        assert_eq!(
            line(Some(&tally), "open", &[], now),
            "pending 12 (oldest 4 min) · dead 3 · parked 1 · gate open"
        );
        assert_eq!(
            line(Some(&Tally::default()), "paused", &[], now),
            "pending 0 · dead 0 · parked 0 · gate paused"
        );
        let full = Hindrance {
            cause: Cause::Disk,
            why: "0 bytes free".to_owned(),
            hint: "make room".to_owned(),
            since: 0,
        };
        assert_eq!(
            line(None, "open", &[full], now),
            "the outbox cannot be read · gate open · intake hindered: 0 bytes free"
        );
    }

    #[test]
    fn an_age_is_told_in_one_unit() {
        let told = [0, 59, 60, 3599, 3600, 86_399, 86_400, 900_000].map(|seconds| age(Duration::from_secs(seconds)));
        assert_eq!(told, ["0 s", "59 s", "1 min", "59 min", "1 h", "23 h", "1 d", "10 d"]);
    }
}
