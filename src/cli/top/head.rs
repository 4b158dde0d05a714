//! The head of the view: what matters first. What `status` says too it says in the same words.

use std::time::Duration;

use ratatui::text::{Line, Span};

use crate::cli::render::escape::visible;
use crate::cli::render::table::wrap;
use crate::cli::render::time::{ago, elapsed, span};
use crate::cli::status;
use crate::policy::gate::GateName;

use super::look::ShownPace;
use super::tone::{Tone, style};
use super::view::View;

/// Names are put in a column of this width.
const NAMES: usize = 9;

/// The most lines of one thing: a server's message must not push the queue off the screen.
const LINES_MAX: usize = 3;

/// And of what happens next, which begins with what matters.
const NEXT_LINES_MAX: usize = 2;

/// The most minutes of the line of bars.
const BARS_MAX: usize = 30;

/// The bars, from nothing to the most.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// All of it, what matters most first: where there is no room, the end is left out.
pub fn lines(view: &View, width: usize) -> Vec<Line<'static>> {
    let status = &view.look.status;
    let mut head = Head {
        lines: Vec::new(),
        width,
        colour: view.colour,
    };
    if let Some(failed) = &view.look.failed {
        head.add("outbox", failed, Tone::Bad);
    }
    gate(&mut head, view);
    for hindered in &status.hindrances {
        head.add("hindered", &hindered.line(), Tone::Bad);
    }
    if let Some(counts) = status.counts {
        let tone = if counts.dead > 0 { Tone::Warning } else { Tone::Plain };
        let mut words = format!(
            "{} pending, {} sending, {} delivered, {} dead, {} parked",
            counts.pending, counts.sending, counts.delivered, counts.dead, counts.parked
        );
        if counts.dismissed > 0 {
            words = format!("{words}, {} dismissed", counts.dismissed);
        }
        head.add("queue", &words, tone);
        head.add("", &oldest(view), Tone::Plain);
    }
    let pace = &view.look.pace;
    head.add("a second", &rates(pace), Tone::Plain);
    head.add("answers", &answers(view), Tone::Plain);
    let at = view.look.at();
    let last = |what: &str, time| match time {
        Some(time) => format!("{what} {}", ago(time, at)),
        None => format!("{what} none yet"),
    };
    let disk = pace.free_bytes.map(|bytes| format!("; disk {} free", size(bytes)));
    let words = format!("{}, {}", last("in", pace.last_in), last("out", pace.last_out)) + &disk.unwrap_or_default();
    head.add("last", &words, Tone::Plain);
    for (place, node) in status::nodes(status).iter().enumerate() {
        let is_lost = status.nodes.get(place).is_some_and(status::ShownNode::is_lost);
        let name = if place == 0 { "nodes" } else { "" };
        head.add(name, node, if is_lost { Tone::Bad } else { Tone::Plain });
    }
    head.lines
}

struct Head {
    lines: Vec<Line<'static>>,
    width: usize,
    colour: bool,
}

impl Head {
    /// Name and value, escaped and broken under itself; nothing where there is no value.
    fn add(&mut self, name: &str, value: &str, tone: Tone) {
        self.add_at_most(LINES_MAX, name, value, tone);
    }

    fn add_at_most(&mut self, lines_max: usize, name: &str, value: &str, tone: Tone) {
        if value.is_empty() {
            return;
        }
        let wrapped = wrap(&visible(value), "", self.width.saturating_sub(NAMES + 2).max(10));
        for (place, line) in wrapped.lines().take(lines_max).enumerate() {
            let is_cut = place + 1 == lines_max && wrapped.lines().count() > lines_max;
            let name = if place == 0 { name } else { "" };
            let line = if is_cut { format!("{line} …") } else { line.to_owned() };
            self.lines.push(Line::from(vec![
                Span::styled(format!(" {name:<NAMES$} "), style(Tone::Quiet, self.colour)),
                Span::styled(line, style(tone, self.colour)),
            ]));
        }
    }
}

