//! `rejecting`: when 400s say that a producer or the API changed, and how it is found out that results are taken again.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::SubmissionId;
use crate::policy::verdict::Signal;

use super::machine::is_due;
use super::{About, Allowance, Gate, GateRecord, GateSettings, GateState, Open, Role, Step, Turn};

/// A sample a minute: each that is rejected is a dead letter.
const SAMPLE_EVERY: Duration = Duration::from_mins(1);
/// How many different messages are told apart. An API that puts a number into each must not fill the memory; what comes
/// first is as good.
const MESSAGES_MAX: usize = 64;
/// How many of them are shown.
const MESSAGES_SHOWN: usize = 3;
/// How much of a message is shown, in characters.
const MESSAGE_MAX: usize = 160;

/// The 400s since the last success, each submission counted once. Submissions and not activities: a producer that gives
/// all its results one id would have its whole backlog dead-lettered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Fuse {
    /// At most `delivery.reject_fuse` of them.
    submissions: HashSet<SubmissionId>,
    /// When the first one was dead-lettered.
    first: Option<Timestamp>,
    messages: Vec<(String, u32)>,
}

impl Fuse {
    /// Another 400. Whether the fuse blows.
    pub(super) fn met(&mut self, about: &About, settings: &GateSettings) -> bool {
        let Some(enough) = settings.reject_fuse else {
            *self = Self::default();
            return false;
        };
        // The clock may be set back: the earliest one counts.
        self.first = Some(self.first.map_or(about.at, |first| first.min(about.at)));
        if self.submissions.insert(about.submission) {
            self.count(about.message.as_deref().unwrap_or("no message"));
        }
        self.submissions.len() >= enough as usize
    }

    /// A success came.
    pub(super) fn ended(&mut self) {
        if self.first.is_some() {
            *self = Self::default();
        }
    }

    fn count(&mut self, message: &str) {
        let message: String = message.chars().take(MESSAGE_MAX).collect();
        if let Some((_, count)) = self.messages.iter_mut().find(|(known, _)| *known == message) {
            *count += 1;
        } else if self.messages.len() < MESSAGES_MAX {
            self.messages.push((message, 1));
        }
    }

    /// What is said and remembered when it blows.
    fn record(&self, now: Timestamp) -> GateRecord {
        let mut common: Vec<&(String, u32)> = self.messages.iter().collect();
        common.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let mut why = format!(
            "{} submissions in a row were answered with 400, most often:",
            self.submissions.len()
        );
        for (place, (message, count)) in common.into_iter().take(MESSAGES_SHOWN).enumerate() {
            let comma = if place == 0 { "" } else { "," };
            // Writing to a String cannot fail.
            let _ = write!(why, "{comma} \"{message}\" ({count})");
        }
        let since = self.first.unwrap_or(now);
        GateRecord {
            state: "rejecting".to_owned(),
            since: now.millis(),
            why,
            hint: Some(format!(
                "mend the producer, or see what changed at the API; a success or `reten-outbox resume` opens the gate; what the API rejected \
                 since the first of these goes back with `reten-outbox requeue --state dead --reason rejected --http-status 400 --changed-since {since}`"
            )),
            status: Some(400),
        }
    }
}

/// A blown fuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejecting {
    pub(super) turn: Turn,
    pub(super) record: GateRecord,
}

impl Rejecting {
    /// One that blows now.
    pub(super) fn begin(fuse: &Fuse, now: Timestamp) -> Self {
        Self {
            turn: Turn::Due(now.plus(SAMPLE_EVERY)),
            record: fuse.record(now),
        }
    }

    /// One that a restart finds: it begins with a sample.
    pub(super) fn restored(record: &GateRecord, now: Timestamp) -> Self {
        Self {
            turn: Turn::Due(now),
            record: record.clone(),
        }
    }

    pub(super) fn allowance(&self, now: Timestamp, settings: &GateSettings) -> Allowance {
        match self.turn {
            Turn::Due(at) if is_due(at, now, SAMPLE_EVERY.max(settings.hold_max)) => Allowance::One(Role::Sample),
            Turn::Due(at) => Allowance::Nothing { until: Some(at) },
            Turn::Out { .. } => Allowance::Nothing { until: None },
        }
    }
}

impl Gate {
    /// A sample's answer; the caller has made sure that it is one of this closing.
    pub(super) fn sampled(&mut self, signal: Signal, about: &About, now: Timestamp, settings: &GateSettings) -> Step {
        let GateState::Rejecting(rejecting) = &mut self.state else {
            return Step::default();
        };
        let again = matches!(rejecting.turn, Turn::Out { again: true });
        match signal {
            Signal::Healthy => {
                let open = Open {
                    delivered: true,
                    ..Open::default()
                };
                self.reopen(open, "a result was taken again", now)
            }
            Signal::Unauthorized(refusal) => self.close(refusal, now, settings),
            Signal::Answered | Signal::Rejected | Signal::Throttled | Signal::Faulty | Signal::Overloaded => {
                let asked = about.asked(settings).unwrap_or_default();
                let wait = if again { Duration::ZERO } else { SAMPLE_EVERY.max(asked) };
                rejecting.turn = Turn::Due(now.plus(wait));
                Step::default()
            }
        }
    }
}
