//! The fields of an event, sorted by what they need: the event's name, text that is to be escaped, and what never is.

use std::fmt;

use tracing::field::{Field, Visit};

/// What takes the fields of an event, in their order.
pub(super) trait Fields {
    /// The event's own name, which is its first field.
    fn event(&mut self, name: &str);
    fn text(&mut self, name: &str, value: &str);
    /// A number or a boolean: the same everywhere, and never in need of an escape.
    fn plain(&mut self, name: &str, value: &dyn fmt::Display);
}

pub(super) struct Sorted<'f, F>(pub(super) &'f mut F);

impl<F: Fields> Visit for Sorted<'_, F> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "event" => self.0.event(value),
            name => self.0.text(name, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.text(field.name(), &format!("{value:?}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.plain(field.name(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.plain(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.plain(field.name(), &value);
    }
}
