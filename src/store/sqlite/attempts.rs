//! Attempts that ended: one row each, with what came back.

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::clock::Timestamp;
use crate::model::{Answer, Attempt, AttemptNumber, AttemptOutcome, Fault, FaultKind, SubmissionId};

use super::{batch, trouble};

/// `OR REPLACE`: where another hand has set a submission's attempts back, the number is there already. The record of what was must not keep what is
/// from being settled.
pub(super) const INSERT: &str = "INSERT OR REPLACE INTO attempt (submission, number, started_at, elapsed_ms, hard_override, outcome, lost_response, \
     status, headers, body, body_length, fault, fault_message)";
pub(super) const COLUMNS: usize = 13;

/// Writes attempts. Each is new: the guard of the settlement that brings it says so.
pub(super) async fn insert(conn: &mut SqliteConnection, attempts: &[(SubmissionId, &Attempt)]) -> Result<(), sqlx::Error> {
    for (piece, size) in batch::pieces(attempts) {
        let mut query = batch::insert(INSERT, COLUMNS, size);
        for (id, attempt) in piece {
            let answer = attempt.answer.as_ref();
            let fault = attempt.fault.as_ref();
            let status = answer.map(|answer| answer.status).or_else(|| fault.and_then(|fault| fault.status));
            query = query
                .bind(id.0)
                .bind(attempt.number.0)
                .bind(attempt.started_at.millis())
                .bind(attempt.elapsed_ms.cast_signed())
                .bind(attempt.hard_override)
                .bind(attempt.outcome.name())
                .bind(attempt.lost_response)
                .bind(status)
                .bind(answer.map(|answer| batch::json(&answer.headers)).transpose()?)
                .bind(answer.map(|answer| answer.body.as_ref()))
                .bind(answer.map(|answer| answer.body_length.cast_signed()))
                .bind(fault.map(|fault| fault.kind.name()))
                .bind(fault.map(|fault| fault.message.as_str()));
        }
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

/// What [`read`] needs, of the table `attempt` under the name `a`.
pub(super) const READ_COLUMNS: &str = "a.number, a.started_at, a.elapsed_ms, a.hard_override AS attempt_override, a.outcome, \
     a.lost_response AS attempt_lost, a.status, a.headers, a.body, a.body_length, a.fault, a.fault_message";

/// The attempt in this row; `None` where a join found none.
pub(super) fn read(row: &SqliteRow) -> Result<Option<Attempt>, sqlx::Error> {
    let Some(number) = row.try_get::<Option<u32>, _>("number")? else {
        return Ok(None);
    };
    let outcome: &str = row.try_get("outcome")?;
    let known = AttemptOutcome::ALL.iter().copied().find(|known| known.name() == outcome);
    Ok(Some(Attempt {
        number: AttemptNumber(number),
        started_at: Timestamp::from_millis(row.try_get("started_at")?),
        elapsed_ms: row.try_get::<i64, _>("elapsed_ms")?.cast_unsigned(),
        hard_override: row.try_get("attempt_override")?,
        outcome: known.ok_or_else(|| trouble::odd("outcome of an attempt", outcome))?,
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
        headers: serde_json::from_str(headers).map_err(|_| trouble::odd("list of headers", headers))?,
        body: body.into(),
        body_length: row.try_get::<i64, _>("body_length")?.cast_unsigned(),
    }))
}

fn read_fault(row: &SqliteRow) -> Result<Option<Fault>, sqlx::Error> {
    let Some(kind) = row.try_get::<Option<&str>, _>("fault")? else {
        return Ok(None);
    };
    let known = FaultKind::ALL.iter().copied().find(|known| known.name() == kind);
    Ok(Some(Fault {
        kind: known.ok_or_else(|| trouble::odd("kind of fault", kind))?,
        message: row.try_get::<Option<String>, _>("fault_message")?.unwrap_or_default(),
        status: row.try_get("status")?,
    }))
}
