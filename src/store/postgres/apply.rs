//! How each operation is applied; the writers stay as they are when one comes to them.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::clock::Timestamp;
use crate::model::StateName;
use crate::store::operation::{Operation, Settling};
use crate::store::{Settled, Settlement};

use super::own::Own;
use super::transaction::Transaction;
use super::{act, admit, claim, gate, lanes, minutes, notes, receipts, recount, settle, sweep};

/// Applies a group. Whoever asked for one of these waits for its answer, so no two of them depend on their order:
/// outcomes go first, all in one, since they free the next of their activities; claims go last and find them, and wait
/// for nobody.
pub(super) async fn apply(
    group: &mut [Operation],
    transaction: &mut Transaction<'_>,
    own: &Own,
) -> Result<(), sqlx::Error> {
    let mut settling: Vec<&mut Settling> = Vec::new();
    for operation in group.iter_mut() {
        if let Operation::Settle(asked) = operation {
            settling.push(asked);
        }
    }
    if !settling.is_empty() {
        let closes = settling.iter().any(|asked| asked.question.1.is_some());
        let questions: Vec<&(Arc<Settlement>, Timestamp)> =
            settling.iter().flat_map(|asked| &asked.question.0).collect();
        let mut answers = settle::settle(transaction, &questions, closes).await?.into_iter();
        if let Some(place) = transaction.came_back.take() {
            own.floor().lower_to(place);
        }
        for asked in &mut settling {
            asked.answer = Some(answers.by_ref().take(asked.question.0.len()).collect());
            if let Some(note) = &asked.question.1 {
                notes::remember(transaction, own, note).await?;
            }
        }
    }
    for operation in group.iter_mut() {
        match operation {
            Operation::Admit(asked) => {
                asked.answer = Some(admit::admit(transaction, &asked.question.0, asked.question.1).await?);
            }
            Operation::Forget(asked) => asked.answer = Some(receipts::forget(transaction.conn, &asked.question).await?),
            Operation::Act(asked) => asked.answer = Some(act::act(transaction, &asked.question).await?),
            Operation::Remember(asked) => {
                asked.answer = Some(notes::remember(transaction, own, &asked.question).await?);
            }
            Operation::OpenGate(asked) => asked.answer = Some(gate::open(transaction, own, &asked.question).await?),
            Operation::Revive(asked) => asked.answer = Some(gate::revive(transaction, &asked.question).await?),
            Operation::Sweep(asked) => asked.answer = Some(sweep::sweep(transaction, asked.question).await?),
            Operation::Recount(asked) => asked.answer = Some(recount::correct(transaction, &asked.question).await?),
            Operation::PutInOrder(asked) => {
                asked.answer = Some(recount::put_in_order(transaction, &asked.question).await?);
            }
            Operation::Record(asked) => asked.answer = Some(minutes::record(transaction.conn, &asked.question).await?),
            // Recovery is the nodes' business here.
            Operation::Recover(asked) => asked.answer = Some(0),
            Operation::Settle(_) | Operation::Claim(_) => {}
        }
    }
    for operation in group.iter_mut() {
        if let Operation::Claim(asked) = operation {
            asked.answer = Some(claim::claim(transaction, &asked.question, own).await?);
        }
    }
    Ok(())
}

/// What a group has done is durable: what of it is in flight now, and what is not any more. Outcomes first, as they were
/// applied: what one of them put back may have been claimed again.
pub(super) fn take_note(group: &[Operation], own: &Own) {
    let mut claimed = own.claimed();
    for operation in group {
        match operation {
            Operation::Admit(asked) => own.floor().lower_to((asked.question.1.millis(), i64::MIN)),
            Operation::Settle(_)
            | Operation::Claim(_)
            | Operation::Forget(_)
            | Operation::Record(_)
            | Operation::Recover(_) => {}
            // What it put back, or let come forward, may stand anywhere in the queue.
            Operation::Act(_)
            | Operation::Remember(_)
            | Operation::Sweep(_)
            | Operation::Recount(_)
            | Operation::PutInOrder(_)
            | Operation::OpenGate(_)
            | Operation::Revive(_) => own.floor().forget(),
        }
        if let Operation::Settle(asked) = operation {
            let answers = asked.answer.iter().flatten();
            for ((settlement, _), answer) in asked.question.0.iter().zip(answers) {
                let (id, record) = (settlement.id.0, &settlement.record);
                if claimed.get(&id) == Some(&(record.number.0, record.started_at)) {
                    claimed.remove(&id);
                }
                if *answer == Settled::Done && settlement.ending.state() == StateName::Delivered {
                    own.delivered();
                }
            }
        }
    }
    for operation in group {
        if let Operation::Claim(asked) = operation {
            let handed_out = asked.answer.iter().flatten();
            claimed.extend(handed_out.map(|one| (one.id.0, (one.attempt.0, one.claimed_at))));
        }
    }
}

/// What is `sending` by this incarnation and was never handed out: claimed by a transaction whose answer was lost. Nothing
/// of it was sent.
pub(super) const NOT_HANDED_OUT: &str = "SELECT id FROM delivery WHERE state = 'sending' AND node = $1 \
     AND NOT (id = ANY ($2::bigint[]) AND attempts = coalesce(($3::integer[])[array_position($2::bigint[], id)], -1)) ORDER BY id";
/// Its try is given back; the attempt's number is not.
pub(super) const GIVE_BACK: &str = "UPDATE delivery SET state = 'head', node = NULL, tries = greatest(tries - 1, 0) \
     WHERE id = ANY ($1) AND state = 'sending' AND node = $2";

/// Gives it back. Only the writer that claims may ask: another one would take what is just being handed out for lost.
pub(super) async fn give_back_unknown(conn: &mut PgConnection, own: &Own) -> Result<(), sqlx::Error> {
    let (known, attempts): (Vec<i64>, Vec<i32>) = {
        let claimed = own.claimed();
        claimed
            .iter()
            .map(|(id, (attempt, _))| (*id, attempt.cast_signed()))
            .unzip()
    };
    let node = own.node();
    let rows = sqlx::query(NOT_HANDED_OUT)
        .bind(node)
        .bind(known)
        .bind(attempts)
        .fetch_all(&mut *conn)
        .await?;
    let ids = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
    if ids.is_empty() {
        return Ok(());
    }
    let mut transaction = Transaction::begin(conn, node, own.scope()).await?;
    let lanes = lanes::of(transaction.conn, &ids).await?;
    lanes::lock(transaction.conn, &lanes).await?;
    let back = sqlx::query(GIVE_BACK)
        .bind(&ids)
        .bind(node)
        .execute(&mut *transaction.conn)
        .await?;
    transaction.moved(Some(StateName::Sending), Some(StateName::Pending), back.rows_affected());
    lanes::relane(transaction.conn, &lanes).await?;
    transaction.commit().await
}
