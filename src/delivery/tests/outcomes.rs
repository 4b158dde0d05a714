//! What becomes of answers, from the outbox to the sandbox and back.

use serde_json::json;

use super::Rig;
use crate::config::{AfterLostResponse, ConflictRule};
use crate::model::{ConflictPolicy, DeadReason, EndingName, ParkReason, State, StateName, SubmissionId};

async fn outcomes(rig: &Rig, id: SubmissionId) -> Vec<EndingName> {
    rig.story(id)
        .await
        .attempts
        .iter()
        .map(|attempt| attempt.outcome)
        .collect()
}

#[tokio::test]
async fn what_is_taken_in_is_delivered_once_and_letter_for_letter() {
    let mut rig = Rig::new().await;
    for number in 0..50 {
        rig.put(&format!("act-{number}"), json!({"raw_payload": {"n": number}}))
            .await;
    }
    rig.start();
    rig.until(StateName::Delivered, 50).await;
    assert_eq!(rig.posts().len(), 50);
    let story = rig.story(SubmissionId(7)).await;
    let sent = rig
        .posts()
        .into_iter()
        .find(|post| post.provider_activity_id.as_deref() == Some("act-6"))
        .unwrap();
    assert_eq!(sent.body, story.payload.text());
    let since = rig.context.meters.take();
    assert_eq!((since.delivered, since.failed), (50, 0));
    assert!(since.p95_ms.is_some());
    rig.stop().await;
}

#[tokio::test]
async fn faults_are_retried_and_each_attempt_is_kept() {
    let mut rig = Rig::new().await;
    rig.start();
    let id = rig.scripted("act-1", "503,drop,html,302").await;
    rig.until(StateName::Delivered, 1).await;
    let story = rig.story(id).await;
    let kept: Vec<_> = story
        .attempts
        .iter()
        .map(|attempt| {
            (
                attempt.outcome,
                attempt.lost_response,
                attempt.answer.as_ref().map(|answer| answer.status),
            )
        })
        .collect();
    let retry = EndingName::Retry;
    assert_eq!(
        kept,
        [
            (retry, true, Some(503)),
            (retry, true, None),
            (retry, true, Some(200)),
            (retry, false, Some(302)),
            (EndingName::Delivered, false, Some(201)),
        ]
    );
    rig.stop().await;
}

#[tokio::test]
async fn retries_end_where_their_number_does() {
    let mut rig = Rig::new().await;
    rig.set(|config| config.retry.max_attempts = Some(3));
    rig.start();
    rig.scripted("act-1", "503x9").await;
    let dead = rig.until(StateName::Dead, 1).await;
    assert_eq!(
        (dead[0].state, dead[0].attempts),
        (State::Dead(DeadReason::RetriesExhausted), 3)
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_409_is_resent_at_once_with_hard_override_where_the_policy_says_so() {
    let mut rig = Rig::new().await;
    rig.set(|config| config.conflict.policy = ConflictPolicy::Override);
    rig.start();
    let id = rig.scripted("act-1", "409").await;
    rig.until(StateName::Delivered, 1).await;
    let posts = rig.posts();
    assert_eq!(
        (posts.len(), posts[0].hard_override, posts[1].hard_override),
        (2, None, Some(true))
    );
    assert_eq!(outcomes(&rig, id).await, [EndingName::Override, EndingName::Delivered]);
    rig.stop().await;
}

#[tokio::test]
async fn a_409_to_an_override_is_parked() {
    let mut rig = Rig::new().await;
    rig.set(|config| config.conflict.policy = ConflictPolicy::Override);
    rig.start();
    rig.scripted("act-1", "409x5").await;
    let parked = rig.until(StateName::Parked, 1).await;
    assert_eq!(
        (parked[0].state, rig.posts().len()),
        (State::Parked(ParkReason::Conflict), 2)
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_409_after_a_lost_response_is_told_apart_and_can_be_accepted() {
    for (after_lost_response, state) in [
        (AfterLostResponse::Policy, StateName::Parked),
        (AfterLostResponse::Accept, StateName::Delivered),
    ] {
        let mut rig = Rig::new().await;
        rig.set(|config| config.conflict.after_lost_response = after_lost_response);
        rig.start();
        let id = rig.scripted("act-1", "drop-after-accept").await;
        rig.until(state, 1).await;
        let story = rig.story(id).await;
        match after_lost_response {
            AfterLostResponse::Policy => {
                assert_eq!(story.listed.state, State::Parked(ParkReason::ConflictAfterLostResponse));
            }
            AfterLostResponse::Accept => {
                assert_eq!(outcomes(&rig, id).await, [EndingName::Retry, EndingName::Accepted]);
            }
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_correction_of_our_own_is_known_as_such() {
    let mut rig = Rig::new().await;
    rig.set(|config| {
        config.conflict.rules.push(ConflictRule {
            registered_by_us: Some(true),
            source: None,
            result: None,
            status: None,
            policy: ConflictPolicy::Override,
        });
    });
    rig.start();
    rig.put("act-1", json!({"status": "PENDING"})).await;
    rig.put("act-1", json!({"status": "EFFECTIVE"})).await;
    rig.until(StateName::Delivered, 2).await;
    assert_eq!(rig.posts().len(), 3);
    rig.stop().await;
}

#[tokio::test]
async fn results_of_one_activity_go_out_in_their_order_and_others_do_not_wait() {
    let mut rig = Rig::new().await;
    rig.set(|config| config.conflict.policy = ConflictPolicy::Override);
    for step in 0..4 {
        rig.put(
            "slow",
            json!({"external_status": "sim:503x2", "raw_payload": {"step": step}}),
        )
        .await;
        rig.put(&format!("other-{step}"), json!({})).await;
    }
    rig.start();
    rig.until(StateName::Delivered, 8).await;
    let steps: Vec<u64> = rig
        .posts()
        .iter()
        .filter(|post| post.provider_activity_id.as_deref() == Some("slow"))
        .map(|post| {
            serde_json::from_str::<serde_json::Value>(&post.body).unwrap()["raw_payload"]["step"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert!(steps.is_sorted(), "{steps:?}");
    let last_other = rig
        .posts()
        .iter()
        .rposition(|post| post.provider_activity_id.as_deref() != Some("slow"))
        .unwrap();
    assert!(last_other < 8, "they went out beside the slow one's first attempts");
    rig.stop().await;
}
