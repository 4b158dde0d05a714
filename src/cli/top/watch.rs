//! Looks at the outbox about once a second, beside whoever draws. Each question is a short transaction of its own: none
//! is held from one to the next, which would keep the WAL, or what PostgreSQL could vacuum, from being cleared.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use crate::cli::context::Context;
use crate::cli::failures::{self, Failure};
use crate::cli::gate;
use crate::cli::render::outcome::hint_of;
use crate::cli::show;
use crate::cli::status;
use crate::clock::Timestamp;
use crate::config::Keep;
use crate::model::{Address, State, StateName, SubmissionId};
use crate::store::{Filter, Finished, Listed, Minute, MinuteCursor, Outbox, Producer, StoreError, free_bytes};

use super::look::{AnswerTimes, LogLine, Look, Page, Rows, ShownPace, Tab, Wish};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// A look that takes so long is followed by a rest so many times as long, so that looking costs a hundredth of a core
/// at most, however large the outbox is or however slow its disk.
const REST: u32 = 60;
/// But no longer than this: what is shown must not be old.
const REST_MAX: Duration = Duration::from_secs(10);

/// What reads thousands of rows is looked at again when so many times as long has passed as it took.
const COSTLY_REST: u32 = 100;

/// What was settled within this time may not be committed yet: it is counted at the next look.
const SETTLING: Duration = Duration::from_millis(500);

/// The newest answer times that the percentiles go by.
const ANSWERS_MAX: usize = 500;

/// The rows of a tab, and of each part of it.
const ROWS_MAX: u32 = 200;

/// So many of the newest submissions tell of their producers.
const PRODUCERS_MAX: u32 = 10_000;

/// The minutes that are shown.
const MINUTES: Duration = Duration::from_mins(30);

/// The most minutes that are read, of all nodes.
const MINUTES_MAX: u32 = 2000;

/// Who looks.
pub struct Watcher {
    context: Arc<Context>,
    outbox: Option<Outbox>,
    /// Device and inode of the file that is open: a restore puts another one in its place.
    file: Option<(u64, u64)>,
    /// Up to when rates were counted.
    counted_until: Option<Timestamp>,
    /// Newest last.
    answers: VecDeque<Finished>,
    /// The minutes so far, and when they were asked for.
    minutes: Option<(Instant, Vec<Minute>)>,
    failures: Costly<Vec<Failure>>,
    producers: Costly<Vec<Producer>>,
}

/// What is dear to read, with when that may be done again.
struct Costly<T> {
    value: Option<T>,
    again: Option<Instant>,
}

impl<T: Clone> Costly<T> {
    const fn new() -> Self {
        Self {
            value: None,
            again: None,
        }
    }

    async fn get(&mut self, read: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        if let Some(value) = &self.value
            && self.again.is_some_and(|again| Instant::now() < again)
        {
            return Ok(value.clone());
        }
        let began = Instant::now();
        let value = read.await?;
        self.again = Some(Instant::now() + began.elapsed() * COSTLY_REST);
        self.value = Some(value.clone());
        Ok(value)
    }
}

impl Watcher {
    /// Opens the outbox; `None` before there is one.
    pub async fn open(context: Arc<Context>) -> anyhow::Result<Option<Self>> {
        let file = file(&context);
        let Some(outbox) = context.open_to_read().await? else {
            return Ok(None);
        };
        Ok(Some(Self {
            context,
            outbox: Some(outbox),
            file,
            counted_until: None,
            answers: VecDeque::new(),
            minutes: None,
            failures: Costly::new(),
            producers: Costly::new(),
        }))
    }

