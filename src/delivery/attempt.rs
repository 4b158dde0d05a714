//! One attempt: the request, what it brought, and what that means. Its claim is durable before it begins and its
//! outcome after it has ended: a crash in between leaves the submission in `sending`.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use memchr::memmem;
use tokio::time::Instant;

use crate::api::Client;
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::model::payload::HARD_OVERRIDE;
use crate::model::{DeadReason, Ending, Exchange, Fault, FaultKind, Object, Payload};
use crate::policy::conflict::Past;
use crate::policy::gate::{Dispatch, Ended};
use crate::policy::hint::ApiError;
use crate::policy::schedule;
use crate::policy::verdict::{Signal, Verdict, VerdictPolicy, judge};
use crate::store::{Claimed, Outbox, Relations, StoreError};
use crate::telemetry::hindrance::Hindrances;

use super::store_retry::StoreRetry;

/// What an attempt goes by: one configuration and its client, whatever is reloaded meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Equipment {
    pub(super) outbox: Outbox,
    pub(super) config: Arc<Config>,
    pub(super) client: Arc<Client>,
    pub(super) hindrances: Arc<Hindrances>,
}

/// An attempt that has ended.
#[derive(Debug)]
pub(super) struct EndedAttempt {
    pub(super) exchange: Exchange,
    pub(super) elapsed: Duration,
    /// Whether the request carried `"hard_override": true`, ours or the producer's.
    pub(super) carried_override: bool,
    pub(super) verdict: Verdict,
    /// The verdict's, or the wait for the next attempt.
    pub(super) ending: Ending,
    pub(super) at: Timestamp,
}

impl EndedAttempt {
    /// Whether it is one of [`given_up`].
    pub(super) fn was_given_up(&self) -> bool {
        matches!(&self.exchange, Exchange::Failed { fault, .. } if fault.message == GIVEN_UP)
    }

    /// Shortens the wait of one that only found out whether an outage goes on: where few are pending each is a probe
    /// again and again, and must not come back minutes after the API does. What `Retry-After` asked for stays.
    pub(super) fn wait_at_most(&mut self, longest: Duration) {
        if let (None, Ending::Retry { wait } | Ending::Interrupted { wait }) =
            (self.verdict.retry_after, &mut self.ending)
        {
            *wait = longest.min(*wait);
        }
    }

    /// What the gate hears of it.
    pub(super) fn for_gate(&self, claimed: &Claimed, dispatch: Dispatch, refused_before: bool, roll: f64) -> Ended {
        let mut hasher = DefaultHasher::new();
        match &claimed.activity {
            Some(activity) => activity.to_ascii_lowercase().hash(&mut hasher),
            None => claimed.id.hash(&mut hasher),
        }
        let retry_after = self.verdict.retry_after.map(|asked| asked.wait(self.at));
        Ended {
            dispatch,
            signal: self.verdict.signal,
            refused_before,
            submission: claimed.id,
            activity: hasher.finish(),
            at: self.at,
            retry_after,
            message: match self.verdict.signal {
                // Nothing to read, thousands of times a second.
                Signal::Healthy => None,
                Signal::Answered
                | Signal::Rejected
                | Signal::Throttled
                | Signal::Faulty
                | Signal::Overloaded
                | Signal::Unauthorized(_) => Some(said(&self.exchange)),
            },
            roll,
        }
    }
}

/// Sends a submission and judges what comes of it. `roll` places its next wait, should it need one.
pub(super) async fn send(equipment: Equipment, claimed: Arc<Claimed>, roll: f64) -> EndedAttempt {
    let payload = if claimed.hard_override {
        claimed.payload.with_hard_override()
    } else {
        claimed.payload.clone()
    };
    let (exchange, elapsed) = equipment.client.submit(payload.bytes().clone()).await;
    let carried_override = claimed.hard_override || has_hard_override(&payload);
    let at = clock::now();
    let verdict = if is_conflict(&exchange) {
        let relations = relations(&equipment, &claimed).await;
        let reading = ConflictFacts::of(&payload);
        judge(
            &exchange,
            &reading.past(&claimed, relations, carried_override, at),
            &policy(&equipment.config),
        )
    } else {
        judge(&exchange, &Past::default(), &policy(&equipment.config))
    };
    let ending = ending(&equipment.config, &claimed, &verdict, at, roll);
    EndedAttempt {
        exchange,
        elapsed,
        carried_override,
        verdict,
        ending,
        at,
    }
}

/// What an answer said, or how the request failed, in one line.
fn said(exchange: &Exchange) -> String {
    match exchange {
        Exchange::Answered(answer) => {
            let message = ApiError::parse(&answer.body).and_then(|error| error.message);
            match message {
                Some(message) => format!("{}: {message}", answer.status),
                None => answer.status.to_string(),
            }
        }
        Exchange::Failed { fault, .. } => fault.message.clone(),
    }
}

/// What is said of a request that was given up.
const GIVEN_UP: &str = "given up: this daemon was cut off from the outbox, and others may send it";

/// What becomes of an attempt whose daemon may not send any more: nobody knows how far its request had come.
pub(super) fn given_up(config: &Config, claimed: &Claimed, at: Timestamp, roll: f64) -> EndedAttempt {
    interrupted(config, claimed, GIVEN_UP.to_owned(), at, roll)
}

