//! `requeue`, `override`, `accept`, `dismiss`: what a person does to submissions, by their numbers or by a filter.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write};
use std::str::FromStr;

use anyhow::Context as _;

use crate::model::{SubmissionId, Transition};
use crate::store::{ACT_IDS_MAX, Act, ActRequest, Acted, Filter, Outbox};

use super::context::Context;
use super::exit::{CliError, Exit};
use super::filter::FilterArgs;
use super::terminal::{Progress, confirm};
use super::{Global, note};

/// So much is read of standard input: over a million numbers, and a bound on memory where it is something else.
const INPUT_BYTES_MAX: u64 = 16 << 20;

/// Up to so many are told one by one; more are counted.
const LINES_MAX: usize = 20;

/// The options of the acts.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The submissions' numbers; `-` reads them from standard input
    #[arg(value_name = "ID")]
    ids: Vec<Named>,

    #[command(flatten)]
    filter: FilterArgs,

    /// Of those that match, only the N oldest
    #[arg(long, value_name = "N", help_heading = "Options", conflicts_with = "ids")]
    limit: Option<usize>,

    /// Only say what would be done
    #[arg(long, help_heading = "Options")]
    dry_run: bool,

    /// Do not ask, however many match
    #[arg(long, help_heading = "Options")]
    yes: bool,

    /// Also those of whose activity a later one has been delivered
    #[arg(long, help_heading = "Options")]
    force: bool,
}

/// A submission on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Id(SubmissionId),
    Input,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "-" { Ok(Self::Input) } else { text.parse().map(Self::Id) }
    }
}

/// Which act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Due now, attempts and age anew.
    Requeue,
    /// Ours replaces the registered one.
    Override,
    /// The registered one is ours.
    Accept,
    /// Close without delivering.
    Dismiss,
}

impl Verb {
    const fn name(self) -> &'static str {
        match self {
            Self::Requeue => "requeue",
            Self::Override => "override",
            Self::Accept => "accept",
            Self::Dismiss => "dismiss",
        }
    }

    /// What it was, afterwards.
    const fn done(self) -> &'static str {
        match self {
            Self::Requeue => "requeued",
            Self::Override => "requeued to override",
            Self::Accept => "accepted as delivered",
            Self::Dismiss => "dismissed",
        }
    }

    const fn act(self) -> Act {
        match self {
            Self::Requeue => Act::Requeue,
            Self::Override => Act::Override,
            Self::Accept => Act::Accept,
            Self::Dismiss => Act::Dismiss,
        }
    }

    const fn transition(self) -> Transition {
        match self {
            Self::Requeue => Transition::Requeue,
            Self::Override => Transition::ForceOverride,
            Self::Accept => Transition::Accept,
            Self::Dismiss => Transition::Dismiss,
        }
    }
}

/// Acts.
pub async fn run(verb: Verb, args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    check_usage(verb, &args)?;
    let context = Context::enter(global)?;
    let named = named_ids(&args.ids)?;
    let Some(outbox) = context.change_existing().await? else {
        note(&context.none_yet());
        return Ok(if args.filter.is_empty() { Exit::NoSuch } else { Exit::Done });
    };
    let in_bulk = !args.filter.is_empty();
    let ids = if in_bulk { matching(&outbox, verb, &args, &context).await? } else { named };
    if in_bulk && ids.len() > 1 && !args.yes && !args.dry_run {
        confirm(&format!("{} would touch {} submissions.", verb.name(), ids.len()))?;
    }
    let acted = act(&outbox, verb, &ids, &args, &context).await;
    outbox.close().await;
    let report = Report::of(&acted?);
    report.tell(verb, &args, in_bulk, out)?;
    Ok(report.exit(in_bulk))
}

/// Never everything by accident, and never a filter that silently does not count.
fn check_usage(verb: Verb, args: &Args) -> Result<(), CliError> {
    let name = verb.name();
    match (args.ids.is_empty(), args.filter.is_empty()) {
        (true, true) => Err(CliError::Usage(format!(
            "name the submissions by their numbers, or say which by a filter: `reten-outbox {name} 12`, `reten-outbox {name} --state {}`",
            verb.transition().allowed_from().last().map_or("dead", |state| state.name())
        ))),
        (false, false) => Err(CliError::Usage(format!("{name} takes numbers or a filter, not both"))),
        (true, false) | (false, true) => Ok(()),
    }
}

