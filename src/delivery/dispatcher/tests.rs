use serde_json::json;

use super::*;
use crate::delivery::tests::Rig;
use crate::model::{AttemptOutcome, StateName};
use crate::policy::gate::Role;
use crate::store::ClaimOrder;

#[tokio::test]
async fn a_panic_in_one_attempt_costs_that_attempt_and_nothing_else() {
    let rig = Rig::new().await;
    let id = rig.put("act-1", json!({})).await;
    let mut dispatcher = Dispatcher::new(rig.context.clone()).await.unwrap();
    let claimed = dispatcher.claim(1, ClaimOrder::Due, clock::now()).await.unwrap().remove(0);
    let ticket = dispatcher.keeper.depart(Role::Ordinary, clock::now());
    let flight = dispatcher.flights.spawn(async { panic!("a bug in an attempt") }).id();
    let claimed = Arc::new(claimed);
    dispatcher.aboard.insert(flight, Aboard { claimed, ticket });
    let landed = dispatcher.flights.join_next_with_id().await.unwrap();
    dispatcher.landed(landed);
    dispatcher.finish().await;
    let story = rig.story(id).await;
    assert_eq!(story.listed.state.name(), StateName::Pending);
    assert_eq!(
        (story.attempts[0].outcome, story.attempts[0].lost_response),
        (AttemptOutcome::Interrupted, true)
    );
}

#[tokio::test]
async fn a_step_sends_no_more_than_the_slots_there_are_and_says_what_it_did() {
    let rig = Rig::new().await;
    for number in 0..6 {
        rig.scripted(&format!("act-{number}"), "hang").await;
    }
    let mut dispatcher = Dispatcher::new(rig.context.clone()).await.unwrap();
    assert_eq!(dispatcher.step().await, Step::Sent(4));
    assert_eq!(dispatcher.step().await, Step::Idle { until: None });
    assert_eq!(rig.context.meters.in_flight(), 4);
    assert_eq!(
        (rig.all(StateName::Sending).await.len(), rig.all(StateName::Pending).await.len()),
        (4, 2)
    );
}

#[tokio::test]
async fn what_was_claimed_when_the_gate_closed_goes_back_unsent_and_uncharged() {
    let rig = Rig::new().await;
    let id = rig.put("act-1", json!({})).await;
    let mut dispatcher = Dispatcher::new(rig.context.clone()).await.unwrap();
    let claimed = dispatcher.claim(1, ClaimOrder::Due, clock::now()).await.unwrap();
    dispatcher.release(claimed);
    dispatcher.finish().await;
    let story = rig.story(id).await;
    assert_eq!(
        (story.listed.state.name(), story.attempts.len(), story.listed.lost_response),
        (StateName::Pending, 0, false)
    );
    assert!(rig.posts().is_empty());
}

#[tokio::test]
async fn an_outbox_that_is_closed_ends_the_sending() {
    let rig = Rig::new().await;
    let mut dispatcher = Dispatcher::new(rig.context.clone()).await.unwrap();
    rig.outbox.close().await;
    dispatcher.polled = Instant::now() - POLL;
    assert_eq!(dispatcher.step().await, Step::Closed);
    dispatcher.finish().await;
}
