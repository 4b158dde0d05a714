//! The rows of each tab: what is chosen by them, and their cells.

use std::time::Duration;

use unicode_width::UnicodeWidthStr as _;

use crate::cli::failures::{Failure, FailureKind};
use crate::cli::render::escape::visible;
use crate::cli::render::outcome::{error_of, status_of};
use crate::cli::render::story;
use crate::cli::render::table::TableColumn;
use crate::cli::render::time::{ago, elapsed};
use crate::clock::Timestamp;
use crate::model::{StateName, SubmissionId};
use crate::store::{Finished, Listed, Producer};

use super::look::{LogLine, Rows, Tab};

/// From this age on the log shows the date.
const LONG_AGO: Duration = Duration::from_hours(12);

/// The widest cell.
const CELL_MAX: usize = 300;

/// What a row stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowKey {
    Id(SubmissionId),
    Kind(FailureKind),
    Source(Option<String>),
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub key: RowKey,
    /// Of a submission.
    pub state: Option<StateName>,
    /// Escaped.
    pub cells: Vec<String>,
}

const fn column(heading: &'static str, right: bool, least: Option<usize>) -> TableColumn {
    TableColumn {
        heading,
        right,
        least,
        most: CELL_MAX,
    }
}

const QUEUE: [TableColumn; 6] = [
    column("ID", true, None),
    column("STATE", false, None),
    column("WHEN", false, None),
    column("TRIES", true, None),
    column("ACTIVITY", false, Some(10)),
    column("LAST ANSWER", false, Some(11)),
];
const FAILURES: [TableColumn; 6] = [
    column("COUNT", true, None),
    column("WHAT", false, Some(12)),
    column("MESSAGE", false, Some(20)),
    column("LAST", false, None),
    column("PRODUCERS", false, Some(9)),
    column("NEWEST", false, Some(6)),
];

/// From this width on there is room for examples beside the message, which says more.
const EXAMPLES_FROM: usize = 110;
const GROUP: [TableColumn; 1] = [column("ID", true, None)];
const PARKED: [TableColumn; 5] = [
    column("ID", true, None),
    column("SINCE", false, None),
    column("ACTIVITY", false, Some(10)),
    column("SOURCE", false, Some(6)),
    column("WHY", false, Some(11)),
];
const PRODUCERS: [TableColumn; 5] = [
    column("PRODUCER", false, Some(10)),
    column("TAKEN IN", true, None),
    column("DELIVERED", true, None),
    column("DEAD", true, None),
    column("LAST SEEN", false, None),
];
const LOG: [TableColumn; 6] = [
    column("TIME", false, None),
    column("ID", true, None),
    column("WHAT", false, Some(18)),
    column("TOOK", true, None),
    column("ACTIVITY", false, Some(10)),
    column("SOURCE", false, Some(6)),
];

/// The columns of a tab, or of an open group, on a screen of this width.
pub fn columns(tab: Tab, in_group: bool, width: usize) -> &'static [TableColumn] {
    match tab {
        Tab::Queue => &QUEUE,
        Tab::Failures if in_group => &GROUP,
        Tab::Failures if width < EXAMPLES_FROM => &FAILURES[..FAILURES.len() - 1],
        Tab::Failures => &FAILURES,
        Tab::Parked => &PARKED,
        Tab::Producers => &PRODUCERS,
        Tab::Log => &LOG,
    }
}

/// The rows of a tab.
pub fn of(rows: &Rows, now: Timestamp) -> Vec<Row> {
    match rows {
        Rows::Queue(listed) => listed.iter().map(|one| queued(one, now)).collect(),
        Rows::Failures { groups, .. } => groups.iter().map(|one| failure(one, now)).collect(),
        Rows::Parked(listed) => listed.iter().map(|one| parked(one, now)).collect(),
        Rows::Producers { producers, .. } => producers.iter().map(|one| producer(one, now)).collect(),
        Rows::Log(lines) => lines.iter().map(|one| log_line(one, now)).collect(),
    }
}

/// The submissions of one kind of failure.
pub fn of_group(rows: &Rows, kind: &FailureKind) -> Vec<Row> {
    let row = |id: SubmissionId| Row {
        key: RowKey::Id(id),
        state: Some(StateName::Dead),
        cells: vec![id.to_string()],
    };
    ids_of(rows, kind).unwrap_or_default().into_iter().map(row).collect()
}

/// The numbers of one kind of failure.
pub fn ids_of(rows: &Rows, kind: &FailureKind) -> Option<Vec<SubmissionId>> {
    find(rows, kind).map(|failure| failure.ids.clone())
}

/// One kind of failure among what was seen.
pub fn find<'a>(rows: &'a Rows, kind: &FailureKind) -> Option<&'a Failure> {
    match rows {
        Rows::Failures { groups, .. } => groups.iter().find(|failure| failure.kind == *kind),
        Rows::Queue(_) | Rows::Parked(_) | Rows::Producers { .. } | Rows::Log(_) => None,
    }
}

fn cell(text: &str) -> String {
    visible(text).into_owned()
}

fn of_submission(listed: &Listed, cells: Vec<String>) -> Row {
    Row {
        key: RowKey::Id(listed.id),
        state: Some(listed.state.name()),
        cells,
    }
}

fn name(listed: &Listed) -> String {
    let activity = listed.facts.activity().map(|activity| activity.text().to_owned());
    let key = || listed.key.as_ref().map(|key| format!("key {key}"));
    cell(&activity.or_else(key).unwrap_or_default())
}

