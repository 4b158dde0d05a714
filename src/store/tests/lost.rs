//! Transactions whose answer was lost on the way from a server that several share.

use super::*;
use crate::store::StoreError;

/// Ends every session of this outbox's daemon, as a network that breaks does.
async fn cut(bench: &Bench) {
    let Address::Server(server) = &bench.address else {
        unreachable!("of PostgreSQL alone")
    };
    let sessions = format!(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'reten-outbox {} node %'",
        server.schema
    );
    bench.by_hand(&sessions).await.unwrap();
}

#[tokio::test]
async fn what_was_claimed_and_never_handed_out_comes_back_uncharged() {
    let Some(bench) = Bench::fresh(Postgres).await else {
        return;
    };
    let lost = bench.admit(entry("a")).await;
    let held = bench.admit(entry("b")).await;
    let claimed = bench.claim_at(1, NOW).await;
    let other = if claimed[0].id == lost { held } else { lost };
    // As the claim leaves it whose answer does not come.
    let claim = format!(
        "UPDATE delivery SET state = 'sending', node = (SELECT max(id) FROM node), attempts = 1, tries = 1 WHERE id = {other}; \
         INSERT INTO tally_delta (pending, sending, delivered, dead, parked, dismissed) VALUES (-1, 1, 0, 0, 0, 0)"
    );
    bench.by_hand(&claim).await.unwrap();
    assert!(bench.claim().await.is_empty());
    cut(&bench).await;
    let request = ClaimRequest {
        limit: 9,
        order: ClaimOrder::Due,
        now: NOW,
        wait_max: WAIT_MAX,
    };
    let broken = bench.outbox.claim(request).await.unwrap_err();
    assert!(matches!(broken, StoreError::Away(_)), "{broken}");
    let again = bench.claim().await;
    let seen: Vec<_> = again.iter().map(|one| (one.id, one.attempt.0, one.tries)).collect();
    assert_eq!(seen, [(other, 2, 1)], "and what is in flight stays where it is");
    bench.check().await;
}

#[tokio::test]
async fn an_outcome_whose_answer_was_lost_is_done_when_it_is_told_again() {
    let Some(bench) = Bench::fresh(Postgres).await else {
        return;
    };
    for activity in ["a", "b"] {
        bench.admit(entry(activity)).await;
    }
    let claimed = bench.claim().await;
    for one in &claimed {
        assert_eq!(bench.settle(one, Ending::Delivered).await, Settled::Done);
    }
    cut(&bench).await;
    let told = bench
        .outbox
        .settle(settlement(&claimed[0], Ending::Delivered), NOW)
        .await;
    assert!(matches!(told, Err(StoreError::Away(_))), "{told:?}");
    for one in &claimed {
        assert_eq!(bench.settle(one, Ending::Delivered).await, Settled::Done);
        assert_eq!(
            bench.settle(one, Ending::Parked(ParkReason::Conflict)).await,
            Settled::Stale
        );
    }
    bench.check().await;
}
