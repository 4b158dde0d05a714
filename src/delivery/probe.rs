//! How a closed gate finds out whether the key works again: by the question, or by a submission on trial.

use std::sync::Arc;

use crate::api::{Catalogue, Client};
use crate::clock::Timestamp;
use crate::model::{Actor, DeadReason, StateName, SubmissionId};
use crate::policy::gate::KeyVerdict;
use crate::store::{Act, ActRequest, Acted, Claimed, Filter, Outbox, StoreError};

/// How many dead letters are looked at for one that can be put on trial; an episode leaves at most `delivery.max_in_flight` of them.
const REVIVE_LOOK_MAX: u32 = 100;

/// The key question (after a 401).
pub(super) async fn ask(client: Arc<Client>) -> KeyVerdict {
    match client.result_types().await {
        // A key that may not view activities is known all the same.
        Catalogue::Types(_) | Catalogue::Forbidden => KeyVerdict::Works,
        Catalogue::Unauthorized => KeyVerdict::Refused,
        Catalogue::NoVerdict(_) => KeyVerdict::Silent,
    }
}

/// Which of these goes on trial (after a 403): the first that has not been refused yet, else the one whose refusal is longest ago. The
/// others come back, to be released.
pub(super) fn on_trial(mut claimed: Vec<Claimed>, refused: &[SubmissionId]) -> (Option<Claimed>, Vec<Claimed>) {
    let rank = |one: &Claimed| refused.iter().position(|id| *id == one.id).map_or(0, |place| place + 1);
    let chosen = claimed
        .iter()
        .enumerate()
        .min_by_key(|(place, one)| (rank(one), *place))
        .map(|(place, _)| place);
    let trial = chosen.map(|place| claimed.remove(place));
    (trial, claimed)
}

/// Where nothing is pending that could go on trial: puts back the oldest of those that this episode dead-lettered. Without it a permission
/// that was granted would stay unnoticed until something new is dropped in. Whether there was one.
pub(super) async fn revive(outbox: &Outbox, since: Timestamp, now: Timestamp) -> Result<bool, StoreError> {
    let filter = Filter {
        state: Some(StateName::Dead),
        reason: Some(DeadReason::Unauthorized.name().to_owned()),
        ..Filter::default()
    };
    let dead = outbox.list(&filter, None, REVIVE_LOOK_MAX).await?;
    for one in dead.iter().rev().filter(|one| one.updated_at >= since) {
        let request = ActRequest {
            ids: vec![one.id],
            act: Act::Requeue,
            actor: Actor::Daemon("gate"),
            force: false,
            dry_run: false,
            now,
        };
        let acted = outbox.act(request).await?;
        if acted.iter().any(|(_, acted)| *acted == Acted::Done) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{AttemptNumber, Payload};

    fn claimed(id: i64) -> Claimed {
        Claimed {
            id: SubmissionId(id),
            attempt: AttemptNumber(1),
            tries: 1,
            waited: Duration::ZERO,
            payload: Payload::from_text("{}"),
            hard_override: false,
            lost_response: false,
            was_unauthorized: false,
            key: None,
            activity: None,
            source: None,
            on_conflict: None,
            claimed_at: Timestamp::default(),
        }
    }

    #[test]
    fn one_that_was_not_refused_yet_goes_on_trial_before_those_that_were() {
        let ids = |refused: &[i64]| {
            let refused: Vec<_> = refused.iter().map(|id| SubmissionId(*id)).collect();
            let (trial, rest) = on_trial(vec![claimed(1), claimed(2), claimed(3)], &refused);
            (trial.map(|one| one.id.0), rest.iter().map(|one| one.id.0).collect::<Vec<_>>())
        };
        assert_eq!(ids(&[]), (Some(1), vec![2, 3]));
        assert_eq!(ids(&[1]), (Some(2), vec![1, 3]));
        assert_eq!(ids(&[1, 2]), (Some(3), vec![1, 2]));
        assert_eq!(ids(&[2, 1, 3]), (Some(2), vec![1, 3]), "the one refused longest ago");
        assert!(on_trial(Vec::new(), &[]).0.is_none());
    }
}
