//! What a batch of rows brings into the outbox: an entry and a receipt for each that can be taken.

use crate::intake::context::IntakeContext;
use crate::model::{Admission, InboxId, Receipt};
use crate::telemetry::events;

use super::row::InboxRow;

pub fn admission(context: &IntakeContext, inbox: InboxId, rows: &[InboxRow]) -> Admission {
    let criteria = context.criteria();
    let mut admission = Admission::default();
    for row in rows {
        let Some(judged) = row.judge(&criteria) else {
            continue;
        };
        if judged.has_unknown_code {
            context.unknown_code.notify_one();
        }
        if let Some(warning) = judged.warning {
            events::warning(
                &format!("row {}: {warning}", row.id),
                "it is sent all the same: validation.mode is \"warn\"",
            );
        }
        admission.entries.push(judged.entry);
        admission.receipts.push(Receipt::Row(row.receipt(inbox)));
    }
    admission
}
