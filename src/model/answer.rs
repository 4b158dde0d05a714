//! What one request brought: an answer of the API, or a fault on the way. Neither is an `Err`: both are the job.

use bytes::Bytes;
use strum::{EnumString, IntoStaticStr, VariantArray};

/// The headers of an answer that are kept, in this order.
pub const KEPT_HEADERS: [&str; 5] = ["content-type", "retry-after", "location", "date", "x-request-id"];

/// A complete answer: its body came to its end within `api.timeout`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status as received; may lie outside 100-599.
    pub status: u16,
    /// Those of [`KEPT_HEADERS`] that were there, names in lower case, bytes that are no UTF-8 replaced.
    pub headers: Vec<(String, String)>,
    /// The body's first `api.max_error_body` bytes, with an echo of the API key already replaced by `[api key]`.
    pub body: Bytes,
    /// The body's true length in bytes.
    pub body_length: u64,
}

impl Answer {
    /// A kept header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the body is longer than what was kept of it.
    pub fn is_truncated(&self) -> bool {
        self.body_length > self.body.len() as u64
    }
}

/// What went wrong where no complete answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum FaultKind {
    /// The host's name could not be resolved.
    Dns,
    /// No connection: refused, unreachable, or not within `api.connect_timeout`.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// `api.timeout` passed.
    Timeout,
    /// The connection ended before the answer did.
    Reset,
    /// The answer began, and its body was cut off.
    CutOff,
    /// The daemon itself ended or failed while a request may have been on the wire.
    Interrupted,
}

/// A fault with its story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What kind of fault.
    pub kind: FaultKind,
    /// The chain of causes in one line, without the API key.
    pub message: String,
    /// The status line, where one had come before the body was cut off.
    pub status: Option<u16>,
}

/// One request's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// The API (or something before it) answered in full.
    Answered(Answer),
    Failed {
        fault: Fault,
        /// Whether the request may have reached the API: `false` only where it failed before anything could have been
        /// sent.
        on_the_wire: bool,
    },
}