    /// Looks again and again, as the view wishes, until nobody listens any more.
    pub async fn run(mut self, mut wishes: watch::Receiver<Wish>, looks: mpsc::Sender<Look>) {
        loop {
            let began = Instant::now();
            let wish = *wishes.borrow_and_update();
            if looks.send(self.look(wish).await).await.is_err() {
                break;
            }
            let rest = (began.elapsed() * REST).clamp(EVERY, REST_MAX);
            let changed = tokio::select! {
                () = sleep(rest) => Ok(()),
                changed = wishes.changed() => changed,
            };
            if changed.is_err() {
                break;
            }
        }
        if let Some(outbox) = self.outbox {
            outbox.close().await;
        }
    }

    /// Forgets what an act has changed.
    fn is_stale(&mut self, dead: u64) -> bool {
        let known = self.failures.value.as_ref().map(|groups| looked_at(groups) as u64);
        known.is_some_and(|known| known > dead)
    }

    /// One look.
    pub async fn look(&mut self, wish: Wish) -> Look {
        let context = Arc::clone(&self.context);
        let failed = self.reopen().await.err();
        let outbox = self.outbox.clone();
        let (status, failed) = status::seen(&context, outbox.as_ref(), failed, 1).await;
        let mut look = Look {
            status,
            failed: failed.as_ref().map(|error| format!("{error:#}")),
            ..Look::default()
        };
        if let (Some(outbox), None) = (outbox, failed) {
            let read = self.rest(&outbox, &context, wish, &mut look).await;
            look.failed = read.err().map(|error| format!("{error:#}"));
        }
        if look.failed.is_some() {
            // A connection that failed once may be to a file that is gone.
            self.file = None;
        }
        look
    }

    /// Opens the outbox anew where it failed, or where another file has taken its place.
    async fn reopen(&mut self) -> anyhow::Result<()> {
        let file = file(&self.context);
        let is_server = self.context.config.outbox.database.server().is_some();
        if self.outbox.is_some() && (is_server || file == self.file) {
            return Ok(());
        }
        if let Some(outbox) = self.outbox.take() {
            outbox.close().await;
        }
        self.outbox = self.context.open_to_read().await?;
        self.file = file;
        Ok(())
    }

    async fn rest(&mut self, outbox: &Outbox, context: &Context, wish: Wish, look: &mut Look) -> anyhow::Result<()> {
        let now = context.now();
        look.pace = self.pace(outbox, context).await?;
        if context.config.outbox.keep_delivered == Keep::For(Duration::ZERO) {
            // Nothing of it stays to be counted: the daemon tells.
            #[expect(clippy::cast_precision_loss, reason = "a rate that is shown with one digit")]
            let told = look.status.delivered_per_minute.map(|count| count as f64 / 60.0);
            look.pace.delivered_per_second = told;
        }
        let dead = look.status.counts.map_or(0, |counts| counts.dead);
        look.rows = match wish.tab {
            Tab::Queue => Rows::Queue(queue(outbox).await?),
            Tab::Failures => {
                if self.is_stale(dead) {
                    self.failures.again = None;
                }
                let read = async { Ok(failures::grouped(&outbox.newest_dead(failures::LOOK_MAX).await?)) };
                let groups = self.failures.get(read).await?;
                let looked_at = looked_at(&groups);
                Rows::Failures { groups, looked_at }
            }
            Tab::Parked => Rows::Parked(outbox.list(&in_state(StateName::Parked), None, ROWS_MAX).await?),
            Tab::Producers => {
                let read = async {
                    let mut producers = outbox.newest_producers(PRODUCERS_MAX).await?;
                    producers.sort_by(|one, other| other.taken.cmp(&one.taken).then(one.source.cmp(&other.source)));
                    Ok(producers)
                };
                let producers = self.producers.get(read).await?;
                let looked_at = producers.iter().map(|producer| producer.taken).sum();
                Rows::Producers { producers, looked_at }
            }
            Tab::Log => Rows::Log(log(outbox, now).await?),
        };
        if let Some(id) = wish.shown {
            look.page = Some(page(outbox, context, id).await?);
        }
        if let Some(id) = wish.hinted {
            let story = outbox.show(id).await?;
            look.hint = story.and_then(|story| hint_of(&story.listed)).map(|hint| (id, hint));
        }
        Ok(())
    }

