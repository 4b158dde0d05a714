//! A result as it was received: the same members in the same order, with the same digits in numbers. Nothing here re-serialises.
//!
//! [`Object`] is a view over the text that knows where each top-level member lies; [`Payload`] is the text that will be the request's body.
//! Both are safe at any depth of nesting: no function here recurses.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};

use super::activity::{ActivityKey, Digest};

/// The member that carries a producer's directives; taken out before sending.
pub const DIRECTIVES: &str = "$outbox";

/// The member that tells the API to overwrite a registered result (reten-api.md, "Submit a result").
pub const HARD_OVERRIDE: &str = "hard_override";

/// The text that is sent (or, for a row that is no JSON object, kept to be mended). Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload(Bytes);

/// What the outbox needs to know of a payload without reading it again. A member of the wrong type counts as absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// `activity_id`, as it was written.
    pub activity_id: Option<String>,
    /// `provider_activity_id`.
    pub provider_activity_id: Option<String>,
    /// `commerce_external_id`.
    pub commerce_external_id: Option<String>,
}

impl Facts {
    /// The activity that orders it.
    pub fn activity(&self) -> Option<ActivityKey> {
        ActivityKey::of(self.activity_id.as_deref(), self.provider_activity_id.as_deref())
    }
}

/// A member of a JSON object, by its place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name with its escapes resolved.
    pub name: Cow<'a, str>,
    /// From the quote before the name to the end of the value.
    pub span: Range<usize>,
    /// The value.
    pub value: Range<usize>,
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

    /// The whole text.
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

    /// The first name that stands twice.
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

    /// The body to send: the text without its `$outbox` members and without white space around it. Everything else stays as it came.
    pub fn payload(&self) -> Payload {
        let mut kept = String::with_capacity(self.text.len());
        let mut from = 0;
        for (place, member) in self.members.iter().enumerate() {
            if member.name != DIRECTIVES {
                continue;
            }
            // With the comma before it, or, for the first member, the one behind it.
            let (start, end) = if kept_before(&self.members[..place]) {
                (self.members[place - 1].span.end.max(from), member.span.end)
            } else {
                (
                    member.span.start,
                    self.members.get(place + 1).map_or(member.span.end, |next| next.span.start),
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

    /// The bytes that become the request's body.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The same as text. Total, although the bytes came from a text: the database could have been touched by other hands.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// Whether the producer set `hard_override` to true.
    pub fn has_hard_override(&self) -> bool {
        let text = self.text();
        Object::parse(&text).is_ok_and(|object| object.get(HARD_OVERRIDE) == Some("true"))
    }

    /// The same result with `"hard_override": true`: in the place of the producer's own member, else as the first one. A payload that is no
    /// object comes back unchanged.
    #[must_use]
    pub fn with_hard_override(&self) -> Self {
        let text = self.text();
        let Ok(object) = Object::parse(&text) else { return self.clone() };
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

    /// Digest of the object: equal for the same members and values in any order, whatever the white space, the escapes in strings and the
    /// way a number is written (`1.50` and `15e-1` are one value).
    pub fn digest(&self) -> Digest {
        digest_of(&self.text())
    }

    /// The same in one line: line breaks, which JSON allows only between its tokens, become blanks.
    pub fn in_one_line(&self) -> String {
        self.text().replace(['\n', '\r'], " ")
    }
}

/// A piece of valid JSON.
enum Token {
    Open,
    Close,
    /// The span includes the quotes.
    Text(Range<usize>),
    /// A number, `true`, `false` or `null`.
    Bare(Range<usize>),
    Colon,
    Comma,
}

/// The tokens of a text that is known to be valid JSON.
struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Tokens<'_> {
    /// The token and where it begins.
    type Item = (Token, usize);

    fn next(&mut self) -> Option<Self::Item> {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        let start = self.at;
        let token = match *self.bytes.get(start)? {
            b'{' | b'[' => Token::Open,
            b'}' | b']' => Token::Close,
            b':' => Token::Colon,
            b',' => Token::Comma,
            b'"' => {
                let mut end = start + 1;
                while let Some(&byte) = self.bytes.get(end) {
                    match byte {
                        b'"' => break,
                        b'\\' => end += 2,
                        _ => end += 1,
                    }
                }
                self.at = (end + 1).min(self.bytes.len());
                return Some((Token::Text(start..self.at), start));
            }
            _ => {
                let ends = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"');
                let length = self.bytes[start..].iter().position(ends).unwrap_or(self.bytes.len() - start);
                self.at = start + length.max(1);
                return Some((Token::Bare(start..self.at), start));
            }
        };
        self.at += 1;
        Some((token, start))
    }
}

/// A JSON string's value; where it cannot be said in Unicode (a lone surrogate), its raw text.
fn unquoted<'a>(text: &'a str, span: &Range<usize>) -> Cow<'a, str> {
    let raw = &text[span.clone()];
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    serde_json::from_str::<String>(raw).map_or(Cow::Borrowed(inner), Cow::Owned)
}

/// The top-level members of a valid JSON object.
fn members_of(text: &str) -> Vec<Member<'_>> {
    let mut members = Vec::new();
    let mut depth = 0_usize;
    let mut key: Option<Range<usize>> = None;
    let mut value: Option<Range<usize>> = None;
    for (token, at) in (Tokens {
        bytes: text.as_bytes(),
        at: 0,
    }) {
        let end = match token {
            Token::Open => {
                depth += 1;
                if depth == 2 {
                    value = Some(at..at);
                }
                continue;
            }
            Token::Close => {
                depth = depth.saturating_sub(1);
                at + 1
            }
            Token::Text(span) if depth == 1 && key.is_none() => {
                key = Some(span);
                continue;
            }
            Token::Text(span) | Token::Bare(span) if depth == 1 => {
                value = Some(span.clone());
                span.end
            }
            Token::Text(_) | Token::Bare(_) | Token::Colon | Token::Comma => continue,
        };
        if depth == 1
            && let (Some(name), Some(start)) = (key.take(), value.take())
        {
            members.push(Member {
                name: unquoted(text, &name),
                span: name.start..end,
                value: start.start..end,
            });
        }
    }
    members
}

