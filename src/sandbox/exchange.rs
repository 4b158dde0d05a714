//! One exchange: a request from its arrival to its answer.
//!
//! Order: latency, the step for all, route, key, permission, chance, the result's own script, the contract.

use std::{future::pending, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, CONTENT_ENCODING, LOCATION, RETRY_AFTER},
};
use tokio::time::sleep;

use super::{
    answer::{self, AnswerBody, Hangup},
    contract::{self, Call},
    control,
    faults::{self, RetryAfterForm, Script, ScriptStep, ScriptTurn, Shape},
    ledger::{Answered, Record, Ticket},
    rules::{Activity, BodyFacts, BodyMembers},
    shared::{RequestLine, SandboxState, Settings},
};

/// Serves one request; the error closes its connection.
pub(super) async fn respond(shared: &SandboxState, request: Request<Incoming>) -> Result<Response<AnswerBody>, Hangup> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let (body, too_long) = match Limited::new(body, shared.options.body_bytes_max).collect().await {
        Ok(body) => (body.to_bytes(), false),
        Err(error) if error.is::<LengthLimitError>() => (Bytes::new(), true),
        Err(_) => return Err(Hangup::Closed),
    };
    if let Some(path) = path.strip_prefix(control::PREFIX) {
        return Ok(control::answer(shared, &head.method, path, &body));
    }
    let members = if shared.options.validate {
        BodyMembers::parse(&body)
    } else {
        Err(String::new())
    };
    let glance = members.as_ref().map(BodyFacts::of).unwrap_or_default();
    let call = Call {
        method: &head.method,
        path,
        headers: &head.headers,
        body: &body,
        members,
        glance,
    };
    let settings = shared.settings();
    let ticket = shared.ledger.arrive(&body, || record(shared, &call, &settings));
    let (answer, step) = if too_long {
        // The rest of the body is still coming, so nothing more can be read from this connection.
        (
            Ok(answer::with_header(answer::documented(413), CONNECTION, "close")),
            None,
        )
    } else {
        decide(shared, &settings, &call, &ticket).await
    };
    let answered = match &answer {
        Ok(response) => Answered::Status(response.status().as_u16()),
        Err(Hangup::Closed) => Answered::Dropped,
        Err(Hangup::Reset) => Answered::Reset,
    };
    settle(shared, &call, ticket.n, answered, step.as_deref());
    answer.map(|mut response| {
        response.body_mut().hold(ticket);
        response
    })
}

fn settle(shared: &SandboxState, call: &Call<'_>, n: u64, answered: Answered, step: Option<&str>) {
    shared.ledger.mark(n, answered, step);
    if let Some(report) = &shared.options.report {
        let activity = call.glance.activity();
        let activity = activity.as_ref().map(Activity::id);
        report(&RequestLine {
            method: call.method.as_str(),
            path: call.path,
            answered,
            activity,
            step,
        });
    }
}

fn record(shared: &SandboxState, call: &Call<'_>, settings: &Settings) -> Record {
    Record {
        n: 0,
        method: call.method.to_string(),
        path: call.path.to_owned(),
        received_ms: (shared.options.now)(),
        key_ok: contract::key_is_good(call.headers, settings),
        body_bytes: call.body.len(),
        body: String::new(),
        activity_id: call.glance.activity_id.clone(),
        provider_activity_id: call.glance.provider_activity_id.clone(),
        hard_override: call.glance.hard_override,
        step: None,
        answered: Answered::Waiting,
    }
}

/// The answer, and the step of a script that decided it.
async fn decide(
    shared: &SandboxState,
    settings: &Settings,
    call: &Call<'_>,
    ticket: &Ticket,
) -> (Result<Response<AnswerBody>, Hangup>, Option<String>) {
    let seed = shared.options.seed;
    if settings.latency + settings.latency_jitter > Duration::ZERO {
        sleep(faults::latency(
            seed,
            ticket.n,
            settings.latency,
            settings.latency_jitter,
        ))
        .await;
    }
    if let Some(turn) = &settings.step_for_all {
        return (
            perform(shared, settings, call, ticket, turn).await,
            Some(turn.text.clone()),
        );
    }
    if let Some(refusal) = contract::refuse(settings, call) {
        return (Ok(refusal), None);
    }
    if let Some(status) = faults::by_chance(seed, ticket.n, settings.fail_share) {
        return (Ok(answer::documented(status)), None);
    }
    match call.glance.external_status.as_deref().and_then(Script::read) {
        Some(Err(unknown)) => (Ok(answer::error(400, unknown)), None),
        Some(Ok(script)) => match script.turn(shared.ledger.count_turn(&call.glance)) {
            Some(turn) => (
                perform(shared, settings, call, ticket, turn).await,
                Some(turn.text.clone()),
            ),
            None => (Ok(contract::answer(shared, settings, call)), None),
        },
        None => (Ok(contract::answer(shared, settings, call)), None),
    }
}

