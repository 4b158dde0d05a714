//! What the report says, read out of the outbox. Bounded, however many submissions there are: the time comes from the
//! stored minutes, what failed and who dropped it from the newest submissions, and the page says so where there are
//! more.

use std::collections::HashMap;

use serde::Serialize;

use crate::cli::gate;
use crate::clock::Timestamp;
use crate::model::{ANSWER_MS, Door, EndingName, Figure, State, StateName, SubmissionId};
use crate::store::{Filter, Listed, MinuteCursor, Outbox};

use super::failures::{Failure, Failures};
use super::series::{Band, Point, Series};

/// Minutes that are read at a time.
const MINUTES_PAGE: u32 = 1000;
/// Submissions that are read at a time: each may bring an answer of `api.max_error_body`.
const PAGE: u32 = 500;
/// Of each state that failed, so many of the newest are looked at; and so many of all, by their producers.
pub const LOOKED_AT_MAX: u64 = 10_000;
/// Producers that are told apart, and that are shown.
const PRODUCERS_MAX: usize = 1000;
const PRODUCERS_SHOWN_MAX: usize = 50;
/// Bytes of a payload that are shown.
const PAYLOAD_BYTES_MAX: usize = 16 << 10;

/// All that the page shows; also what `--json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub from: Timestamp,
    pub to: Timestamp,
    /// When the first stored minute of this time began; none: none is stored.
    pub counted_since: Option<Timestamp>,
    pub totals: Totals,
    pub answers: Answers,
    /// What a point of the series stands for.
    pub point_seconds: u64,
    pub series: Vec<Point>,
    pub gate: Vec<Band>,
    pub open: Open,
    pub failures: Vec<Failure>,
    /// Of kinds that are not shown.
    pub other_failures: u64,
    pub parked: Vec<Fate>,
    pub producers: Vec<Producer>,
    /// Submissions of producers that are not shown.
    pub other_producers: u64,
    /// More failed, or were taken in, than were looked at: failures and producers are of the newest alone.
    pub failures_are_of_newest: bool,
    pub producers_are_of_newest: bool,
}

/// What was counted in the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub taken: u64,
    pub taken_from_files: u64,
    pub taken_from_rows: u64,
    pub taken_by_users: u64,
    pub invalid: u64,
    pub duplicates: u64,
    pub attempts: u64,
    pub delivered: u64,
    pub retried: u64,
    pub overridden: u64,
    pub dead: u64,
    pub parked: u64,
}

/// How long answers took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answers {
    pub count: u64,
    pub p50_ms: Option<u64>,
    pub p95_ms: Option<u64>,
    pub p99_ms: Option<u64>,
    pub histogram: Vec<Bucket>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// None: all that took longer.
    pub up_to_ms: Option<u64>,
    pub count: u64,
}

/// How it stands now.
#[derive(Debug, Clone, Serialize)]
pub struct Open {
    pub counts: Vec<Count>,
    pub oldest_pending_seconds: Option<u64>,
    pub oldest_due_seconds: Option<u64>,
    pub oldest_dead_seconds: Option<u64>,
    #[serde(flatten)]
    pub gate: gate::ShownGate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Count {
    pub state: &'static str,
    pub count: u64,
}

/// What became of those that were parked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fate {
    pub what: &'static str,
    pub count: u64,
    /// Numbers of the newest ones.
    pub examples: Vec<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Producer {
    pub source: Option<String>,
    pub taken: u64,
    pub delivered: u64,
    pub open: u64,
    pub dead: u64,
    pub parked: u64,
    pub dismissed: u64,
}

impl Report {
    pub async fn gather(outbox: &Outbox, from: Timestamp, to: Timestamp, with_payloads: bool) -> anyhow::Result<Self> {
        let series = series(outbox, from, to).await?;
        let (failures, failures_are_of_newest) = failures(outbox, from).await?;
        let (mut failures, other_failures) = failures.finish();
        if with_payloads {
            for failure in &mut failures {
                failure.payload = payload(outbox, failure.first_example()).await?;
            }
        }
        let newest = Newest::look(outbox, from).await?;
        let (producers, other_producers) = newest.producers();
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            from,
            to,
            counted_since: series.counted_since,
            totals: totals(&series),
            answers: answers(&series),
            point_seconds: series.span().as_secs(),
            series: series.points(),
            gate: series.bands(),
            open: open(outbox, to).await?,
            failures,
            other_failures,
            parked: newest.fates,
            producers,
            other_producers,
            failures_are_of_newest,
            producers_are_of_newest: newest.has_more,
        })
    }
}

