//! Twins that take the places of what they replace, by the token of an export.

use super::*;
use crate::model::ReplaceToken;
use crate::model::token::Mark;

fn refused() -> Ending {
    Ending::Dead {
        reason: DeadReason::Rejected,
        requeue_on_opening: false,
    }
}

/// One of this activity whose first attempt ended so.
async fn ended(bench: &Bench, entry: Entry, ending: Ending) -> SubmissionId {
    let id = bench.admit(entry).await;
    let claimed = bench.claim().await;
    let claimed = claimed.iter().find(|claimed| claimed.id == id).unwrap();
    assert_eq!(bench.settle(claimed, ending).await, Settled::Done);
    id
}

/// The token that an export writes.
pub(super) async fn token(bench: &Bench, id: SubmissionId) -> ReplaceToken {
    let marks = bench.outbox.marks(NOW).await.unwrap().unwrap();
    let listed = bench.outbox.show(id).await.unwrap().unwrap().listed;
    marks.token(id, listed.created_at)
}

/// An object of this activity that brings a token.
pub(super) fn twin(activity: &str, text: &str, token: &ReplaceToken) -> Entry {
    let mut entry = entry(activity);
    entry.payload = Payload::from_text(&format!(r#"{{"text":"{text}"}}"#));
    entry.directives.replaces = Some(token.clone());
    entry
}

async fn admit(bench: &Bench, entries: Vec<Entry>) -> Vec<Admitted> {
    let admission = Admission {
        entries,
        receipts: Vec::new(),
    };
    bench.outbox.admit(admission, NOW).await.unwrap()
}

fn accepted(admitted: &Admitted) -> SubmissionId {
    match admitted {
        Admitted::Accepted(id) => *id,
        other => panic!("{other:?}"),
    }
}

fn why(admitted: &Admitted) -> &str {
    match admitted {
        Admitted::Invalid { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[tokio::test]
async fn a_twin_takes_the_place_of_what_is_dead_parked_or_dismissed_and_both_name_the_other(
    #[values(Sqlite, Postgres)] kind: Kind,
) {
    for ending in [
        refused(),
        Ending::Parked(ParkReason::Conflict),
        Ending::Retry { wait: Duration::ZERO },
    ] {
        let Some(bench) = Bench::fresh(kind).await else { return };
        let old = ended(&bench, entry("a"), ending).await;
        let token = token(&bench, old).await;
        if matches!(ending, Ending::Retry { .. }) {
            assert_eq!(bench.act(old, Act::Dismiss).await, Acted::Done);
        }
        let new = accepted(&admit(&bench, vec![twin("a", "mended", &token)]).await[0]);
        let of_old = bench.outbox.show(old).await.unwrap().unwrap();
        let of_new = bench.outbox.show(new).await.unwrap().unwrap();
        assert_eq!(of_old.listed.state, State::Dismissed);
        let last = of_old.history.last().unwrap();
        assert_eq!(
            (last.what.as_str(), last.detail.as_deref()),
            ("replaced", Some(format!("submission {new} took its place").as_str()))
        );
        assert_eq!(
            (of_new.history[0].what.as_str(), of_new.history[0].detail.as_deref()),
            ("replaces", Some(format!("submission {old}").as_str()))
        );
        assert_eq!(
            bench.claim().await.iter().map(|claimed| claimed.id).collect::<Vec<_>>(),
            [new]
        );
        bench.check().await;
    }
}

#[rstest]
#[tokio::test]
async fn what_is_in_any_other_state_is_left_alone_and_the_twin_says_so(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let pending = bench.admit(entry("a")).await;
    let token = token(&bench, pending).await;
    let mut said = Vec::new();
    said.push(admit(&bench, vec![twin("a", "1", &token)]).await.remove(0));
    let claimed = bench.claim().await.remove(0);
    said.push(admit(&bench, vec![twin("a", "2", &token)]).await.remove(0));
    bench.settle(&claimed, Ending::Delivered).await;
    said.push(admit(&bench, vec![twin("a", "3", &token)]).await.remove(0));
    for (admitted, state) in said.iter().zip(["pending", "sending", "delivered"]) {
        assert!(
            why(admitted).contains(&format!("submission {pending} is {state}")),
            "{admitted:?}"
        );
    }
    assert_eq!(bench.state(pending).await, State::Delivered);
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn a_mark_that_is_wrong_and_a_number_that_is_not_there_are_told_in_the_same_words(
    #[values(Sqlite, Postgres)] kind: Kind,
) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let dead = ended(&bench, entry("a"), refused()).await;
    let right = token(&bench, dead).await;
    let mut forged = right.clone();
    forged.mark.0[0] ^= 1;
    let of_another_number = ReplaceToken {
        id: SubmissionId(99),
        ..right.clone()
    };
    let empty = ReplaceToken {
        id: dead,
        mark: Mark([0; 32]),
    };
    let Some(elsewhere) = Bench::fresh(kind).await else {
        return;
    };
    ended(&elsewhere, entry("a"), refused()).await;
    let of_another_outbox = token(&elsewhere, dead).await;
    let wrong = [forged, of_another_number, empty, of_another_outbox];
    let admitted = admit(&bench, wrong.iter().map(|token| twin("a", "x", token)).collect()).await;
    let said: Vec<&str> = admitted.iter().map(why).collect();
    assert!(said.windows(2).all(|pair| pair[0] == pair[1]), "{said:?}");
    assert!(
        said[0].starts_with("$outbox.replaces: no submission of this outbox has this token"),
        "{said:?}"
    );
    assert_eq!(bench.state(dead).await, State::Dead(DeadReason::Rejected));
    // Nor does it hold for another one that was given the number after a restore.
    bench
        .by_hand(&format!(
            "UPDATE submission SET created_at = created_at + 1 WHERE id = {dead}"
        ))
        .await
        .unwrap();
    assert_eq!(why(&admit(&bench, vec![twin("a", "x", &right)]).await[0]), said[0]);
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn the_same_token_twice_makes_no_second_one_of_the_same_object(#[values(Sqlite, Postgres)] kind: Kind) {
    for together in [true, false] {
        let Some(bench) = Bench::fresh(kind).await else { return };
        let old = ended(&bench, entry("a"), refused()).await;
        let token = token(&bench, old).await;
        let twins = vec![twin("a", "mended", &token), twin("a", "mended", &token)];
        let mut admitted = Vec::new();
        if together {
            admitted = admit(&bench, twins).await;
        } else {
            for twin in twins {
                admitted.extend(admit(&bench, vec![twin]).await);
            }
        }
        let new = accepted(&admitted[0]);
        assert_eq!(admitted[1], Admitted::Duplicate { of: new });
        let claimed = bench.claim().await.remove(0);
        bench.settle(&claimed, Ending::Delivered).await;
        let again = admit(&bench, vec![twin("a", "mended", &token)]).await;
        assert_eq!(again, [Admitted::Duplicate { of: new }], "delivered, too");
        // Another correction is another result of the activity.
        let other = accepted(&admit(&bench, vec![twin("a", "other", &token)]).await[0]);
        assert_eq!(bench.claim().await[0].id, other);
        bench.check().await;
    }
}

#[rstest]
#[tokio::test]
async fn a_twin_that_is_refused_too_is_replaced_by_the_next_one_with_the_token_of_either(
    #[values(Sqlite, Postgres)] kind: Kind,
) {
    for (by_first, together) in [(true, false), (false, false), (true, true)] {
        let Some(bench) = Bench::fresh(kind).await else { return };
        let old = ended(&bench, entry("a"), refused()).await;
        let first_token = token(&bench, old).await;
        let mut wrong = twin("a", "wrong", &first_token);
        wrong.invalid = Some("no status".into());
        let mut entries = vec![wrong];
        if !together {
            admit(&bench, std::mem::take(&mut entries)).await;
        }
        let second = SubmissionId(old.0 + 1);
        let last_token = if by_first {
            first_token
        } else {
            token(&bench, second).await
        };
        entries.push(twin("a", "mended", &last_token));
        let new = accepted(admit(&bench, entries).await.last().unwrap());
        assert_eq!(
            (bench.state(old).await, bench.state(second).await),
            (State::Dismissed, State::Dismissed)
        );
        let claimed = bench.claim().await;
        assert_eq!(claimed.iter().map(|claimed| claimed.id).collect::<Vec<_>>(), [new]);
        // Whoever comes now with any of the tokens finds the last one.
        let again = admit(
            &bench,
            vec![
                twin("a", "mended", &token(&bench, old).await),
                twin("a", "mended", &token(&bench, second).await),
            ],
        )
        .await;
        assert_eq!(
            again,
            [Admitted::Duplicate { of: new }, Admitted::Duplicate { of: new }]
        );
        bench.check().await;
    }
}

#[rstest]
#[tokio::test]
async fn a_parked_one_yields_its_key_to_its_token_alone(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let parked = ended(&bench, keyed("a", "k", "1"), Ending::Parked(ParkReason::Conflict)).await;
    let token = token(&bench, parked).await;
    assert!(why(&admit(&bench, vec![keyed("a", "k", "2")]).await[0]).contains("belongs to submission"));
    let mut mended = keyed("a", "k", "2");
    mended.directives.replaces = Some(token.clone());
    let new = accepted(&admit(&bench, vec![mended.clone()]).await[0]);
    assert_eq!(bench.state(parked).await, State::Dismissed);
    assert_eq!(
        admit(&bench, vec![mended, keyed("a", "k", "2")]).await,
        [Admitted::Duplicate { of: new }, Admitted::Duplicate { of: new }]
    );
    assert!(
        why(&admit(&bench, vec![keyed("a", "k", "3")]).await[0]).contains(&format!("submission {new}")),
        "it holds the key"
    );
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn a_key_that_its_holder_gave_up_is_free_in_the_same_admission(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let parked = ended(&bench, keyed("a", "k", "1"), Ending::Parked(ParkReason::Conflict)).await;
    let token = token(&bench, parked).await;
    let admitted = admit(
        &bench,
        vec![twin("a", "without a key", &token), keyed("b", "k", "other")],
    )
    .await;
    accepted(&admitted[0]);
    accepted(&admitted[1]);
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn what_is_superseded_is_not_sent_after_the_later_one_by_a_twin(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let old = ended(&bench, entry("a"), refused()).await;
    let token = token(&bench, old).await;
    let later = ended(&bench, entry("a"), Ending::Delivered).await;
    let said = admit(&bench, vec![twin("a", "mended", &token)]).await;
    assert!(
        why(&said[0]).contains(&format!("submission {later} of this activity")),
        "{said:?}"
    );
    assert_eq!(bench.state(old).await, State::Dead(DeadReason::Rejected));
    // Mended into another activity, it overtakes nothing.
    accepted(&admit(&bench, vec![twin("b", "mended", &token)]).await[0]);
    assert_eq!(bench.state(old).await, State::Dismissed);
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn one_secret_is_made_and_kept(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let dead = ended(&bench, entry("a"), refused()).await;
    let first = token(&bench, dead).await;
    let bench = bench.reopen(at(5)).await;
    assert_eq!(token(&bench, dead).await, first);
    let value = Some("0".repeat(64));
    bench.outbox.remember("replaces", value, NOW).await.unwrap();
    assert_eq!(token(&bench, dead).await, first, "who comes second finds it");
    let reader = bench.open(Role::Reader, NOW).await.unwrap();
    assert!(reader.marks(NOW).await.unwrap().is_some());
    reader.close().await;
}
