//! The gate between a real outbox and an API that refuses the key.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;

use super::{Rig, eventually, key};
use crate::clock;
use crate::model::{DeadReason, State, StateName};
use crate::policy::gate::{ASK, GATE, GateName, GateRecord, PAUSE, PauseRecord};
use crate::sandbox::{DEFAULT_API_KEY, Permission, Settings};

fn wrong_key() -> Settings {
    Settings {
        api_key: "rtn_sk_another".to_owned(),
        ..Settings::default()
    }
}

fn forbidden() -> Settings {
    Settings {
        permissions: vec![Permission::ViewActivities],
        ..Settings::default()
    }
}

async fn remembered(rig: &Rig) -> Option<GateRecord> {
    let text = rig.outbox.recall(GATE).await.unwrap()?;
    Some(serde_json::from_str(&text).unwrap())
}

/// Every activity was registered once: nothing was sent again that had arrived.
fn registered_once(rig: &Rig, count: usize) {
    let results = rig.sandbox.results();
    assert_eq!(results.len(), count);
    assert!(results.iter().all(|result| result.accepted == 1));
}

#[tokio::test]
async fn a_bad_key_costs_at_most_what_is_in_flight_and_all_of_it_comes_back() {
    let mut rig = Rig::new().await;
    rig.sandbox.set(wrong_key());
    for number in 0..40 {
        rig.put(&format!("act-{number}"), json!({})).await;
    }
    rig.start();
    rig.gate_is(GateName::Unauthorized).await;
    rig.some_steps().await;
    assert!(rig.posts().len() <= 4, "{}", rig.posts().len());
    let dead = rig.all(StateName::Dead).await;
    assert!((1..=4).contains(&dead.len()));
    assert!(
        dead.iter()
            .all(|one| one.state == State::Dead(DeadReason::Unauthorized))
    );
    assert_eq!(remembered(&rig).await.unwrap().status, Some(401));
    rig.sandbox.set(Settings::default());
    rig.until(StateName::Delivered, 40).await;
    registered_once(&rig, 40);
    assert_eq!(remembered(&rig).await.unwrap().state, GateName::Open);
    rig.stop().await;
}

