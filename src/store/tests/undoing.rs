//! A decision about a parked one, taken back: as long as nothing came of it, and never afterwards.

use super::*;
use crate::model::{Decision, StateName, Undo};
use crate::store::Sweep;

/// Admits one, which is parked for this reason; its number.
async fn parked(bench: &Bench, entry: Entry, reason: ParkReason) -> SubmissionId {
    let id = bench.admit(entry).await;
    let claimed = bench.claim().await;
    let claimed = claimed.iter().find(|claimed| claimed.id == id).unwrap();
    assert_eq!(bench.settle(claimed, Ending::Parked(reason)).await, Settled::Done);
    id
}

fn carried_out(decision: Decision) -> Act {
    match decision {
        Decision::Override => Act::Override,
        Decision::Accept => Act::Accept,
        Decision::Dismiss => Act::Dismiss,
    }
}

fn undo(decision: Decision) -> Undo {
    Undo {
        decision,
        at: NOW,
        reason: ParkReason::Conflict,
        delivered_before: None,
    }
}

#[rstest]
#[tokio::test]
async fn what_nothing_came_of_is_parked_again_as_it_was(
    #[values(Sqlite, Postgres)] kind: Kind,
    #[values(Decision::Override, Decision::Accept, Decision::Dismiss)] decision: Decision,
) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let reason = ParkReason::ConflictAfterLostResponse;
    let id = parked(&bench, entry("a"), reason).await;
    let before = bench.outbox.show(id).await.unwrap().unwrap();
    let later = bench.admit(entry("a")).await;
    assert_eq!(bench.act(id, carried_out(decision)).await, Acted::Done);
    assert_eq!(bench.state(id).await.name(), decision.leads_to());
    let undo = Undo {
        reason,
        ..undo(decision)
    };
    assert_eq!(bench.act(id, Act::Undo(undo)).await, Acted::Done);
    let after = bench.outbox.show(id).await.unwrap().unwrap();
    assert_eq!(
        (after.listed.state, &after.attempts, after.delivered_last),
        (State::Parked(reason), &before.attempts, None)
    );
    let last = after.history.last().unwrap();
    assert_eq!(
        (last.what.as_str(), last.actor.as_str(), last.detail.as_deref()),
        ("undone", "user ana", Some(decision.act().recorded()))
    );
    bench.check().await;
    // It holds nothing up, and a second time there is nothing to take back.
    assert!(bench.claim().await.iter().all(|claimed| claimed.id == later));
    let again = bench.act(id, Act::Undo(undo)).await;
    assert!(
        matches!(again, Acted::Changed | Acted::WrongState(State::Parked(_))),
        "{again:?}"
    );
    assert!(!bench.outbox.relations(later).await.unwrap().registered_by_us);
    // Whatever the override had promised is gone with it.
    assert_eq!(bench.act(id, Act::Requeue).await, Acted::Done);
    let claimed = bench.claim().await;
    assert!(claimed.iter().all(|claimed| !claimed.hard_override));
}

