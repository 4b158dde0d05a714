//! What a claim brings, as one row: the facts of all of them as one JSON text, and their payloads one after the other.
//!
//! Each row of an answer is an allocation for every column and a message between two threads, which at some 250 of them
//! a group cost as much as the claim itself.

use std::time::Duration;

use bytes::Bytes;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::clock::Timestamp;
use crate::model::{AttemptNumber, ConflictPolicy, Facts, Payload, SubmissionId, SubmissionKey};
use crate::store::Claimed;
use crate::store::sqlite::machine::trouble;

/// In the order of `turn`, which is the outermost loop. Every number is a whole one, whatever other hands have set: the
/// largest there is plus one would not be.
pub(crate) const CLAIMED: &str = "SELECT json_group_array(json_array(d.id, f.attempt, min(d.tries, 4294967294) + 1, \
     f.waited_ms, d.lost_response, d.hard_override, \
     d.was_unauthorized, octet_length(s.payload), s.submission_key, s.activity_id, s.provider_activity_id, \
     s.source, s.on_conflict)) AS claimed, group_concat(s.payload, '') AS payloads \
       FROM turn AS t CROSS JOIN flight AS f ON f.id = t.id CROSS JOIN delivery AS d ON d.id = t.id \
       CROSS JOIN submission AS s ON s.id = d.id";

/// Payloads that came together stay one allocation up to so many bytes. The last of them that is on the wire keeps all
/// of them in memory: beyond this each gets its own.
const TOGETHER_BYTES_MAX: usize = 256 << 10;

/// Of one: its number, attempts, tries, milliseconds waited, the three marks, the payload's bytes, the producer's key,
/// the two ids of its activity, the producer, and its word on a 409.
type ClaimedRow = (
    i64,
    i64,
    i64,
    i64,
    i64,
    i64,
    i64,
    usize,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
);

/// Reads the row of [`CLAIMED`]. It is read when the claim is durable: what cannot be read would be `sending`, with all
/// that was claimed beside it, until the next start. So nothing that other hands can have put into a row is an error
/// here.
pub(crate) fn read(row: &SqliteRow, now: Timestamp) -> Result<Vec<Claimed>, sqlx::Error> {
    let facts: &[u8] = row.try_get("claimed")?;
    let lines: Vec<ClaimedRow> = serde_json::from_str(&String::from_utf8_lossy(facts))
        .map_err(|error| trouble::corrupt("claim", &error.to_string()))?;
    let payloads: Option<&[u8]> = row.try_get("payloads")?;
    let mut payloads = Bytes::copy_from_slice(payloads.unwrap_or_default());
    let are_apart = payloads.len() > TOGETHER_BYTES_MAX;
    let mut claimed = Vec::with_capacity(lines.len());
    for line in lines {
        let mut bytes = payloads.split_to(line.7.min(payloads.len()));
        if are_apart {
            bytes = Bytes::copy_from_slice(&bytes);
        }
        claimed.push(of_line(line, Payload::from_bytes(bytes), now));
    }
    Ok(claimed)
}

fn of_line(line: ClaimedRow, payload: Payload, now: Timestamp) -> Claimed {
    let (
        id,
        attempts,
        tries,
        waited,
        lost_response,
        hard_override,
        was_unauthorized,
        _,
        key,
        activity_id,
        provider_activity_id,
        source,
        on_conflict,
    ) = line;
    let facts = Facts {
        activity_id,
        provider_activity_id,
        commerce_external_id: None,
    };
    // A number that no attempts can have led to is the largest there is.
    let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    Claimed {
        id: SubmissionId(id),
        attempt: AttemptNumber(count(attempts)),
        tries: count(tries),
        waited: Duration::from_millis(waited.unsigned_abs()),
        payload,
        hard_override: hard_override != 0,
        lost_response: lost_response != 0,
        was_unauthorized: was_unauthorized != 0,
        key: key.map(SubmissionKey),
        activity: facts.activity().map(|activity| activity.text().to_owned()),
        source,
        // A word that no CHECK of ours let in: an operator decides.
        on_conflict: on_conflict.map(|word| word.parse().unwrap_or(ConflictPolicy::Park)),
        claimed_at: now,
        incarnation: 0,
    }
}