    async fn pace(&mut self, outbox: &Outbox, context: &Context) -> anyhow::Result<ShownPace> {
        let until = context.now().minus(SETTLING);
        let from = self.counted_until.unwrap_or(until);
        let pace = outbox.pace(from, until).await?;
        self.counted_until = Some(until);
        let seconds = until.since(from).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate that is shown with one digit")]
        let rate = |count: u64| (seconds > 0.1).then(|| count as f64 / seconds);
        self.read_answers(outbox).await?;
        let minutes = self.minutes(outbox, context.now()).await?;
        let full = delivered_by_minute(&minutes, context.now());
        let times = self.answers.iter().filter_map(|one| one.elapsed_ms).collect();
        let is_here = context.config.outbox.database.server().is_none();
        Ok(ShownPace {
            delivered_per_second: rate(pace.delivered),
            dead_per_second: rate(pace.dead),
            retried_per_minute: full.last().map(|(_, retried)| *retried),
            minutes: full.iter().map(|(delivered, _)| *delivered).collect(),
            last_in: pace.last_in,
            last_out: pace.last_out,
            answers: AnswerTimes::of(times),
            free_bytes: if is_here {
                free_bytes(context.config.disk())
            } else {
                None
            },
        })
    }

    /// Reads on from the newest that is known.
    async fn read_answers(&mut self, outbox: &Outbox) -> Result<(), StoreError> {
        let since = self
            .answers
            .back()
            .map_or(Timestamp::from_millis(0), |newest| newest.at);
        let limit = u32::try_from(ANSWERS_MAX).unwrap_or(u32::MAX);
        let mut newest = outbox.newest_finished(since, limit).await?;
        newest.retain(|one| one.elapsed_ms.is_some());
        // Of the same millisecond some may be known; the clock may be behind what is known.
        let known: Vec<(Timestamp, SubmissionId)> = self.answers.iter().map(|one| (one.at, one.id)).collect();
        newest.retain(|one| !known.contains(&(one.at, one.id)));
        self.answers.extend(newest.into_iter().rev());
        let over = self.answers.len().saturating_sub(ANSWERS_MAX);
        self.answers.drain(..over);
        Ok(())
    }

    /// The minutes that are written down, asked for every few seconds.
    async fn minutes(&mut self, outbox: &Outbox, now: Timestamp) -> Result<Vec<Minute>, StoreError> {
        const AGAIN: Duration = Duration::from_secs(10);
        if let Some((asked, minutes)) = &self.minutes
            && asked.elapsed() < AGAIN
        {
            return Ok(minutes.clone());
        }
        let minutes = outbox
            .minutes(&MinuteCursor::from(now.minus(MINUTES)), MINUTES_MAX)
            .await?;
        self.minutes = Some((Instant::now(), minutes.clone()));
        Ok(minutes)
    }
}

/// Delivered and retried of all nodes by minute, oldest first; of those that nobody wrote down, where nothing ran or
/// nothing happened, nothing. The one before the present may still be on its way into the outbox: it counts as nothing
/// when another minute has passed.
fn delivered_by_minute(minutes: &[Minute], now: Timestamp) -> Vec<(u64, u64)> {
    const MINUTE: i64 = 60_000;
    let place = |at: Timestamp| at.millis().div_euclid(MINUTE);
    let Some(first) = minutes.iter().map(|minute| place(minute.since)).min() else {
        return Vec::new();
    };
    let written = minutes.iter().map(|minute| place(minute.since)).max().unwrap_or(first);
    let last = written.max(place(now) - 2);
    let mut full = vec![(0, 0); usize::try_from(last - first + 1).unwrap_or(0)];
    for minute in minutes {
        let place = usize::try_from(place(minute.since) - first).unwrap_or(usize::MAX);
        if let Some((delivered, retried)) = full.get_mut(place) {
            *delivered += minute.figures.delivered();
            *retried += minute.figures.retried();
        }
    }
    full
}

