use serde_json::json;

use super::*;
use crate::delivery::tests::{Rig, eventually};
use crate::model::{Attempt, Ending, EndingName, StateName};
use crate::policy::gate::Purpose;
use crate::store::{ClaimOrder, Settlement};

#[tokio::test]
async fn a_panic_in_one_attempt_costs_that_attempt_and_nothing_else() {
    let rig = Rig::new().await;
    let id = rig.put("act-1", json!({})).await;
    let mut dispatcher = Dispatcher::new(rig.context.clone()).await.unwrap();
    let claimed = dispatcher
        .claim(1, ClaimOrder::Due, clock::now())
        .await
        .unwrap()
        .remove(0);
    let ticket = dispatcher.keeper.sent(Purpose::Due, clock::now());
    let request = dispatcher.requests.spawn(async { panic!("a bug in an attempt") }).id();
    let claimed = Arc::new(claimed);
    dispatcher.in_flight.insert(request, (claimed, ticket));
    let ended = dispatcher.requests.join_next_with_id().await.unwrap();
    dispatcher.ended(ended);
    dispatcher.finish().await;
    let story = rig.story(id).await;
    assert_eq!(story.listed.state.name(), StateName::Pending);
    assert_eq!(
        (story.attempts[0].outcome, story.attempts[0].lost_response),
        (EndingName::Interrupted, true)
    );
}

#[tokio::test]
async fn a_step_sends_no_more_than_the_slots_there_are_and_says_what_it_did() {
    let rig = Rig::new().await;
    for number in 0..6 {
        rig.scripted(&format!("act-{number}"), "hang").await;
    }
    let mut dispatcher = Dispatcher::new(rig.context.clone()).await.unwrap();
    assert_eq!(worked(&mut dispatcher).await, Step::Sent(4));
    assert_eq!(dispatcher.step().await, Step::Idle { until: None });
    assert_eq!(rig.context.meters.in_flight(), 4);
    assert_eq!(
        (
            rig.all(StateName::Sending).await.len(),
            rig.all(StateName::Pending).await.len()
        ),
        (6, 0),
        "two are claimed ahead of a slot"
    );
    let mut config = (*dispatcher.equipment.config).clone();
    config.delivery.shutdown_timeout = Duration::from_secs(1);
    dispatcher.equipment.config = Arc::new(config);
    dispatcher.finish().await;
    assert_eq!(
        (
            rig.all(StateName::Sending).await.len(),
            rig.all(StateName::Pending).await.len()
        ),
        (4, 2),
        "at the end they go back; what is on the wire stays"
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
        (
            story.listed.state.name(),
            story.attempts.len(),
            story.listed.lost_response
        ),
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
    assert_eq!(worked(&mut dispatcher).await, Step::Closed);
    dispatcher.finish().await;
}

/// Steps until one of them is not idle.
async fn worked(dispatcher: &mut Dispatcher) -> Step {
    let arrivals = tokio::sync::Notify::new();
    loop {
        match dispatcher.step().await {
            Step::Idle { until } => dispatcher.wait(std::pin::pin!(arrivals.notified()), until).await,
            done @ (Step::Sent(_) | Step::Closed) => return done,
        }
    }
}

#[tokio::test]
async fn a_remembered_due_time_does_not_outlive_a_clock_that_was_set_back() {
    let rig = Rig::new().await;
    rig.put("act-1", json!({})).await;
    let mut dispatcher = Dispatcher::new(rig.context.clone()).await.unwrap();
    let claimed = dispatcher
        .claim(1, ClaimOrder::Due, clock::now())
        .await
        .unwrap()
        .remove(0);
    // It failed while the clock was an hour ahead, and so did we learn when it is due.
    let ahead = clock::now().plus(Duration::from_hours(1));
    let wait = Duration::from_millis(20);
    let settlement = Settlement {
        id: claimed.id,
        ending: Ending::Retry { wait },
        record: Attempt {
            number: claimed.attempt,
            node: None,
            started_at: ahead,
            elapsed_ms: 0,
            hard_override: false,
            outcome: EndingName::Retry,
            lost_response: false,
            answer: None,
            fault: None,
        },
    };
    rig.outbox.settle(settlement, ahead).await.unwrap();
    dispatcher.may_be_due = false;
    dispatcher.due = Some(Due::learned(ahead.plus(wait), ahead, Instant::now()));
    eventually("it is sent", async || match dispatcher.step().await {
        Step::Sent(1) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn the_search_for_a_sample_is_a_bounded_look_a_step() {
    let rig = Rig::new().await;
    rig.put_many(4100).await;
    let mut dispatcher = Dispatcher::new(rig.context.clone()).await.unwrap();
    dispatcher.keeper.fairness.tried(String::new());
    let now = clock::now();
    for _ in 0..2 {
        assert_eq!(
            dispatcher.send_sample(now).await,
            Step::Idle { until: Some(now) },
            "it goes on"
        );
    }
    assert_ne!(
        dispatcher.send_sample(now).await,
        Step::Idle { until: Some(now) },
        "the walk has ended"
    );
    dispatcher.finish().await;
}