#[tokio::test]
async fn a_changed_key_is_tried_at_once_and_one_goes_first() {
    let mut rig = Rig::new().await;
    rig.set(|config| config.auth.probe_interval = Duration::from_hours(1));
    rig.key.send_replace(key("rtn_sk_old"));
    rig.start();
    for number in 0..10 {
        rig.scripted(&format!("act-{number}"), "hold").await;
    }
    rig.gate_is(GateName::Unauthorized).await;
    let before = rig.posts().len();
    rig.key.send_replace(key(DEFAULT_API_KEY));
    rig.until_posts(before + 1).await;
    rig.some_steps().await;
    assert_eq!(
        rig.posts().len(),
        before + 1,
        "one goes first, and the others wait for its answer"
    );
    eventually("all of them", async || {
        rig.sandbox.release();
        let delivered = rig.all(StateName::Delivered).await.len();
        if delivered == 10 {
            Ok(())
        } else {
            Err(delivered.to_string())
        }
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn a_reload_and_resume_ask_at_once() {
    for by_reload in [true, false] {
        let mut rig = Rig::new().await;
        rig.set(|config| config.auth.probe_interval = Duration::from_hours(1));
        rig.sandbox.set(wrong_key());
        rig.start();
        rig.put("act-1", json!({})).await;
        rig.gate_is(GateName::Unauthorized).await;
        rig.until(StateName::Dead, 1).await;
        rig.sandbox.set(Settings::default());
        if by_reload {
            rig.set(|_| {});
        } else {
            let ask = serde_json::to_string(&PauseRecord {
                by: "ana".to_owned(),
                at: 0,
                why: None,
            });
            rig.tool()
                .await
                .remember(ASK, Some(ask.unwrap()), clock::now())
                .await
                .unwrap();
        }
        rig.until(StateName::Delivered, 1).await;
        assert_eq!(rig.outbox.recall(ASK).await.unwrap(), None);
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_403_is_tried_with_one_submission_an_interval_that_stays_pending_and_uncharged() {
    let mut rig = Rig::new().await;
    rig.set(|config| config.delivery.max_in_flight = 1);
    rig.sandbox.set(forbidden());
    for number in 0..5 {
        rig.put(&format!("act-{number}"), json!({})).await;
    }
    rig.start();
    rig.until_posts(6).await;
    assert_eq!(rig.all(StateName::Dead).await.len(), 1);
    for pending in rig.all(StateName::Pending).await {
        assert!(rig.story(pending.id).await.attempts.is_empty());
    }
    let mut tried: HashMap<Option<String>, usize> = HashMap::new();
    for post in rig.posts() {
        *tried.entry(post.provider_activity_id).or_default() += 1;
    }
    assert!(tried.len() >= 4, "each trial is another submission: {tried:?}");
    rig.sandbox.set(Settings::default());
    rig.until(StateName::Delivered, 5).await;
    registered_once(&rig, 5);
    rig.stop().await;
}

#[tokio::test]
async fn a_permission_that_is_granted_is_noticed_although_nothing_is_pending() {
    let mut rig = Rig::new().await;
    rig.sandbox.set(forbidden());
    rig.put("act-1", json!({})).await;
    rig.start();
    rig.gate_is(GateName::Unauthorized).await;
    rig.until(StateName::Dead, 1).await;
    rig.sandbox.set(Settings::default());
    rig.until(StateName::Delivered, 1).await;
    rig.gate_is(GateName::Open).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_trial_never_overtakes_a_dead_letter_of_its_activity() {
    let mut rig = Rig::new().await;
    rig.sandbox.set(forbidden());
    rig.set(|config| config.conflict.policy = crate::model::ConflictPolicy::Override);
    for step in 0..3 {
        rig.put("act-1", json!({"raw_payload": {"step": step}})).await;
    }
    rig.start();
    rig.until_posts(3).await;
    assert!(
        rig.posts().iter().all(|post| post.body.contains("\"step\":0")),
        "only the oldest goes on trial"
    );
    rig.sandbox.set(Settings::default());
    rig.until(StateName::Delivered, 3).await;
    assert!(
        rig.sandbox.results()[0].body.contains("\"step\":2"),
        "the last one stands"
    );
    rig.stop().await;
}

#[tokio::test]
async fn one_that_is_refused_again_while_others_are_delivered_stays_dead_and_closes_nothing() {
    let mut rig = Rig::new().await;
    rig.start();
    let poison = rig.scripted("poison", "403x1000").await;
    for number in 0..5 {
        rig.put(&format!("act-{number}"), json!({})).await;
    }
    rig.until(StateName::Delivered, 5).await;
    eventually("an open gate and a dead one", async || {
        let state = rig.story(poison).await.listed.state;
        let gate = rig.context.meters.gate();
        let settled = state == State::Dead(DeadReason::Unauthorized) && gate == Some(GateName::Open);
        if settled {
            Ok(())
        } else {
            Err(format!("{state:?} {gate:?}"))
        }
    })
    .await;
    rig.put("act-9", json!({})).await;
    rig.until(StateName::Delivered, 6).await;
    assert_eq!(rig.context.meters.gate(), Some(GateName::Open));
    rig.stop().await;
}

#[tokio::test]
async fn without_auth_requeue_the_dead_ones_stay_dead() {
    let mut rig = Rig::new().await;
    rig.set(|config| config.auth.requeue = false);
    rig.sandbox.set(wrong_key());
    rig.start();
    rig.put("act-1", json!({})).await;
    rig.until(StateName::Dead, 1).await;
    rig.sandbox.set(Settings::default());
    rig.gate_is(GateName::Open).await;
    rig.put("act-2", json!({})).await;
    rig.until(StateName::Delivered, 1).await;
    rig.until(StateName::Dead, 1).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_closed_gate_survives_a_restart_which_begins_with_the_question() {
    let mut rig = Rig::new().await;
    rig.set(|config| config.auth.probe_interval = Duration::from_hours(1));
    rig.sandbox.set(wrong_key());
    rig.start();
    rig.put("act-1", json!({})).await;
    rig.until(StateName::Dead, 1).await;
    rig.put("act-2", json!({})).await;
    rig.stop().await;
    rig.reopen().await;
    let posts = rig.posts().len();
    rig.start();
    let questions = || {
        rig.sandbox
            .requests()
            .iter()
            .filter(|request| request.method == "GET")
            .count()
    };
    eventually("the question", async || {
        if questions() == 1 { Ok(()) } else { Err(String::new()) }
    })
    .await;
    rig.some_steps().await;
    assert_eq!(
        rig.posts().len(),
        posts,
        "nothing is sent before its answer, nor after a 401"
    );
    rig.stop().await;
    rig.reopen().await;
    rig.sandbox.set(Settings::default());
    rig.start();
    rig.until(StateName::Delivered, 2).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_pause_from_another_process_stops_the_sending_until_resume() {
    let mut rig = Rig::new().await;
    rig.start();
    rig.gate_is(GateName::Open).await;
    let tool = rig.tool().await;
    let pause = PauseRecord {
        by: "ana".to_owned(),
        at: 0,
        why: None,
    };
    let text = serde_json::to_string(&pause).unwrap();
    tool.remember(PAUSE, Some(text), clock::now()).await.unwrap();
    rig.gate_is(GateName::Paused).await;
    rig.put("act-1", json!({})).await;
    rig.some_steps().await;
    assert!(rig.posts().is_empty());
    rig.stop().await;
    rig.reopen().await;
    rig.start();
    rig.gate_is(GateName::Paused).await;
    rig.some_steps().await;
    assert!(rig.posts().is_empty(), "a pause outlives a restart");
    rig.tool().await.remember(PAUSE, None, clock::now()).await.unwrap();
    rig.until(StateName::Delivered, 1).await;
    rig.stop().await;
}
