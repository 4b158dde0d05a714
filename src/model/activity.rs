//! How two submissions relate: the activity whose order they share, and the key under which a producer says "this is
//! the same one".

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The activity a result belongs to: `activity_id` where it is given (its case does not matter), else
/// `provider_activity_id`. The two never equal one another, whatever their text: results that name one activity by
/// different ids give up their order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ActivityKey {
    /// Reten's own id, in lower case.
    Reten(String),
    /// The caller's id, letter for letter.
    Provider(String),
}

/// The queue of one activity in the outbox: 64 bits of a hash of its key. Two activities that share a lane by chance
/// (one in 10^5 at ten million activities) merely wait for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(pub i64);

impl ActivityKey {
    /// The key of these two ids; an empty one counts as absent.
    pub fn of(activity_id: Option<&str>, provider_activity_id: Option<&str>) -> Option<Self> {
        let present = |id: Option<&str>| id.filter(|id| !id.is_empty()).map(str::to_owned);
        present(activity_id)
            .map(|id| Self::Reten(id.to_ascii_lowercase()))
            .or_else(|| present(provider_activity_id).map(Self::Provider))
    }

    /// The id as logs and lists show it.
    pub fn text(&self) -> &str {
        match self {
            Self::Reten(id) | Self::Provider(id) => id,
        }
    }

    /// Where submissions of this activity queue. Stored in the database: the rule may never change without a migration.
    pub fn lane(&self) -> Lane {
        let kind = match self {
            Self::Reten(_) => b"a",
            Self::Provider(_) => b"p",
        };
        let hash = Sha256::new().chain_update(kind).chain_update(self.text()).finalize();
        let mut first = [0_u8; 8];
        first.copy_from_slice(&hash[..8]);
        Lane(i64::from_be_bytes(first))
    }
}

impl fmt::Display for ActivityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// The producer's own name for a submission (`$outbox.key`, a row's `submission_key`): unique as long as the submission
/// is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SubmissionKey(pub String);

impl fmt::Display for SubmissionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 of something that has to be recognised again: a payload's members and values in any order, a file's first
/// bytes, a row's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_activity_id_wins_and_its_case_does_not_matter() {
        let key = ActivityKey::of(Some("7E57D004-2B97-0E7A-B45F-5387367791CD"), Some("crm-1"));
        assert_eq!(key, ActivityKey::of(Some("7e57d004-2b97-0e7a-b45f-5387367791cd"), None));
        assert_eq!(
            ActivityKey::of(Some(""), Some("crm-1")),
            Some(ActivityKey::Provider("crm-1".into()))
        );
        assert_eq!(ActivityKey::of(None, Some("")), None);
    }

    #[test]
    fn ids_of_different_kinds_never_share_a_lane() {
        assert_ne!(
            ActivityKey::Reten("x".into()).lane(),
            ActivityKey::Provider("x".into()).lane()
        );
    }

    #[test]
    fn the_lane_of_a_key_is_fixed_for_ever() {
        assert_eq!(
            ActivityKey::Provider("crm-1".into()).lane(),
            ActivityKey::Provider("crm-1".into()).lane()
        );
        assert_eq!(
            ActivityKey::Provider("crm-1".into()).lane().0,
            i64::from_be_bytes(Digest::of(b"pcrm-1").0[..8].try_into().unwrap())
        );
    }
}
