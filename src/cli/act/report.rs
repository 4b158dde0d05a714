//! What became of each submission, told one by one or counted, and the exit code that follows.

use std::io::{self, Write};

use crate::cli::exit::Exit;
use crate::cli::output::note;
use crate::model::{ActName, State, StateName, SubmissionId};
use crate::store::Acted;

use super::select::Args;

/// Up to so many are told one by one; more are counted.
const LINES_MAX: usize = 20;

/// What became of each.
#[derive(Debug)]
pub struct ActReport<'a> {
    done: Vec<SubmissionId>,
    refused: Vec<(SubmissionId, &'a Acted)>,
}

impl<'a> ActReport<'a> {
    pub fn of(acted: &'a [(SubmissionId, Acted)]) -> Self {
        let mut report = Self {
            done: Vec::new(),
            refused: Vec::new(),
        };
        for (id, acted) in acted {
            match acted {
                Acted::Done => report.done.push(*id),
                Acted::NoSuch | Acted::Changed | Acted::WrongState(_) | Acted::Superseded(_) | Acted::HeldUntil(_) => {
                    report.refused.push((*id, acted));
                }
            }
        }
        report
    }

    /// Named ones must all be done; of those a filter matched, what cannot be done is only skipped.
    pub fn exit(&self, in_bulk: bool) -> Exit {
        let unknown = self.refused.iter().any(|(_, why)| matches!(why, Acted::NoSuch));
        match (in_bulk, self.refused.is_empty()) {
            (true, _) | (false, true) => Exit::Done,
            (false, false) if unknown => Exit::NoSuch,
            (false, false) => Exit::Failed,
        }
    }

    /// Tells what was done on `out`, and what was refused beside it.
    pub fn write(&self, act: ActName, args: &Args, out: &mut dyn Write) -> io::Result<()> {
        let done = if args.dry_run {
            format!("would be {}", done(act))
        } else {
            done(act).to_owned()
        };
        let total = self.done.len() + self.refused.len();
        if total <= LINES_MAX {
            for id in &self.done {
                writeln!(out, "submission {id} {done}")?;
            }
        }
        for (id, why) in self.refused.iter().take(LINES_MAX) {
            note(&format!("submission {id} {}", refusal(act, why)));
        }
        if total > LINES_MAX || args.in_bulk() {
            let count = self.done.len();
            let noun = if count == 1 { "submission" } else { "submissions" };
            writeln!(out, "{count} {noun} {done}{}", self.skipped())?;
        }
        Ok(())
    }

    /// `, 3 skipped (2 superseded, 1 in another state)`; nothing where none were.
    fn skipped(&self) -> String {
        let count = |is: fn(&Acted) -> bool| self.refused.iter().filter(|(_, why)| is(why)).count();
        let kinds = [
            (count(|why| matches!(why, Acted::Superseded(_))), "superseded"),
            (
                count(|why| matches!(why, Acted::HeldUntil(_))),
                "held by not_before: --force sends them now",
            ),
            (count(|why| matches!(why, Acted::Changed)), "changed meanwhile"),
            (count(|why| matches!(why, Acted::WrongState(_))), "in another state"),
            (count(|why| matches!(why, Acted::NoSuch)), "gone"),
        ];
        let kinds: Vec<String> = kinds
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, kind)| format!("{count} {kind}"))
            .collect();
        if kinds.is_empty() {
            return String::new();
        }
        format!(", {} skipped ({})", self.refused.len(), kinds.join(", "))
    }
}

/// In a line: what was done to how many, and why not to the others.
pub fn summary(act: ActName, acted: &[(SubmissionId, Acted)]) -> String {
    let report = ActReport::of(acted);
    match (report.done.as_slice(), report.refused.as_slice()) {
        ([id], []) => format!("submission {id} {}", done(act)),
        ([], [(id, why)]) => format!("submission {id} {}", refusal(act, why)),
        (all, _) => {
            let noun = if all.len() == 1 { "submission" } else { "submissions" };
            format!("{} {noun} {}{}", all.len(), done(act), report.skipped())
        }
    }
}

/// What was done, in words that go on from the submission's number.
const fn done(act: ActName) -> &'static str {
    match act {
        ActName::Requeue | ActName::Revalidate => "requeued",
        ActName::Override => "requeued to override",
        ActName::Accept => "accepted as delivered",
        ActName::Dismiss => "dismissed",
        ActName::Edit => "edited",
        ActName::Undo => "parked again",
    }
}

/// Why not, in words that go on from the submission's number.
pub fn refusal(act: ActName, acted: &Acted) -> String {
    match acted {
        Acted::Done => "is done".to_owned(),
        Acted::NoSuch => "does not exist".to_owned(),
        Acted::Changed => "was changed meanwhile, and is left as it is now".to_owned(),
        Acted::WrongState(State::Sending) => {
            format!(
                "is being sent just now, and its outcome comes first: {} is for what is {}",
                act.into_str(),
                one_of(act.allowed_from())
            )
        }
        Acted::WrongState(state) => {
            format!(
                "is {}: {} is for what is {}",
                state.name(),
                act.into_str(),
                one_of(act.allowed_from())
            )
        }
        Acted::Superseded(later) => {
            format!(
                "is superseded: submission {later} of the same activity came later and is delivered; \
                 --force does it all the same"
            )
        }
        Acted::HeldUntil(until) => {
            format!("is held until {until} by its `not_before`; --force lifts that, and it is due now")
        }
    }
}

/// `pending, dead or parked`.
fn one_of(states: &[StateName]) -> String {
    let names: Vec<&str> = states.iter().map(StateName::into_str).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_ones_must_be_done_and_matching_ones_are_skipped() {
        let acted = |why: &[Acted]| -> Vec<(SubmissionId, Acted)> {
            (1..).map(SubmissionId).zip(why.iter().cloned()).collect()
        };
        let cases = [
            (acted(&[Acted::Done]), Exit::Done),
            (acted(&[Acted::Done, Acted::Superseded(SubmissionId(9))]), Exit::Failed),
            (
                acted(&[Acted::WrongState(State::Delivered), Acted::NoSuch]),
                Exit::NoSuch,
            ),
        ];
        for (acted, expected) in &cases {
            let report = ActReport::of(acted);
            assert_eq!(report.exit(false), *expected);
            assert_eq!(report.exit(true), Exit::Done);
        }
        assert_eq!(summary(ActName::Dismiss, &cases[0].0), "submission 1 dismissed");
        assert_eq!(
            summary(ActName::Requeue, &cases[1].0),
            "1 submission requeued, 1 skipped (1 superseded)"
        );
        let report = ActReport::of(&cases[2].0);
        assert_eq!(report.skipped(), ", 2 skipped (1 in another state, 1 gone)");
    }

    #[test]
    fn a_refusal_names_the_state_or_the_later_one() {
        let wrong = refusal(ActName::Requeue, &Acted::WrongState(State::Delivered));
        assert_eq!(wrong, "is delivered: requeue is for what is pending, dead or parked");
        let wrong = refusal(ActName::Accept, &Acted::WrongState(State::Sending));
        assert_eq!(
            wrong,
            "is being sent just now, and its outcome comes first: accept is for what is parked"
        );
        assert!(refusal(ActName::Edit, &Acted::Superseded(SubmissionId(7))).contains("submission 7"));
    }
}
