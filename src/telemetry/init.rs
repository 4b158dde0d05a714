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

/// How long the end of the process waits for the last lines. A reader that is there takes them in milliseconds; one
/// that is not must not hold the daemon's restart up.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Logging, as long as this lives. Dropping it writes what still waits, for at most a second.
#[must_use = "dropping it ends logging"]
pub struct Telemetry {
    renderer: Renderer,
    filter: reload::Handle<Targets, Registry>,
}

/// Turns logging on for the whole process, to standard error, and makes panics log entries instead of text between
/// them. Once a process: a second call is an error, as is a thread that cannot be started.
pub fn init(log: &Log) -> anyhow::Result<Telemetry> {
    let lines = Lines::start(StandardError, events::lines_lost)?;
    let renderer = Renderer::new(output(log.format), lines)?;
    let (filter, handle) = reload::Layer::new(targets(log.level));
    tracing_subscriber::registry()
        .with(filter)
        .with(renderer.clone())
        .try_init()?;
    std::panic::set_hook(Box::new(log_panic));
    warn_of_journald(log.format);
    Ok(Telemetry {
        renderer,
        filter: handle,
    })
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
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let leads_to = if io::stderr().is_terminal() {
        LeadsTo::Terminal { colour: !plain }
    } else if journald::is_standard_error() {
        LeadsTo::Journal
    } else {
        LeadsTo::Elsewhere
    };
    choose(format, leads_to, journald::is_there())
}

/// Where what is written to standard error goes.
#[derive(Debug, Clone, Copy)]
enum LeadsTo {
    /// To an operator.
    Terminal { colour: bool },
    /// To the journal, a line at a time.
    Journal,
    /// To a file, or a program.
    Elsewhere,
}

fn choose(format: LogFormat, leads_to: LeadsTo, journal_is_there: bool) -> Output {
    match (format, leads_to) {
        (LogFormat::Auto, LeadsTo::Journal) | (LogFormat::Journald, _) if journal_is_there => Output::Journal,
        (LogFormat::Auto | LogFormat::Text, LeadsTo::Terminal { colour: true }) => {
            Output::Lines(Rendering::ColouredText)
        }
        (LogFormat::Auto, LeadsTo::Terminal { colour: false }) | (LogFormat::Text, _) => Output::Lines(Rendering::Text),
        (LogFormat::Auto, LeadsTo::Journal | LeadsTo::Elsewhere) | (LogFormat::Json | LogFormat::Journald, _) => {
            Output::Lines(Rendering::Json)
        }
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

/// The hook: a panic is one log entry like any other, so that it is neither lost nor spread over lines that no alert
/// matches.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let story = panic.payload_as_str().unwrap_or("a panic without words");
    let place = panic
        .location()
        .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    events::internal_error("panic", &format!("{story}, at {place}"));
}

/// Standard error without the standard library's lock on it: a write that stands still must not stop whoever prints the
/// last error.
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
        let terminal = |colour| LeadsTo::Terminal { colour };
        let lines = Output::Lines;
        let cases = [
            (LogFormat::Auto, LeadsTo::Elsewhere, true, lines(Rendering::Json)),
            (LogFormat::Auto, terminal(true), true, lines(Rendering::ColouredText)),
            (LogFormat::Auto, terminal(false), true, lines(Rendering::Text)),
            (LogFormat::Auto, LeadsTo::Journal, true, Output::Journal),
            (LogFormat::Auto, LeadsTo::Journal, false, lines(Rendering::Json)),
            (LogFormat::Text, LeadsTo::Elsewhere, true, lines(Rendering::Text)),
            (LogFormat::Text, LeadsTo::Journal, true, lines(Rendering::Text)),
            (LogFormat::Json, terminal(true), true, lines(Rendering::Json)),
            (LogFormat::Journald, terminal(true), true, Output::Journal),
            (LogFormat::Journald, LeadsTo::Elsewhere, false, lines(Rendering::Json)),
        ];
        for (format, leads_to, journal, output) in cases {
            assert_eq!(
                choose(format, leads_to, journal),
                output,
                "{format:?} {leads_to:?} {journal}"
            );
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
