//! Turns logging on: chooses the form, sets the level, and hands out the guard that flushes at the end.

use std::io::{self, IsTerminal as _, Write};
use std::panic::PanicHookInfo;
use std::time::Duration;

use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::events::{self, TARGET};
use super::journald;
use super::layer::{Output, Renderer, Rendering};
use super::lines::Lines;
use crate::config::{Level, Log, LogFormat};

/// How long the end of the process waits for the last lines. A reader that is there takes them in milliseconds; one that is not must not hold
/// the daemon's restart up.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Logging, as long as this lives. Dropping it writes what still waits, for at most a second.
#[must_use = "dropping it ends logging"]
pub struct Telemetry {
    renderer: Renderer,
    filter: reload::Handle<Targets, Registry>,
}

/// Turns logging on for the whole process, to standard error, and makes panics log entries instead of text between them. Once a process:
/// a second call is an error, as is a thread that cannot be started.
pub fn init(log: &Log) -> anyhow::Result<Telemetry> {
    let lines = Lines::start(StandardError, events::lines_lost)?;
    let renderer = Renderer::new(output(log.format), lines)?;
    let (filter, handle) = reload::Layer::new(targets(log.level));
    tracing_subscriber::registry().with(filter).with(renderer.clone()).try_init()?;
    std::panic::set_hook(Box::new(log_panic));
    warn_of_journald(log.format);
    Ok(Telemetry { renderer, filter: handle })
}

impl Telemetry {
    /// Changes the level and the form, as a reload does.
    pub fn apply(&self, log: &Log) {
        // The only error is a subscriber that is gone, and it lives as long as the process.
        let _ = self.filter.modify(|filter| *filter = targets(log.level));
        if let Err(error) = self.renderer.set(output(log.format)) {
            events::internal_error("log.format", &error.to_string());
        }
        warn_of_journald(log.format);
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.renderer.flush(FLUSH_TIMEOUT);
    }
}

/// Ours at the configured level; what dependencies say only at `trace`, where everything is wanted.
fn targets(level: Level) -> Targets {
    let (ours, theirs) = match level {
        Level::Error => (LevelFilter::ERROR, LevelFilter::OFF),
        Level::Warn => (LevelFilter::WARN, LevelFilter::OFF),
        Level::Info => (LevelFilter::INFO, LevelFilter::OFF),
        Level::Debug => (LevelFilter::DEBUG, LevelFilter::OFF),
        Level::Trace => (LevelFilter::TRACE, LevelFilter::TRACE),
    };
    Targets::new().with_target(TARGET, ours).with_default(theirs)
}

/// The form that fits where this process's standard error leads.
fn output(format: LogFormat) -> Output {
    // https://no-color.org: set to anything but the empty string.
    let plain =
        std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    choose(
        format,
        &Surroundings {
            terminal: io::stderr().is_terminal(),
            colour: !plain,
            journal: journald::is_there(),
            journal_hears: journald::is_standard_error(),
        },
    )
}

/// What decides the form, besides the setting.
struct Surroundings {
    /// Standard error is a terminal.
    terminal: bool,
    /// Colours are welcome there.
    colour: bool,
    /// There is a journal.
    journal: bool,
    /// What is written to standard error goes to the journal.
    journal_hears: bool,
}

fn choose(format: LogFormat, around: &Surroundings) -> Output {
    match format {
        LogFormat::Auto if around.journal && around.journal_hears => Output::Journal,
        LogFormat::Journald if around.journal => Output::Journal,
        LogFormat::Auto if !around.terminal => Output::Lines(Rendering::Json),
        LogFormat::Auto | LogFormat::Text if around.terminal && around.colour => Output::Lines(Rendering::ColouredText),
        LogFormat::Auto | LogFormat::Text => Output::Lines(Rendering::Text),
        LogFormat::Json | LogFormat::Journald => Output::Lines(Rendering::Json),
    }
}

fn warn_of_journald(format: LogFormat) {
    match format {
        LogFormat::Journald if !journald::is_there() => events::warning(
            "log.format = \"journald\", but there is no journal here; logging JSON to standard error instead",
            "use \"auto\": it means journald wherever systemd started the daemon",
        ),
        LogFormat::Journald | LogFormat::Auto | LogFormat::Text | LogFormat::Json => {}
    }
}

/// The hook: a panic is one log entry like any other, so that it is neither lost nor spread over lines that no alert matches.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let story = panic.payload_as_str().unwrap_or("a panic without words");
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    events::internal_error("panic", &format!("{story}, at {place}"));
}

/// Standard error without the standard library's lock on it: a write that stands still must not stop whoever prints the last error.
struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stderr(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_follows_the_terminal_unless_it_is_named() {
        let nowhere = || Surroundings {
            terminal: false,
            colour: false,
            journal: false,
            journal_hears: false,
        };
        let terminal = |colour| Surroundings {
            terminal: true,
            colour,
            ..nowhere()
        };
        let journal = |journal_hears| Surroundings {
            journal: true,
            journal_hears,
            ..nowhere()
        };
        let cases = [
            (LogFormat::Auto, nowhere(), Output::Lines(Rendering::Json)),
            (LogFormat::Auto, terminal(true), Output::Lines(Rendering::ColouredText)),
            (LogFormat::Auto, terminal(false), Output::Lines(Rendering::Text)),
            (LogFormat::Auto, journal(true), Output::Journal),
            (LogFormat::Auto, journal(false), Output::Lines(Rendering::Json)),
            (LogFormat::Text, nowhere(), Output::Lines(Rendering::Text)),
            (LogFormat::Text, journal(true), Output::Lines(Rendering::Text)),
            (LogFormat::Json, terminal(true), Output::Lines(Rendering::Json)),
            (LogFormat::Journald, nowhere(), Output::Lines(Rendering::Json)),
            (LogFormat::Journald, journal(false), Output::Journal),
        ];
        for (format, around, output) in cases {
            assert_eq!(choose(format, &around), output, "{format:?}");
        }
    }

    #[test]
    fn dependencies_are_heard_at_trace_only() {
        assert!(targets(Level::Info).would_enable(TARGET, &tracing::Level::INFO));
        assert!(!targets(Level::Info).would_enable(TARGET, &tracing::Level::DEBUG));
        assert!(!targets(Level::Debug).would_enable("hyper::proto", &tracing::Level::ERROR));
        assert!(targets(Level::Trace).would_enable("hyper::proto", &tracing::Level::TRACE));
    }
}