/// A container that is still open while its digest is taken.
#[derive(Default)]
struct Frame {
    is_object: bool,
    name: Option<String>,
    children: Vec<(String, [u8; 32])>,
}

impl Frame {
    fn take(&mut self, digest: [u8; 32]) {
        let name = self.name.take().unwrap_or_default();
        self.children.push((name, digest));
    }

    /// Members count in any order, items in theirs.
    fn digest(mut self) -> [u8; 32] {
        if self.is_object {
            self.children.sort_unstable();
        }
        let mut hash = Sha256::new().chain_update(if self.is_object { b"{" } else { b"[" });
        for (name, child) in &self.children {
            hash.update(name.len().to_be_bytes());
            hash.update(name);
            hash.update(child);
        }
        hash.finalize().into()
    }
}

fn digest_of(text: &str) -> Digest {
    let mut stack = vec![Frame::default()];
    for (token, at) in (Tokens {
        bytes: text.as_bytes(),
        at: 0,
    }) {
        let scalar: [u8; 32] = match token {
            Token::Open => {
                stack.push(Frame {
                    is_object: text.as_bytes()[at] == b'{',
                    ..Frame::default()
                });
                continue;
            }
            Token::Close if stack.len() > 1 => stack.pop().unwrap_or_default().digest(),
            Token::Text(span) => {
                let value = unquoted(text, &span);
                if let Some(frame) = stack.last_mut()
                    && frame.is_object
                    && frame.name.is_none()
                {
                    frame.name = Some(value.into_owned());
                    continue;
                }
                Sha256::new().chain_update(b"\"").chain_update(value.as_bytes()).finalize().into()
            }
            Token::Bare(span) => Sha256::new()
                .chain_update(b"#")
                .chain_update(plain_number(&text[span]).as_bytes())
                .finalize()
                .into(),
            Token::Close | Token::Colon | Token::Comma => continue,
        };
        if let Some(frame) = stack.last_mut() {
            frame.take(scalar);
        }
    }
    Digest(stack.swap_remove(0).digest())
}

