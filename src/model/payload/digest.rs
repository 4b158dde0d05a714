//! The digest of an object: equal for equal members and values in any order, however they are written.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use super::super::activity::Digest;
use super::tokens::{Token, Tokens, unquoted};

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

/// Of a text that is valid JSON; of any other text, something that is the same for the same text.
pub(super) fn digest_of(text: &str) -> Digest {
    let mut stack = vec![Frame::default()];
    for (token, at) in Tokens::of(text) {
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
                Sha256::new()
                    .chain_update(b"\"")
                    .chain_update(value.as_bytes())
                    .finalize()
                    .into()
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

/// A number as sign, digits without zeros at either end, and exponent, so that equal values are equal texts of any
/// length. `true`, `false`, `null` and an exponent beyond 64 bits stay as they are.
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
    let Some(exponent) = exponent
        .checked_sub(behind_point)
        .and_then(|left| left.checked_add(zeros_behind))
    else {
        return Cow::Borrowed(token);
    };
    Cow::Owned(format!("{}{significant}e{exponent}", if negative { "-" } else { "" }))
}
