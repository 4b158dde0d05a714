//! `Retry-After`: when the API wants to be asked again.

use std::time::{Duration, UNIX_EPOCH};

use crate::clock::Timestamp;
use crate::model::Answer;

/// No attempt before this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// So long from now. A date beside the answer's own `date` is one of these: then our clock does not matter.
    After(Duration),
    /// This very moment, by our clock.
    At(Timestamp),
}

impl RetryAfter {
    /// How long that is from `now`.
    pub fn wait(self, now: Timestamp) -> Duration {
        match self {
            Self::After(wait) => wait,
            Self::At(moment) => moment.since(now),
        }
    }

    /// Reads `Retry-After`: whole seconds, however many digits, or an HTTP date. Anything else counts as absent.
    pub fn of(answer: &Answer) -> Option<Self> {
        let text = answer.header("retry-after")?.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Self::After(Duration::from_secs(text.parse().unwrap_or(u64::MAX))));
        }
        let moment = http_date(text)?;
        match answer.header("date").and_then(http_date) {
            Some(theirs) => Some(Self::After(moment.since(theirs))),
            None => Some(Self::At(moment)),
        }
    }
}

/// An HTTP date in any of its three forms; `None` also before 1970.
fn http_date(text: &str) -> Option<Timestamp> {
    let since = httpdate::parse_http_date(text.trim())
        .ok()?
        .duration_since(UNIX_EPOCH)
        .ok()?;
    Some(Timestamp::default().plus(since))
}
