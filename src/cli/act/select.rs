//! Which submissions an act is about: the numbers an operator names, or what a filter matches.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::str::FromStr;

use anyhow::Context as _;

use crate::cli::exit::CliError;
use crate::cli::filter::FilterArgs;
use crate::clock::Timestamp;
use crate::model::{StateName, SubmissionId};
use crate::store::{Filter, Outbox, Still};

/// So much is read of standard input: over a million numbers, and a bound on memory where it is something else.
const INPUT_BYTES_MAX: u64 = 16 << 20;

/// The options of the acts.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The submissions' numbers; `-` reads them from standard input
    #[arg(value_name = "ID")]
    ids: Vec<Named>,

    #[command(flatten)]
    pub filter: FilterArgs,

    /// Of those that match, only the N oldest
    #[arg(long, value_name = "N", conflicts_with = "ids")]
    limit: Option<usize>,

    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,

    /// Do not ask, however many match
    #[arg(long)]
    pub yes: bool,

    /// Also those of whose activity a later one has been delivered, and those that a `not_before` holds
    #[arg(long)]
    pub force: bool,
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
        if text == "-" {
            Ok(Self::Input)
        } else {
            text.parse().map(Self::Id)
        }
    }
}

impl Args {
    /// Never everything by accident, and never a filter that silently does not count. `name` is the command's, `from`
    /// the states from which it is possible.
    pub fn check(&self, name: &str, from: &[StateName]) -> Result<(), CliError> {
        match (self.ids.is_empty(), self.filter.is_empty()) {
            (true, true) => Err(CliError::Usage(format!(
                "name the submissions by their numbers, or say which by a filter: `reten-outbox {name} 12`, \
                 `reten-outbox {name} --state {}`",
                from.last().map_or("dead", |state| state.into_str())
            ))),
            (false, false) => Err(CliError::Usage(format!("{name} takes numbers or a filter, not both"))),
            (true, false) | (false, true) => Ok(()),
        }
    }

    /// The one submission that is named, where it is one and nothing else is said.
    pub fn only(&self) -> Option<SubmissionId> {
        match self.ids.as_slice() {
            [Named::Id(id)] if self.filter.is_empty() => Some(*id),
            _ => None,
        }
    }

    /// Whether a filter says which.
    pub fn in_bulk(&self) -> bool {
        !self.filter.is_empty()
    }

    /// The numbers on the command line and on standard input, each once, in their order.
    pub fn named(&self) -> anyhow::Result<Vec<SubmissionId>> {
        let mut ids = Vec::new();
        for one in &self.ids {
            match one {
                Named::Id(id) => ids.push(*id),
                Named::Input => {
                    let mut text = String::new();
                    let read = io::stdin().lock().take(INPUT_BYTES_MAX + 1).read_to_string(&mut text);
                    if read.context("standard input cannot be read")? as u64 > INPUT_BYTES_MAX {
                        return Err(CliError::Usage(format!(
                            "standard input is longer than {INPUT_BYTES_MAX} bytes; use a filter"
                        ))
                        .into());
                    }
                    ids.extend(parse_ids(&text)?);
                }
            }
        }
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(*id));
        Ok(ids)
    }

    /// What is named, or what the filter matches, oldest first; without a state of its own, of the states from which
    /// the act is possible.
    pub async fn selected(&self, outbox: &Outbox, from: &[StateName], now: Timestamp) -> anyhow::Result<Selection> {
        if !self.in_bulk() {
            let found = self.named()?.into_iter().map(|id| (id, None)).collect();
            return Ok(Selection { filter: None, found });
        }
        let filter = self.filter.at(now);
        let states = if filter.states.is_empty() { from } else { &filter.states };
        let mut found = Vec::new();
        for state in states {
            let of_state = of_state(&filter, *state);
            found.extend(outbox.select(&of_state).await?.into_iter().map(|id| (id, Some(*state))));
        }
        found.sort_unstable();
        found.dedup();
        found.truncate(self.limit.unwrap_or(usize::MAX));
        Ok(Selection {
            filter: Some(filter),
            found,
        })
    }
}

fn of_state(filter: &Filter, state: StateName) -> Filter {
    Filter {
        states: vec![state],
        ..filter.clone()
    }
}

/// Submissions, and what they were chosen for.
#[derive(Debug)]
pub struct Selection {
    filter: Option<Filter>,
    /// In order; of those that a filter matched, the state in which it did.
    pub found: Vec<(SubmissionId, Option<StateName>)>,
}

impl Selection {
    /// These, which an operator saw in this state, and of a filter's reason and status.
    pub fn seen(ids: Vec<SubmissionId>, state: StateName, filter: Filter) -> Self {
        Self {
            filter: Some(filter),
            found: ids.into_iter().map(|id| (id, Some(state))).collect(),
        }
    }

    /// What must still hold of one that was in this state: what has left it meanwhile was not what the operator saw.
    pub fn still(&self, state: Option<StateName>) -> Still {
        let matches = self
            .filter
            .as_ref()
            .zip(state)
            .map(|(filter, state)| Box::new(of_state(filter, state)));
        Still { matches, payload: None }
    }

    /// They by state, since what must hold differs, in pieces of at most `limit`.
    pub fn pieces(&self, limit: usize) -> Vec<(Option<StateName>, Vec<SubmissionId>)> {
        let states: BTreeSet<Option<StateName>> = self.found.iter().map(|(_, state)| *state).collect();
        let mut pieces = Vec::new();
        for state in states {
            let ids: Vec<SubmissionId> = self
                .found
                .iter()
                .filter(|(_, of)| *of == state)
                .map(|(id, _)| *id)
                .collect();
            pieces.extend(ids.chunks(limit).map(|piece| (state, piece.to_vec())));
        }
        pieces
    }
}

/// Numbers between any white space.
fn parse_ids(text: &str) -> Result<Vec<SubmissionId>, CliError> {
    text.lines()
        .enumerate()
        .flat_map(|(place, line)| line.split_whitespace().map(move |word| (place + 1, word)))
        .map(|(line, word)| {
            word.parse()
                .map_err(|why| CliError::Usage(format!("standard input, line {line}: {why}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::command::{Cli, Command};

    fn args(arguments: &[&str]) -> Args {
        let all = ["reten-outbox", "requeue"].iter().chain(arguments);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Requeue(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn numbers_or_a_filter_and_never_neither() {
        let check = |arguments: &[&str]| args(arguments).check("requeue", &[StateName::Dead]);
        assert!(check(&[]).is_err());
        assert!(check(&["--yes"]).is_err());
        assert!(check(&["1", "--state", "dead"]).is_err());
        assert!(check(&["-"]).is_ok());
        assert!(check(&["--http-status", "400"]).is_ok());
    }

    #[test]
    fn several_states_are_named_one_by_one_or_in_a_list() {
        let both = [StateName::Dead, StateName::Parked];
        assert_eq!(args(&["--state", "dead", "--state", "parked"]).filter.state, both);
        assert_eq!(args(&["--state", "dead,parked"]).filter.state, both);
    }

    #[test]
    fn numbers_are_taken_once_each_and_wrong_ones_named_with_their_line() {
        assert_eq!(
            args(&["2", "1", "2"]).named().unwrap(),
            [SubmissionId(2), SubmissionId(1)]
        );
        assert_eq!(parse_ids("3\n 4 5\n\n").unwrap(), [3, 4, 5].map(SubmissionId));
        assert!(parse_ids("3\nx").unwrap_err().to_string().contains("line 2"));
    }
}
