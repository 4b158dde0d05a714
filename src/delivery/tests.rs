//! Delivery against the sandbox and a real outbox.
