//! Another list of result types: what was `invalid` by the old one alone, and is valid by the new one, is put back.
//!
//! In pages, since there may be a hundred thousand of them and each is a payload to read; and in transactions of the
//! size of an operator's acts, so that deliveries go on beside it. A crash between two of them leaves the rest: the
//! list counts as judged by only when all is done, and the next fetch begins again.

use crate::clock::Timestamp;
use crate::model::{Act, Actor, Object, Payload, SubmissionId};
use crate::policy::validate::{Criteria, refusal, validate};
use crate::store::{ACT_IDS_MAX, ActRequest, Acted, Outbox, Still, StoreError};

/// Payloads in memory at a time; each may be as long as `inbox.max_result_size`.
const PAGE: u32 = 32;

/// A date that had to lie in the future has to do so now: one that has passed meanwhile stays `invalid`.
fn is_valid(payload: &Payload, criteria: &Criteria) -> bool {
    let text = payload.text();
    let Ok(object) = Object::parse(&text) else { return false };
    refusal(&validate(&object, criteria), criteria.settings.mode).is_none()
}

/// Puts back what is valid now; how many those were. Superseded ones stay, and so does what an operator took in hand
/// meanwhile.
pub(super) async fn revalidate(outbox: &Outbox, criteria: &Criteria) -> Result<u64, StoreError> {
    let mut valid: Vec<SubmissionId> = Vec::new();
    let mut after = SubmissionId(0);
    let mut count = 0;
    loop {
        let page = outbox.refused_by_result_types(after, PAGE).await?;
        let Some((last, _)) = page.last() else {
            return Ok(count + put_back(outbox, valid, criteria.now).await?);
        };
        after = *last;
        valid.extend(
            page.iter()
                .filter(|(_, payload)| is_valid(payload, criteria))
                .map(|(id, _)| *id),
        );
        if valid.len() + PAGE as usize > ACT_IDS_MAX {
            count += put_back(outbox, std::mem::take(&mut valid), criteria.now).await?;
        }
        // Judging a page does not wait for anything by itself, and others share this thread.
        tokio::task::yield_now().await;
    }
}

async fn put_back(outbox: &Outbox, ids: Vec<SubmissionId>, now: Timestamp) -> Result<u64, StoreError> {
    if ids.is_empty() {
        return Ok(0);
    }
    let request = ActRequest {
        ids,
        act: Act::Revalidate,
        still: Still::default(),
        actor: Actor::Daemon("result types"),
        force: false,
        dry_run: false,
        now,
    };
    let acted = outbox.act(request).await?;
    Ok(acted.iter().filter(|(_, acted)| *acted == Acted::Done).count() as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::config::{ValidationMode, ValidationSettings};
    use crate::policy::validate::ResultType;

    fn finds_valid(code: &str, scheduled_at: &str) -> bool {
        let settings = ValidationSettings {
            mode: ValidationMode::Strict,
            result_types: true,
            refresh: Duration::from_hours(1),
            statuses: vec!["EFFECTIVE".to_owned()],
        };
        let result_types = [ResultType {
            code: "CALL_BACK".to_owned(),
            label: String::new(),
            requires_future_scheduled_at: true,
        }];
        let now = Timestamp::from_millis(1_795_428_000_000);
        let criteria = Criteria::new(&settings, Some(Arc::new(result_types)), now);
        let payload = format!(
            r#"{{"provider_activity_id":"a","commerce_external_id":"c","occurred_at":"2026-11-01T00:00:00Z","status":"EFFECTIVE","task_result":{{"result":"{code}","future_scheduled_at":"{scheduled_at}"}}}}"#
        );
        is_valid(&Payload::from_text(&payload), &criteria)
    }

    #[test]
    fn a_known_code_is_valid_unless_its_date_has_passed_meanwhile() {
        assert!(finds_valid("CALL_BACK", "2026-12-01T00:00:00Z"));
        assert!(!finds_valid("CALL_BACK", "2026-11-22T00:00:00Z"));
        assert!(!finds_valid("ANOTHER", "2026-12-01T00:00:00Z"));
    }
}
