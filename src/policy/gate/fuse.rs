//! The fuse: when 400s say that a producer or the API changed, and what is said then.

use std::collections::HashSet;
use std::fmt::Write as _;

use crate::clock::Timestamp;
use crate::model::SubmissionId;

use super::{Ended, GateName, GateRecord, GateSettings};

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
    pub(super) fn met(&mut self, ended: &Ended, settings: &GateSettings) -> bool {
        let Some(enough) = settings.reject_fuse else {
            *self = Self::default();
            return false;
        };
        // The clock may be set back: the earliest one counts.
        self.first = Some(self.first.map_or(ended.at, |first| first.min(ended.at)));
        if self.submissions.insert(ended.submission) {
            self.count(ended.message.as_deref().unwrap_or("no message"));
        }
        self.submissions.len() >= enough as usize
    }

    pub(super) fn reset(&mut self) {
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
    pub(super) fn record(&self, now: Timestamp) -> GateRecord {
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
            state: GateName::Rejecting,
            since: now.millis(),
            why,
            hint: Some(format!(
                "mend the producer, or see what changed at the API; a success or `reten-outbox resume` opens the gate; \
                 what the API rejected \
                 since the first of these goes back with `reten-outbox requeue --state dead --reason rejected \
                 --http-status 400 --changed-since {since}`"
            )),
            status: Some(400),
        }
    }
}
