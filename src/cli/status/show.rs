//! A look at the queue, in words and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cli::render::escape::{self, visible};
use crate::cli::render::outcome::ErrorView;
use crate::cli::render::table::wrap;
use crate::cli::render::time::{ago, due, full, span};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::delivery::meters::LastError;

use super::look::Status;
use super::next;

/// Names stand in a column of this width, so that values start at one place.
const NAMES: usize = 14;

/// Where values are broken.
const WIDTH: usize = 80;

/// One JSON object in one line.
pub fn json(status: &Status) -> serde_json::Result<String> {
    Ok(escape::json(&serde_json::to_string(status)?).into_owned())
}

/// Name and value, a line each; what does not apply is left out.
pub fn text(status: &Status, config: &Config) -> String {
    let seconds = |seconds: Option<u64>| seconds.map(|seconds| span(Duration::from_secs(seconds)));
    let counts = status.counts;
    let counted = |count: u64, more: Option<String>| match more {
        Some(more) if count > 0 => format!("{count}, {more}"),
        _ => count.to_string(),
    };
    let mut pending: Vec<String> = seconds(status.oldest_pending_seconds)
        .map(|age| format!("the oldest for {age}"))
        .into_iter()
        .collect();
    pending.extend(status.next_due_at.map(|at| format!("the next {}", due(at, status.at))));
    let gate = match status.gate_since {
        Some(since) => format!("{} since {}", status.gate, full(since, status.at)),
        None => status.gate.clone(),
    };
    let daemon = match status.daemon_pid {
        Some(pid) => format!("{}, process {pid}", status.daemon),
        None => status.daemon.to_owned(),
    };
    let rows = [
        ("daemon", Some(daemon)),
        ("gate", Some(gate)),
        ("", status.gate_reason.clone()),
        ("", status.gate_hint.clone()),
        (
            "pending",
            Some(counted(counts.pending, Some(pending.join(", ")).filter(|more| !more.is_empty()))),
        ),
        ("sending", Some(counts.sending.to_string())),
        ("delivered", Some(counts.delivered.to_string())),
        (
            "dead",
            Some(counted(
                counts.dead,
                seconds(status.oldest_dead_seconds).map(|age| format!("the oldest for {age}")),
            )),
        ),
        ("parked", Some(counts.parked.to_string())),
        ("dismissed", Some(counts.dismissed.to_string())),
        (
            "rate",
            status.delivered_per_minute.map(|rate| format!("{rate} delivered in a minute")),
        ),
        ("last error", status.last_error.as_ref().map(|error| last_error(error, status.at))),
        ("waiting", waiting(status)),
        ("rejected files", Some(counted(status.rejected_files, Some(next::rejected(config))))),
        (
            "rejected rows",
            status.rejected_rows.filter(|rows| *rows > 0).map(|rows| rows.to_string()),
        ),
    ];
    let mut out = String::new();
    for (name, value) in rows {
        let Some(value) = value else { continue };
        let value = wrap(&visible(&value), &" ".repeat(NAMES + 2), WIDTH);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:<NAMES$}  {}", value.trim());
    }
    out + &what_next(status)
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
    let rows = status.waiting_rows.filter(|rows| *rows > 0).map(|rows| format!("{rows} rows"));
    let parts: Vec<String> = files.into_iter().chain(rows).collect();
    (!parts.is_empty()).then(|| format!("{} in the inbox", parts.join(" and ")))
}

/// `503 Service Unavailable: …, of submission 12, 4 min ago`.
fn last_error(error: &LastError, now: Timestamp) -> String {
    let view = ErrorView {
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
    use crate::cli::status::look::{Counts, RUNNING};

    #[test]
    fn the_text_says_what_counts_and_escapes_what_came_from_outside() {
        let now = Timestamp::from_millis(1_795_428_000_000);
        let status = Status {
            daemon: RUNNING,
            counts: Counts {
                pending: 3,
                dead: 1,
                ..Counts::default()
            },
            oldest_pending_seconds: Some(245),
            next_due_at: Some(now),
            gate: "unauthorized".into(),
            gate_reason: Some("401 \u{1b}[31m".into()),
            at: now,
            ..Status::default()
        };
        let text = text(&status, &Config::defaults().unwrap());
        assert!(text.contains("pending         3, the oldest for 4 min, the next due now"), "{text}");
        assert!(text.contains("401 \\u{1b}[31m") && !text.contains('\u{1b}'), "{text}");
        assert!(text.contains("parked          0"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
