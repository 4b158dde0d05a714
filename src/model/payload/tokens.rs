//! The tokens of a text that is known to be valid JSON: where its members lie can be told without a tree, and without
//! recursion.

use std::borrow::Cow;
use std::ops::Range;

/// A member of a JSON object, by its place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name with its escapes resolved.
    pub name: Cow<'a, str>,
    /// From the quote before the name to the end of the value.
    pub span: Range<usize>,
    pub value: Range<usize>,
}

/// A piece of valid JSON.
pub(super) enum Token {
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
pub(super) struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self {
            bytes: text.as_bytes(),
            at: 0,
        }
    }
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
                let ends = |byte: &u8| {
                    matches!(
                        byte,
                        b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"'
                    )
                };
                let length = self.bytes[start..]
                    .iter()
                    .position(ends)
                    .unwrap_or(self.bytes.len() - start);
                self.at = start + length.max(1);
                return Some((Token::Bare(start..self.at), start));
            }
        };
        self.at += 1;
        Some((token, start))
    }
}

/// A JSON string's value; where it cannot be said in Unicode (a lone surrogate), its raw text.
pub(super) fn unquoted<'a>(text: &'a str, span: &Range<usize>) -> Cow<'a, str> {
    let raw = &text[span.clone()];
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    serde_json::from_str::<String>(raw).map_or(Cow::Borrowed(inner), Cow::Owned)
}

/// The top-level members of a valid JSON object.
pub(super) fn members_of(text: &str) -> Vec<Member<'_>> {
    let mut members = Vec::new();
    let mut depth = 0_usize;
    let mut key: Option<Range<usize>> = None;
    let mut value: Option<Range<usize>> = None;
    for (token, at) in Tokens::of(text) {
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
