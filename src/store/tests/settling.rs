//! How attempts end.

use super::*;

fn retry_in(seconds: u64) -> Ending {
    let wait = Duration::from_secs(seconds);
    Ending::Retry { wait }
}

#[rstest]
#[tokio::test]
async fn a_settlement_that_comes_too_late_changes_nothing_not_even_a_neighbour(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = bench.admit(entry("a")).await;
    let next = bench.admit(entry("a")).await;
    let first = bench.claim().await.remove(0);
    bench.settle(&first, retry_in(0)).await;
    let second = bench.claim().await.remove(0);
    assert_eq!((second.id, second.attempt.0), (id, 2));
    let before = bench.dump().await;
    for ending in [Ending::Delivered, retry_in(9), Ending::Parked(ParkReason::Conflict)] {
        assert_eq!(bench.settle(&first, ending).await, Settled::Stale);
    }
    assert_eq!(bench.dump().await, before);
    assert_eq!(bench.settle(&second, Ending::Delivered).await, Settled::Done);
    assert_eq!(bench.settle(&second, Ending::Delivered).await, Settled::Stale);
    assert_eq!(bench.claim().await[0].id, next);
}

/// A daemon that was cut off has the late outcome in hand when the live one comes: both go in one group.
#[rstest]
#[tokio::test]
async fn a_late_outcome_in_one_group_with_the_live_one_does_not_displace_it(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    bench.admit(entry("a")).await;
    let late = bench.claim().await.remove(0);
    bench.settle(&late, retry_in(0)).await;
    let live = bench.claim().await.remove(0);
    let both = [(&late, retry_in(9)), (&live, Ending::Delivered)];
    let both = both.map(|(claimed, ending)| (settlement(claimed, ending).into(), NOW));
    let settled = bench.outbox.settle_all(both.to_vec(), None).await.unwrap();
    assert_eq!(settled, [Settled::Stale, Settled::Done]);
    assert_eq!(bench.claim().await, []);
}

#[rstest]
#[tokio::test]
async fn outcomes_are_on_their_way_before_they_are_awaited_and_free_their_lanes_for_the_next_claim(
    #[values(Sqlite, Postgres)] kind: Kind,
) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    bench.admit(entry("a")).await;
    let next = bench.admit(entry("a")).await;
    let first = bench.claim().await.remove(0);
    let settling = bench
        .outbox
        .settle_all(vec![(settlement(&first, Ending::Delivered).into(), NOW)], None);
    let claimed = bench.claim().await;
    assert_eq!(claimed.iter().map(|one| one.id).collect::<Vec<_>>(), [next]);
    assert_eq!(settling.await.unwrap(), [Settled::Done]);
}

#[rstest]
#[tokio::test]
async fn what_is_remembered_beside_outcomes_is_there_with_them_also_where_one_comes_too_late(
    #[values(Sqlite, Postgres)] kind: Kind,
) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    bench.admit(entry("a")).await;
    let claimed = bench.claim().await.remove(0);
    for (value, expected) in [("one", Settled::Done), ("two", Settled::Stale)] {
        let settlements = vec![(settlement(&claimed, Ending::Delivered).into(), NOW)];
        let settled = bench.outbox.settle_all(settlements, Some(("gate", value.to_owned())));
        assert_eq!(settled.await.unwrap(), [expected]);
        assert_eq!(bench.outbox.recall("gate").await.unwrap().as_deref(), Some(value));
    }
}

#[rstest]
#[tokio::test]
async fn of_two_words_on_one_attempt_at_the_same_time_one_holds(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    bench.admit(entry("a")).await;
    let claimed = bench.claim().await.remove(0);
    let (left, right) = tokio::join!(
        bench.settle(&claimed, Ending::Delivered),
        bench.settle(&claimed, retry_in(1))
    );
    assert_eq!((left, right), (Settled::Done, Settled::Stale));
}

