//! What the key question says (the `GET` of the result types, asked after a 401).

use crate::model::Exchange;

/// What the key question brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyVerdict {
    /// An answer that refuses something else, or nothing: the key is known.
    Works,
    Refused,
    /// What says nothing of the key, or no answer at all.
    Silent,
}

impl KeyVerdict {
    /// The status alone decides, and not what the list looks like: a tenant without labels, a proxy that answers 404
    /// for that path or a body that breaks off would else keep the gate closed for ever, and to open it wrongly costs
    /// one submission.
    pub fn of(exchange: &Exchange) -> Self {
        let status = match exchange {
            Exchange::Answered(answer) => Some(answer.status),
            Exchange::Failed { fault, on_the_wire: _ } => fault.status,
        };
        match status {
            Some(401) => Self::Refused,
            // They say nothing of the key: come back later.
            Some(408 | 425 | 429) => Self::Silent,
            Some(200..=299 | 400..=499) => Self::Works,
            Some(0..=199 | 300..=399 | 500..=u16::MAX) | None => Self::Silent,
        }
    }
}
