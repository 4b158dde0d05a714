//! Renders an event as one line (or, for the journal, one entry), as text for people or as JSON for programs, straight
//! from its fields into one string.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::escape::{push_json_string, push_text_value};
use super::events::{self, TARGET};
use super::fields::{Fields, Sorted};
use super::journald::{self, Journal};
use super::lines::Lines;
use crate::clock::{self, Timestamp};

/// How wide the event's name is in text: that of `retry_scheduled`, so that the fields of nearly all events begin in
/// one column.
const EVENT_WIDTH: usize = 15;

/// Enough for most lines, in bytes, so that a line is one allocation.
const LINE_BYTES_USUAL: usize = 320;

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rendering {
    /// `2026-11-23T10:00:00.123Z WARN  retry_scheduled submission=12 …`
    Text,
    /// The same with colours.
    ColouredText,
    /// `{"time":"…","level":"warn","event":"retry_scheduled","submission":12,…}`
    Json,
}

/// Where events go, and in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// Lines, to standard error.
    Lines(Rendering),
    /// Entries with native fields, to the journal: see [`journald`].
    Journal,
}

impl Output {
    const ALL: [Self; 4] = [
        Self::Lines(Rendering::Json),
        Self::Lines(Rendering::Text),
        Self::Lines(Rendering::ColouredText),
        Self::Journal,
    ];
}

/// The layer: every event that the filter lets through becomes a line of `lines`, or an entry of the journal. Clones
/// are one and the same.
#[derive(Clone)]
pub(super) struct Renderer {
    /// The place in [`Output::ALL`]: it may change at a reload, and a lock on every line would be a dear way to know.
    output: Arc<AtomicUsize>,
    lines: Lines,
    /// Its own buffer and thread, from the first time that it is asked for: a journal that stands still must not hold
    /// standard error up.
    journal: Arc<OnceLock<Lines>>,
}

impl Renderer {
    /// The error is a thread that cannot be started.
    pub(super) fn new(output: Output, lines: Lines) -> io::Result<Self> {
        let renderer = Self {
            output: Arc::default(),
            lines,
            journal: Arc::default(),
        };
        renderer.set(output)?;
        Ok(renderer)
    }

    /// Changes the output. On an error, that the journal's thread cannot be started, the old one stays.
    pub(super) fn set(&self, output: Output) -> io::Result<()> {
        if output == Output::Journal && self.journal.get().is_none() {
            let journal = Lines::start(Journal::open()?, events::lines_lost)?;
            // It was set meanwhile: that one is as good.
            let _ = self.journal.set(journal);
        }
        let index = Output::ALL.iter().position(|known| *known == output);
        self.output.store(index.unwrap_or_default(), Ordering::Relaxed);
        Ok(())
    }

    /// Waits until everything is written, at most `timeout` for each output.
    pub(super) fn flush(&self, timeout: Duration) {
        self.lines.flush(timeout);
        if let Some(journal) = self.journal.get() {
            journal.flush(timeout);
        }
    }
}

impl<S: Subscriber> Layer<S> for Renderer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let lines = |rendering| self.lines.push(&render(rendering, clock::now(), event));
        match (Output::ALL.get(self.output.load(Ordering::Relaxed)), self.journal.get()) {
            (Some(Output::Journal), Some(journal)) => journal.push(&journald::entry(event)),
            (Some(Output::Lines(rendering)), _) => lines(*rendering),
            (Some(Output::Journal) | None, _) => lines(Rendering::Json),
        }
    }
}

/// The line of an event, with its line break.
fn render(rendering: Rendering, now: Timestamp, event: &Event<'_>) -> String {
    let mut line = LogLine::begin(rendering, now, event.metadata());
    event.record(&mut Sorted(&mut line));
    line.end()
}

/// A line in the making. Fields come in the order in which `events` names them, and `event` is the first of each.
struct LogLine {
    out: String,
    rendering: Rendering,
}

impl LogLine {
    fn begin(rendering: Rendering, now: Timestamp, metadata: &Metadata<'_>) -> Self {
        let mut out = String::with_capacity(LINE_BYTES_USUAL);
        let (upper, lower, colour) = shown(*metadata.level());
        // Writing to a String cannot fail.
        let _ = match rendering {
            Rendering::Text => write!(out, "{now} {upper:<5}"),
            Rendering::ColouredText => write!(out, "\x1b[2m{now}\x1b[0m {colour}{upper:<5}\x1b[0m"),
            Rendering::Json => write!(out, "{{\"time\":\"{now}\",\"level\":\"{lower}\""),
        };
        let mut line = Self { out, rendering };
        if !metadata.target().starts_with(TARGET) {
            line.event("dependency");
            line.text("target", metadata.target());
        }
        line
    }

    fn name(&mut self, name: &str) {
        // Writing to a String cannot fail.
        let _ = match self.rendering {
            Rendering::Text => write!(self.out, " {name}="),
            Rendering::ColouredText => write!(self.out, " \x1b[2m{name}=\x1b[0m"),
            Rendering::Json => write!(self.out, ",\"{name}\":"),
        };
    }

