//! The error object that the API documents: `{"statusCode": 409, "error": "Conflict", "message": "…"}`, the message a
//! text or a list of texts.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What went wrong: the API's documented error; where commands show it, else the fault on the way, or why it was never
/// sent. Text from outside: whoever shows it escapes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ApiError {
    /// `statusCode`; none where no such answer came.
    pub status_code: Option<u16>,
    /// `error`, such as `Bad Request`; or the name of the fault (`timeout`, `dns`, …), or `invalid`.
    pub error: Option<String>,
    /// `message`; where it is a list of messages, all of them in one.
    pub message: Option<String>,
}

/// As it is received: nothing of it is promised.
#[derive(Deserialize)]
struct Received {
    #[serde(rename = "statusCode")]
    status_code: Option<Value>,
    error: Option<Value>,
    message: Option<Value>,
}

impl ApiError {
    /// Reads an answer's body. `None` where it is not the documented object (HTML of a proxy, JSON of something else,
    /// cut off, nothing): that has a `message` or an `error`, and a `statusCode` or both of them.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let received: Received = serde_json::from_slice(body).ok()?;
        let status_code = received
            .status_code
            .as_ref()
            .and_then(Value::as_u64)
            .and_then(|code| u16::try_from(code).ok());
        let (error, message) = (received.error.and_then(words), received.message.and_then(words));
        let known = [status_code.is_some(), error.is_some(), message.is_some()];
        let parts = known.iter().filter(|known| **known).count();
        (parts >= 2).then_some(Self {
            status_code,
            error,
            message,
        })
    }

    /// In one line, not escaped.
    pub fn line(&self) -> String {
        let status = self.status_code.map(|status| status.to_string());
        let head: Vec<String> = status.into_iter().chain(self.error.clone()).collect();
        match &self.message {
            Some(message) if head.is_empty() => message.clone(),
            Some(message) => format!("{}: {message}", head.join(" ")),
            None => head.join(" "),
        }
    }
}

/// A text, or a list of texts in one; `None` for anything else, and where there are no words in it.
fn words(value: Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text,
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    };
    (!text.trim().is_empty()).then_some(text)
}
