//! What leaves, and what is remembered of it.

use super::*;
use crate::model::StateName;
use crate::store::Sweep;
use strum::VariantArray as _;

async fn sweep(bench: &Bench, state: StateName, older_than: Timestamp, limit: u32) -> u64 {
    let sweep = Sweep {
        state,
        older_than,
        limit,
    };
    bench.outbox.sweep(sweep).await.unwrap()
}

async fn deliver_all(bench: &Bench, now: Timestamp) {
    for claimed in bench.claim_at(100, now).await {
        bench
            .outbox
            .settle(settlement(&claimed, Ending::Delivered), now)
            .await
            .unwrap();
    }
}

#[rstest]
#[tokio::test]
async fn the_oldest_leave_first_with_all_that_belongs_to_them(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let first = bench.admit(keyed("a", "k", "1")).await;
    deliver_all(&bench, NOW).await;
    let second = bench.admit(entry("b")).await;
    deliver_all(&bench, at(10)).await;
    assert_eq!(sweep(&bench, StateName::Delivered, at(-1), 10).await, 0);
    assert_eq!(sweep(&bench, StateName::Delivered, at(10), 1).await, 1);
    assert_eq!(bench.outbox.show(first).await.unwrap(), None);
    assert!(bench.outbox.show(second).await.unwrap().is_some());
    bench.admit(keyed("a", "k", "its key is free again")).await;
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn what_was_delivered_last_is_remembered_as_long_as_any_of_its_activity_is_kept(
    #[values(Sqlite, Postgres)] kind: Kind,
) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let dead = bench.admit(entry("a")).await;
    let claimed = bench.claim().await.remove(0);
    let refused = Ending::Dead {
        reason: DeadReason::Rejected,
        requeue_on_opening: false,
    };
    bench.settle(&claimed, refused).await;
    let delivered = bench.admit(entry("a")).await;
    deliver_all(&bench, NOW).await;
    assert_eq!(sweep(&bench, StateName::Delivered, NOW, 10).await, 1);
    assert_eq!(bench.act(dead, Act::Requeue).await, Acted::Superseded(delivered));
    assert_eq!(sweep(&bench, StateName::Dead, NOW, 10).await, 1);
    assert!(bench.dump().await.iter().all(|line| !line.starts_with("lane ")));
}

#[rstest]
#[tokio::test]
async fn any_state_can_be_purged_but_what_is_being_sent(#[values(Sqlite, Postgres)] kind: Kind) {
    for state in StateName::VARIANTS {
        let Some(bench) = Bench::fresh(kind).await else { return };
        bench.admit(entry("a")).await;
        let behind = bench.admit(entry("a")).await;
        let first = match state {
            StateName::Pending => None,
            _ => Some(bench.claim().await.remove(0)),
        };
        match (state, &first) {
            (StateName::Delivered, Some(first)) => drop(bench.settle(first, Ending::Delivered).await),
            (StateName::Dead, Some(first)) => {
                let refused = Ending::Dead {
                    reason: DeadReason::Unauthorized,
                    requeue_on_opening: true,
                };
                bench.settle(first, refused).await;
            }
            (StateName::Parked | StateName::Dismissed, Some(first)) => {
                bench.settle(first, Ending::Parked(ParkReason::Conflict)).await;
            }
            _ => {}
        }
        if let (StateName::Dismissed, Some(first)) = (state, &first) {
            bench.act(first.id, Act::Dismiss).await;
        }
        let expected = u64::from(*state != StateName::Sending);
        assert_eq!(sweep(&bench, *state, NOW, 1).await, expected, "{state}");
        if *state == StateName::Pending {
            assert_eq!(
                bench.claim().await[0].id,
                behind,
                "the next of its activity comes forward"
            );
        }
        bench.check().await;
    }
}

#[tokio::test]
async fn tidying_gives_room_back_and_loses_nothing() {
    let bench = Bench::sqlite().await;
    let mut large = entry("a");
    large.payload = Payload::from_text(&"x".repeat(1 << 20));
    let admission = Admission {
        entries: vec![large; 40],
        receipts: Vec::new(),
    };
    bench.outbox.admit(admission, NOW).await.unwrap();
    let kept = bench.admit(entry("b")).await;
    for _ in 0..40 {
        let claimed = bench.claim_at(1, NOW).await;
        bench.settle(&claimed[0], Ending::Delivered).await;
    }
    bench.outbox.tidy().await.unwrap();
    let size = || std::fs::metadata(bench.path()).unwrap().len();
    let before = size();
    let first = sweep(&bench, StateName::Delivered, NOW, 100).await;
    assert!((1..=5).contains(&first), "{first} of a megabyte in one transaction");
    let mut left = 40 - first;
    while left > 0 {
        left -= sweep(&bench, StateName::Delivered, NOW, 100).await;
    }
    while bench.outbox.tidy().await.unwrap() {}
    assert!(size() + (10 << 20) < before, "{before} bytes before, {} after", size());
    let wal = std::fs::metadata(bench.path().with_extension("db-wal")).unwrap().len();
    assert!(wal <= 64 << 20, "{wal}");
    assert!(bench.outbox.show(kept).await.unwrap().is_some());
    bench.check().await;
}
