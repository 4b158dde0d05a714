//! The marks of tokens: HMAC-SHA256 over a submission's number and the time at which it was taken in, by a secret of
//! this outbox.
//!
//! The time is in it since numbers can come again: in an outbox that was restored from a backup, 4711 may be another
//! submission than the one that was exported. The secret lies in `memory`, is made once, and goes where the outbox
//! goes.

use ring::hmac;
use ring::rand::SystemRandom;

use crate::clock::Timestamp;
use crate::model::token::{Mark, ReplaceToken};
use crate::model::{Digest, SubmissionId, hexadecimal};

/// Under this name the secret is remembered, in hexadecimal.
pub(crate) const SECRET: &str = "replaces";

/// Makes and knows marks.
#[derive(Debug, Clone)]
pub struct Marks(hmac::Key);

impl Marks {
    /// By a secret as it is remembered.
    pub(crate) fn of(secret: &str) -> Option<Self> {
        if secret.len() != 64 {
            return None;
        }
        let digits: Option<Vec<u8>> = secret
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        digits.map(|bytes| Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// A new secret; `None` where the system has no random numbers to give.
    pub(crate) fn new_secret() -> Option<String> {
        let random: [u8; 32] = ring::rand::generate(&SystemRandom::new()).ok()?.expose();
        Some(hexadecimal(&random))
    }

    /// The token of a submission.
    pub fn token(&self, id: SubmissionId, created_at: Timestamp) -> ReplaceToken {
        let tag = hmac::sign(&self.0, &signed(id, created_at));
        let mut mark = Mark([0; 32]);
        mark.0.copy_from_slice(tag.as_ref());
        ReplaceToken { id, mark }
    }

    /// Whether this outbox made it, for a submission that was taken in then. Takes as long whatever is wrong in it.
    pub(crate) fn made(&self, token: &ReplaceToken, created_at: Timestamp) -> bool {
        hmac::verify(&self.0, &signed(token.id, created_at), &token.mark.0).is_ok()
    }
}

/// A digest, so that no two pairs are the same bytes, and nothing else that is ever signed with this secret can be one.
fn signed(id: SubmissionId, created_at: Timestamp) -> [u8; 32] {
    Digest::of(format!("replaces {id} of {}", created_at.millis()).as_bytes()).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_submission_of_one_outbox() {
        let (here, there) = (Marks::new_secret().unwrap(), Marks::new_secret().unwrap());
        assert_ne!(here, there);
        let (here, there) = (Marks::of(&here).unwrap(), Marks::of(&there).unwrap());
        let (id, at) = (SubmissionId(7), Timestamp::from_millis(1));
        let token = here.token(id, at);
        assert!(here.made(&token, at) && !there.made(&token, at));
        assert!(
            !here.made(&token, Timestamp::from_millis(2)),
            "the same number, given to another one"
        );
        let other = ReplaceToken {
            id: SubmissionId(8),
            ..token.clone()
        };
        assert!(!here.made(&other, at));
        let mut changed = token;
        changed.mark.0[31] ^= 1;
        assert!(!here.made(&changed, at));
    }

    #[test]
    fn a_secret_that_is_none_makes_no_marks() {
        for wrong in ["", "00", "zz", &"0".repeat(63), &"é".repeat(32)] {
            assert!(Marks::of(wrong).is_none(), "{wrong}");
        }
    }
}
