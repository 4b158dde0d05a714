//! Of one activity one at a time, in the order of intake; others never wait.

use super::*;

fn ids(claimed: &[Claimed]) -> Vec<SubmissionId> {
    claimed.iter().map(|claimed| claimed.id).collect()
}

#[rstest]
#[tokio::test]
async fn of_an_activity_the_next_is_claimed_only_when_the_one_before_has_its_outcome(
    #[values(Sqlite, Postgres)] kind: Kind,
) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let first = bench.admit(entry("a")).await;
    let second = bench.admit(entry("a")).await;
    let other = bench.admit(entry("b")).await;
    let claimed = bench.claim().await;
    assert_eq!(ids(&claimed), [first, other]);
    assert!(bench.claim().await.is_empty());
    assert_eq!(
        bench.outbox.show(second).await.unwrap().unwrap().listed.waits_behind,
        Some(first)
    );
    bench.settle(&claimed[0], Ending::Delivered).await;
    assert_eq!(ids(&bench.claim().await), [second]);
}

#[rstest]
#[tokio::test]
async fn one_that_retries_or_is_held_keeps_the_later_ones_waiting(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let first = bench.admit(entry("a")).await;
    let second = bench.admit(entry("a")).await;
    let mut held = entry("b");
    held.directives.not_before = Some(at(3600));
    bench.admit(held).await;
    bench.admit(entry("b")).await;
    let claimed = bench.claim().await;
    assert_eq!(ids(&claimed), [first]);
    let wait = Duration::from_mins(1);
    let retry = Ending::Retry { wait };
    bench.settle(&claimed[0], retry).await;
    assert!(bench.claim().await.is_empty());
    assert_eq!(ids(&bench.claim_at(9, at(60)).await), [first]);
    assert_eq!(bench.state(second).await, State::Pending { due: NOW });
}

#[rstest]
#[tokio::test]
async fn a_dead_or_parked_one_lets_the_next_pass(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    for transition in [
        Ending::Parked(ParkReason::Conflict),
        Ending::Dead {
            reason: DeadReason::Rejected,
            requeue_on_opening: false,
        },
    ] {
        bench.admit(entry("a")).await;
        let next = bench.admit(entry("a")).await;
        let claimed = bench.claim().await;
        bench.settle(&claimed[0], transition).await;
        let claimed = bench.claim().await;
        assert_eq!(ids(&claimed), [next]);
        bench.settle(&claimed[0], Ending::Delivered).await;
    }
}

#[rstest]
#[tokio::test]
async fn results_without_an_activity_never_wait_for_one_another(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    for _ in 0..3 {
        bench.admit(entry("")).await;
    }
    assert_eq!(bench.claim().await.len(), 3);
}

#[rstest]
#[tokio::test]
async fn an_older_one_that_is_put_back_goes_before_the_pending_later_ones(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let old = bench.admit(entry("a")).await;
    let claimed = bench.claim().await;
    bench.settle(&claimed[0], Ending::Parked(ParkReason::Conflict)).await;
    let new = bench.admit(entry("a")).await;
    assert_eq!(bench.act(old, Act::Requeue).await, Acted::Done);
    assert_eq!(ids(&bench.claim().await), [old]);
    assert_eq!(
        bench.outbox.show(new).await.unwrap().unwrap().listed.waits_behind,
        Some(old)
    );
}

#[rstest]
#[tokio::test]
async fn an_older_one_that_is_put_back_waits_for_the_later_one_that_is_sending(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let old = bench.admit(entry("a")).await;
    let claimed = bench.claim().await;
    bench.settle(&claimed[0], Ending::Parked(ParkReason::Conflict)).await;
    let new = bench.admit(entry("a")).await;
    let sending = bench.claim().await;
    assert_eq!(ids(&sending), [new]);
    assert_eq!(bench.act(old, Act::Requeue).await, Acted::Done);
    assert!(bench.claim().await.is_empty());
    // Even one that comes back from its attempt has to let the older one pass now.
    let retry = Ending::Retry { wait: Duration::ZERO };
    bench.settle(&sending[0], retry).await;
    assert_eq!(ids(&bench.claim().await), [old]);
}

#[rstest]
#[tokio::test]
async fn dismissing_the_head_promotes_the_next(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let first = bench.admit(entry("a")).await;
    let second = bench.admit(entry("a")).await;
    assert_eq!(bench.act(first, Act::Dismiss).await, Acted::Done);
    assert_eq!(ids(&bench.claim().await), [second]);
}

#[rstest]
#[tokio::test]
async fn two_claimers_never_hold_one_activity(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    for round in 0..40 {
        bench.admit(entry(&format!("a{}", round % 4))).await;
    }
    let mut delivered = 0;
    while delivered < 40 {
        let (left, right) = tokio::join!(bench.claim_at(3, NOW), bench.claim_at(3, NOW));
        let claimed: Vec<Claimed> = left.into_iter().chain(right).collect();
        let activities: std::collections::BTreeSet<_> =
            claimed.iter().map(|claimed| claimed.activity.clone()).collect();
        assert_eq!(activities.len(), claimed.len());
        assert!(!claimed.is_empty());
        for claimed in &claimed {
            assert_eq!(bench.settle(claimed, Ending::Delivered).await, Settled::Done);
            delivered += 1;
        }
    }
}

#[rstest]
#[tokio::test]
async fn the_database_itself_refuses_two_live_ones_of_an_activity(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    bench.admit(entry("a")).await;
    bench.admit(entry("a")).await;
    let forced = bench.by_hand("UPDATE delivery SET state = 'head'").await;
    assert!(forced.unwrap_err().to_string().to_lowercase().contains("unique"));
}