/// Its state, why, and what mends it; and what happens next where something is in the way.
fn gate(head: &mut Head, view: &View) {
    let status = &view.look.status;
    let tone = match status.gate.state {
        Some(GateName::Open) => Tone::Good,
        Some(GateName::Throttled | GateName::Paused) | None => Tone::Warning,
        Some(GateName::Probing | GateName::Unauthorized | GateName::Rejecting) => Tone::Bad,
    };
    let mut name = "gate";
    for (place, words) in status::gate(status).into_iter().flatten().enumerate() {
        head.add(name, &words, if place == 0 { tone } else { Tone::Plain });
        name = "";
    }
    let is_smooth = status.daemon == status::RUNNING && status.gate.is_open() && status.hindrances.is_empty();
    if !is_smooth {
        head.add_at_most(NEXT_LINES_MAX, "", &status::what_next(status), Tone::Plain);
    }
}

fn oldest(view: &View) -> String {
    let status = &view.look.status;
    let since = |seconds: Option<u64>, what: &str| {
        seconds.map(|seconds| format!("oldest {what} {}", span(Duration::from_secs(seconds))))
    };
    let counts = status.counts.unwrap_or_default();
    let next = status
        .next_due_at
        .map(|at| format!("next {}", status::when(at, status.at)));
    let parts = [
        since(status.oldest_pending_seconds, "pending").filter(|_| counts.pending > 0),
        next.filter(|_| counts.pending > 0),
        since(status.oldest_dead_seconds, "dead").filter(|_| counts.dead > 0),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn rates(pace: &ShownPace) -> String {
    let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), decimal);
    #[expect(clippy::cast_precision_loss, reason = "a rate that is shown with one digit")]
    let retried = pace.retried_per_minute.map(|retried| retried as f64 / 60.0);
    let words = format!(
        "{} delivered, {} retried, {} dead",
        rate(pace.delivered_per_second),
        rate(retried),
        rate(pace.dead_per_second)
    );
    if pace.minutes.len() < 2 {
        return words;
    }
    format!("{words}; by minute {}", bars(&pace.minutes))
}

/// `0`, `0.4`, `12`, `1204`.
fn decimal(rate: f64) -> String {
    if rate == 0.0 || rate >= 10.0 {
        format!("{rate:.0}")
    } else {
        format!("{rate:.1}")
    }
}

/// A bar for each of the newest, the highest for the most of them.
fn bars(counts: &[u64]) -> String {
    let newest = &counts[counts.len().saturating_sub(BARS_MAX)..];
    let most = newest.iter().copied().max().unwrap_or(0).max(1);
    let top = BARS.len() as u64 - 1;
    let bar = |count: &u64| {
        // What is not nothing is seen.
        let height = (count * top).div_ceil(most);
        usize::try_from(height)
            .ok()
            .and_then(|height| BARS.get(height))
            .unwrap_or(&BARS[0])
    };
    newest.iter().map(bar).collect()
}

fn answers(view: &View) -> String {
    let pace = &view.look.pace;
    let times = pace.answers.map(|times| {
        format!(
            "p50 {}, p95 {}, p99 {} of the newest {}",
            elapsed(times.p50),
            elapsed(times.p95),
            elapsed(times.p99),
            times.of
        )
    });
    let in_flight = view.look.status.in_flight.map(|count| format!("{count} in flight"));
    [times, in_flight].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// `512 MiB`, `12.3 GiB`.
fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes < 1024 * MIB {
        return format!("{} MiB", bytes / MIB);
    }
    let tenths = bytes / (1024 * MIB / 10);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_the_most_as_the_highest_and_little_as_something() {
        assert_eq!(bars(&[0, 1, 700, 350]), "▁▂█▅");
        assert_eq!(bars(&[0, 0]), "▁▁");
        assert_eq!(bars(&[1; 100]).chars().count(), BARS_MAX);
    }

    #[test]
    fn numbers_are_as_short_as_they_say_something() {
        assert_eq!([0.0, 0.44, 12.4, 1204.0].map(decimal), ["0", "0.4", "12", "1204"]);
        assert_eq!([5 << 20, 12 << 30].map(size), ["5 MiB", "12.0 GiB"]);
    }
}