/// One step. Where it accepts, a result that breaks the contract is refused as ever, and that answer takes the step's
/// shape.
async fn perform(
    shared: &SandboxState,
    settings: &Settings,
    call: &Call<'_>,
    ticket: &Ticket,
    turn: &ScriptTurn,
) -> Result<Response<AnswerBody>, Hangup> {
    let contract = || contract::answer(shared, settings, call);
    let accept = |accept: bool| accept.then(contract);
    Ok(match &turn.step {
        ScriptStep::Status {
            status,
            retry_after: None,
        } if (200..300).contains(status) => accepted_as(*status, contract()),
        ScriptStep::Status { status, retry_after } => status_answer(shared, call, *status, retry_after.as_ref()),
        ScriptStep::Slow(wait) => {
            sleep(*wait).await;
            contract()
        }
        ScriptStep::Hang { accept: first } => {
            accept(*first);
            settle(shared, call, ticket.n, Answered::Hanging, Some(&turn.text));
            pending().await
        }
        ScriptStep::Hold { accept: first } => {
            let mut released = shared.releases.subscribe();
            let answer = accept(*first);
            settle(shared, call, ticket.n, Answered::Held, Some(&turn.text));
            // The sender lives in `shared`: it cannot be closed.
            released.changed().await.ok();
            answer.unwrap_or_else(contract)
        }
        ScriptStep::Drop { accept: first } => {
            accept(*first);
            return Err(Hangup::Closed);
        }
        ScriptStep::Reset { accept: first } => {
            accept(*first);
            return Err(Hangup::Reset);
        }
        ScriptStep::Cut => answer::cut(contract()),
        ScriptStep::Drip => answer::drip(contract()),
        ScriptStep::Shaped(Shape::Empty, status) => answer::empty(shaped(*status, contract)),
        ScriptStep::Shaped(Shape::Endless, status) => answer::endless(shaped(*status, contract)),
        ScriptStep::Shaped(Shape::Html, status) => answer::html(*status),
        ScriptStep::Shaped(Shape::Garbage, status) => answer::raw(
            *status,
            "application/octet-stream",
            &b"\xff\xfe\x00{garbage\x1b[31m"[..],
        ),
        ScriptStep::EchoKey => {
            let key = call
                .headers
                .get("x-api-key")
                .map(|key| String::from_utf8_lossy(key.as_bytes()));
            answer::error(400, format!("Rejected the request of key {}", key.unwrap_or_default()))
        }
        ScriptStep::Big(bytes) => answer::error(400, "x".repeat(*bytes)),
        ScriptStep::Bomb => answer::with_header(
            answer::raw(400, "application/json", &b"\x1f\x8b\x08\x00bomb"[..]),
            CONTENT_ENCODING,
            "gzip",
        ),
    })
}

fn status_answer(
    shared: &SandboxState,
    call: &Call<'_>,
    status: u16,
    retry_after: Option<&RetryAfterForm>,
) -> Response<AnswerBody> {
    let answer = answer::documented(status);
    // Who follows it comes back here, and is seen.
    let answer = if (300..400).contains(&status) {
        answer::with_header(answer, LOCATION, &format!("/elsewhere{}", call.path))
    } else {
        answer
    };
    match retry_after {
        None => answer,
        Some(RetryAfterForm::Seconds(digits)) => answer::with_header(answer, RETRY_AFTER, digits),
        Some(RetryAfterForm::Date(seconds)) => {
            let at_seconds = ((shared.options.now)() / 1000).saturating_add(*seconds);
            let at = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(at_seconds).unwrap_or(0));
            answer::with_header(answer, RETRY_AFTER, &httpdate::fmt_http_date(at))
        }
    }
}

/// A 2xx accepts, any other status is the documented error.
fn shaped(status: u16, contract: impl FnOnce() -> Response<AnswerBody>) -> Response<AnswerBody> {
    if (200..300).contains(&status) {
        accepted_as(status, contract())
    } else {
        answer::documented(status)
    }
}

fn accepted_as(status: u16, mut answer: Response<AnswerBody>) -> Response<AnswerBody> {
    if answer.status().is_success()
        && let Ok(status) = StatusCode::from_u16(status)
    {
        *answer.status_mut() = status;
    }
    answer
}
