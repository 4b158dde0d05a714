//! The conformance suite of the seam: what any store behind [`Outbox`] must hold.

mod acting;
mod bench;
mod bookkeeping;
mod broken;
mod claims;
mod intake;
mod looking;
mod lost;
mod machine;
mod matrix;
mod minutes;
mod model;
mod moving;
mod opening;
mod order;
mod recovery;
mod replacing;
mod retention;
mod rules;
mod settling;
mod thin;
mod undoing;
mod upgrade;

#[path = "../../../tests/postgres/mod.rs"]
pub(super) mod postgres;

use std::path::PathBuf;
use std::time::Duration;

use rstest::rstest;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tempfile::TempDir;

use crate::clock::Timestamp;
use crate::model::{
    Act, Actor, Address, Admission, Admitted, Answer, Attempt, ConflictPolicy, DeadReason, Directives, Ending, Entry,
    Facts, Fault, FaultKind, Origin, ParkReason, Payload, State, SubmissionId, SubmissionKey,
};
use crate::store::{
    ActRequest, Acted, ClaimOrder, ClaimRequest, Claimed, OpenError, Outbox, Role, Settled, Settlement, Still,
};

use Kind::{Postgres, Sqlite};
pub(super) use bench::{Bench, Kind, directory};

/// The present of most tests.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// `retry.max_interval` of most tests.
pub(super) const WAIT_MAX: Duration = Duration::from_mins(10);

/// A time so many seconds from [`NOW`].
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW.millis() + seconds * 1000)
}

/// A result of this activity (`provider_activity_id`); none where it is empty.
pub(super) fn entry(activity: &str) -> Entry {
    let text = format!(r#"{{"provider_activity_id":"{activity}"}}"#);
    Entry {
        payload: Payload::from_text(&text),
        facts: Facts {
            provider_activity_id: (!activity.is_empty()).then(|| activity.to_owned()),
            ..Facts::default()
        },
        directives: Directives::default(),
        origin: Origin::Row { id: 1 },
        digest: None,
        invalid: None,
        by_result_types: false,
    }
}

/// The same with a key, and with a text that makes it this object and no other.
pub(super) fn keyed(activity: &str, key: &str, text: &str) -> Entry {
    let payload = Payload::from_text(&format!(r#"{{"text":"{text}"}}"#));
    Entry {
        digest: Some(payload.digest()),
        payload,
        directives: Directives {
            key: Some(SubmissionKey(key.into())),
            ..Directives::default()
        },
        ..entry(activity)
    }
}

pub(super) fn settlement(claimed: &Claimed, ending: Ending) -> Settlement {
    let record = Attempt {
        number: claimed.attempt,
        node: None,
        started_at: claimed.claimed_at,
        elapsed_ms: 12,
        hard_override: claimed.hard_override,
        outcome: ending.into(),
        lost_response: false,
        answer: Some(Answer {
            status: 503,
            headers: vec![("content-type".into(), "text/plain".into())],
            body: bytes::Bytes::from_static(b"busy \xff"),
            body_length: 6,
        }),
        fault: None,
    };
    Settlement {
        id: claimed.id,
        ending,
        record,
    }
}
