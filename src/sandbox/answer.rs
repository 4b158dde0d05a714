//! Answers and their bodies, the well-formed and the broken ones.
//!
//! A body here may end early, trickle or never end; hyper turns an error of the body into a closed connection, which is
//! the point.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    body::{Body as HttpBody, Frame, SizeHint},
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use tokio::time::{Sleep, sleep};

use super::ledger::Ticket;

/// The pause between two bytes of a dripping body: slow enough for any deadline on the whole, quick enough for one on a
/// single read.
const DRIP_EVERY: Duration = Duration::from_millis(100);
/// One piece of an endless body: large enough to outrun a reader's limit at once.
static FILLER: [u8; 16 * 1024] = [b'x'; 16 * 1024];
/// The beginning of an endless body: JSON as far as anybody can tell.
const ENDLESS_HEAD: &[u8] = b"{\"filler\":\"";

/// The connection is to be closed without (the rest of) an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hangup {
    /// In order, with a FIN.
    Closed,
    Reset,
}

impl fmt::Display for Hangup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the sandbox was told to close the connection",
            Self::Reset => "the sandbox was told to reset the connection",
        })
    }
}

impl std::error::Error for Hangup {}

/// What hyper sends. The ticket keeps the request in flight until its last byte is handed over.
pub struct AnswerBody {
    bytes: Bytes,
    flow: Flow,
    ticket: Option<Ticket>,
}

enum Flow {
    Whole,
    /// `flushed` is false until hyper was given a chance to send what it has: an error at once would swallow that too.
    Cut {
        flushed: bool,
    },
    Drip(Pin<Box<Sleep>>),
    Endless,
}

impl AnswerBody {
    fn whole(bytes: Bytes) -> Self {
        Self {
            bytes,
            flow: Flow::Whole,
            ticket: None,
        }
    }

    /// Counts the request as in flight as long as this body exists.
    pub fn hold(&mut self, ticket: Ticket) {
        self.ticket = Some(ticket);
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Hangup;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Hangup>>> {
        let body = &mut *self;
        let bytes = match &mut body.flow {
            Flow::Cut { flushed } if body.bytes.is_empty() => {
                if *flushed {
                    return Poll::Ready(Some(Err(Hangup::Closed)));
                }
                *flushed = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Flow::Drip(pause) => {
                if pause.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                pause.set(sleep(DRIP_EVERY));
                body.bytes.split_to(body.bytes.len().min(1))
            }
            Flow::Endless if body.bytes.is_empty() => Bytes::from_static(&FILLER),
            Flow::Whole | Flow::Cut { .. } | Flow::Endless => std::mem::take(&mut body.bytes),
        };
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.flow, Flow::Whole | Flow::Drip(_)) && self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.flow {
            Flow::Whole | Flow::Drip(_) => SizeHint::with_exact(self.bytes.len() as u64),
            // Not the true length: `cut` promises more than it sends, in a header of its own.
            Flow::Cut { .. } | Flow::Endless => SizeHint::default(),
        }
    }
}

/// A response with that body.
pub fn raw(status: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(bytes.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A response with a JSON body.
pub fn json(status: u16, body: &Value) -> Response<AnswerBody> {
    raw(status, "application/json; charset=utf-8", body.to_string())
}

/// The documented body of a failed request.
pub fn error(status: u16, message: impl Into<Value>) -> Response<AnswerBody> {
    let name = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    json(
        status,
        &json!({"statusCode": status, "error": name.unwrap_or("Unknown"), "message": message.into()}),
    )
}

/// The documented 400: one message as a text, several as a list.
pub fn violations(mut messages: Vec<String>) -> Response<AnswerBody> {
    if messages.len() == 1 {
        error(400, messages.remove(0))
    } else {
        error(400, messages)
    }
}

/// The documented answer of that status, with its documented words where there are any.
pub fn documented(status: u16) -> Response<AnswerBody> {
    let message = match status {
        400 => "Bad request (simulated)",
        401 => "API key missing or invalid",
        403 => "API key lacks the required permission",
        404 => "Activity not found in this tenant",
        409 => "Activity already has a result",
        429 => "Too many requests",
        _ => "Simulated by the sandbox",
    };
    error(status, message)
}

/// A page such as a captive portal or a proxy sends.
pub fn html(status: u16) -> Response<AnswerBody> {
    let page = format!(
        "<!doctype html>\n<html><head><title>{status}</title></head><body><h1>Please sign in to the \
         network</h1></body></html>\n"
    );
    raw(status, "text/html; charset=utf-8", page)
}

/// The response with another header.
pub fn with_header(mut response: Response<AnswerBody>, name: HeaderName, value: &str) -> Response<AnswerBody> {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Promises the whole body, sends half of it and closes.
pub fn cut(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    let promised = response.body().bytes.len().max(2);
    let body = response.body_mut();
    body.bytes.truncate(promised / 2);
    body.flow = Flow::Cut { flushed: false };
    with_header(response, CONTENT_LENGTH, &promised.to_string())
}

/// Sends the body a byte at a time.
pub fn drip(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    response.body_mut().flow = Flow::Drip(Box::pin(sleep(DRIP_EVERY)));
    response
}

/// Replaces the body by one that never ends.
pub fn endless(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    let body = response.body_mut();
    body.bytes = Bytes::from_static(ENDLESS_HEAD);
    body.flow = Flow::Endless;
    response
}

/// Takes the body away.
pub fn empty(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    response.headers_mut().remove(CONTENT_TYPE);
    response.body_mut().bytes = Bytes::new();
    response
}