#[rstest]
#[tokio::test]
async fn what_has_left_stays(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = parked(&bench, entry("a"), ParkReason::Conflict).await;
    bench.act(id, Act::Override).await;
    let undo = Act::Undo(undo(Decision::Override));
    let claimed = bench.claim().await.remove(0);
    let before = bench.dump().await;
    assert_eq!(bench.act(id, undo.clone()).await, Acted::WrongState(State::Sending));
    assert_eq!(bench.dump().await, before);
    // Given back uncharged it has not been attempted.
    bench.settle(&claimed, Ending::Released).await;
    assert_eq!(bench.act(id, undo.clone()).await, Acted::Done);
    bench.act(id, Act::Override).await;
    let claimed = bench.claim().await.remove(0);
    assert!(claimed.hard_override);
    bench
        .settle(
            &claimed,
            Ending::Retry {
                wait: Duration::from_secs(1),
            },
        )
        .await;
    let before = bench.dump().await;
    assert_eq!(
        bench.act(id, undo.clone()).await,
        Acted::Changed,
        "it was attempted since"
    );
    assert_eq!(bench.dump().await, before);
    let claimed = bench.claim_at(1, NOW.plus(Duration::from_secs(2))).await.remove(0);
    bench.settle(&claimed, Ending::Delivered).await;
    assert_eq!(bench.act(id, undo).await, Acted::WrongState(State::Delivered));
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn only_the_last_word_is_taken_back_and_only_by_who_spoke_it(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = parked(&bench, entry("a"), ParkReason::Conflict).await;
    bench.act(id, Act::Dismiss).await;
    let request = |actor: &str, undo: Undo| ActRequest {
        ids: vec![id],
        act: Act::Undo(undo),
        still: Still::default(),
        actor: Actor::User(actor.into()),
        force: false,
        dry_run: false,
        now: NOW,
    };
    let of = |decision| undo(decision);
    let at_another_time = Undo {
        at: NOW.plus(Duration::from_secs(1)),
        ..of(Decision::Dismiss)
    };
    for refused in [
        request("eve", of(Decision::Dismiss)),
        request("ana", at_another_time),
        request("ana", of(Decision::Accept)),
    ] {
        let before = bench.dump().await;
        assert_eq!(bench.outbox.act(refused).await.unwrap(), [(id, Acted::Changed)]);
        assert_eq!(bench.dump().await, before);
    }
    let rehearsed = ActRequest {
        dry_run: true,
        ..request("ana", of(Decision::Dismiss))
    };
    assert_eq!(bench.outbox.act(rehearsed).await.unwrap(), [(id, Acted::Done)]);
    assert_eq!(bench.state(id).await, State::Dismissed);

    // Someone else sends what an operator overrode: that one's word holds now.
    let id = parked(&bench, entry("b"), ParkReason::Conflict).await;
    bench.act(id, Act::Override).await;
    bench.act(id, Act::Requeue).await;
    assert_eq!(bench.act(id, Act::Undo(of(Decision::Override))).await, Acted::Changed);
    assert_eq!(bench.state(id).await.name(), StateName::Pending);
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn an_earlier_word_to_override_outlives_the_undoing_of_a_later_one(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = parked(&bench, entry("a"), ParkReason::Conflict).await;
    bench.act(id, Act::Override).await;
    let claimed = bench.claim().await.remove(0);
    bench.settle(&claimed, Ending::Parked(ParkReason::Conflict)).await;
    for _ in 0..2 {
        bench.act(id, Act::Override).await;
        assert_eq!(bench.act(id, Act::Undo(undo(Decision::Override))).await, Acted::Done);
    }
    bench.act(id, Act::Requeue).await;
    assert!(bench.claim().await.remove(0).hard_override);
}

#[rstest]
#[tokio::test]
async fn what_was_delivered_before_an_accepted_one_is_the_last_again(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let old = bench.admit(entry("a")).await;
    let first = bench.admit(entry("a")).await;
    for ending in [Ending::Parked(ParkReason::Conflict), Ending::Delivered] {
        let claimed = bench.claim().await.remove(0);
        bench.settle(&claimed, ending).await;
    }
    let id = parked(&bench, entry("a"), ParkReason::Conflict).await;
    let before = bench.outbox.show(id).await.unwrap().unwrap().delivered_last;
    assert_eq!(before, Some(first));
    // What retention takes away is remembered all the same.
    let sweep = Sweep {
        state: StateName::Delivered,
        older_than: NOW,
        limit: 10,
    };
    assert_eq!(bench.outbox.sweep(sweep).await.unwrap(), 1);
    bench.act(id, Act::Accept).await;
    assert_eq!(bench.act(old, Act::Requeue).await, Acted::Superseded(id));
    let undo = Undo {
        delivered_before: before,
        ..undo(Decision::Accept)
    };
    assert_eq!(bench.act(id, Act::Undo(undo)).await, Acted::Done);
    assert_eq!(bench.act(old, Act::Requeue).await, Acted::Superseded(first));
    assert!(bench.outbox.relations(id).await.unwrap().registered_by_us);

    // One that was delivered in between stays the last.
    bench.act(id, Act::Accept).await;
    let later = bench.admit(entry("a")).await;
    let claimed = bench.claim().await.remove(0);
    bench.settle(&claimed, Ending::Delivered).await;
    assert_eq!(bench.act(id, Act::Undo(undo)).await, Acted::Done);
    assert_eq!(bench.outbox.relations(id).await.unwrap().superseded_by, Some(later));
    bench.check().await;
}
