//! Taking in: keys, receipts, and that nothing is taken twice.

use super::*;
use crate::model::{Digest, FileReceipt, Receipt, RowReceipt};

async fn admit(bench: &Bench, entries: Vec<Entry>) -> Vec<Admitted> {
    let admission = Admission {
        entries,
        receipts: Vec::new(),
    };
    bench.outbox.admit(admission, NOW).await.unwrap()
}

async fn end(bench: &Bench, id: SubmissionId, ending: Ending) {
    let claimed = bench.claim().await;
    let claimed = claimed.iter().find(|claimed| claimed.id == id).unwrap();
    assert_eq!(bench.settle(claimed, ending).await, Settled::Done);
}

fn file(taken: u64) -> FileReceipt {
    FileReceipt {
        inbox: Some([7; 16]),
        name: "a b\n\u{fffd}.ndjson".into(),
        inode: u64::MAX - 1,
        modified_ns: i128::from(i64::MAX) + 1,
        taken,
        lines: 2,
        digest: Digest::of(&taken.to_be_bytes()),
        result_bytes_max: Some(1 << 20),
    }
}

fn row(row: i64, columns: &str) -> Receipt {
    Receipt::Row(RowReceipt {
        inbox: [0; 16],
        row,
        digest: Digest::of(columns.as_bytes()),
    })
}

#[rstest]
#[tokio::test]
async fn a_key_is_unique_while_its_submission_is_kept(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let first = bench.admit(keyed("a", "k", "1")).await;
    assert_eq!(
        admit(&bench, vec![keyed("a", "k", "1")]).await,
        [Admitted::Duplicate { of: first }]
    );
    end(&bench, first, Ending::Delivered).await;
    assert_eq!(
        admit(&bench, vec![keyed("a", "k", "1")]).await,
        [Admitted::Duplicate { of: first }]
    );
    let other = admit(&bench, vec![keyed("a", "k", "2")]).await.remove(0);
    let Admitted::Invalid { id, why } = other else {
        panic!("{other:?}")
    };
    assert!(why.contains(&format!("submission {first}")), "{why}");
    let story = bench.outbox.show(id).await.unwrap().unwrap();
    assert_eq!(
        (story.listed.state, story.listed.invalid),
        (State::Dead(DeadReason::Invalid), Some(why))
    );
}