async fn series(outbox: &Outbox, from: Timestamp, to: Timestamp) -> anyhow::Result<Series> {
    let mut series = Series::new(from, to);
    let mut after = MinuteCursor::from(from);
    loop {
        let page = outbox.minutes(&after, MINUTES_PAGE).await?;
        for minute in &page {
            series.add(minute);
        }
        match page.last() {
            Some(last) if page.len() >= MINUTES_PAGE as usize => after = MinuteCursor::behind(last),
            Some(_) | None => return Ok(series),
        }
    }
}

fn totals(series: &Series) -> Totals {
    let figures = &series.totals;
    let attempts: u64 = <EndingName as strum::VariantArray>::VARIANTS
        .iter()
        .map(|ending| figures.attempts(&[*ending]))
        .sum();
    Totals {
        taken: figures.taken(),
        taken_from_files: figures.get(Figure::Taken(Door::File)),
        taken_from_rows: figures.get(Figure::Taken(Door::Row)),
        taken_by_users: figures.get(Figure::Taken(Door::User)),
        invalid: figures.get(Figure::Invalid),
        duplicates: figures.get(Figure::Duplicate),
        attempts,
        delivered: figures.delivered(),
        retried: figures.retried(),
        overridden: figures.attempts(&[EndingName::Override]),
        dead: figures.dead(),
        parked: figures.parked(),
    }
}

fn answers(series: &Series) -> Answers {
    let figures = &series.totals;
    let limits = ANSWER_MS.iter().map(|limit| Some(*limit)).chain([None]);
    let histogram: Vec<Bucket> = limits
        .zip(figures.answers())
        .map(|(up_to_ms, count)| Bucket { up_to_ms, count })
        .collect();
    Answers {
        count: histogram.iter().map(|bucket| bucket.count).sum(),
        p50_ms: figures.percentile(50),
        p95_ms: figures.percentile(95),
        p99_ms: figures.percentile(99),
        histogram,
    }
}

async fn open(outbox: &Outbox, now: Timestamp) -> anyhow::Result<Open> {
    let tally = outbox.tally().await?;
    let seconds = |since: Option<Timestamp>| since.map(|since| now.since(since).as_secs());
    Ok(Open {
        counts: tally
            .counts
            .iter()
            .map(|(state, count)| Count {
                state: state.into_str(),
                count: *count,
            })
            .collect(),
        oldest_pending_seconds: seconds(tally.oldest_pending),
        oldest_due_seconds: seconds(tally.oldest_due.filter(|due| *due <= now)),
        oldest_dead_seconds: seconds(tally.oldest_dead),
        gate: gate::view(outbox, now).await?,
    })
}

/// What is dead or parked since then, and what is pending after attempts that failed; whether there is more than was
/// looked at.
async fn failures(outbox: &Outbox, from: Timestamp) -> anyhow::Result<(Failures, bool)> {
    let mut failures = Failures::default();
    let mut has_more = false;
    for state in [StateName::Dead, StateName::Parked, StateName::Pending] {
        let filter = Filter {
            states: vec![state],
            ..Filter::default()
        };
        has_more |= walk(outbox, &filter, |listed| {
            let has_failed = state != StateName::Pending || listed.last.is_some();
            if has_failed && listed.updated_at >= from {
                failures.add(listed);
            }
            true
        })
        .await?;
    }
    Ok((failures, has_more))
}

/// Shows `see` what matches, newest first, until it has seen enough; whether the bound ended it before.
async fn walk(outbox: &Outbox, filter: &Filter, mut see: impl FnMut(&Listed) -> bool) -> anyhow::Result<bool> {
    let (mut before, mut seen) = (None, 0);
    loop {
        let page = outbox.list(filter, before, PAGE).await?;
        for listed in &page {
            if !see(listed) {
                return Ok(false);
            }
        }
        seen += page.len() as u64;
        before = page.last().map(|listed| listed.id);
        if page.len() < PAGE as usize {
            return Ok(false);
        }
        if seen >= LOOKED_AT_MAX {
            return Ok(true);
        }
    }
}

