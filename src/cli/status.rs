//! `status`: the state of the queue, once, every second, or as a check for monitoring.

mod dead;
mod hindered;
mod next;
mod show;
mod snapshot;

use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use crate::config::{Config, ConfigError, Home};
use crate::model::Address;

use super::context::{Context, Global};
use super::exit::Exit;
use super::filter::parse_age;
use hindered::Hindered;
pub use next::when;
pub use show::{gate, nodes};
#[cfg(test)]
pub use snapshot::StateCounts;
use snapshot::snapshot;
pub use snapshot::{RUNNING, ShownNode, Status, seen};

/// Between two snapshots of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// To the upper left corner, and clear from there: nothing flickers, and what was there before stays in the scrollback.
const REDRAW: &str = "\u{1b}[H\u{1b}[J";

/// The options of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One JSON object, for scripts
    #[arg(long)]
    json: bool,

    /// Look again every second, until interrupted
    #[arg(long, conflicts_with = "check")]
    watch: bool,

    /// Exit with 1 and the reasons if a limit is passed, the gate is not open (throttled is fine), intake or storage is
    /// hindered, or the daemon is stopped
    #[arg(long)]
    check: bool,

    #[command(flatten)]
    limits: Limits,
}

impl Args {
    /// Whether the exit code is the answer.
    pub(super) const fn is_check(&self) -> bool {
        self.check
    }
}

/// What `--check` does not put up with.
#[derive(Debug, Clone, Default, clap::Args)]
struct Limits {
    /// The oldest pending one was taken in longer ago than this (30m, 2h)
    #[arg(long, value_name = "AGE", requires = "check", value_parser = parse_age)]
    max_pending_age: Option<Duration>,

    /// The oldest file or row in the inbox has waited there for longer than this (5m, 1h)
    #[arg(long, value_name = "AGE", requires = "check", value_parser = parse_age)]
    max_waiting_age: Option<Duration>,

    /// There are more dead letters than this
    #[arg(long, value_name = "N", requires = "check")]
    max_dead: Option<u64>,

    /// There are more parked ones than this
    #[arg(long, value_name = "N", requires = "check")]
    max_parked: Option<u64>,

    /// Put up with a daemon of a shared outbox that was taken over and has not come back
    #[arg(long, requires = "check")]
    ignore_lost_nodes: bool,
}

pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let (context, wrong) = enter(global)?;
    let (mut status, mut failed) = snapshot(&context).await;
    status.configuration_error = wrong
        .as_ref()
        .map(|(error, place)| format!("{error}\n{place}").replace('\n', "; "));
    if args.check {
        let exit = check(&args, &mut status, &context, out)?;
        return ended(exit, wrong, failed);
    }
    loop {
        print(&args, &status, &context.config, out)?;
        if !args.watch {
            return ended(Exit::Done, wrong, failed);
        }
        out.flush()?;
        tokio::time::sleep(WATCH_INTERVAL).await;
        let before = status.configuration_error.take();
        (status, failed) = snapshot(&context).await;
        status.configuration_error = before;
    }
}

/// What happens next with the whole queue, in a sentence or two.
pub fn what_next(status: &Status) -> String {
    next::sentence(status)
}

/// What could not be read has an exit code of its own, after everything else was shown.
fn ended(exit: Exit, wrong: Option<(ConfigError, String)>, failed: Option<anyhow::Error>) -> anyhow::Result<Exit> {
    match (wrong, failed) {
        (Some((error, _)), _) => Err(error.into()),
        (None, Some(error)) => Err(error),
        (None, None) => Ok(exit),
    }
}

/// Enters also with a wrong configuration, where what it says of the outbox can be read; then why it is wrong, and what
/// is shown.
fn enter(global: &Global) -> anyhow::Result<(Context, Option<(ConfigError, String)>)> {
    let error = match Context::enter(global) {
        Ok(context) => return Ok((context, None)),
        Err(error) => error.downcast::<ConfigError>()?,
    };
    // Which outbox it names cannot be told, and there is none at the usual place: that would be shown as an empty one.
    let is_there = |(config, is_certain): &(Config, bool)| *is_certain || is_known(&config.outbox.database);
    let Some((config, is_certain)) = global.salvage().filter(is_there) else {
        return Err(error.into());
    };
    let outbox = config.outbox.database.to_string();
    let place = if is_certain {
        format!("the outbox that it names is shown, {outbox}")
    } else {
        format!("which outbox it names cannot be told; shown is that of the defaults, {outbox}")
    };
    Ok((Context::of(config, Home::default())?, Some((error, place))))
}

/// Whether there is something to show: of a file, that it is there; a server was named.
fn is_known(outbox: &Address) -> bool {
    match outbox {
        Address::File(path) => path.exists(),
        Address::Server(_) => true,
    }
}