/// The numbers on the command line and on standard input, each once, in their order.
fn named_ids(named: &[Named]) -> anyhow::Result<Vec<SubmissionId>> {
    let mut ids = Vec::new();
    for one in named {
        match one {
            Named::Id(id) => ids.push(*id),
            Named::Input => {
                let mut text = String::new();
                let read = io::stdin().lock().take(INPUT_BYTES_MAX + 1).read_to_string(&mut text);
                if read.context("standard input cannot be read")? as u64 > INPUT_BYTES_MAX {
                    return Err(CliError::Usage(format!("standard input is longer than {INPUT_BYTES_MAX} bytes; use a filter")).into());
                }
                ids.extend(parse_ids(&text)?);
            }
        }
    }
    let mut seen = BTreeSet::new();
    ids.retain(|id| seen.insert(*id));
    Ok(ids)
}

/// Numbers between any white space.
fn parse_ids(text: &str) -> Result<Vec<SubmissionId>, CliError> {
    text.lines()
        .enumerate()
        .flat_map(|(place, line)| line.split_whitespace().map(move |word| (place + 1, word)))
        .map(|(line, word)| word.parse().map_err(|why| CliError::Usage(format!("standard input, line {line}: {why}"))))
        .collect()
}

/// What the filter matches, oldest first; without a state of its own, of the states from which the act is possible.
async fn matching(outbox: &Outbox, verb: Verb, args: &Args, context: &Context) -> anyhow::Result<Vec<SubmissionId>> {
    let filter = args.filter.at(context.now);
    let mut ids = Vec::new();
    if filter.state.is_some() {
        ids = outbox.select(&filter).await?;
    } else {
        for state in verb.transition().allowed_from() {
            let of_state = Filter { state: Some(*state), ..filter.clone() };
            ids.extend(outbox.select(&of_state).await?);
        }
        ids.sort_unstable();
    }
    ids.truncate(args.limit.unwrap_or(usize::MAX));
    Ok(ids)
}

async fn act(
    outbox: &Outbox,
    verb: Verb,
    ids: &[SubmissionId],
    args: &Args,
    context: &Context,
) -> anyhow::Result<Vec<(SubmissionId, Acted)>> {
    let progress = Progress::new("submissions");
    let mut acted = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(ACT_IDS_MAX) {
        let request = ActRequest {
            ids: chunk.to_vec(),
            act: verb.act(),
            actor: context.actor(),
            force: args.force,
            dry_run: args.dry_run,
            now: context.now,
        };
        // Each chunk is a transaction of its own: what an error leaves undone can be asked for again.
        let answers = outbox.act(request).await;
        acted.extend(answers.with_context(|| format!("{} of {} were done before", acted.len(), ids.len()))?);
        progress.at(acted.len() as u64, ids.len() as u64);
    }
    Ok(acted)
}

/// What became of each.
#[derive(Debug)]
struct Report<'a> {
    done: Vec<SubmissionId>,
    refused: Vec<(SubmissionId, &'a Acted)>,
}

impl<'a> Report<'a> {
    fn of(acted: &'a [(SubmissionId, Acted)]) -> Self {
        let mut report = Self { done: Vec::new(), refused: Vec::new() };
        for (id, acted) in acted {
            match acted {
                Acted::Done => report.done.push(*id),
                Acted::NoSuch | Acted::WrongState(_) | Acted::Superseded(_) => report.refused.push((*id, acted)),
            }
        }
        report
    }

    /// Named ones must all be done; of those a filter matched, what cannot be done is only skipped.
    fn exit(&self, in_bulk: bool) -> Exit {
        let unknown = self.refused.iter().any(|(_, why)| matches!(why, Acted::NoSuch));
        match (in_bulk, self.refused.is_empty()) {
            (true, _) | (false, true) => Exit::Done,
            (false, false) if unknown => Exit::NoSuch,
            (false, false) => Exit::Failed,
        }
    }