/// The newest submissions of the time.
#[derive(Debug, Default)]
struct Newest {
    by_source: HashMap<Option<String>, Producer>,
    /// Of producers beyond those that are told apart.
    others: u64,
    fates: Vec<Fate>,
    has_more: bool,
}

impl Newest {
    async fn look(outbox: &Outbox, from: Timestamp) -> anyhow::Result<Self> {
        let mut newest = Self::default();
        // They come by number, which is the order of intake: the first older one is the end. A clock that was set may
        // end it early; then fewer are shown.
        let has_more = walk(outbox, &Filter::default(), |listed| {
            let is_of_the_time = listed.created_at >= from;
            if is_of_the_time {
                newest.add(listed);
            }
            is_of_the_time
        })
        .await?;
        newest.has_more = has_more;
        newest.fates.sort_by_key(|fate| std::cmp::Reverse(fate.count));
        Ok(newest)
    }

    fn add(&mut self, listed: &Listed) {
        if let Some(what) = fate(listed) {
            match self.fates.iter_mut().find(|fate| fate.what == what) {
                Some(fate) => {
                    fate.count += 1;
                    if fate.examples.len() < super::failures::EXAMPLES_MAX {
                        fate.examples.push(listed.id.0);
                    }
                }
                None => self.fates.push(Fate {
                    what,
                    count: 1,
                    examples: vec![listed.id.0],
                }),
            }
        }
        if !self.by_source.contains_key(&listed.source) && self.by_source.len() >= PRODUCERS_MAX {
            self.others += 1;
            return;
        }
        let producer = self.by_source.entry(listed.source.clone()).or_default();
        producer.source.clone_from(&listed.source);
        producer.taken += 1;
        match listed.state.name() {
            StateName::Pending | StateName::Sending => producer.open += 1,
            StateName::Delivered => producer.delivered += 1,
            StateName::Dead => producer.dead += 1,
            StateName::Parked => producer.parked += 1,
            StateName::Dismissed => producer.dismissed += 1,
        }
    }

    /// Those that dropped the most, and how many results there are of the others.
    fn producers(&self) -> (Vec<Producer>, u64) {
        let mut all: Vec<Producer> = self.by_source.values().cloned().collect();
        all.sort_by(|one, other| other.taken.cmp(&one.taken).then_with(|| one.source.cmp(&other.source)));
        let beyond = all.split_off(all.len().min(PRODUCERS_SHOWN_MAX));
        let others = beyond.iter().map(|producer| producer.taken).sum::<u64>();
        (all, self.others + others)
    }
}

/// What became of one that was parked by its last answer, or was sent once more to replace the registered result.
fn fate(listed: &Listed) -> Option<&'static str> {
    let last = listed.last.as_ref()?;
    let was_parked = last.outcome == EndingName::Parked;
    match listed.state {
        State::Parked(_) => Some("waits for a decision"),
        State::Delivered if was_parked => Some("accepted: the registered result is ours"),
        State::Dismissed if was_parked => Some("dismissed: the registered result stays"),
        State::Pending { .. } | State::Sending if was_parked => Some("put back, and to be sent again"),
        State::Delivered if last.hard_override && last.outcome == EndingName::Delivered => {
            Some("overridden: ours replaced the registered result")
        }
        State::Pending { .. } | State::Sending | State::Delivered | State::Dead(_) | State::Dismissed => None,
    }
}

/// A payload's beginning, as text.
async fn payload(outbox: &Outbox, id: Option<SubmissionId>) -> anyhow::Result<Option<String>> {
    let Some(id) = id else { return Ok(None) };
    let story = outbox.show(id).await?;
    Ok(story.map(|story| {
        let bytes = story.payload.bytes();
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(PAYLOAD_BYTES_MAX)]).into_owned();
        if bytes.len() > PAYLOAD_BYTES_MAX {
            format!("{text}… ({} bytes more)", bytes.len() - PAYLOAD_BYTES_MAX)
        } else {
            text
        }
    }))
}
