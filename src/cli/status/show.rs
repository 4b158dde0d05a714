//! A look at the queue, in words and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cli::render::escape::{self, visible};
use crate::cli::render::table::wrap;
use crate::cli::render::time::{ago, full, span};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::delivery::meters::LastError;
use crate::policy::hint::ApiError;

use super::next;
use super::snapshot::{ShownNode, StateCounts, Status};

/// Names are put in a column of this width, so that values start at one place.
const NAMES: usize = 14;

/// Where values are broken.
const WIDTH: usize = 80;

/// One JSON object in one line.
pub fn json(status: &Status) -> serde_json::Result<String> {
    Ok(escape::json(&serde_json::to_string(status)?).into_owned())
}

/// Name and value, a line each; without a value there is no line, without a name it goes on from the one above.
pub fn text(status: &Status, config: &Config) -> String {
    let wrong = status
        .configuration_error
        .as_ref()
        .map(|error| format!("wrong: {error}"));
    let daemon = match status.daemon_pid {
        Some(pid) => format!("{}, process {pid}", status.daemon),
        None => status.daemon.to_owned(),
    };
    let mut rows = vec![("configuration", wrong), ("daemon", Some(daemon))];
    let below = |name| std::iter::once(name).chain(std::iter::repeat(""));
    rows.extend(below("nodes").zip(nodes(status).into_iter().map(Some)));
    rows.extend(below("gate").zip(gate(status)));
    for hindered in &status.hindrances {
        let since = hindered
            .since
            .map(|since| format!(", since {}", full(since, status.at)));
        let what = format!("{}: {}{}", hindered.what, hindered.why, since.unwrap_or_default());
        rows.extend([("hindered", Some(what)), ("", hindered.hint.clone())]);
    }
    if let Some(counts) = status.counts {
        rows.extend(queue(status, counts));
    }
    let rejected = match status.rejected_files {
        Some(files) => counted(files, Some(next::rejected(config))),
        None => format!(
            "not known, since {} cannot be read",
            next::rejected_dir(config).display()
        ),
    };
    let rejected_rows = status.rejected_rows.filter(|rows| *rows > 0);
    rows.extend([
        (
            "last error",
            status.last_error.as_ref().map(|error| last_error(error, status.at)),
        ),
        ("waiting", waiting(status)),
        ("rejected files", Some(rejected)),
        ("rejected rows", rejected_rows.map(|rows| rows.to_string())),
    ]);
    let mut out = String::new();
    for (name, value) in rows {
        let Some(value) = value else { continue };
        let value = wrap(&visible(&value), &" ".repeat(NAMES + 2), WIDTH);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:<NAMES$}  {}", value.trim());
    }
    out + &what_next(status)
}

/// Every daemon that shares the outbox, a line each, not escaped.
pub fn nodes(status: &Status) -> Vec<String> {
    let line = |node: &ShownNode| {
        let seen = ago(node.last_seen, status.at);
        if node.is_lost() {
            return format!("{} {}: lost, last seen {seen}", node.name, node.version);
        }
        format!(
            "{} {}: live since {}, seen {seen}, {} in flight, gate {}",
            node.name,
            node.version,
            full(node.since, status.at),
            node.in_flight,
            node.gate
        )
    };
    status.nodes.iter().map(line).collect()
}

/// The gate's state, why, and what mends it, not escaped.
pub fn gate(status: &Status) -> [Option<String>; 3] {
    if next::is_only_starting_slowly(status) {
        let why =
            "the API answers again after an outage: what comes in next goes out a few at a time at first".to_owned();
        return [Some("open".to_owned()), Some(why), None];
    }
    let gate = match status.gate.since {
        Some(since) => format!("{} since {}", status.gate.name(), full(since, status.at)),
        None => status.gate.name().to_owned(),
    };
    [Some(gate), status.gate.reason.clone(), status.gate.hint.clone()]
}

