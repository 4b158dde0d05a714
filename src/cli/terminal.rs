//! What a command asks of the terminal: its width, a yes, and a progress bar for what takes long.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::exit::CliError;

/// What takes less shows no progress: a bar that flashes up says nothing.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// The columns of standard output: of the terminal, else `$COLUMNS`. `None` where nobody says so, as in a pipe: what
/// reads it wants all of it.
pub fn width() -> Option<usize> {
    let stdout = io::stdout();
    let window = if stdout.is_terminal() {
        rustix::termios::tcgetwinsize(&stdout).ok()
    } else {
        None
    };
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    window
        .map(|window| usize::from(window.ws_col))
        .or_else(columns)
        .filter(|columns| *columns > 0)
}

/// Asks an operator; `question` says what would happen. Without a terminal nobody can answer: then it is an error that
/// names `--yes`.
pub fn confirm(question: &str) -> anyhow::Result<()> {
    let stdin = io::stdin();
    if !stdin.is_terminal() || !io::stderr().is_terminal() {
        return Err(CliError::Usage(format!(
            "{question} Nothing was changed. Add --yes to go on, or --dry-run to see what would happen."
        ))
        .into());
    }
    let mut asked = io::stderr();
    write!(asked, "{question} [y/N] ")?;
    asked.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(CliError::Refused("nothing was changed".to_owned()).into())
}

/// Asks an operator for a line; `None` where there is no terminal, or nothing was said.
pub fn ask(question: &str) -> io::Result<Option<String>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() || !io::stderr().is_terminal() {
        return Ok(None);
    }
    let mut asked = io::stderr();
    write!(asked, "{question} ")?;
    asked.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(Some(answer.trim().to_owned()).filter(|answer| !answer.is_empty()))
}

/// A progress bar on standard error, drawn only on a terminal and only after a second; gone when it is dropped.
pub struct ProgressLine {
    bar: ProgressBar,
    started: Instant,
}

impl ProgressLine {
    /// `unit` says what is counted: `submissions`, `bytes`.
    pub fn new(unit: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let template = format!("{{bar:30}} {{human_pos}} of {{human_len}} {unit}, {{eta}} left");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Self {
            bar,
            started: Instant::now(),
        }
    }

    /// So much is done of so much.
    pub fn at(&self, done: u64, total: u64) {
        if self.bar.is_hidden() && self.started.elapsed() >= PROGRESS_AFTER {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
