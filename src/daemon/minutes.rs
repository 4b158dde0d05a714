//! How it went, written down once a minute: what was counted in memory, and how the queue and the gate stand. It rides
//! on the turns of housekeeping, so that nothing wakes up for it, and no delivery waits for it. A quiet stretch becomes
//! one row, and costs a commit an hour.
//!
//! A row that cannot be stored is held and stored later, and counting goes on. After a `kill -9` or a power cut what was
//! counted since the last row is lost, a minute at most.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::clock::{self, Timestamp};
use crate::delivery::Meters;
use crate::model::Figures;
use crate::store::{Minute, Outbox, Standing, StoreError};
use crate::telemetry::SaidOnce;
use crate::telemetry::counters::Counters;

use super::tasks::report_round;

/// From one row to the next; a little less, so that a turn every 30 seconds finds the second one due.
const EVERY: Duration = Duration::from_secs(59);
/// Where nothing happens, a row is written so often all the same: a gap that is longer says that no daemon counted.
const QUIET_MAX: Duration = Duration::from_hours(1);
/// The most rows that wait for an outbox that cannot take them, an hour's. What happens after that is counted on, and
/// becomes one row when it can again.
const HELD_MAX: usize = 60;
/// How long the last row may take at a stop.
const LAST_MAX: Duration = Duration::from_secs(1);

/// Writes the rows.
#[derive(Debug)]
pub(super) struct Minutes {
    outbox: Outbox,
    meters: Arc<Meters>,
    due: Instant,
    /// From when on what is counted now counts.
    since: Timestamp,
    /// The last turn of a quiet stretch that began at `since`.
    quiet_until: Option<Timestamp>,
    /// When a row was last due and written.
    written: Instant,
    /// How things stood in the last row.
    stood: Option<Standing>,
    /// After how many commits that was.
    commits: Option<u64>,
    held: Vec<Minute>,
    fails: SaidOnce,
}

impl Minutes {
    pub(super) fn new(outbox: Outbox, meters: Arc<Meters>, now: Timestamp) -> Self {
        meters.counters().interrupted(outbox.recovered());
        Self {
            outbox,
            meters,
            due: Instant::now() + EVERY,
            since: now,
            quiet_until: None,
            written: Instant::now(),
            stood: None,
            commits: None,
            held: Vec::new(),
            fails: SaidOnce::default(),
        }
    }

    /// Writes a row where one is due. The only error is an outbox that is closed.
    pub(super) async fn turn(&mut self) -> Result<(), StoreError> {
        if Instant::now() < self.due {
            return Ok(());
        }
        self.due = Instant::now() + EVERY;
        let round = self.write(clock::now(), false).await;
        let hint = "what happens is counted on, and is written with a later minute";
        report_round(&mut self.fails, round, ("minutes", hint), "the minutes are kept again")
    }

    /// The last row: all that came since the one before. Where it cannot be written in a second it is lost.
    pub(super) async fn close(mut self) {
        // Nobody to tell: whoever stops says what hinders the outbox.
        drop(timeout(LAST_MAX, self.write(clock::now(), true)).await);
    }

    async fn write(&mut self, now: Timestamp, is_last: bool) -> Result<(), StoreError> {
        let commits = self.outbox.commits();
        let must = is_last || self.written.elapsed() >= QUIET_MAX;
        let is_same = self.commits == Some(commits) && self.counters().is_empty();
        if is_same && !must && self.held.is_empty() {
            self.quiet_until = Some(now);
            return Ok(());
        }
        if self.held.len() < HELD_MAX {
            let standing = self.stand().await?;
            self.commits = Some(commits);
            if must || !self.counters().is_empty() || self.stood.as_ref() != Some(&standing) {
                self.gather(standing, now);
            } else {
                self.quiet_until = Some(now);
            }
        }
        if !self.held.is_empty() {
            // They stay until it is known that they are stored; the outbox takes none of them twice.
            self.outbox.record(self.held.clone()).await?;
            self.held.clear();
        }
        Ok(())
    }

    /// What was counted becomes a row; and a quiet stretch before it one of its own, so that what came at its end is not
    /// spread over all of it.
    fn gather(&mut self, standing: Standing, now: Timestamp) {
        let counted = self.counters().take();
        let is_quiet = counted.is_empty() && self.stood.as_ref() == Some(&standing);
        if let (Some(quiet_until), Some(stood)) = (self.quiet_until.take(), &self.stood)
            && !is_quiet
            && self.since < quiet_until
            && quiet_until < now
        {
            let quiet = row(self.since, quiet_until, Figures::default(), stood.clone());
            self.held.push(quiet);
            self.since = quiet_until;
        }
        let gate_changes = counted.gate_changes;
        let standing_then = Standing {
            gate_changes,
            ..standing.clone()
        };
        self.held
            .push(row(self.since.min(now), now, counted.figures, standing_then));
        self.stood = Some(standing);
        self.since = now;
        self.written = Instant::now();
    }

