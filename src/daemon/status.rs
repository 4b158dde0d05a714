//! What the daemon says of itself while it runs: the line of `systemctl status`, for the person who looks there first,
//! and the note for `status`, which is another process and may find a database that can be neither written nor opened.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::clock::{self, Timestamp};
use crate::delivery::Meters;
use crate::delivery::pulse::Vitals;
use crate::model::StateName;
use crate::store::{Outbox, StoreError, Tally};
use crate::telemetry::hindrance::{Cause, Hindrance};
use crate::telemetry::systemd::Notifier;

/// How often there is a look while requests are in flight or something hinders, which is not always heard of: as often
/// as a person looks.
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

/// Who tells it.
#[derive(Debug)]
pub(super) struct Teller {
    pub(super) outbox: Outbox,
    pub(super) meters: Arc<Meters>,
    pub(super) notifier: Arc<Notifier>,
}

/// What was told last.
#[derive(Debug, Default)]
struct Told {
    vitals: Option<Vitals>,
    line: String,
    /// Of the outbox when its queue was counted, and when that was.
    counted: Option<(u64, Instant)>,
    tally: Option<Tally>,
}

impl Told {
    /// How long until the next look, where nothing is heard of.
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
}

impl Teller {
    /// Tells until `shutdown` says so, and only what is new. The only error is an outbox that is closed.
    pub(super) async fn run(self, mut shutdown: watch::Receiver<bool>) -> Result<(), StoreError> {
        let mut told = Told::default();
        loop {
            let looked = Instant::now();
            self.look_at_lock();
            self.leave_note(&mut told).await;
            if self.notifier.is_heard() {
                self.tell_line(&mut told).await?;
            }
            tokio::select! {
                () = self.rest(looked, told.every()) => {}
                // An error is a sender that is gone: the end as well.
                _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    }

    /// Until there is news, but not at once again.
    async fn rest(&self, looked: Instant, every: Duration) {
        tokio::select! {
            () = self.meters.hindrances().news() => {}
            () = self.outbox.stirred() => {}
            () = sleep(every) => {}
        }
        sleep_until(looked + GAP).await;
    }

    /// Who waits for the outbox gives up late, and says so then; what is in the way is known much earlier.
    fn look_at_lock(&self) {
        let hindrances = self.meters.hindrances();
        match self.outbox.locked_for() {
            Some(span) => {
                let why = format!(
                    "the outbox is locked by another process, for {} s by now",
                    span.as_secs()
                );
                let hint = "end that process, or wait until it is done; nothing is lost";
                hindrances.met(Cause::Lock, "", &why, hint);
            }
            None => hindrances.over(Cause::Lock),
        }
    }

    /// In place and unsynced, so that it costs next to nothing; where there is no room for it, `status` goes by what
    /// the database says.
    async fn leave_note(&self, told: &mut Told) {
        let vitals = Vitals::of(&self.meters, clock::now());
        if told.vitals.as_ref().is_some_and(|last| last.says_the_same(&vitals)) {
            return;
        }
        let Some(text) = vitals.text() else { return };
        if self.outbox.note(text).await {
            told.vitals = Some(vitals);
        }
    }

    async fn tell_line(&self, told: &mut Told) -> Result<(), StoreError> {
        let commits = self.outbox.commits();
        let is_fresh = |(seen, at): (u64, Instant)| seen == commits && at.elapsed() < AGES_EVERY;
        if !told.counted.is_some_and(is_fresh) {
            told.counted = Some((commits, Instant::now()));
            told.tally = match self.outbox.tally().await {
                Ok(tally) => Some(tally),
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                // Whoever needs the outbox says so in the log, and the line says what hinders.
                Err(StoreError::Busy(_) | StoreError::Full(_) | StoreError::Broken(_)) => None,
            };
        }
        let line = line(
            told.tally.as_ref(),
            self.meters.gate().into_str(),
            &self.meters.hindrances().all(),
            clock::now(),
        );
        if line != told.line {
            self.notifier.status(&line);
            told.line = line;
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

/// To the unit that a person would say it in.
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
