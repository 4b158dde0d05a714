//! A result as it was received: the same members in the same order, with the same digits in numbers. Nothing here
//! re-serialises.
//!
//! [`Object`] is a view over the text that knows where each top-level member lies; [`Payload`] is the text that will be
//! the request's body. Both are safe at any depth of nesting: no function here recurses.

use std::borrow::Cow;

use super::activity::{ActivityKey, Digest};
use bytes::Bytes;
use serde::de::IgnoredAny;

mod digest;
#[cfg(test)]
mod tests;
mod tokens;

use digest::digest_of;
use tokens::{Member, members_of};

/// The member that carries a producer's directives; taken out before sending.
pub const DIRECTIVES: &str = "$outbox";

/// The member that tells the API to overwrite a registered result.
pub const HARD_OVERRIDE: &str = "hard_override";

/// The text that is sent (or, for a row that is no JSON object, kept to be mended). Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload(Bytes);

/// What the outbox needs to know of a payload without reading it again. A member of the wrong type counts as absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_field_names, reason = "the names of the API")]
pub struct Facts {
    /// `activity_id`, as it was written.
    pub activity_id: Option<String>,
    pub provider_activity_id: Option<String>,
    pub commerce_external_id: Option<String>,
}

impl Facts {
    /// The activity that orders it.
    pub fn activity(&self) -> Option<ActivityKey> {
        ActivityKey::of(self.activity_id.as_deref(), self.provider_activity_id.as_deref())
    }
}

/// A text known to be one JSON object, and its top-level members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object<'a> {
    text: &'a str,
    members: Vec<Member<'a>>,
}

/// Why a text is no JSON object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnObject {
    /// It is not JSON.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// It is JSON, but a scalar or an array.
    #[error("not a JSON object but {0}; each result is one object")]
    Other(&'static str),
}

impl<'a> Object<'a> {
    /// Looks at a text. Takes time in proportion to its length, whatever it nests.
    pub fn parse(text: &'a str) -> Result<Self, NotAnObject> {
        if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
            return Err(NotAnObject::Syntax(error.to_string()));
        }
        match text.trim_start_matches([' ', '\t', '\r', '\n']).bytes().next() {
            Some(b'{') => Ok(Self {
                text,
                members: members_of(text),
            }),
            Some(b'[') => Err(NotAnObject::Other("an array")),
            Some(b'"') => Err(NotAnObject::Other("a string")),
            Some(b't' | b'f') => Err(NotAnObject::Other("a boolean")),
            Some(b'n') => Err(NotAnObject::Other("null")),
            _ => Err(NotAnObject::Other("a number")),
        }
    }

    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The members in their order, duplicates included.
    pub fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// The raw text of the last member of that name (the one that most readers of JSON take).
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.members
            .iter()
            .rev()
            .find(|member| member.name == name)
            .map(|member| &self.text[member.value.clone()])
    }

    /// The member as text; `None` when it is absent or not a string.
    pub fn string(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?).ok()
    }

    /// The member as an object; `None` when it is absent or something else.
    pub fn object(&self, name: &str) -> Option<Object<'a>> {
        Object::parse(self.get(name)?).ok()
    }

    /// The first name that is there twice.
    pub fn duplicate(&self) -> Option<&str> {
        let mut names: Vec<&str> = self.members.iter().map(|member| member.name.as_ref()).collect();
        names.sort_unstable();
        names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }

    /// What the outbox needs to know.
    pub fn facts(&self) -> Facts {
        let text = |name| self.string(name).filter(|text| !text.is_empty());
        Facts {
            activity_id: text("activity_id"),
            provider_activity_id: text("provider_activity_id"),
            commerce_external_id: text("commerce_external_id"),
        }
    }

    /// The body to send: the text without its `$outbox` members and without white space around it. Everything else
    /// stays as it came.
    pub fn payload(&self) -> Payload {
        let mut kept = String::with_capacity(self.text.len());
        let mut from = 0;
        for (place, member) in self.members.iter().enumerate() {
            if member.name != DIRECTIVES {
                continue;
            }
            // With the comma before it, or, for the first member, the one after it.
            let (start, end) = if kept_before(&self.members[..place]) {
                (self.members[place - 1].span.end.max(from), member.span.end)
            } else {
                (
                    member.span.start,
                    self.members
                        .get(place + 1)
                        .map_or(member.span.end, |next| next.span.start),
                )
            };
            kept.push_str(&self.text[from..start]);
            from = end;
        }
        kept.push_str(&self.text[from..]);
        Payload::from_text(kept.trim_matches([' ', '\t', '\r', '\n']))
    }
}

/// Whether any of these members stays.
fn kept_before(members: &[Member<'_>]) -> bool {
    members.iter().any(|member| member.name != DIRECTIVES)
}

impl Payload {
    /// Any text; it is not looked at.
    pub fn from_text(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// The bytes of a text. Such as are no UTF-8 (the database could have been touched by other hands) become
    /// replacement characters, and stop nobody else's delivery.
    pub fn from_bytes(bytes: Bytes) -> Self {
        match std::str::from_utf8(&bytes) {
            Ok(_) => Self(bytes),
            Err(_) => Self::from_text(&String::from_utf8_lossy(&bytes)),
        }
    }

    /// The bytes that become the request's body.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The same as text. Total, although the bytes came from a text: the database could have been touched by other
    /// hands.
    pub fn text(&self) -> Cow<'_, str> {
        // Many times as fast as the search for what is none, which hardly ever finds anything.
        std::str::from_utf8(&self.0).map_or_else(|_| String::from_utf8_lossy(&self.0), Cow::Borrowed)
    }

    /// Whether the producer set `hard_override` to true.
    pub fn has_hard_override(&self) -> bool {
        let text = self.text();
        Object::parse(&text).is_ok_and(|object| object.get(HARD_OVERRIDE) == Some("true"))
    }

    /// The same result with `"hard_override": true`: in the place of the producer's own member, else as the first one.
    /// A payload that is no object comes back unchanged.
    #[must_use]
    pub fn with_hard_override(&self) -> Self {
        let text = self.text();
        let Ok(object) = Object::parse(&text) else {
            return self.clone();
        };
        let mut out = String::with_capacity(text.len() + 24);
        let mut from = 0;
        for member in object.members.iter().filter(|member| member.name == HARD_OVERRIDE) {
            out.push_str(&text[from..member.value.start]);
            out.push_str("true");
            from = member.value.end;
        }
        if from == 0 {
            let brace = text.find('{').map_or(0, |at| at + 1);
            out.push_str(&text[..brace]);
            out.push_str(if object.members.is_empty() {
                "\"hard_override\":true"
            } else {
                "\"hard_override\":true,"
            });
            from = brace;
        }
        out.push_str(&text[from..]);
        Self::from_text(&out)
    }

    /// Digest of the object: equal for the same members and values in any order, whatever the white space, the escapes
    /// in strings and the way a number is written (`1.50` and `15e-1` are one value).
    pub fn digest(&self) -> Digest {
        digest_of(&self.text())
    }

    /// The same in one line: line breaks, which JSON allows only between its tokens, become blanks.
    pub fn in_one_line(&self) -> String {
        self.text().replace(['\n', '\r'], " ")
    }
}