fn queued(listed: &Listed, now: Timestamp) -> Row {
    let when = match listed.state.name() {
        StateName::Sending => format!("for {}", ago(listed.updated_at, now).trim_end_matches(" ago")),
        _ => story::when(listed, now),
    };
    let when = when.replace("for just now", "now");
    let state = match listed.waits_behind {
        Some(_) => "waiting".to_owned(),
        None => listed.state.name().to_string(),
    };
    let answer = error_of(listed).map(|error| error.line());
    let status = || {
        listed
            .last
            .as_ref()
            .and_then(status_of)
            .map(|status| status.to_string())
    };
    let cells = vec![
        listed.id.to_string(),
        state,
        when,
        listed.attempts.to_string(),
        name(listed),
        cell(&answer.or_else(status).unwrap_or_default()),
    ];
    of_submission(listed, cells)
}

fn parked(listed: &Listed, now: Timestamp) -> Row {
    let cells = vec![
        listed.id.to_string(),
        ago(listed.updated_at, now),
        name(listed),
        source(listed.source.as_deref()),
        listed.state.reason().map(ToString::to_string).unwrap_or_default(),
    ];
    of_submission(listed, cells)
}

fn source(source: Option<&str>) -> String {
    source.map_or_else(|| "-".to_owned(), cell)
}

/// What they have in common, without the message: `rejected 404`.
pub fn what(kind: &FailureKind) -> String {
    let status = kind.http_status.map(|status| format!(" {status}")).unwrap_or_default();
    cell(&format!("{}{status}", kind.reason))
}

/// The message that they have in common; without one the API's `error`.
pub fn message(kind: &FailureKind) -> String {
    let told = kind.message.as_ref().or(kind.error.as_ref());
    cell(told.map_or("no message", String::as_str))
}

/// Whose most of them are, and how many other producers there are: a message needs the room.
fn most_of(failure: &Failure) -> String {
    let Some((first, count)) = failure.producers.first() else {
        return String::new();
    };
    match failure.producers.len() - 1 {
        0 => source(first.as_deref()),
        others => format!("{} {count}, +{others}", source(first.as_deref())),
    }
}

/// Whose they are, the most frequent first.
pub fn producers(failure: &Failure) -> String {
    let told = failure.producers.iter().take(3).map(|(producer, count)| {
        let name = source(producer.as_deref());
        if failure.producers.len() == 1 {
            name
        } else {
            format!("{name} {count}")
        }
    });
    let more = failure.producers.len().saturating_sub(3);
    let more = (more > 0).then(|| format!("{more} more"));
    told.chain(more).collect::<Vec<_>>().join(", ")
}

fn failure(failure: &Failure, now: Timestamp) -> Row {
    Row {
        key: RowKey::Kind(failure.kind.clone()),
        state: None,
        cells: vec![
            failure.ids.len().to_string(),
            what(&failure.kind),
            message(&failure.kind),
            ago(failure.last_seen, now),
            most_of(failure),
            failure
                .examples()
                .iter()
                .map(SubmissionId::to_string)
                .collect::<Vec<_>>()
                .join(" "),
        ],
    }
}

fn producer(producer: &Producer, now: Timestamp) -> Row {
    let name = producer
        .source
        .as_deref()
        .map_or_else(|| "(no source)".to_owned(), cell);
    Row {
        key: RowKey::Source(producer.source.clone()),
        state: None,
        cells: vec![
            name,
            producer.taken.to_string(),
            producer.delivered.to_string(),
            producer.dead.to_string(),
            ago(producer.last_seen, now),
        ],
    }
}

fn log_line(line: &LogLine, now: Timestamp) -> Row {
    // `2026-11-28T10:04:11.123Z`: the time of the day, and of what is long ago the date.
    let at = line.at().to_string();
    let (date, time) = at.split_once('T').unwrap_or(("", &at));
    let is_long_ago = now.since(line.at()) >= LONG_AGO;
    let at = if is_long_ago { date } else { time.trim_end_matches('Z') }.to_owned();
    let (what, took, activity, from) = match line {
        LogLine::Finished(finished) => (
            ended(finished),
            finished.elapsed_ms,
            cell(finished.activity.as_deref().unwrap_or_default()),
            finished.source.as_deref(),
        ),
        LogLine::Retried(listed) => (
            format!(
                "retry: {}",
                error_of(listed).map(|error| cell(&error.line())).unwrap_or_default()
            ),
            listed.last.as_ref().map(|last| last.elapsed_ms),
            name(listed),
            listed.source.as_deref(),
        ),
    };
    Row {
        key: RowKey::Id(line.id()),
        state: None,
        cells: vec![
            at,
            line.id().to_string(),
            what,
            took.map(elapsed).unwrap_or_default(),
            activity,
            source(from),
        ],
    }
}

/// `delivered`, `dead: rejected 404`, `dead: retries_exhausted timeout`.
fn ended(finished: &Finished) -> String {
    let mut words = finished.state.clone();
    if let Some(reason) = &finished.reason {
        words = format!("{words}: {reason}");
        let status = finished.http_status.map(|status| status.to_string());
        if let Some(more) = status.or_else(|| finished.fault.clone()) {
            words = format!("{words} {more}");
        }
    }
    cell(&words)
}

/// The text filled up with blanks to a width.
pub fn filled(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}