#[rstest]
#[tokio::test]
async fn a_dead_or_dismissed_one_yields_its_key_to_a_mended_one(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let rejected = Ending::Dead {
        reason: DeadReason::Rejected,
        requeue_on_opening: false,
    };
    let first = bench.admit(keyed("a", "k", "1")).await;
    end(&bench, first, rejected).await;
    let second = bench.admit(keyed("a", "k", "1")).await;
    let old = bench.outbox.show(first).await.unwrap().unwrap();
    assert_eq!(
        (old.listed.state, old.history[0].what.as_str()),
        (State::Dismissed, "replaced")
    );
    assert!(old.history[0].detail.as_ref().unwrap().contains(&second.to_string()));
    bench.act(second, Act::Dismiss).await;
    let third = bench.admit(keyed("a", "k", "3")).await;
    assert_eq!(
        admit(&bench, vec![keyed("a", "k", "3")]).await,
        [Admitted::Duplicate { of: third }]
    );
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn keys_may_hold_anything_and_are_never_mixed_up(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    for key in [
        "k\u{0}a",
        "k\u{0}b",
        "k",
        "'; DROP TABLE submission; --",
        "\u{202e}",
        "",
    ] {
        let id = bench.admit(keyed("", key, "1")).await;
        assert_eq!(
            bench.outbox.show(id).await.unwrap().unwrap().listed.key,
            Some(SubmissionKey(key.into())),
            "{key:?}"
        );
    }
}

#[rstest]
#[tokio::test]
async fn what_is_taken_in_is_kept_byte_for_byte(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let mut odd = entry("a\u{0}b");
    odd.payload = Payload::from_text("not json \u{0} \u{1f600} \r\n");
    odd.origin = Origin::File {
        name: "x.ndjson".into(),
        line: Some(3),
        item: None,
    };
    odd.facts.commerce_external_id = Some("\u{0}".into());
    odd.invalid = Some("not JSON".into());
    let id = bench.admit(odd.clone()).await;
    let story = bench.outbox.show(id).await.unwrap().unwrap();
    assert_eq!(story.payload, odd.payload);
    let kept = |text: Option<String>| match kind {
        Sqlite => text,
        // Its texts have no NUL; the payload, which is what is sent, is kept as bytes.
        Postgres => text.map(|text| text.replace('\0', "\u{fffd}")),
    };
    let facts = Facts {
        activity_id: kept(odd.facts.activity_id),
        provider_activity_id: kept(odd.facts.provider_activity_id),
        commerce_external_id: kept(odd.facts.commerce_external_id),
    };
    assert_eq!((story.listed.facts, story.listed.origin), (facts, odd.origin));
}

#[rstest]
#[tokio::test]
async fn admitting_known_row_receipts_again_is_a_no_op(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let admission = Admission {
        entries: vec![entry("a"), entry("a")],
        receipts: vec![row(1, "x"), row(2, "y")],
    };
    bench.outbox.admit(admission.clone(), NOW).await.unwrap();
    let before = bench.dump().await;
    let again = bench.outbox.admit(admission.clone(), at(5)).await.unwrap();
    assert_eq!(again, [Admitted::AlreadyTaken, Admitted::AlreadyTaken]);
    assert_eq!(bench.dump().await, before);

    // Part of it is known; and the same id with other columns is a new row.
    let admission = Admission {
        entries: vec![entry("a"), entry("a"), entry("a")],
        receipts: vec![row(2, "y"), row(2, "z"), row(3, "w")],
    };
    let some = bench.outbox.admit(admission.clone(), NOW).await.unwrap();
    assert_eq!(some[0], Admitted::AlreadyTaken);
    assert!(matches!(some[1..], [Admitted::Accepted(_), Admitted::Accepted(_)]));
    bench.outbox.forget(admission.receipts.clone()).await.unwrap();
    let fresh = bench.outbox.admit(admission, NOW).await.unwrap();
    assert!(fresh.iter().all(|admitted| matches!(admitted, Admitted::Accepted(_))));
}

#[rstest]
#[tokio::test]
async fn admitting_a_known_file_receipt_again_is_a_no_op_and_a_longer_one_replaces_it(
    #[values(Sqlite, Postgres)] kind: Kind,
) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let chunk = |taken| Admission {
        entries: vec![entry("a"), entry("b")],
        receipts: vec![Receipt::File(file(taken))],
    };
    bench.outbox.admit(chunk(100), NOW).await.unwrap();
    let before = bench.dump().await;
    assert_eq!(
        bench.outbox.admit(chunk(100), at(5)).await.unwrap(),
        [Admitted::AlreadyTaken, Admitted::AlreadyTaken]
    );
    assert_eq!(bench.dump().await, before);
    // An equal file that was dropped later, with an inode that was given out again.
    let mut later = chunk(100);
    later.receipts = vec![Receipt::File(FileReceipt {
        modified_ns: 7,
        ..file(100)
    })];
    assert!(matches!(
        bench.outbox.admit(later, NOW).await.unwrap()[0],
        Admitted::Accepted(_)
    ));
    assert!(matches!(
        bench.outbox.admit(chunk(200), NOW).await.unwrap()[0],
        Admitted::Accepted(_)
    ));
    assert_eq!(bench.outbox.file_receipts().await.unwrap(), [file(200)]);
    bench.outbox.forget(vec![Receipt::File(file(200))]).await.unwrap();
    assert_eq!(bench.outbox.file_receipts().await.unwrap(), []);
}

#[rstest]
#[tokio::test]
async fn an_admission_of_receipts_alone_is_remembered(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let admission = Admission {
        entries: Vec::new(),
        receipts: vec![Receipt::File(file(7))],
    };
    assert_eq!(bench.outbox.admit(admission, NOW).await.unwrap(), []);
    assert_eq!(bench.outbox.file_receipts().await.unwrap().len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_large_admission_is_one_transaction_in_order(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let entries: Vec<Entry> = (0..1000).map(|place| entry(&format!("a{}", place % 10))).collect();
    let admitted = admit(&bench, entries).await;
    let expected: Vec<Admitted> = (1..=1000).map(|id| Admitted::Accepted(SubmissionId(id))).collect();
    assert_eq!(admitted, expected);
    assert_eq!(bench.claim().await.len(), 10);
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn a_number_is_never_given_twice(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = bench.admit(entry("a")).await;
    bench.act(id, Act::Dismiss).await;
    let sweep = crate::store::Sweep {
        state: crate::model::StateName::Dismissed,
        older_than: NOW,
        limit: 10,
    };
    assert_eq!(bench.outbox.sweep(sweep).await.unwrap(), 1);
    assert!(bench.admit(entry("a")).await > id);
}