#[rstest]
#[tokio::test]
async fn many_outcomes_at_the_same_time_are_each_what_they_are(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    for place in 0..150 {
        bench.admit(entry(&format!("a{place}"))).await;
    }
    let claimed = bench.claim_at(150, NOW).await;
    let outcomes = |place: usize| match place % 3 {
        0 => Ending::Delivered,
        1 => retry_in(place as u64),
        _ => Ending::Parked(ParkReason::Conflict),
    };
    let settling = claimed
        .iter()
        .enumerate()
        .map(|(place, claimed)| bench.settle(claimed, outcomes(place)));
    let settled = futures_util::future::join_all(settling).await;
    assert!(settled.iter().all(|settled| *settled == Settled::Done));
    for (place, claimed) in claimed.iter().enumerate() {
        let expected = match outcomes(place) {
            Ending::Delivered => State::Delivered,
            Ending::Retry { wait } => State::Pending { due: NOW.plus(wait) },
            _ => State::Parked(ParkReason::Conflict),
        };
        assert_eq!(bench.state(claimed.id).await, expected);
    }
}

#[rstest]
#[tokio::test]
async fn a_retry_adds_its_wait_and_remembers_a_lost_response(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = bench.admit(entry("a")).await;
    let claimed = bench.claim().await.remove(0);
    let mut lost = settlement(&claimed, retry_in(10));
    lost.record.lost_response = true;
    assert_eq!(bench.outbox.settle(lost, NOW).await.unwrap(), Settled::Done);
    let claimed = bench.claim_at(1, at(10)).await.remove(0);
    assert_eq!(
        (claimed.attempt.0, claimed.tries, claimed.waited),
        (2, 2, Duration::from_secs(10))
    );
    assert!(claimed.lost_response);
    bench.settle(&claimed, retry_in(5)).await;
    let claimed = bench.claim_at(1, at(15)).await.remove(0);
    assert_eq!(claimed.waited, Duration::from_secs(15));
    assert!(claimed.lost_response, "once lost, never certain again");
    assert_eq!(bench.outbox.show(id).await.unwrap().unwrap().attempts.len(), 2);
}

#[rstest]
#[tokio::test]
async fn a_released_one_is_not_charged_and_nothing_is_remembered_of_it(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = bench.admit(entry("a")).await;
    let first = bench.claim().await.remove(0);
    let mut release = settlement(&first, Ending::Released);
    release.record.lost_response = true;
    assert_eq!(bench.outbox.settle(release, NOW).await.unwrap(), Settled::Done);
    let story = bench.outbox.show(id).await.unwrap().unwrap();
    assert_eq!(
        (story.listed.state, story.attempts.len()),
        (State::Pending { due: NOW }, 0)
    );
    assert_eq!(
        story.listed.attempts, 0,
        "what was given back is not charged, nor shown as an attempt"
    );
    let second = bench.claim().await.remove(0);
    assert_eq!((second.tries, second.lost_response), (1, false));
    assert_ne!(
        second.attempt, first.attempt,
        "a late word on the released attempt must not pass for the next"
    );
    assert_eq!(bench.settle(&first, Ending::Delivered).await, Settled::Stale);
}

#[rstest]
#[tokio::test]
async fn an_overridden_one_is_resent_before_all_that_became_due_since(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = bench.admit(entry("a")).await;
    let claimed = bench.claim().await.remove(0);
    bench.admit(entry("b")).await;
    let settled = bench
        .outbox
        .settle(settlement(&claimed, Ending::Override), at(5))
        .await
        .unwrap();
    assert_eq!(settled, Settled::Done);
    let again = bench.claim_at(1, at(5)).await.remove(0);
    assert_eq!((again.id, again.hard_override), (id, true));
}

#[rstest]
#[tokio::test]
async fn an_override_after_a_probe_is_due_at_once(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    bench.admit(entry("a")).await;
    let claimed = bench.claim().await.remove(0);
    bench.settle(&claimed, retry_in(500)).await;
    let request = ClaimRequest {
        limit: 1,
        order: ClaimOrder::LeastTried,
        now: NOW,
        wait_max: WAIT_MAX,
    };
    let probe = bench.outbox.claim(request).await.unwrap().remove(0);
    bench.settle(&probe, Ending::Override).await;
    assert!(bench.claim().await[0].hard_override);
}

#[rstest]
#[tokio::test]
async fn an_attempt_is_kept_as_it_was(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = bench.admit(entry("a")).await;
    let claimed = bench.claim().await.remove(0);
    let mut answered = settlement(&claimed, retry_in(0));
    answered.record.hard_override = true;
    bench.outbox.settle(answered.clone(), NOW).await.unwrap();
    let claimed = bench.claim().await.remove(0);
    let mut failed = settlement(&claimed, Ending::dead(DeadReason::RetriesExhausted));
    failed.record.answer = None;
    failed.record.fault = Some(Fault {
        kind: FaultKind::CutOff,
        message: "ended early".into(),
        status: Some(200),
    });
    bench.outbox.settle(failed.clone(), NOW).await.unwrap();
    let story = bench.outbox.show(id).await.unwrap().unwrap();
    let failed = bench.stored(failed.record);
    assert_eq!(story.attempts, [bench.stored(answered.record), failed.clone()]);
    assert_eq!(story.listed.last, Some(failed));
    assert_eq!(story.listed.attempts, 2);
}

