//! How it went with a submission, in the terms of the contract: the error, what mends it, when it goes on. For tables
//! and JSON alike.

use crate::clock::Timestamp;
use crate::model::{Attempt, DeadReason, State};
use crate::policy::hint::{self, ApiError};
use crate::store::Listed;

/// The status of an attempt's answer; of one that was cut off, too.
pub fn status_of(attempt: &Attempt) -> Option<u16> {
    let answered = attempt.answer.as_ref().map(|answer| answer.status);
    answered.or_else(|| attempt.fault.as_ref().and_then(|fault| fault.status))
}

/// What went wrong with an attempt: the documented error, else the fault on the way.
pub fn error_of_attempt(attempt: &Attempt) -> Option<ApiError> {
    if let Some(fault) = &attempt.fault {
        return Some(ApiError {
            status_code: None,
            error: Some(fault.kind.into_str().to_owned()),
            message: Some(fault.message.clone()),
        });
    }
    ApiError::parse(&attempt.answer.as_ref()?.body)
}

/// What went wrong with a submission; what is `invalid` has not been sent since, whatever came before.
pub fn error_of(listed: &Listed) -> Option<ApiError> {
    if let (State::Dead(DeadReason::Invalid), Some(why)) = (&listed.state, &listed.invalid) {
        return Some(ApiError {
            status_code: None,
            error: Some(DeadReason::Invalid.into_str().to_owned()),
            message: Some(why.clone()),
        });
    }
    listed.last.as_ref().and_then(error_of_attempt)
}

/// When the next attempt is due; only of a pending one. What of its `not_before` still has to be waited for is in it.
pub fn next_attempt_at(listed: &Listed) -> Option<Timestamp> {
    match listed.state {
        State::Pending { due } => Some(due),
        State::Sending | State::Delivered | State::Dead(_) | State::Parked(_) | State::Dismissed => None,
    }
}

/// What mends a submission, in a line.
pub fn hint_of(listed: &Listed) -> Option<String> {
    hint::of_submission(&listed.state, listed.last.as_ref(), listed.id)
}
