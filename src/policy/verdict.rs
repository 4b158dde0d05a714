//! What one exchange means (the README, "What becomes of each answer"): for its submission the [`Ending`], for
//! everyone after it the [`Signal`]. The gate never sees a status, the row never sees the gate.
//!
//! [`judge`] is total: every status is named by its range, so that a new rule is a change of one arm and nothing is
//! decided by falling through.

use serde::de::IgnoredAny;

use crate::model::{Answer, DeadReason, Ending, Exchange, FaultKind};

use crate::config::ConflictSettings;

use super::conflict::{self, Past};
use super::retry_after::RetryAfter;

/// What of the configuration the verdict depends on.
#[derive(Debug, Clone, Copy)]
pub struct VerdictPolicy<'a> {
    /// `api.require_json`: whether a 2xx must have an empty or JSON body to count.
    pub require_json: bool,
    pub conflict: &'a ConflictSettings,
}

/// What the exchange says of the API's health and of our key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    Healthy,
    /// The API works and knows our key, and this one was no success (404, 409, …).
    Answered,
    /// A 400: the request itself is wrong. Many in a row say that a producer or the API changed.
    Rejected,
    /// It asks us to come back later.
    Throttled,
    /// A server fault, or no answer.
    Faulty,
    /// A fault that also says that we may be asking too much: 503, a timeout.
    Overloaded,
    /// It refuses the key.
    Unauthorized(KeyRefusal),
}

/// How the API refuses a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyRefusal {
    /// 401: missing, revoked, expired or malformed.
    Unknown,
    /// 403: known, but without the permission.
    Forbidden,
}

impl KeyRefusal {
    /// The status that says so.
    pub const fn status(self) -> u16 {
        match self {
            Self::Unknown => 401,
            Self::Forbidden => 403,
        }
    }
}

/// What an exchange means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// For the submission; `None`: another attempt follows, if `policy::schedule` allows one.
    pub ending: Option<Ending>,
    /// What `Retry-After` asked for, where another attempt may follow.
    pub retry_after: Option<RetryAfter>,
    pub signal: Signal,
    /// Whether the request may have reached the API without our seeing its answer.
    pub lost_response: bool,
    /// Of a 409: which rule decided, in words for an operator.
    pub rule: Option<String>,
}

impl Verdict {
    const fn ended(ending: Ending, signal: Signal) -> Self {
        Self {
            ending: Some(ending),
            retry_after: None,
            signal,
            lost_response: false,
            rule: None,
        }
    }

    const fn fault(retry_after: Option<RetryAfter>, lost_response: bool) -> Self {
        Self {
            ending: None,
            retry_after,
            signal: Signal::Faulty,
            lost_response,
            rule: None,
        }
    }

    fn overload(retry_after: Option<RetryAfter>, lost_response: bool) -> Self {
        Self {
            signal: Signal::Overloaded,
            ..Self::fault(retry_after, lost_response)
        }
    }
}

/// What this exchange means. `past` is looked at for a 409 only.
pub fn judge(exchange: &Exchange, past: &Past<'_>, policy: &VerdictPolicy<'_>) -> Verdict {
    match exchange {
        Exchange::Failed { fault, on_the_wire } if fault.kind == FaultKind::Timeout => {
            Verdict::overload(None, *on_the_wire)
        }
        Exchange::Failed { fault: _, on_the_wire } => Verdict::fault(None, *on_the_wire),
        Exchange::Answered(answer) => judge_answer(answer, past, policy),
    }
}

#[expect(
    clippy::match_same_arms,
    reason = "in the order of the contract's table, each range with its own reason"
)]
fn judge_answer(answer: &Answer, past: &Past<'_>, policy: &VerdictPolicy<'_>) -> Verdict {
    let retry_after = RetryAfter::of(answer);
    match answer.status {
        200..=299 if !policy.require_json || is_empty_or_json(answer) => {
            Verdict::ended(Ending::Delivered, Signal::Healthy)
        }
        200..=299 => Verdict::fault(retry_after, true),
        300..=399 => Verdict::fault(retry_after, false),
        400 => Verdict::ended(Ending::dead(DeadReason::Rejected), Signal::Rejected),
        401 => refused(KeyRefusal::Unknown),
        403 => refused(KeyRefusal::Forbidden),
        408 | 425 | 429 => Verdict {
            signal: Signal::Throttled,
            ..Verdict::fault(retry_after, false)
        },
        409 => judge_conflict(past, policy.conflict),
        402 | 404..=407 | 410..=424 | 426..=428 | 430..=499 => {
            Verdict::ended(Ending::dead(DeadReason::Rejected), Signal::Answered)
        }
        // A gateway's 502 says nothing of the application behind it, and a status that HTTP does not know says nothing
        // at all.
        503 => Verdict::overload(retry_after, true),
        0..=199 | 500..=502 | 504..=u16::MAX => Verdict::fault(retry_after, true),
    }
}

const fn refused(refusal: KeyRefusal) -> Verdict {
    Verdict::ended(Ending::dead(DeadReason::Unauthorized), Signal::Unauthorized(refusal))
}

fn judge_conflict(past: &Past<'_>, settings: &ConflictSettings) -> Verdict {
    let (ending, rule) = conflict::decide(settings, past);
    Verdict {
        rule: Some(rule),
        ..Verdict::ended(ending, Signal::Answered)
    }
}

/// Whether a 2xx has the body that the API gives: none, or JSON. Of a body longer than what is kept, its content type
/// and its first byte decide: a page of a captive portal has neither.
fn is_empty_or_json(answer: &Answer) -> bool {
    let body = answer
        .body
        .strip_prefix("\u{feff}".as_bytes())
        .unwrap_or(&answer.body)
        .trim_ascii();
    if !answer.is_truncated() {
        return body.is_empty() || serde_json::from_slice::<IgnoredAny>(body).is_ok();
    }
    matches!(body.first(), Some(b'{' | b'[')) && answer.header("content-type").is_none_or(is_json_type)
}

/// `application/json`, or any type with the suffix `+json`; parameters and case do not matter.
fn is_json_type(content_type: &str) -> bool {
    let kind = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

#[cfg(test)]
mod tests;