/// What becomes of an attempt that failed inside the daemon: nobody knows how far its request had come.
pub(super) fn interrupted(
    config: &Config,
    claimed: &Claimed,
    message: String,
    at: Timestamp,
    roll: f64,
) -> EndedAttempt {
    let exchange = Exchange::Failed {
        fault: Fault {
            kind: FaultKind::Interrupted,
            message,
            status: None,
        },
        on_the_wire: true,
    };
    let verdict = judge(&exchange, &Past::default(), &policy(config));
    let ending = match ending(config, claimed, &verdict, at, roll) {
        Ending::Retry { wait } => Ending::Interrupted { wait },
        exhausted => exhausted,
    };
    EndedAttempt {
        ending,
        exchange,
        elapsed: Duration::ZERO,
        carried_override: claimed.hard_override,
        verdict,
        at,
    }
}

fn policy(config: &Config) -> VerdictPolicy<'_> {
    VerdictPolicy {
        require_json: config.api.require_json,
        conflict: &config.conflict,
    }
}

/// The verdict's ending; where another attempt should follow, its wait, or the end of all waits.
fn ending(config: &Config, claimed: &Claimed, verdict: &Verdict, at: Timestamp, roll: f64) -> Ending {
    verdict.ending.unwrap_or_else(|| {
        let asked = verdict.retry_after.map(|asked| asked.wait(at));
        match schedule::next(&config.retry, claimed.tries, claimed.waited, asked, roll) {
            Some(wait) => Ending::Retry { wait },
            None => Ending::dead(DeadReason::RetriesExhausted),
        }
    })
}

/// Whether the rules of `[conflict]` will be asked, so that what they go by has to be read.
const fn is_conflict(exchange: &Exchange) -> bool {
    match exchange {
        Exchange::Answered(answer) => answer.status == 409,
        Exchange::Failed { .. } => false,
    }
}

/// Whether the producer set it. At delivery nothing is parsed that need not be: a name that is there neither
/// plainly nor escaped is absent.
fn has_hard_override(payload: &Payload) -> bool {
    let has = |name: &str| memmem::find(payload.bytes(), name.as_bytes()).is_some();
    (has(HARD_OVERRIDE) || has("\\u00")) && payload.has_hard_override()
}

/// What the others of its activity say. The answer is in and must not be lost, so this waits until the outbox can be
/// asked.
async fn relations(equipment: &Equipment, claimed: &Claimed) -> Relations {
    let mut patience = StoreRetry::new(&equipment.hindrances);
    loop {
        match equipment.outbox.relations(claimed.id).await {
            Ok(relations) => {
                patience.worked();
                return relations;
            }
            // Nothing can be stored any more: the submission stays `sending`, whatever is decided here.
            Err(StoreError::Closed) => return Relations::default(),
            Err(error) => tokio::time::sleep(patience.failed("relations", &error, Instant::now())).await,
        }
    }
}

/// What the rules of a 409 read in a payload; a member that is missing or of another type is `None`.
struct ConflictFacts {
    result: Option<String>,
    status: Option<String>,
    occurred_at: Option<Timestamp>,
}

impl ConflictFacts {
    fn of(payload: &Payload) -> Self {
        let text = payload.text();
        let object = Object::parse(&text).ok();
        let string = |name| object.as_ref().and_then(|object| object.string(name));
        Self {
            result: object
                .as_ref()
                .and_then(|object| object.object("task_result"))
                .and_then(|task_result| task_result.string("result")),
            status: string("status"),
            occurred_at: string("occurred_at").and_then(|text| Timestamp::parse_iso8601(&text)),
        }
    }

    fn past<'a>(
        &'a self,
        claimed: &'a Claimed,
        relations: Relations,
        carried_override: bool,
        now: Timestamp,
    ) -> Past<'a> {
        Past {
            lost_response: claimed.lost_response,
            carried_override,
            on_conflict: claimed.on_conflict,
            source: claimed.source.as_deref(),
            result: self.result.as_deref(),
            status: self.status.as_deref(),
            occurred_at: self.occurred_at,
            registered_by_us: relations.registered_by_us,
            superseded: relations.superseded_by.is_some(),
            now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_is_found_however_its_name_is_written() {
        let cases = [
            (r#"{"hard_override": true}"#, true),
            (r#"{"hard\u005foverride": true}"#, true),
            (r#"{"hard_override": false}"#, false),
            (r#"{"raw_payload": {"hard_override": true}}"#, false),
            (r#"{"status": "EFFECTIVE"}"#, false),
        ];
        for (text, expected) in cases {
            assert_eq!(has_hard_override(&Payload::from_text(text)), expected, "{text}");
        }
    }

    #[test]
    fn the_rules_read_what_is_there_and_nothing_else() {
        let whole = Payload::from_text(
            r#"{"status":"EFFECTIVE","occurred_at":"2026-11-23T10:00:00Z","task_result":{"result":"NO_CONTACT"}}"#,
        );
        let reading = ConflictFacts::of(&whole);
        assert_eq!(
            (
                reading.status.as_deref(),
                reading.result.as_deref(),
                reading.occurred_at.map(Timestamp::millis)
            ),
            (Some("EFFECTIVE"), Some("NO_CONTACT"), Some(1_795_428_000_000))
        );
        for odd in [
            r#"{"status":1,"occurred_at":"yesterday","task_result":[]}"#,
            "not JSON",
            "[]",
        ] {
            let reading = ConflictFacts::of(&Payload::from_text(odd));
            assert!(
                reading.status.is_none() && reading.result.is_none() && reading.occurred_at.is_none(),
                "{odd}"
            );
        }
    }
}
