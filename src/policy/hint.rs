//! What mends each documented error, in one line that names the command to type. Pure: what went wrong comes in, words
//! come out.
//!
//! Where a submission's number is known, commands are shown with it; else with `ID`.

mod api_error;
#[cfg(test)]
mod tests;

use crate::model::{Answer, Attempt, DeadReason, EndingName, FaultKind, ParkReason, State, SubmissionId};

pub use api_error::ApiError;

/// What mends an outbox that another process has locked.
pub const LOCKED: &str = "end that process, or wait until it is done; nothing is lost";

/// What an end without the usual order leaves.
pub const RESUMED: &str = "nothing is lost: what was in flight is resumed at the next start";

/// What mends a submission, as it is: by its state, and by its last attempt where that says more.
pub fn of_submission(state: &State, last: Option<&Attempt>, id: SubmissionId) -> Option<String> {
    let of_last = || last.and_then(|attempt| of_attempt(attempt, Some(id)));
    match state {
        // What was put back is no longer what its last attempt made of it.
        State::Pending { .. } | State::Sending if last.is_some_and(|last| is_end(last.outcome)) => None,
        State::Pending { .. } | State::Sending | State::Dead(DeadReason::Rejected | DeadReason::Unauthorized) => {
            of_last()
        }
        State::Delivered | State::Dismissed => None,
        State::Dead(DeadReason::Invalid) => Some(format!(
            "it was never sent: correct it with `reten-outbox edit {id}`, which checks it and requeues it, or `reten-outbox dismiss {id}`"
        )),
        State::Dead(DeadReason::Conflict) => Some(format!(
            "the activity already has a result: put \"hard_override\": true in with `reten-outbox edit {id}` to replace it, or keep it \
             with `reten-outbox dismiss {id}`"
        )),
        State::Dead(DeadReason::RetriesExhausted) => {
            let requeue = format!("when the fault is mended, `reten-outbox requeue {id}` starts anew");
            Some(of_last().map_or_else(|| requeue.clone(), |last| format!("{last}; {requeue}")))
        }
        State::Parked(ParkReason::Conflict) => Some(conflict(Some(id))),
        State::Parked(ParkReason::ConflictAfterLostResponse) => Some(format!(
            "an earlier attempt may have been registered without our seeing the answer: if the registered result is this one, \
             `reten-outbox accept {id}`; else `reten-outbox override {id}` replaces it and `reten-outbox dismiss {id}` keeps it"
        )),
    }
}

/// Whether a submission rests after such an attempt, until somebody or some rule puts it back.
const fn is_end(outcome: EndingName) -> bool {
    match outcome {
        EndingName::Delivered | EndingName::Accepted | EndingName::Dead | EndingName::Parked => true,
        EndingName::Retry | EndingName::Override | EndingName::Released | EndingName::Interrupted => false,
    }
}

/// What mends a failed attempt; `None` for one that reached its end.
pub fn of_attempt(attempt: &Attempt, id: Option<SubmissionId>) -> Option<String> {
    match attempt.outcome {
        EndingName::Delivered | EndingName::Accepted | EndingName::Override => None,
        EndingName::Retry | EndingName::Dead | EndingName::Parked | EndingName::Released | EndingName::Interrupted => {
            match (&attempt.fault, &attempt.answer) {
                (Some(fault), _) => Some(of_fault(fault.kind).to_owned()),
                (None, Some(answer)) => Some(of_answer(answer, id)),
                (None, None) => None,
            }
        }
    }
}

/// What mends an answer that was not taken for a success.
pub fn of_answer(answer: &Answer, id: Option<SubmissionId>) -> String {
    let documented = ApiError::parse(&answer.body);
    let message = documented
        .as_ref()
        .and_then(|error| error.message.as_deref())
        .unwrap_or_default();
    match answer.status {
        200..=299 => {
            "a 2xx whose body is not JSON: a proxy or a captive portal seems to answer in the API's place; check api.base_url and \
                      api.proxy (api.require_json = false takes any body for a success)"
                .to_owned()
        }
        300..=399 => "the API does not redirect, and a redirect is never followed, because the key would travel with it: correct \
                      api.base_url to the address that answers itself"
            .to_owned(),
        401 => of_refused_key().to_owned(),
        403 => "the key lacks the permission SUBMIT_ACTIVITY_RESULT: ask the tenant's administrator for it; nothing is sent until then"
            .to_owned(),
        404 if documented.is_none() => {
            "this is not the API's own 404, so the address is in doubt: check api.base_url and api.submit_path".to_owned()
        }
        404 => not_found(message, id),
        407 => "the proxy wants credentials: write api.proxy as http://user:password@host:port".to_owned(),
        408 | 425 | 429 => {
            "nothing to do, it is tried again; if it stays so, lower delivery.max_per_second or delivery.max_in_flight".to_owned()
        }
        409 => conflict(id),
        413 => format!(
            "the API takes no body of this size: make it shorter, raw_payload first, with {}",
            edit(id)
        ),
        402 | 405 | 406 | 410..=412 | 414..=424 | 426..=428 | 430..=499 if documented.is_none() => {
            "this is not an answer of the API's own: check api.base_url, api.submit_path and api.proxy".to_owned()
        }
        400 | 402 | 405 | 406 | 410..=412 | 414..=424 | 426..=428 | 430..=499 => bad_request(message, id),
        500..=599 => {
            "a fault of the server: nothing to do, it is tried again with growing waits, and nothing is lost for retry.max_age".to_owned()
        }
        0..=199 | 600.. => "no status that the API has: check what answers at api.base_url and api.proxy; it is tried again".to_owned(),
    }
}

