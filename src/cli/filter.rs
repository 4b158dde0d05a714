//! The filters that `list`, `export` and the acts share.

use std::time::Duration;
use strum::VariantArray as _;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use crate::clock::Timestamp;
use crate::config::units;
use crate::model::{DeadReason, ParkReason, StateName};
use crate::store::Filter;

/// Which submissions. Every condition that is named must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, clap::Args)]
pub struct FilterArgs {
    /// Only those in this state, or in one of several; of several filters all must hold
    #[arg(
        long,
        value_name = "STATE",
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(StateName::VARIANTS.iter().map(StateName::into_str))
            .try_map(|name| name.parse::<StateName>())
    )]
    pub state: Vec<StateName>,

    /// Only those dead or parked for this reason
    #[arg(long, value_name = "REASON", value_parser = PossibleValuesParser::new(reasons()))]
    pub reason: Option<String>,

    /// Only those whose last answer had this status
    #[arg(long, value_name = "N")]
    pub http_status: Option<u16>,

    /// Only those of this activity (`activity_id` or `provider_activity_id`)
    #[arg(long, value_name = "KEY")]
    pub activity: Option<String>,

    /// Only those from this producer
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<String>,

    /// Only those taken in since then: a time (2026-11-23T10:00:00Z) or an age (2h, 7d)
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    pub since: Option<SinceArg>,

    /// Only those that came into their state since then (that died, for dead ones): a time or an age
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    pub changed_since: Option<SinceArg>,
}

/// A moment, as an operator names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinceArg {
    At(Timestamp),
    Ago(Duration),
}

impl SinceArg {
    /// The moment itself.
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(age) => now.minus(age),
        }
    }
}

impl FilterArgs {
    /// Whether no condition is named.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The filter as the outbox knows it.
    pub fn at(&self, now: Timestamp) -> Filter {
        Filter {
            states: self.state.clone(),
            reason: self.reason.clone(),
            http_status: self.http_status,
            activity: self.activity.clone(),
            source: self.source.clone(),
            since: self.since.map(|since| since.before(now)),
            changed_since: self.changed_since.map(|since| since.before(now)),
        }
    }
}

/// The reasons of dead and parked ones, each name once.
fn reasons() -> Vec<&'static str> {
    let mut names: Vec<&str> = DeadReason::VARIANTS.iter().map(DeadReason::into_str).collect();
    let parked = ParkReason::VARIANTS.iter().map(ParkReason::into_str);
    names.extend(parked.filter(|name| *name != DeadReason::Conflict.into_str()));
    names
}

/// Reads a moment of an option; the error says how to write one.
pub fn parse_since(text: &str) -> Result<SinceArg, String> {
    let age = units::parse_duration(text).map(SinceArg::Ago);
    age.or_else(|| Timestamp::parse_iso8601(text).map(SinceArg::At))
        .ok_or_else(|| "write a time, 2026-11-23T10:00:00Z, or how long ago, 2h or 7d".to_owned())
}

/// Reads a duration of an option; the error says how to write one.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    units::parse_duration(text).ok_or_else(|| "not a duration; write 90s, 30m, 12h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_an_age() {
        let now = Timestamp::from_millis(10_000_000);
        let filter = |text| {
            FilterArgs {
                since: Some(parse_since(text).unwrap()),
                ..FilterArgs::default()
            }
            .at(now)
        };
        assert_eq!(filter("2h").since, Some(Timestamp::from_millis(2_800_000)));
        assert_eq!(
            filter("1970-01-01T00:00:05Z").since,
            Some(Timestamp::from_millis(5_000))
        );
        assert!(parse_since("yesterday").is_err());
    }

    #[test]
    fn a_filter_without_a_condition_is_empty() {
        assert!(FilterArgs::default().is_empty());
        assert!(
            !FilterArgs {
                http_status: Some(0),
                ..FilterArgs::default()
            }
            .is_empty()
        );
    }

    #[test]
    fn each_reason_is_offered_once() {
        assert_eq!(
            reasons(),
            [
                "rejected",
                "invalid",
                "conflict",
                "retries_exhausted",
                "unauthorized",
                "conflict_after_lost_response"
            ]
        );
    }
}
