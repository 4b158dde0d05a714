//! What the HTTP client's errors mean: which kind of fault, and whether anything could have been sent.

use std::error::Error;
use std::io;

use crate::model::{Exchange, Fault, FaultKind};

use super::echo;

/// The longest story of a fault, in characters: it is in one line of a log, and part of it may come from the other
/// side.
const MESSAGE_CHARS_MAX: usize = 500;

/// An error before any answer.
pub(super) fn without_answer(error: reqwest::Error, key: &str) -> Exchange {
    let error = error.without_url();
    // Only what the connector itself says is known to have come before the first byte of the request. All else may have
    // been sent.
    let (kind, on_the_wire) = if error.is_dns() {
        (FaultKind::Dns, false)
    } else if error.is_connect() && has_tls_error(&error) {
        (FaultKind::Tls, false)
    } else if error.is_connect() || error.is_builder() {
        (FaultKind::Connect, false)
    } else {
        (FaultKind::Reset, true)
    };
    Exchange::Failed {
        fault: Fault {
            kind,
            message: story(&error, key),
            status: None,
        },
        on_the_wire,
    }
}

/// An error in the middle of an answer's body.
pub(super) fn cut_off(error: reqwest::Error, status: u16, key: &str) -> Exchange {
    Exchange::Failed {
        fault: Fault {
            kind: FaultKind::CutOff,
            message: story(&error.without_url(), key),
            status: Some(status),
        },
        on_the_wire: true,
    }
}

/// The deadline of the whole exchange passed. Nobody can say how far it had come: it counts as sent.
pub(super) fn timed_out(after: std::time::Duration, status: Option<u16>) -> Exchange {
    let message = match status {
        Some(status) => format!("the body of the answer ({status}) did not end within api.timeout ({after:?})"),
        None => format!("no answer within api.timeout ({after:?})"),
    };
    Exchange::Failed {
        fault: Fault {
            kind: FaultKind::Timeout,
            message,
            status,
        },
        on_the_wire: true,
    }
}

/// The chain of causes in one line, without the key.
pub(super) fn story(error: &dyn Error, key: &str) -> String {
    let mut story = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors repeat what their cause says.
        if !story.ends_with(&text) {
            story.push_str(": ");
            story.push_str(&text);
        }
        cause = error.source();
    }
    let line: String = echo::hidden(&story, key)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    line.chars().take(MESSAGE_CHARS_MAX).collect()
}

/// Whether TLS is among the causes. An `io::Error` does not name what it wraps as its source, and may wrap another one,
/// so it is opened.
fn has_tls_error(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return true;
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = wrapped.map_or_else(|| error.source(), |inner| Some(inner));
    }
    false
}