fn print(args: &Args, status: &Status, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    if args.json {
        writeln!(out, "{}", show::json(status)?)?;
        return Ok(());
    }
    if args.watch && std::io::stdout().is_terminal() {
        write!(out, "{REDRAW}")?;
    }
    write!(out, "{}", show::text(status, config))?;
    Ok(())
}

fn check(args: &Args, status: &mut Status, context: &Context, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let problems = problems(status, &args.limits);
    let exit = if problems.is_empty() { Exit::Done } else { Exit::Failed };
    if args.json {
        status.problems = Some(problems);
        print(args, status, &context.config, out)?;
        return Ok(exit);
    }
    if problems.is_empty() {
        writeln!(out, "ok")?;
    }
    for problem in &problems {
        writeln!(out, "{problem}")?;
    }
    Ok(exit)
}

/// Every reason for which a check fails, a line each.
fn problems(status: &Status, limits: &Limits) -> Vec<String> {
    let mut problems = Vec::new();
    if status.daemon != RUNNING {
        problems.push(format!("the daemon is {}", status.daemon));
    }
    problems.extend(status.hindrances.iter().map(Hindered::line));
    if status.counts.is_some() && !status.gate.is_open() {
        let why = status
            .gate
            .reason
            .as_deref()
            .map(|why| format!(": {why}"))
            .unwrap_or_default();
        problems.push(format!("the gate is {}{why}", status.gate.name()));
    }
    if let (Some(limit), Some(age)) = (limits.max_pending_age, status.oldest_pending_seconds)
        && age > limit.as_secs()
    {
        problems.push(format!(
            "the oldest pending submission is {age} s old, more than {} s",
            limit.as_secs()
        ));
    }
    for (what, age) in [
        ("file", status.oldest_waiting_file_seconds),
        ("row", status.oldest_waiting_row_seconds),
    ] {
        if let (Some(limit), Some(age)) = (limits.max_waiting_age, age)
            && age > limit.as_secs()
        {
            problems.push(format!(
                "the oldest {what} in the inbox has waited for {age} s, more than {} s",
                limit.as_secs()
            ));
        }
    }
    let lost = status
        .nodes
        .iter()
        .filter(|node| node.is_lost() && !limits.ignore_lost_nodes);
    problems.extend(lost.map(|node| {
        format!(
            "the node {} was taken over and has not come back, last seen {}: start the daemon there; if its host is gone \
             for good, --ignore-lost-nodes, until it is forgotten after 30 days",
            node.name, node.last_seen
        )
    }));
    let counts = status.counts.unwrap_or_default();
    for (limit, state, count) in [
        (limits.max_dead, "dead", counts.dead),
        (limits.max_parked, "parked", counts.parked),
    ] {
        if let Some(limit) = limit.filter(|limit| count > *limit) {
            problems.push(format!("{count} {state} submissions, more than {limit}"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::gate::ShownGate;
    use crate::policy::gate::GateName;
    use snapshot::StateCounts;

    #[test]
    fn a_check_names_every_reason_and_puts_up_with_a_throttled_gate() {
        let limits = Limits {
            max_pending_age: Some(Duration::from_mins(1)),
            max_waiting_age: Some(Duration::from_mins(1)),
            max_dead: Some(0),
            max_parked: Some(3),
            ignore_lost_nodes: false,
        };
        let mut status = Status {
            daemon: RUNNING,
            gate: ShownGate::of(GateName::Throttled),
            oldest_pending_seconds: Some(60),
            oldest_waiting_file_seconds: Some(60),
            counts: Some(StateCounts::default()),
            ..Status::default()
        };
        assert_eq!(problems(&status, &limits), Vec::<String>::new());
        status.oldest_pending_seconds = Some(61);
        status.oldest_waiting_file_seconds = Some(62);
        status.oldest_waiting_row_seconds = Some(63);
        status.counts = Some(StateCounts {
            dead: 1,
            parked: 4,
            ..StateCounts::default()
        });
        status.gate = ShownGate::of(GateName::Probing);
        status.daemon = snapshot::STOPPED;
        status.hindrances.push(Hindered {
            what: "intake".into(),
            why: "0 bytes free".into(),
            hint: Some("make room".into()),
            since: None,
        });
        let told = problems(&status, &limits).join("\n");
        for word in [
            "stopped",
            "probing",
            "61 s",
            "62 s",
            "63 s",
            "1 dead",
            "4 parked",
            "intake is hindered: 0 bytes free; make room",
        ] {
            assert!(told.contains(word), "{word}: {told}");
        }
        assert_eq!(
            problems(&status, &Limits::default()).len(),
            3,
            "no limit is on unless it is named"
        );
    }
}
