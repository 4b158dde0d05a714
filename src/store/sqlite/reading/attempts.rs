//! Attempts that ended: one row each, with what came back.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::clock::Timestamp;
use crate::model::{Answer, Attempt, AttemptNumber, Fault};
use crate::store::sqlite::machine::trouble;

/// What [`read`] needs, of the table `attempt` under the name `a`.
pub(crate) const READ_COLUMNS: &str = "a.number, a.started_at, a.elapsed_ms, a.hard_override AS attempt_override, \
     a.outcome, a.lost_response AS attempt_lost, a.status, a.headers, a.body, a.body_length, a.fault, a.fault_message";

/// The attempt in this row; `None` where a join found none.
pub(crate) fn read(row: &SqliteRow) -> Result<Option<Attempt>, sqlx::Error> {
    let Some(number) = row.try_get::<Option<u32>, _>("number")? else {
        return Ok(None);
    };
    let outcome: &str = row.try_get("outcome")?;
    Ok(Some(Attempt {
        number: AttemptNumber(number),
        node: None,
        started_at: Timestamp::from_millis(row.try_get("started_at")?),
        elapsed_ms: row.try_get::<i64, _>("elapsed_ms")?.cast_unsigned(),
        hard_override: row.try_get("attempt_override")?,
        outcome: outcome
            .parse()
            .map_err(|_| trouble::corrupt("outcome of an attempt", outcome))?,
        lost_response: row.try_get("attempt_lost")?,
        answer: read_answer(row)?,
        fault: read_fault(row)?,
    }))
}

fn read_answer(row: &SqliteRow) -> Result<Option<Answer>, sqlx::Error> {
    let Some(body) = row.try_get::<Option<Vec<u8>>, _>("body")? else {
        return Ok(None);
    };
    let headers: &str = row.try_get("headers")?;
    Ok(Some(Answer {
        status: row.try_get("status")?,
        headers: serde_json::from_str(headers).map_err(|_| trouble::corrupt("list of headers", headers))?,
        body: body.into(),
        body_length: row.try_get::<i64, _>("body_length")?.cast_unsigned(),
    }))
}

fn read_fault(row: &SqliteRow) -> Result<Option<Fault>, sqlx::Error> {
    let Some(kind) = row.try_get::<Option<&str>, _>("fault")? else {
        return Ok(None);
    };
    Ok(Some(Fault {
        kind: kind.parse().map_err(|_| trouble::corrupt("kind of fault", kind))?,
        message: row.try_get::<Option<String>, _>("fault_message")?.unwrap_or_default(),
        status: row.try_get("status")?,
    }))
}
