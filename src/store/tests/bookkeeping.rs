//! What other hands do to the counts and the orders.

use super::*;
use crate::model::StateName;
use crate::store::Miscount;

#[rstest]
#[tokio::test]
async fn counts_that_would_fall_below_nothing_stop_no_claim_and_no_settlement(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = bench.admit(entry("a")).await;
    let one_too_few = match kind {
        Sqlite => "UPDATE tally SET n = 0",
        Postgres => "UPDATE tally SET pending = pending - 1",
    };
    bench.by_hand(one_too_few).await.unwrap();
    let claimed = bench.claim().await.remove(0);
    assert_eq!(bench.settle(&claimed, Ending::Delivered).await, Settled::Done);
    if kind == Sqlite {
        // The shared store adds up differences, and learns of it when it counts again.
        tokio::time::timeout(Duration::from_secs(10), bench.outbox.found_short())
            .await
            .unwrap();
    }
    assert_eq!(bench.state(id).await, State::Delivered);
    // In PostgreSQL a count is this and what came since.
    let seven = match kind {
        Sqlite => "UPDATE tally SET n = 7 WHERE state IN ('dead', 'delivered')",
        Postgres => {
            "UPDATE tally SET pending = -(SELECT coalesce(sum(pending), 0) FROM tally_delta), \
                    dead = 7 - (SELECT coalesce(sum(dead), 0) FROM tally_delta), \
                    delivered = 7 - (SELECT coalesce(sum(delivered), 0) FROM tally_delta)"
        }
    };
    bench.by_hand(seven).await.unwrap();
    let wrong = |state, was, is| Miscount { state, was, is };
    let found = bench.outbox.recount().await.unwrap();
    assert_eq!(found, [wrong(StateName::Delivered, 7, 1), wrong(StateName::Dead, 7, 0)]);
    assert!(bench.outbox.recount().await.unwrap().is_empty());
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn who_waits_for_nobody_and_who_is_next_before_an_older_one_are_found_and_put_in_order(
    #[values(Sqlite, Postgres)] kind: Kind,
) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    for activity in ["a", "b", "c"] {
        for _ in 0..3 {
            bench.admit(entry(activity)).await;
        }
    }
    assert_eq!(bench.outbox.put_in_order(None).await.unwrap(), (0, None));
    let dismissed = match kind {
        Sqlite => "UPDATE delivery SET state = 'dismissed' WHERE id = 1",
        Postgres => {
            "WITH gone AS (DELETE FROM delivery WHERE id = 1 RETURNING id, lane, updated_at) \
             INSERT INTO settled (id, lane, updated_at, state) SELECT id, lane, updated_at, 'dismissed' FROM gone"
        }
    };
    bench.by_hand(dismissed).await.unwrap();
    bench
        .by_hand("UPDATE delivery SET state = 'waiting' WHERE id = 4; UPDATE delivery SET state = 'head' WHERE id = 5")
        .await
        .unwrap();
    assert_eq!(bench.outbox.put_in_order(None).await.unwrap(), (2, None));
    let mut heads: Vec<i64> = bench.claim().await.iter().map(|claimed| claimed.id.0).collect();
    heads.sort_unstable();
    assert_eq!(heads, [2, 4, 7]);
    assert_eq!(
        bench.outbox.put_in_order(None).await.unwrap(),
        (0, None),
        "while one is being sent all others wait"
    );
    bench.outbox.recount().await.unwrap();
    bench.check().await;
}
