//! What a crash leaves.

use super::*;
use crate::model::{EndingName, StateName};

#[rstest]
#[tokio::test]
async fn what_was_sending_is_pending_again_with_its_attempt_recorded_as_interrupted(
    #[values(Sqlite, Postgres)] kind: Kind,
) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    assert_eq!(bench.outbox.recovered(), 0);
    let first = bench.admit(entry("a")).await;
    let second = bench.admit(entry("a")).await;
    let alone = bench.admit(entry("")).await;
    assert_eq!(bench.claim().await.len(), 2);
    let bench = bench.reopen(at(60)).await;
    assert_eq!(bench.outbox.recovered(), 2);
    for id in [first, alone] {
        let story = bench.outbox.show(id).await.unwrap().unwrap();
        let attempt = &story.attempts[0];
        assert_eq!(
            (attempt.number.0, attempt.started_at, attempt.outcome),
            (1, NOW, EndingName::Interrupted)
        );
        assert!(attempt.lost_response && story.listed.lost_response);
        assert_eq!(story.history[0].actor, "daemon (recovery)");
    }
    let claimed = bench.claim_at(9, at(60)).await;
    assert_eq!(
        claimed.iter().map(|claimed| claimed.id).collect::<Vec<_>>(),
        [first, alone]
    );
    assert!(
        claimed
            .iter()
            .all(|claimed| claimed.lost_response && claimed.attempt.0 == 2 && claimed.tries == 2)
    );
    assert_eq!(
        bench.outbox.show(second).await.unwrap().unwrap().listed.waits_behind,
        Some(first)
    );
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn what_was_sending_lets_an_older_one_pass_that_was_put_back_meanwhile(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let old = bench.admit(entry("a")).await;
    let claimed = bench.claim().await.remove(0);
    bench.settle(&claimed, Ending::Parked(ParkReason::Conflict)).await;
    bench.admit(entry("a")).await;
    bench.claim().await;
    bench.act(old, Act::Requeue).await;
    let bench = bench.reopen(NOW).await;
    assert_eq!(bench.claim().await[0].id, old);
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn an_outcome_of_before_the_crash_comes_too_late(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    bench.admit(entry("a")).await;
    let claimed = bench.claim().await.remove(0);
    let bench = bench.reopen(NOW).await;
    assert_eq!(bench.settle(&claimed, Ending::Delivered).await, Settled::Stale);
}

#[rstest]
#[tokio::test]
async fn an_attempt_whose_task_failed_is_recovered_by_its_settlement(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = bench.admit(entry("a")).await;
    let claimed = bench.claim().await.remove(0);
    let mut interrupted = settlement(&claimed, Ending::Interrupted { wait: Duration::ZERO });
    interrupted.record.lost_response = true;
    assert_eq!(bench.outbox.settle(interrupted, at(1)).await.unwrap(), Settled::Done);
    let story = bench.outbox.show(id).await.unwrap().unwrap();
    assert_eq!(
        (story.listed.state, story.listed.lost_response),
        (State::Pending { due: at(1) }, true)
    );
}

#[rstest]
#[tokio::test]
async fn a_tool_does_not_recover_what_the_daemon_sends(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = bench.admit(entry("a")).await;
    bench.claim().await;
    let tool = bench.open(Role::Tool, NOW).await.unwrap();
    assert_eq!(tool.recovered(), 0);
    assert_eq!(bench.state(id).await.name(), StateName::Sending);
    tool.close().await;
}

#[rstest]
#[tokio::test]
async fn nothing_works_after_closing_and_everything_is_there_after_reopening(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = bench.admit(entry("a")).await;
    let clone = bench.outbox.clone();
    clone.close().await;
    let refused = bench.outbox.claim(ClaimRequest {
        limit: 1,
        order: ClaimOrder::Due,
        now: NOW,
        wait_max: WAIT_MAX,
    });
    assert!(matches!(refused.await, Err(crate::store::StoreError::Closed)));
    assert!(matches!(
        bench.outbox.tally().await,
        Err(crate::store::StoreError::Closed)
    ));
    let bench = bench.reopen(NOW).await;
    assert_eq!(bench.claim().await[0].id, id);
}
