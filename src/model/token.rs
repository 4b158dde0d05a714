//! The token by which a mended twin says whose place it takes (`$outbox.replaces`): a submission's number, and a mark
//! that only this outbox can make. Whoever may drop results knows or guesses numbers; without a mark they could close
//! what is others'.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use super::submission::SubmissionId;

/// The 64 letters of base64url (RFC 4648): safe in JSON, in a shell and in a file's name.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What makes a token unguessable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub [u8; 32]);

/// A submission that is to be replaced, as a producer names it. Whether the mark is right is the outbox's to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplaceToken {
    pub id: SubmissionId,
    /// What shows that an export wrote this.
    pub mark: Mark,
}

/// Who reads a mark can use it: it stays out of everything that is printed for debugging.
impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark")
    }
}

impl fmt::Display for ReplaceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.id)?;
        for piece in self.mark.0.chunks(3) {
            let bits = piece
                .iter()
                .enumerate()
                .fold(0, |bits, (place, byte)| bits | u32::from(*byte) << (16 - 8 * place));
            for letter in 0..=piece.len() {
                f.write_char(char::from(LETTERS[(bits >> (18 - 6 * letter)) as usize & 63]))?;
            }
        }
        Ok(())
    }
}

impl FromStr for ReplaceToken {
    type Err = String;

    /// The error does not repeat the text: it would be in logs, and may be a token but for a blank.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let token = text.split_once('-').and_then(|(id, mark)| {
            let id = id.parse().ok()?;
            let mark = mark_of(mark)?;
            Some(Self { id, mark })
        });
        // One token is written in one way only.
        token
            .filter(|token| token.to_string() == text)
            .ok_or_else(|| "is no token that `reten-outbox export` writes".to_owned())
    }
}

fn mark_of(text: &str) -> Option<Mark> {
    let mut bytes = Vec::with_capacity(33);
    for piece in text.as_bytes().chunks(4) {
        let mut bits = 0_usize;
        for letter in piece {
            bits = bits << 6 | LETTERS.iter().position(|known| known == letter)?;
        }
        bits <<= 6 * (4 - piece.len());
        let whole = u32::try_from(bits).ok()?.to_be_bytes();
        bytes.extend_from_slice(&whole[1..piece.len()]);
    }
    bytes.try_into().ok().map(Mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_as_it_is_written() {
        for byte in [0_u8, 1, 0x7f, 0xfb, 0xff] {
            let mut mark = [byte; 32];
            mark[31] = !byte;
            let token = ReplaceToken {
                id: SubmissionId(4711),
                mark: Mark(mark),
            };
            let text = token.to_string();
            assert_eq!((text.len(), text.parse().as_ref()), (5 + 43, Ok(&token)), "{text}");
        }
        // As another program writes these bytes.
        let token = ReplaceToken {
            id: SubmissionId(1),
            mark: Mark(*b"any carnal pleasure, or any othe"),
        };
        assert_eq!(token.to_string(), "1-YW55IGNhcm5hbCBwbGVhc3VyZSwgb3IgYW55IG90aGU");
    }

    #[test]
    fn whatever_else_is_no_token_and_is_not_repeated() {
        let good = "1-YW55IGNhcm5hbCBwbGVhc3VyZSwgb3IgYW55IG90aGU";
        let last_bits = good.replace("aGU", "aGV");
        let short = &good[..good.len() - 1];
        let long = format!("{good}A");
        for wrong in [
            "",
            "1",
            "1-",
            "-",
            "x-YW55",
            &last_bits,
            short,
            &long,
            &format!(" {good}"),
            &format!("0{good}"),
            &good.replace('W', "é"),
        ] {
            let error = wrong.parse::<ReplaceToken>().unwrap_err();
            assert!(!error.contains("YW55"), "{error}");
        }
    }
}
