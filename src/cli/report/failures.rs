//! What went wrong, put together by what the API, the way to it or our own check said: seldom as many troubles as there
//! are submissions.

use std::collections::HashMap;

use serde::Serialize;

use crate::cli::list::group::GroupKey;
use crate::cli::render::outcome::hint_of;
use crate::clock::Timestamp;
use crate::model::SubmissionId;
use crate::policy::hint::ApiError;
use crate::store::Listed;

/// Kinds that are told apart: what comes beyond them is counted together.
const KINDS_MAX: usize = 1000;
/// Kinds that are shown, the most frequent first.
const SHOWN_MAX: usize = 50;
/// Examples of each, the newest.
pub const EXAMPLES_MAX: usize = 5;

/// Those that failed in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    pub count: u64,
    pub state: &'static str,
    pub reason: Option<&'static str>,
    pub http_status: Option<u16>,
    /// What was said, numbers in it blanked.
    pub error: Option<ApiError>,
    /// When the first and the last of them came into this state.
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// Numbers of the newest ones.
    pub examples: Vec<i64>,
    /// What mends the newest one.
    pub hint: Option<String>,
    /// The first example's payload, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

/// Puts together what comes, newest first.
#[derive(Debug, Default)]
pub struct Failures {
    kinds: HashMap<GroupKey, Failure>,
    /// Of kinds beyond those that are told apart.
    others: u64,
}

impl Failures {
    pub fn add(&mut self, listed: &Listed) {
        let key = GroupKey::of_all_sources(listed);
        if let Some(known) = self.kinds.get_mut(&key) {
            known.count += 1;
            known.first_seen = known.first_seen.min(listed.updated_at);
            known.last_seen = known.last_seen.max(listed.updated_at);
            if known.examples.len() < EXAMPLES_MAX {
                known.examples.push(listed.id.0);
            }
            return;
        }
        if self.kinds.len() >= KINDS_MAX {
            self.others += 1;
            return;
        }
        let failure = Failure {
            count: 1,
            state: key.state,
            reason: key.reason,
            http_status: key.http_status,
            error: key.error.clone(),
            first_seen: listed.updated_at,
            last_seen: listed.updated_at,
            examples: vec![listed.id.0],
            hint: hint_of(listed),
            payload: None,
        };
        self.kinds.insert(key, failure);
    }

    /// The most frequent ones, and how many there are of the others.
    pub fn finish(self) -> (Vec<Failure>, u64) {
        let mut all: Vec<Failure> = self.kinds.into_values().collect();
        all.sort_by_key(|failure| {
            let newest = failure.examples.first().copied().unwrap_or_default();
            (std::cmp::Reverse(failure.count), std::cmp::Reverse(newest))
        });
        let beyond = all.split_off(all.len().min(SHOWN_MAX));
        let others = beyond.iter().map(|failure| failure.count).sum::<u64>();
        (all, self.others + others)
    }
}

impl Failure {
    /// The one to show a payload of.
    pub fn first_example(&self) -> Option<SubmissionId> {
        self.examples.first().map(|id| SubmissionId(*id))
    }
}