fn queue(status: &Status, counts: StateCounts) -> [(&'static str, Option<String>); 9] {
    let oldest =
        |seconds: Option<u64>| seconds.map(|seconds| format!("the oldest for {}", span(Duration::from_secs(seconds))));
    let next = status
        .next_due_at
        .map(|at| format!("the next {}", next::when(at, status.at)));
    let pending: Vec<String> = oldest(status.oldest_pending_seconds).into_iter().chain(next).collect();
    let pending = Some(pending.join(", ")).filter(|more| !more.is_empty());
    let [by_reason, by_source] = match &status.dead_by {
        Some(dead) if counts.dead > 0 => dead.lines(counts.dead).map(Some),
        Some(_) | None => [None, None],
    };
    let rate = status
        .delivered_per_minute
        .map(|rate| format!("{rate} delivered in a minute"));
    [
        ("pending", Some(counted(counts.pending, pending))),
        ("sending", Some(counts.sending.to_string())),
        ("delivered", Some(counts.delivered.to_string())),
        ("dead", Some(counted(counts.dead, oldest(status.oldest_dead_seconds)))),
        ("  by reason", by_reason),
        ("  by source", by_source),
        ("parked", Some(counts.parked.to_string())),
        ("dismissed", Some(counts.dismissed.to_string())),
        ("rate", rate),
    ]
}

fn counted(count: u64, more: Option<String>) -> String {
    match more {
        Some(more) if count > 0 => format!("{count}, {more}"),
        Some(_) | None => count.to_string(),
    }
}

/// What happens next, and the commands that apply.
fn what_next(status: &Status) -> String {
    let mut out = format!("\nWhat happens next\n{}", wrap(&next::sentence(status), "  ", WIDTH));
    let commands = next::commands(status);
    if !commands.is_empty() {
        out.push_str("\nWhat you can do\n");
    }
    let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    for (command, does) in commands {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {command:<width$}  {does}");
    }
    out
}

/// What is in the inbox and not yet in the outbox; where the daemon runs that is seldom anything.
fn waiting(status: &Status) -> Option<String> {
    let files = status
        .waiting_files
        .filter(|files| *files > 0)
        .map(|files| format!("{files} files"));
    let rows = status
        .waiting_rows
        .filter(|rows| *rows > 0)
        .map(|rows| format!("{rows} rows"));
    let parts: Vec<String> = files.into_iter().chain(rows).collect();
    let oldest = status
        .oldest_waiting_file_seconds
        .max(status.oldest_waiting_row_seconds);
    let oldest = oldest
        .map(|age| format!(", the oldest for {}", span(Duration::from_secs(age))))
        .unwrap_or_default();
    (!parts.is_empty()).then(|| format!("{} in the inbox{oldest}", parts.join(" and ")))
}

/// `503 Service Unavailable: …, of submission 12, 4 min ago`.
fn last_error(error: &LastError, now: Timestamp) -> String {
    let view = ApiError {
        status_code: error.status,
        error: error.error.clone(),
        message: error.message.clone(),
    };
    format!(
        "{}, of submission {}, {}",
        view.line(),
        error.submission,
        ago(Timestamp::from_millis(error.at), now)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::gate::ShownGate;
    use crate::cli::status::dead::Dead;
    use crate::cli::status::hindered::Hindered;
    use crate::cli::status::snapshot::RUNNING;
    use crate::policy::gate::GateName;

    #[test]
    fn the_text_says_what_counts_and_escapes_what_came_from_outside() {
        let now = Timestamp::from_millis(1_795_428_000_000);
        let status = Status {
            daemon: RUNNING,
            counts: Some(StateCounts {
                pending: 3,
                dead: 1,
                ..StateCounts::default()
            }),
            oldest_pending_seconds: Some(245),
            next_due_at: Some(now),
            gate: ShownGate {
                reason: Some("401 \u{1b}[31m".into()),
                ..ShownGate::of(GateName::Unauthorized)
            },
            at: now,
            ..Status::default()
        };
        let text = text(&status, &Config::defaults().unwrap());
        assert!(
            text.contains("pending         3, the oldest for 4 min, the next due now"),
            "{text}"
        );
        assert!(text.contains("401 \\u{1b}[31m") && !text.contains('\u{1b}'), "{text}");
        assert!(text.contains("parked          0"), "{text}");
        assert!(!text.contains("hindered") && !text.contains("configuration"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn what_hinders_and_what_the_dead_have_in_common_is_told() {
        let now = Timestamp::from_millis(1_795_428_000_000);
        let status = Status {
            daemon: RUNNING,
            counts: Some(StateCounts {
                pending: 1,
                dead: 7,
                ..StateCounts::default()
            }),
            next_due_at: Some(Timestamp::from_millis(4_070_908_800_000)),
            gate: ShownGate::of(GateName::Open),
            hindrances: vec![Hindered {
                what: "intake".into(),
                why: "/var has 0 bytes free\n".into(),
                hint: Some("make room".into()),
                since: Some(now),
            }],
            dead_by: Some(Dead {
                of_newest: 7,
                ..Dead::default()
            }),
            configuration_error: Some("line 3".into()),
            at: now,
            ..Status::default()
        };
        let text = text(&status, &Config::defaults().unwrap());
        assert!(text.contains("pending         1, the next on 2099-01-01"), "{text}");
        assert!(text.contains("configuration   wrong: line 3"), "{text}");
        assert!(
            text.contains("hindered        intake: /var has 0 bytes free\\n, since 2026-"),
            "{text}"
        );
        assert!(text.contains("\n                make room\n"), "{text}");
        assert!(text.contains("  by reason"), "{text}");
    }
}
