//! Starting, pacing, reloading, ending.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{Rig, eventually};
use crate::delivery::catalogue::RESULT_TYPES;
use crate::delivery::meters::Pulse;
use crate::delivery::pulse::PULSE;
use crate::model::{EndingName, StateName};
use crate::policy::gate::GateName;
use crate::policy::validate::ResultType;
use crate::sandbox::{Answered, Permission, Settings};

#[tokio::test]
async fn what_is_in_flight_at_the_end_may_finish_and_nothing_new_is_sent() {
    let mut rig = Rig::new().await;
    rig.set(|config| config.delivery.max_in_flight = 1);
    rig.start();
    rig.scripted("act-1", "hold").await;
    rig.put("act-2", json!({})).await;
    rig.until_posts(1).await;
    eventually("it is held", async || match rig.posts()[0].answered {
        Answered::Held => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    let (sandbox, ended) = (&rig.sandbox, rig.context.shutdown.clone());
    let release = async {
        let mut ended = ended;
        ended.wait_for(|end| *end).await.unwrap();
        sandbox.release();
    };
    rig.shutdown.send_replace(true);
    release.await;
    rig.stop().await;
    assert_eq!(
        (
            rig.all(StateName::Delivered).await.len(),
            rig.all(StateName::Pending).await.len()
        ),
        (1, 1)
    );
    assert_eq!(rig.posts().len(), 1);
}

#[tokio::test]
async fn what_is_still_on_the_wire_after_the_timeout_is_recovered_by_the_next_start() {
    let mut rig = Rig::new().await;
    rig.set(|config| config.delivery.shutdown_timeout = Duration::from_millis(50));
    rig.start();
    let id = rig.scripted("act-1", "hang").await;
    rig.until_posts(1).await;
    rig.stop().await;
    assert_eq!(rig.all(StateName::Sending).await.len(), 1);
    rig.reopen().await;
    assert_eq!(rig.outbox.recovered(), 1);
    rig.start();
    rig.until(StateName::Delivered, 1).await;
    let attempts = rig.story(id).await.attempts;
    assert_eq!(
        (attempts[0].outcome, attempts[0].lost_response),
        (EndingName::Interrupted, true)
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_reload_changes_where_requests_go() {
    let mut rig = Rig::new().await;
    let elsewhere = Rig::new().await;
    rig.start();
    rig.put("act-1", json!({})).await;
    rig.until(StateName::Delivered, 1).await;
    let api = elsewhere.config.borrow().api.clone();
    rig.set(|config| config.api = api);
    rig.some_steps().await;
    rig.put("act-2", json!({})).await;
    rig.until(StateName::Delivered, 2).await;
    assert_eq!((rig.posts().len(), elsewhere.posts().len()), (1, 1));
    rig.stop().await;
}

#[tokio::test]
async fn no_more_than_the_limit_leave_in_a_second() {
    let mut rig = Rig::new().await;
    rig.set(|config| config.delivery.max_per_second = Some(20));
    for number in 0..26 {
        rig.put(&format!("act-{number}"), json!({})).await;
    }
    rig.start();
    rig.until(StateName::Delivered, 26).await;
    let times: Vec<i64> = rig.posts().iter().map(|post| post.received_ms).collect();
    // What leaves evenly may arrive a little closer together.
    assert!(
        times.windows(21).all(|second| second[20] - second[0] > 900),
        "{times:?}"
    );
    rig.stop().await;
}

#[tokio::test]
async fn the_pulse_is_remembered_for_status() {
    let mut rig = Rig::new().await;
    rig.set(|config| config.retry.max_attempts = Some(1));
    rig.start();
    rig.put("act-1", json!({})).await;
    rig.until(StateName::Delivered, 1).await;
    let dead = rig.scripted("act-2", "503").await;
    rig.until(StateName::Dead, 1).await;
    rig.stop().await;
    let pulse: Pulse = serde_json::from_str(&rig.outbox.recall(PULSE).await.unwrap().unwrap()).unwrap();
    let error = pulse.last_error.unwrap();
    assert_eq!((pulse.delivered_per_minute, pulse.in_flight), (1, 0));
    assert_eq!((error.submission, error.status), (dead.0, Some(503)));
}

fn codes(types: Option<&Arc<[ResultType]>>) -> Vec<String> {
    types
        .map(|types| types.iter().map(|one| one.code.clone()).collect())
        .unwrap_or_default()
}

#[tokio::test]
async fn the_result_types_are_fetched_remembered_and_known_at_the_next_start() {
    let mut rig = Rig::new().await;
    rig.set(|config| config.validation.result_types = true);
    rig.start();
    let types = rig.types.clone();
    let known = async || match types.borrow().as_ref() {
        Some(_) => Ok(()),
        None => Err("no list".to_owned()),
    };
    eventually("the list of result types", known).await;
    let fetched = codes(types.borrow().as_ref());
    // It is published before it is remembered: stopped in between, the daemon would begin anew without it.
    eventually("the list in the outbox", async || {
        let remembered = rig.outbox.recall(RESULT_TYPES).await.unwrap();
        remembered.map(drop).ok_or("nothing remembered".to_owned())
    })
    .await;
    assert!(fetched.contains(&"RESCHEDULE".to_owned()));
    rig.stop().await;
    rig.reopen().await;
    rig.context.result_types.send_replace(None);
    rig.sandbox.set(Settings {
        permissions: vec![Permission::SubmitActivityResult],
        ..Settings::default()
    });
    rig.start();
    eventually("the remembered list", known).await;
    assert_eq!(codes(types.borrow().as_ref()), fetched);
    rig.put("act-1", json!({})).await;
    rig.until(StateName::Delivered, 1).await;
    assert_eq!(
        rig.context.meters.gate(),
        Some(GateName::Open),
        "a key that may not view may still submit"
    );
    assert!(
        rig.outbox
            .recall(RESULT_TYPES)
            .await
            .unwrap()
            .unwrap()
            .contains("fetched_at")
    );
    rig.stop().await;
}