    fn tell(&self, verb: Verb, args: &Args, in_bulk: bool, out: &mut dyn Write) -> io::Result<()> {
        let done = if args.dry_run { format!("would be {}", verb.done()) } else { verb.done().to_owned() };
        let total = self.done.len() + self.refused.len();
        if total <= LINES_MAX {
            for id in &self.done {
                writeln!(out, "{id} {done}")?;
            }
        }
        for (id, why) in self.refused.iter().take(LINES_MAX) {
            note(&format!("{id} {}", refusal(verb, why)));
        }
        if total > LINES_MAX || in_bulk {
            writeln!(out, "{} {done}{}", self.done.len(), self.skipped())?;
        }
        Ok(())
    }

    /// `, 3 skipped (2 superseded, 1 in another state)`; nothing where none were.
    fn skipped(&self) -> String {
        let count = |is: fn(&Acted) -> bool| self.refused.iter().filter(|(_, why)| is(why)).count();
        let kinds = [
            (count(|why| matches!(why, Acted::Superseded(_))), "superseded"),
            (count(|why| matches!(why, Acted::WrongState(_))), "in another state"),
            (count(|why| matches!(why, Acted::NoSuch)), "gone"),
        ];
        let kinds: Vec<String> = kinds.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| format!("{count} {kind}")).collect();
        if kinds.is_empty() {
            return String::new();
        }
        format!(", {} skipped ({})", self.refused.len(), kinds.join(", "))
    }
}

/// Why not, in words.
fn refusal(verb: Verb, acted: &Acted) -> String {
    let name = verb.name();
    match acted {
        Acted::Done => verb.done().to_owned(),
        Acted::NoSuch => "does not exist".to_owned(),
        Acted::WrongState(state) => {
            let allowed: Vec<&str> = verb.transition().allowed_from().iter().map(|state| state.name()).collect();
            format!("is {}: {name} is for what is {}", state.name(), allowed.join(" or "))
        }
        Acted::Superseded(later) => {
            format!("is superseded: submission {later} of the same activity came later and is delivered; --force does it all the same")
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;
    use crate::model::State;

    fn args(arguments: &[&str]) -> Args {
        let all = ["reten-outbox", "requeue"].iter().chain(arguments);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Requeue(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn numbers_or_a_filter_and_never_neither() {
        assert!(check_usage(Verb::Requeue, &args(&[])).is_err());
        assert!(check_usage(Verb::Requeue, &args(&["--yes"])).is_err());
        assert!(check_usage(Verb::Requeue, &args(&["1", "--state", "dead"])).is_err());
        assert!(check_usage(Verb::Requeue, &args(&["-"])).is_ok());
        assert!(check_usage(Verb::Requeue, &args(&["--http-status", "400"])).is_ok());
    }

    #[test]
    fn numbers_are_taken_once_each_and_wrong_ones_named_with_their_line() {
        let ids = [Named::Id(SubmissionId(2)), Named::Id(SubmissionId(1)), Named::Id(SubmissionId(2))];
        assert_eq!(named_ids(&ids).unwrap(), [SubmissionId(2), SubmissionId(1)]);
        assert_eq!(parse_ids("3\n 4 5\n\n").unwrap(), [3, 4, 5].map(SubmissionId));
        assert!(parse_ids("3\nx").unwrap_err().to_string().contains("line 2"));
    }

    #[test]
    fn named_ones_must_be_done_and_matching_ones_are_skipped() {
        let acted = |why: &[Acted]| -> Vec<(SubmissionId, Acted)> { (1..).map(SubmissionId).zip(why.iter().cloned()).collect() };
        let cases = [
            (acted(&[Acted::Done]), Exit::Done),
            (acted(&[Acted::Done, Acted::Superseded(SubmissionId(9))]), Exit::Failed),
            (acted(&[Acted::WrongState(State::Delivered), Acted::NoSuch]), Exit::NoSuch),
        ];
        for (acted, expected) in &cases {
            let report = Report::of(acted);
            assert_eq!(report.exit(false), *expected);
            assert_eq!(report.exit(true), Exit::Done);
        }
        let report = Report::of(&cases[2].0);
        assert_eq!(report.skipped(), ", 2 skipped (1 in another state, 1 gone)");
    }
}