/// A number as sign, digits without zeros at either end, and exponent, so that equal values are equal texts of any length.
/// `true`, `false`, `null` and an exponent beyond 64 bits stay as they are.
fn plain_number(token: &str) -> Cow<'_, str> {
    let (negative, unsigned) = token.strip_prefix('-').map_or((false, token), |rest| (true, rest));
    if !unsigned.starts_with(|first: char| first.is_ascii_digit()) {
        return Cow::Borrowed(token);
    }
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let Ok(exponent) = exponent.parse::<i64>() else {
        return Cow::Borrowed(token);
    };
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Cow::Borrowed("0");
    }
    let zeros_behind = i64::try_from(digits.len() - digits.trim_end_matches('0').len()).unwrap_or(i64::MAX);
    let behind_point = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let Some(exponent) = exponent.checked_sub(behind_point).and_then(|left| left.checked_add(zeros_behind)) else {
        return Cow::Borrowed(token);
    };
    Cow::Owned(format!("{}{significant}e{exponent}", if negative { "-" } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(text: &str) -> String {
        Object::parse(text).unwrap().payload().text().into_owned()
    }

    #[test]
    fn the_directives_are_taken_out_and_nothing_else_is_touched() {
        let cases = [
            (r#"{"a":1,"$outbox":{"key":"k"},"b":2}"#, r#"{"a":1,"b":2}"#),
            (r#"{"$outbox":{"key":"k"},"b": 1.50}"#, r#"{"b": 1.50}"#),
            (r#"{"b":12345678901234567890123, "$outbox":{}}"#, r#"{"b":12345678901234567890123}"#),
            (r#"{"$outbox":{}}"#, "{}"),
            (r#"{"$outbox":1,"$outbox":2,"a":3}"#, r#"{"a":3}"#),
            (r#"{"a":3,"$outbox":1,"$outbox":2}"#, r#"{"a":3}"#),
            (r#"{"$outbox":1,"a":3,"$outbox":2,"b":4}"#, r#"{"a":3,"b":4}"#),
            (r#"{"\u0024outbox":1,"a":{"$outbox":2}}"#, r#"{"a":{"$outbox":2}}"#),
            (" {\"a\" : [1, {\"b\":\"}\\\"\"}] }\n", "{\"a\" : [1, {\"b\":\"}\\\"\"}] }"),
        ];
        for (text, expected) in cases {
            assert_eq!(sent(text), expected, "{text}");
        }
    }

    #[test]
    fn hard_override_replaces_the_producers_own_or_comes_first() {
        let cases = [
            (r#"{"a":1}"#, r#"{"hard_override":true,"a":1}"#),
            (r"{}", r#"{"hard_override":true}"#),
            (
                r#"{"a":1,"hard_override" : false ,"b":2}"#,
                r#"{"a":1,"hard_override" : true ,"b":2}"#,
            ),
            (r#"{"hard_override":null}"#, r#"{"hard_override":true}"#),
            (
                r#"{"x":{"hard_override":false}}"#,
                r#"{"hard_override":true,"x":{"hard_override":false}}"#,
            ),
            ("not json", "not json"),
        ];
        for (text, expected) in cases {
            assert_eq!(Payload::from_text(text).with_hard_override().text(), expected);
        }
        assert!(Payload::from_text(r#"{"hard_override": true}"#).has_hard_override());
        assert!(!Payload::from_text(r#"{"hard_override": "true"}"#).has_hard_override());
    }

    #[test]
    fn one_value_has_one_digest_however_it_is_written() {
        let same = [
            (r#"{"a":1,"b":[1.50,"\u00e9"]}"#, "{ \"b\" : [15e-1, \"é\"], \"a\":1.0 }"),
            (r#"{"n":100}"#, r#"{"n":1E+2}"#),
            (r#"{"n":-0.0}"#, r#"{"n":0}"#),
            (r#"{"n":12345678901234567890123}"#, r#"{"n":1.2345678901234567890123e22}"#),
        ];
        for (left, right) in same {
            assert_eq!(
                Payload::from_text(left).digest(),
                Payload::from_text(right).digest(),
                "{left} {right}"
            );
        }
        let different = [
            (r#"{"a":1}"#, r#"{"a":"1"}"#),
            (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#),
            (r#"{"a":{}}"#, r#"{"a":[]}"#),
            (r#"{"a":null}"#, r"{}"),
            (r#"{"a":"x"}"#, r#"{"a":"X"}"#),
            (r#"{"n":1}"#, r#"{"n":-1}"#),
            (r#"{"n":12345678901234567890123}"#, r#"{"n":12345678901234567890124}"#),
        ];
        for (left, right) in different {
            assert_ne!(
                Payload::from_text(left).digest(),
                Payload::from_text(right).digest(),
                "{left} {right}"
            );
        }
    }

    #[test]
    fn any_depth_of_nesting_is_looked_at_without_recursion() {
        let deep = format!(
            r#"{{"provider_activity_id":"p","raw_payload":{}1{}}}"#,
            "[".repeat(200_000),
            "]".repeat(200_000)
        );
        let object = Object::parse(&deep).unwrap();
        assert_eq!(object.facts().provider_activity_id.as_deref(), Some("p"));
        assert_eq!(object.payload().digest(), Payload::from_text(&deep).digest());
    }

    #[test]
    fn what_is_no_object_says_what_it_is() {
        for (text, expected) in [
            ("[1]", "an array"),
            ("\"x\"", "a string"),
            ("1", "a number"),
            ("null", "null"),
            ("true", "a boolean"),
        ] {
            assert!(Object::parse(text).unwrap_err().to_string().contains(expected), "{text}");
        }
        assert!(Object::parse(r#"{"a":"#).unwrap_err().to_string().starts_with("not JSON"));
    }

    #[test]
    fn a_member_that_stands_twice_is_found_whatever_its_escapes() {
        assert_eq!(Object::parse(r#"{"a":1,"b":2,"\u0061":3}"#).unwrap().duplicate(), Some("a"));
        assert_eq!(Object::parse(r#"{"a":1,"b":{"a":1}}"#).unwrap().duplicate(), None);
    }

    #[test]
    fn empty_and_null_ids_count_as_absent() {
        let facts = Object::parse(r#"{"activity_id":"","provider_activity_id":"p"}"#).unwrap().facts();
        assert_eq!(facts.activity(), Some(ActivityKey::Provider("p".into())));
        let facts = Object::parse(r#"{"activity_id":null,"provider_activity_id":7}"#).unwrap().facts();
        assert_eq!(facts.activity(), None);
    }
}