    async fn stand(&self) -> Result<Standing, StoreError> {
        Ok(Standing {
            tally: self.outbox.tally().await?,
            in_flight: self.meters.in_flight(),
            gate: self.meters.gate().unwrap_or_default(),
            gate_changes: Vec::new(),
        })
    }

    fn counters(&self) -> &Counters {
        self.meters.counters()
    }
}

fn row(since: Timestamp, until: Timestamp, figures: Figures, standing: Standing) -> Minute {
    Minute {
        since,
        until,
        node: String::new(),
        name: String::new(),
        figures,
        standing: Some(standing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EndingName;
    use crate::policy::gate::GateName;
    use crate::store::{MinuteCursor, Role};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn at(minute: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(60 * minute))
    }

    struct Rig {
        directory: tempfile::TempDir,
        outbox: Outbox,
        meters: Arc<Meters>,
        minutes: Minutes,
    }

    async fn rig() -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(directory.path().join("outbox.db").as_path(), Role::Daemon, NOW)
            .await
            .unwrap();
        let meters = Arc::new(Meters::default());
        let minutes = Minutes::new(outbox.clone(), Arc::clone(&meters), NOW);
        Rig {
            directory,
            outbox,
            meters,
            minutes,
        }
    }

    /// Of each row its first and last minute, and its attempts.
    async fn rows(outbox: &Outbox) -> Vec<(i64, i64, u64)> {
        let minute = |time: Timestamp| (time.millis() - NOW.millis()) / 60_000;
        let rows = outbox.minutes(&MinuteCursor::from(NOW), 100).await.unwrap();
        rows.iter()
            .map(|row| {
                (
                    minute(row.since),
                    minute(row.until),
                    row.figures.attempts(&[EndingName::Retry]),
                )
            })
            .collect()
    }

    #[tokio::test]
    async fn a_quiet_stretch_is_one_row_and_what_ends_it_another() {
        let Rig {
            directory: _directory,
            outbox,
            meters,
            mut minutes,
        } = rig().await;
        for minute in 1..=9 {
            if minute == 2 || minute == 8 {
                meters.counters().attempted(EndingName::Retry, Some(503));
            }
            minutes.write(at(minute), false).await.unwrap();
        }
        assert_eq!(rows(&outbox).await, [(0, 1, 0), (1, 2, 1), (2, 7, 0), (7, 8, 1)]);
        minutes.write(at(10), true).await.unwrap();
        assert_eq!(
            rows(&outbox).await.last(),
            Some(&(8, 10, 0)),
            "the last one is always written"
        );
        assert_eq!(outbox.totals().await.unwrap().retried(), 2);
    }

    #[tokio::test]
    async fn a_row_says_how_the_gate_stood_and_what_it_went_through() {
        let Rig {
            directory: _directory,
            outbox,
            meters,
            mut minutes,
        } = rig().await;
        meters.set_gate(GateName::Probing, "the API answers 503", at(0));
        meters.set_gate(GateName::Open, "a probe was answered", at(1));
        meters.set_in_flight(3);
        minutes.write(at(1), false).await.unwrap();
        meters.set_in_flight(0);
        minutes.write(at(2), false).await.unwrap();
        let rows = outbox.minutes(&MinuteCursor::from(NOW), 100).await.unwrap();
        let stood: Vec<&Standing> = rows.iter().filter_map(|row| row.standing.as_ref()).collect();
        assert_eq!(
            (stood[0].gate, stood[0].in_flight, stood[1].in_flight),
            (GateName::Open, 3, 0)
        );
        let changes: Vec<(i64, GateName, &str)> = stood[0]
            .gate_changes
            .iter()
            .map(|change| (change.at.millis() - NOW.millis(), change.to, change.why.as_str()))
            .collect();
        let known = [
            (0, GateName::Probing, "the API answers 503"),
            (60_000, GateName::Open, "a probe was answered"),
        ];
        assert_eq!(changes, known);
        assert!(stood[1].gate_changes.is_empty());
    }

    #[tokio::test]
    async fn rows_that_cannot_be_stored_are_stored_later_and_nothing_is_counted_twice() {
        let mut rig = rig().await;
        let reader = Outbox::open(rig.directory.path().join("outbox.db").as_path(), Role::Reader, NOW)
            .await
            .unwrap();
        // A reader can be asked how it stands, and stores nothing: as an outbox on a full disk.
        let works = std::mem::replace(&mut rig.minutes.outbox, reader);
        for minute in 1..=100 {
            rig.meters.counters().attempted(EndingName::Retry, None);
            assert!(rig.minutes.write(at(minute), false).await.is_err());
        }
        assert_eq!(rig.minutes.held.len(), HELD_MAX);
        rig.minutes.outbox = works;
        rig.minutes.write(at(101), false).await.unwrap();
        rig.minutes.write(at(102), false).await.unwrap();
        let rows = rows(&rig.outbox).await;
        assert_eq!(rows.len(), HELD_MAX + 1);
        assert_eq!(
            rows.last(),
            Some(&(60, 102, 40)),
            "what there was no room for is one row"
        );
        assert_eq!(rig.outbox.totals().await.unwrap().retried(), 100);
    }
}
