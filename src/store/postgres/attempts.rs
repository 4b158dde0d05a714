//! Attempts that ended: one row each, with what came back.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::clock::Timestamp;
use crate::model::{Answer, Attempt, AttemptNumber, Fault};
use crate::store::rules::words::Corrupt;

use super::row;

/// What [`read`] needs, of the table `attempt` under the name `a`.
pub(super) const READ_COLUMNS: &str = "a.number, a.started_at, a.elapsed_ms, a.hard_override AS attempt_override, a.outcome, \
     a.lost_response AS attempt_lost, a.status, a.headers, a.body, a.body_length, a.fault, a.fault_message, \
     (SELECT n.name FROM node AS n WHERE n.id = a.node) AS attempt_node";

/// The attempt in this row; `None` where a join found none.
pub(super) fn read(row: &PgRow) -> Result<Option<Attempt>, sqlx::Error> {
    let Some(number) = row.try_get::<Option<i32>, _>("number")? else {
        return Ok(None);
    };
    let outcome: &str = row.try_get("outcome")?;
    Ok(Some(Attempt {
        number: AttemptNumber(row::count(number)),
        node: row.try_get("attempt_node")?,
        started_at: Timestamp::from_millis(row.try_get("started_at")?),
        elapsed_ms: row.try_get::<i64, _>("elapsed_ms")?.cast_unsigned(),
        hard_override: row.try_get("attempt_override")?,
        outcome: outcome
            .parse()
            .map_err(|_| Corrupt::new("outcome of an attempt", outcome))?,
        lost_response: row.try_get("attempt_lost")?,
        answer: read_answer(row)?,
        fault: read_fault(row)?,
    }))
}

fn read_answer(row: &PgRow) -> Result<Option<Answer>, sqlx::Error> {
    let Some(body) = row.try_get::<Option<Vec<u8>>, _>("body")? else {
        return Ok(None);
    };
    let headers: &str = row.try_get("headers")?;
    Ok(Some(Answer {
        status: read_status(row)?.ok_or_else(|| Corrupt::new("status of an answer", "NULL"))?,
        headers: serde_json::from_str(headers).map_err(|_| Corrupt::new("list of headers", headers))?,
        body: body.into(),
        body_length: row.try_get::<i64, _>("body_length")?.cast_unsigned(),
    }))
}

fn read_fault(row: &PgRow) -> Result<Option<Fault>, sqlx::Error> {
    let Some(kind) = row.try_get::<Option<&str>, _>("fault")? else {
        return Ok(None);
    };
    Ok(Some(Fault {
        kind: kind.parse().map_err(|_| Corrupt::new("kind of fault", kind))?,
        message: row.try_get::<Option<String>, _>("fault_message")?.unwrap_or_default(),
        status: read_status(row)?,
    }))
}

fn read_status(row: &PgRow) -> Result<Option<u16>, sqlx::Error> {
    let status: Option<i32> = row.try_get("status")?;
    let narrow = |status: i32| u16::try_from(status).map_err(|_| Corrupt::new("status", &status.to_string()));
    Ok(status.map(narrow).transpose()?)
}