#[rstest]
#[tokio::test]
async fn the_opening_gate_puts_back_what_its_episode_stopped(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let refused = |requeue_on_opening| Ending::Dead {
        reason: DeadReason::Unauthorized,
        requeue_on_opening,
    };
    for activity in ["a", "b", "c", "d", "e"] {
        bench.admit(entry(activity)).await;
    }
    let claimed = bench.claim().await;
    bench.settle(&claimed[0], refused(true)).await;
    bench.settle(&claimed[1], refused(false)).await;
    bench.settle(&claimed[2], refused(true)).await;
    bench.settle(&claimed[3], refused(true)).await;
    bench.settle(&claimed[4], refused(true)).await;
    // One is superseded since, one was dismissed, one requeued by a person and refused again for good.
    let later = bench.admit(entry("c")).await;
    let delivered = bench.claim().await.remove(0);
    assert_eq!(delivered.id, later);
    bench.settle(&delivered, Ending::Delivered).await;
    bench.act(claimed[3].id, Act::Dismiss).await;
    bench.act(claimed[4].id, Act::Requeue).await;
    let again = bench.claim().await.remove(0);
    bench.settle(&again, refused(false)).await;

    assert_eq!(
        bench.outbox.open_gate("gate", "open".into(), true, NOW).await.unwrap(),
        1
    );
    assert_eq!(bench.outbox.recall("gate").await.unwrap().as_deref(), Some("open"));
    let back = bench.claim().await;
    assert_eq!(back.len(), 1);
    assert_eq!(
        (back[0].id, back[0].was_unauthorized, back[0].tries),
        (claimed[0].id, true, 1)
    );
    let story = bench.outbox.show(claimed[0].id).await.unwrap().unwrap();
    assert_eq!(
        (story.history[0].what.as_str(), story.history[0].actor.as_str()),
        ("requeued", "daemon (gate)")
    );
    assert_eq!(
        bench.outbox.open_gate("gate", "open".into(), true, NOW).await.unwrap(),
        0
    );
}

#[rstest]
#[tokio::test]
async fn a_gate_that_opens_without_requeueing_forgets_its_episode(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = bench.admit(entry("a")).await;
    let claimed = bench.claim().await.remove(0);
    let refused = Ending::Dead {
        reason: DeadReason::Unauthorized,
        requeue_on_opening: true,
    };
    bench.settle(&claimed, refused).await;
    assert_eq!(
        bench.outbox.open_gate("gate", "open".into(), false, NOW).await.unwrap(),
        0
    );
    assert_eq!(
        bench.outbox.open_gate("gate", "open".into(), true, NOW).await.unwrap(),
        0
    );
    assert_eq!(bench.state(id).await, State::Dead(DeadReason::Unauthorized));
}

#[rstest]
#[tokio::test]
async fn an_episode_of_any_length_comes_back_at_once_and_in_its_order(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let refused = Ending::Dead {
        reason: DeadReason::Unauthorized,
        requeue_on_opening: true,
    };
    let entries: Vec<Entry> = (0..1201)
        .map(|number| entry(&format!("act {}", number % 600)))
        .collect();
    let admission = Admission {
        entries,
        receipts: Vec::new(),
    };
    bench.outbox.admit(admission, NOW).await.unwrap();
    let mut dead = 0;
    while dead < 1201 {
        let claimed = bench.claim_at(1000, NOW).await;
        dead += claimed.len();
        let settlements = claimed
            .iter()
            .map(|one| (settlement(one, refused).into(), NOW))
            .collect();
        bench.outbox.settle_all(settlements, None).await.unwrap();
    }
    assert_eq!(
        bench.outbox.open_gate("gate", "open".into(), true, NOW).await.unwrap(),
        1201
    );
    bench.check().await;
    let first = bench.claim_at(2000, NOW).await;
    assert_eq!(
        first.iter().map(|one| one.id.0).collect::<Vec<_>>(),
        (1..=600).collect::<Vec<_>>()
    );
}
