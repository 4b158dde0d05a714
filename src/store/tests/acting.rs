//! What people do.

use super::*;
use crate::store::Relations;

fn refused() -> Ending {
    Ending::Dead {
        reason: DeadReason::Rejected,
        requeue_on_opening: false,
    }
}

/// Admits one and ends its first attempt so.
async fn ended(bench: &Bench, entry: Entry, ending: Ending) -> SubmissionId {
    let id = bench.admit(entry).await;
    let claimed = bench.claim().await;
    let claimed = claimed.iter().find(|claimed| claimed.id == id).unwrap();
    let mut settlement = settlement(claimed, ending);
    settlement.record.lost_response = true;
    assert_eq!(bench.outbox.settle(settlement, NOW).await.unwrap(), Settled::Done);
    id
}

fn corrected(activity: &str) -> Act {
    let mut entry = entry(activity);
    entry.payload = Payload::from_text(r#"{"corrected":true}"#);
    Act::Edit(Box::new(entry))
}

#[rstest]
#[tokio::test]
async fn a_requeued_one_starts_anew_and_keeps_the_mark_of_a_lost_response(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = ended(&bench, entry("a"), refused()).await;
    assert_eq!(bench.act(id, Act::Requeue).await, Acted::Done);
    let claimed = bench.claim().await.remove(0);
    assert_eq!(
        (claimed.attempt.0, claimed.tries, claimed.waited),
        (2, 1, Duration::ZERO)
    );
    assert!(claimed.lost_response);
    let history = bench.outbox.show(id).await.unwrap().unwrap().history;
    assert_eq!(
        (history[0].what.as_str(), history[0].actor.as_str(), history[0].at),
        ("requeued", "user ana", NOW)
    );
}

#[rstest]
#[tokio::test]
async fn a_requeue_keeps_a_persons_word_to_override_and_forgets_a_policys(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    for by_person in [true, false] {
        let first = if by_person {
            Ending::Parked(ParkReason::Conflict)
        } else {
            Ending::Override
        };
        let id = ended(&bench, entry("a"), first).await;
        if by_person {
            assert_eq!(bench.act(id, Act::Override).await, Acted::Done);
        }
        let claimed = bench.claim().await.remove(0);
        assert!(claimed.hard_override);
        bench.settle(&claimed, refused()).await;
        assert_eq!(bench.act(id, Act::Requeue).await, Acted::Done);
        let claimed = bench.claim().await.remove(0);
        assert_eq!((claimed.id, claimed.hard_override), (id, by_person));
        bench.settle(&claimed, refused()).await;
    }
}

#[rstest]
#[tokio::test]
async fn accept_delivers_without_sending_and_dismiss_closes(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let accepted = ended(
        &bench,
        entry("a"),
        Ending::Parked(ParkReason::ConflictAfterLostResponse),
    )
    .await;
    let dismissed = ended(&bench, entry("b"), Ending::Parked(ParkReason::Conflict)).await;
    assert_eq!(bench.act(accepted, Act::Accept).await, Acted::Done);
    assert_eq!(bench.act(dismissed, Act::Dismiss).await, Acted::Done);
    assert_eq!(
        (bench.state(accepted).await, bench.state(dismissed).await),
        (State::Delivered, State::Dismissed)
    );
    let later = bench.admit(entry("a")).await;
    assert!(bench.outbox.relations(later).await.unwrap().registered_by_us);
    assert!(bench.claim().await.iter().all(|claimed| claimed.id == later));
}

#[rstest]
#[tokio::test]
async fn a_superseded_one_is_not_sent_again_unless_forced(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let old = ended(&bench, entry("a"), refused()).await;
    let parked = ended(&bench, entry("a"), Ending::Parked(ParkReason::Conflict)).await;
    let new = ended(&bench, entry("a"), Ending::Delivered).await;
    assert_eq!(bench.act(old, Act::Requeue).await, Acted::Superseded(new));
    assert_eq!(bench.act(old, corrected("a")).await, Acted::Superseded(new));
    assert_eq!(bench.act(parked, Act::Override).await, Acted::Superseded(new));
    let expected = Relations {
        superseded_by: Some(new),
        registered_by_us: false,
        delivered_last: Some(new),
    };
    assert_eq!(bench.outbox.relations(old).await.unwrap(), expected);
    assert_eq!(bench.outbox.show(old).await.unwrap().unwrap().superseded_by, Some(new));
    assert_eq!(bench.act_with(old, Act::Requeue, true).await, Acted::Done);
    let forced = bench.claim().await.remove(0);
    assert_eq!(forced.id, old);
    bench.settle(&forced, Ending::Delivered).await;
    assert_eq!(
        bench.act(parked, Act::Requeue).await,
        Acted::Superseded(new),
        "an older one forced out changes nothing"
    );
    // To close one is what should become of it.
    assert_eq!(bench.act(parked, Act::Dismiss).await, Acted::Done);
}

#[rstest]
#[tokio::test]
async fn an_edit_takes_the_new_payload_and_forgets_the_old_ones_story(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = ended(
        &bench,
        keyed("a", "k", "old"),
        Ending::Parked(ParkReason::ConflictAfterLostResponse),
    )
    .await;
    assert_eq!(bench.act(id, corrected("a")).await, Acted::Done);
    let story = bench.outbox.show(id).await.unwrap().unwrap();
    assert_eq!(story.payload.text(), r#"{"corrected":true}"#);
    assert_eq!(
        story.history[0].old_payload.as_ref().unwrap().text(),
        r#"{"text":"old"}"#
    );
    assert_eq!(
        story.listed.key,
        Some(SubmissionKey("k".into())),
        "no directives in the edit: the old ones stay"
    );
    let claimed = bench.claim().await.remove(0);
    assert!(!claimed.lost_response && !claimed.hard_override);
    // The digest followed: the edited object is the one that is known under the key.
    let mut again = keyed("a", "k", "x");
    again.payload = Payload::from_text(r#"{ "corrected" : true }"#);
    again.digest = Some(again.payload.digest());
    let admission = Admission {
        entries: vec![again],
        receipts: Vec::new(),
    };
    assert_eq!(
        bench.outbox.admit(admission, NOW).await.unwrap(),
        [Admitted::Duplicate { of: id }]
    );
}

#[rstest]
#[tokio::test]
async fn an_edit_with_directives_takes_all_of_them(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let mut first = keyed("a", "k", "old");
    first.directives.source = Some("crm".into());
    let id = bench.admit(first).await;
    let mut new = keyed("a", "k2", "new");
    new.directives.not_before = Some(at(60));
    assert_eq!(bench.act(id, Act::Edit(Box::new(new))).await, Acted::Done);
    let listed = bench.outbox.show(id).await.unwrap().unwrap().listed;
    assert_eq!((listed.key, listed.source), (Some(SubmissionKey("k2".into())), None));
    assert_eq!(
        (listed.not_before, listed.state),
        (Some(at(60)), State::Pending { due: at(60) })
    );
    bench.admit(keyed("b", "k", "the old key is free")).await;
}

#[rstest]
#[tokio::test]
async fn an_edit_cannot_take_a_key_that_another_submission_holds(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let holder = bench.admit(keyed("a", "k", "1")).await;
    let id = bench.admit(entry("b")).await;
    assert_eq!(
        bench.act(id, Act::Edit(Box::new(keyed("b", "k", "2")))).await,
        Acted::Done
    );
    let admission = Admission {
        entries: vec![keyed("c", "k", "1")],
        receipts: Vec::new(),
    };
    assert_eq!(
        bench.outbox.admit(admission, NOW).await.unwrap(),
        [Admitted::Duplicate { of: holder }]
    );
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn an_edit_may_move_a_submission_to_another_activity(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let moved = bench.admit(entry("a")).await;
    let behind = bench.admit(entry("a")).await;
    let head_there = bench.admit(entry("b")).await;
    assert_eq!(bench.act(moved, corrected("b")).await, Acted::Done);
    let mut claimed: Vec<SubmissionId> = bench.claim().await.iter().map(|claimed| claimed.id).collect();
    claimed.sort_unstable();
    assert_eq!(claimed, [moved, behind], "older than the head there, so before it");
    assert_eq!(
        bench
            .outbox
            .show(head_there)
            .await
            .unwrap()
            .unwrap()
            .listed
            .waits_behind,
        Some(moved)
    );
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn an_edit_may_not_slip_behind_what_was_delivered_of_its_new_activity(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let dead = ended(&bench, entry("a"), refused()).await;
    let newer = ended(&bench, entry("b"), Ending::Delivered).await;
    assert_eq!(bench.act(dead, corrected("b")).await, Acted::Superseded(newer));
}

#[rstest]
#[tokio::test]
async fn an_act_leaves_alone_what_is_no_longer_what_it_was_for(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let same = ended(&bench, entry("a"), refused()).await;
    let mended = ended(&bench, entry("b"), refused()).await;
    let of = |still: Still, act: Act| ActRequest {
        ids: vec![same, mended],
        still,
        act,
        actor: Actor::User("ana".into()),
        force: false,
        dry_run: false,
        now: NOW,
    };
    let filter = crate::store::Filter {
        states: vec![crate::model::StateName::Dead],
        http_status: Some(503),
        changed_since: Some(NOW),
        ..crate::store::Filter::default()
    };
    let still = Still {
        matches: Some(Box::new(filter)),
        payload: None,
    };
    // While a person thinks about the question, somebody corrects one of them.
    let old = bench.outbox.show(mended).await.unwrap().unwrap().payload;
    assert_eq!(bench.act(mended, corrected("b")).await, Acted::Done);
    let expected = vec![(same, Acted::Done), (mended, Acted::Changed)];
    let rehearsal = ActRequest {
        dry_run: true,
        ..of(still.clone(), Act::Dismiss)
    };
    assert_eq!(bench.outbox.act(rehearsal).await.unwrap(), expected);
    assert_eq!(bench.outbox.act(of(still, Act::Dismiss)).await.unwrap(), expected);
    assert_eq!(bench.state(same).await, State::Dismissed);
    assert_eq!(bench.state(mended).await, State::Pending { due: NOW });
    // A correction that was made from the old payload does not undo the other one.
    let still = Still {
        matches: None,
        payload: Some(old),
    };
    let mut request = of(still, corrected("b"));
    request.ids = vec![mended];
    assert_eq!(bench.outbox.act(request).await.unwrap(), [(mended, Acted::Changed)]);
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn a_rehearsal_answers_the_same_and_changes_nothing(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let dead = ended(&bench, entry("a"), refused()).await;
    let delivered = ended(&bench, entry("b"), Ending::Delivered).await;
    let before = bench.dump().await;
    let mut request = ActRequest {
        ids: vec![dead, delivered, SubmissionId(99), dead],
        act: Act::Requeue,
        still: Still::default(),
        actor: Actor::User("ana".into()),
        force: false,
        dry_run: true,
        now: NOW,
    };
    let rehearsed = bench.outbox.act(request.clone()).await.unwrap();
    assert_eq!(bench.dump().await, before);
    request.dry_run = false;
    assert_eq!(bench.outbox.act(request).await.unwrap(), rehearsed);
    let expected = [
        Acted::Done,
        Acted::WrongState(State::Delivered),
        Acted::NoSuch,
        Acted::Done,
    ];
    assert_eq!(
        rehearsed.into_iter().map(|(_, acted)| acted).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(
        bench.outbox.show(dead).await.unwrap().unwrap().history.len(),
        1,
        "named twice, done once"
    );
    bench.check().await;
}