    fn end(mut self) -> String {
        match self.rendering {
            // An event without fields ends in the padding of its name.
            Rendering::Text | Rendering::ColouredText => self.out.truncate(self.out.trim_end_matches(' ').len()),
            Rendering::Json => self.out.push('}'),
        }
        self.out.push('\n');
        self.out
    }
}

impl Fields for LogLine {
    fn event(&mut self, name: &str) {
        // Writing to a String cannot fail.
        let _ = match self.rendering {
            Rendering::Text => write!(self.out, " {name:<EVENT_WIDTH$}"),
            Rendering::ColouredText => write!(self.out, " \x1b[1m{name:<EVENT_WIDTH$}\x1b[0m"),
            Rendering::Json => write!(self.out, ",\"event\":\"{name}\""),
        };
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        match self.rendering {
            Rendering::Text | Rendering::ColouredText => push_text_value(&mut self.out, value),
            Rendering::Json => push_json_string(&mut self.out, value),
        }
    }

    fn plain(&mut self, name: &str, value: &dyn fmt::Display) {
        self.name(name);
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{value}");
    }
}

/// A level as text writes it, as JSON does, and its colour on a terminal.
const fn shown(level: Level) -> (&'static str, &'static str, &'static str) {
    match level {
        Level::ERROR => ("ERROR", "error", "\x1b[31m"),
        Level::WARN => ("WARN", "warn", "\x1b[33m"),
        Level::INFO => ("INFO", "info", "\x1b[32m"),
        Level::DEBUG => ("DEBUG", "debug", "\x1b[34m"),
        Level::TRACE => ("TRACE", "trace", "\x1b[35m"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;
    use std::time::Duration;

    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::registry;

    use super::*;
    use crate::model::{AttemptNumber, SubmissionId};
    use crate::telemetry::events::{self, How, Who};

    /// Keeps what would have been written, at a fixed time.
    struct Kept {
        rendering: Rendering,
        lines: Arc<Mutex<Vec<String>>>,
    }

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let line = render(self.rendering, Timestamp::from_millis(1_795_428_000_123), event);
            self.lines.lock().unwrap().push(line);
        }
    }

    fn lines_of(rendering: Rendering, log: impl FnOnce()) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Kept {
            rendering,
            lines: Arc::clone(&lines),
        };
        with_default(registry().with(kept), log);
        lines.lock().unwrap().clone()
    }

    fn a_retry() {
        let who = Who {
            submission: SubmissionId(12),
            key: Some("crm-1"),
            activity: None,
            source: Some("call\ncentre"),
        };
        let how = How {
            attempt: Some(AttemptNumber(3)),
            status: Some(503),
            elapsed: Some(Duration::from_millis(87)),
            message: Some("try \"later\"\u{202e}"),
            ..How::default()
        };
        events::retry_scheduled(who, how, Duration::from_secs(1));
    }

    #[test]
    fn text_is_one_aligned_line_with_its_values_escaped() {
        assert_eq!(
            lines_of(Rendering::Text, a_retry),
            [
                "2026-11-23T10:00:00.123Z WARN  retry_scheduled submission=12 key=crm-1 source=\"call\\ncentre\" attempt=3 status=503 \
              elapsed_ms=87 delay_ms=1000 message=\"try \\\"later\\\"\\u{202e}\"\n"
            ]
        );
        assert_eq!(
            lines_of(Rendering::Text, || events::stopping("SIGTERM")),
            ["2026-11-23T10:00:00.123Z INFO  stopping        signal=SIGTERM\n"]
        );
    }

    #[test]
    fn json_is_one_object_with_typed_values() {
        let lines = lines_of(Rendering::Json, a_retry);
        assert_eq!(lines[0].matches('\n').count(), 1);
        assert!(!lines[0].contains('\u{202e}'));
        let value: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "time": "2026-11-23T10:00:00.123Z", "level": "warn", "event": "retry_scheduled", "submission": 12, "key": "crm-1",
                "source": "call\ncentre", "attempt": 3, "status": 503, "elapsed_ms": 87, "delay_ms": 1000, "message": "try \"later\"\u{202e}",
            })
        );
    }

    #[test]
    fn paths_and_times_are_text_like_any_other() {
        let path = Path::new("/tmp/in\nbox");
        let lines = lines_of(Rendering::Json, || {
            events::started("0.1.0", "defaults", "https://api", "/outbox.db", path, path, 0, 7);
        });
        let value: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(value["inbox"], "/tmp/in\nbox");
        assert_eq!(value["seed"], 7);
    }

    #[test]
    fn what_a_dependency_says_carries_its_target() {
        let lines = lines_of(
            Rendering::Text,
            || tracing::trace!(target: "hyper::client", n = 3, "connected to {}", "x"),
        );
        assert_eq!(
            lines,
            ["2026-11-23T10:00:00.123Z TRACE dependency      target=hyper::client message=\"connected to x\" n=3\n"]
        );
    }

    #[test]
    fn colours_surround_text_and_never_come_from_a_value() {
        let lines = lines_of(Rendering::ColouredText, || events::stopping("\x1b[31m"));
        assert!(lines[0].contains("\x1b[1mstopping"));
        assert!(lines[0].ends_with("\"\\u{1b}[31m\"\n"));
    }
}