fn looked_at(groups: &[Failure]) -> usize {
    groups.iter().map(|group| group.ids.len()).sum()
}

fn in_state(state: StateName) -> Filter {
    Filter {
        states: vec![state],
        ..Filter::default()
    }
}

/// What is being sent, then what goes next.
async fn queue(outbox: &Outbox) -> Result<Vec<Listed>, StoreError> {
    let mut queue = outbox.list(&in_state(StateName::Sending), None, ROWS_MAX).await?;
    queue.reverse();
    // What was claimed between the two questions is in both.
    let next = outbox.next_up(ROWS_MAX).await?;
    queue.retain(|sending| next.iter().all(|one| one.id != sending.id));
    queue.extend(next);
    Ok(queue)
}

/// The last changes, newest first: what ended, and what is tried again.
async fn log(outbox: &Outbox, now: Timestamp) -> Result<Vec<LogLine>, StoreError> {
    let finished = outbox.newest_finished(Timestamp::from_millis(0), ROWS_MAX).await?;
    let retried = outbox
        .next_up(ROWS_MAX)
        .await?
        .into_iter()
        .filter(|one| one.last.is_some() && matches!(one.state, State::Pending { due } if due > now));
    let retried = retried.map(|one| LogLine::Retried(Box::new(one)));
    let mut lines: Vec<LogLine> = finished.into_iter().map(LogLine::Finished).chain(retried).collect();
    lines.sort_by_key(|line| std::cmp::Reverse((line.at(), line.id())));
    lines.truncate(ROWS_MAX as usize);
    Ok(lines)
}

async fn page(outbox: &Outbox, context: &Context, id: SubmissionId) -> anyhow::Result<Page> {
    let Some(story) = outbox.show(id).await? else {
        return Ok(Page {
            id,
            state: None,
            lines: vec![format!(
                "Submission {id} is not there any more: retention has taken it."
            )],
        });
    };
    let obstacle = gate::obstacle(context, outbox).await?;
    Ok(Page {
        id,
        state: Some(story.listed.state.name()),
        lines: show::page(&story, obstacle.as_deref(), context)?,
    })
}

/// Which file it is; `None` of a server, and where there is none.
fn file(context: &Context) -> Option<(u64, u64)> {
    match &context.config.outbox.database {
        Address::File(path) => fs::metadata(path).ok().map(|file| (file.dev(), file.ino())),
        Address::Server(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EndingName, Figure, Figures, StatusClass};

    fn minute(node: &str, place: i64, delivered: u64) -> Minute {
        let mut figures = Figures::default();
        figures.add(
            Figure::Attempt(EndingName::Delivered, StatusClass::of(Some(200))),
            delivered,
        );
        figures.add(Figure::Attempt(EndingName::Retry, StatusClass::NoAnswer), 1);
        Minute {
            since: Timestamp::from_millis(place * 60_000 + 5),
            until: Timestamp::from_millis((place + 1) * 60_000),
            node: node.to_owned(),
            name: node.to_owned(),
            figures,
            standing: None,
        }
    }

    #[test]
    fn minutes_of_all_nodes_add_up_and_gaps_are_nothing() {
        let at = |place: i64| Timestamp::from_millis(place * 60_000 + 30_000);
        assert_eq!(delivered_by_minute(&[], at(5)), []);
        let minutes = [minute("a", 1, 5), minute("b", 1, 6), minute("a", 3, 7)];
        let told = [(11, 2), (0, 0), (7, 1)];
        assert_eq!(delivered_by_minute(&minutes, at(4)), told);
        assert_eq!(delivered_by_minute(&minutes, at(5)), told, "the fifth may come yet");
        assert_eq!(delivered_by_minute(&minutes, at(7))[3..], [(0, 0), (0, 0)]);
    }
}