/// What mends a question for the result types that failed with this status.
pub fn of_query(status: u16) -> Option<&'static str> {
    match status {
        401 => Some(of_refused_key()),
        403 => Some(
            "the key lacks the permission VIEW_ACTIVITIES: ask the tenant's administrator for it; it may still be good for submitting",
        ),
        _ => None,
    }
}

/// What mends a fault on the way. Each is tried again by itself.
pub const fn of_fault(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Dns => {
            "the host of api.base_url (or of api.proxy) cannot be resolved: check its spelling and this machine's DNS"
        }
        FaultKind::Connect => "no connection: check api.base_url, api.proxy and the firewalls in between",
        FaultKind::Tls => {
            "no trusted connection: check this machine's clock, and name the authority's certificate in api.ca_file where it is a private one"
        }
        FaultKind::Timeout => {
            "no whole answer within api.timeout: raise it if the API is known to be slow; the request may have arrived"
        }
        FaultKind::Reset => {
            "the connection ended before the answer: the API or a proxy closed it; the request may have arrived"
        }
        FaultKind::CutOff => {
            "the answer broke off: the API or a proxy closed the connection; the request may have arrived"
        }
        FaultKind::Interrupted => {
            "the daemon ended while the request was on its way; it is sent again, as it may not have arrived"
        }
    }
}

/// What mends a fault on the way to an API that has answered with this very configuration before: nothing of ours, as a
/// rule.
pub const fn of_passing_fault(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Dns | FaultKind::Connect | FaultKind::Timeout | FaultKind::Reset | FaultKind::CutOff => {
            "the API has answered with this configuration before, so it, or the way to it, is away: nothing to do, it is tried again, and nothing \
             is lost for retry.max_age"
        }
        FaultKind::Tls => {
            "the API was trusted with this configuration before: if it stays so, its certificate is another one now, or this machine's clock is \
             wrong; it is tried again, and nothing is lost for retry.max_age"
        }
        FaultKind::Interrupted => of_fault(kind),
    }
}

const fn of_refused_key() -> &'static str {
    "the API refuses the key: it is revoked, expired, not whole, or of another environment (api.key_file says where it lies; `reten-outbox \
     check-config`). Put a good key in place, then `systemctl restart reten-outbox`; what was refused is requeued when it works"
}

fn conflict(id: Option<SubmissionId>) -> String {
    let id = number(id);
    format!(
        "the activity already has a result: `reten-outbox override {id}` replaces it, `reten-outbox accept {id}` if the registered one is \
         this one, `reten-outbox dismiss {id}` keeps it"
    )
}

/// What a 400 complains of, by the words of its message; each that is named has its remedy.
fn bad_request(message: &str, id: Option<SubmissionId>) -> String {
    let message = message.to_ascii_lowercase();
    let names = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let remedies = [
        (names(&["commerce_external_id"]), "commerce_external_id is required"),
        (
            names(&["occurred_at"]),
            "occurred_at is required, as ISO 8601: 2026-11-23T10:00:00Z",
        ),
        (
            names(&["future_scheduled_at"]),
            "this result type requires task_result.future_scheduled_at, an ISO 8601 date in the future",
        ),
        (
            message
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .any(|word| word == "status"),
            "status is one of EFFECTIVE, NOT_EFFECTIVE, PENDING",
        ),
        (
            names(&["task_result.result", "result code", "result type"]),
            "task_result.result must be one of the tenant's result types, exactly as the API lists them (validation.result_types = true \
             checks it before sending)",
        ),
        (
            names(&["activity_id"]),
            "activity_id (a UUID) or provider_activity_id is required",
        ),
        (
            names(&["iso 8601", "iso8601", "date"]) && !names(&["occurred_at", "future_scheduled_at"]),
            "dates are ISO 8601: 2026-11-23T10:00:00Z",
        ),
    ];
    let applying: Vec<&str> = remedies
        .iter()
        .filter(|(applies, _)| *applies)
        .map(|(_, remedy)| *remedy)
        .collect();
    let what = if applying.is_empty() {
        "the API refuses the body".to_owned()
    } else {
        applying.join("; ")
    };
    format!("{what}: correct it with {}, which requeues it", edit(id))
}

/// Which identifier a 404 is about, by the words of its message.
fn not_found(message: &str, id: Option<SubmissionId>) -> String {
    let message = message.to_ascii_lowercase();
    let which = if message.contains("commerce") {
        "commerce_external_id"
    } else if message.contains("operator") {
        "task_result.operator_external_id"
    } else if message.contains("activity") {
        "activity_id (or provider_activity_id)"
    } else {
        "one of activity_id, provider_activity_id, commerce_external_id and task_result.operator_external_id"
    };
    format!(
        "{which} is not in the key's tenant: confirm it, and whether the key is of the right tenant; then {} or `reten-outbox requeue {}`",
        edit(id),
        number(id)
    )
}

fn edit(id: Option<SubmissionId>) -> String {
    format!("`reten-outbox edit {}`", number(id))
}

fn number(id: Option<SubmissionId>) -> String {
    id.map_or_else(|| "ID".to_owned(), |id| id.to_string())
}
