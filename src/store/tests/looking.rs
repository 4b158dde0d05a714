//! Lists, numbers, and what other processes do.

use super::*;
use crate::model::StateName;
use crate::store::{Filter, Pace};
use strum::VariantArray as _;

async fn found(bench: &Bench, filter: Filter) -> Vec<i64> {
    let selected: Vec<i64> = bench
        .outbox
        .select(&filter)
        .await
        .unwrap()
        .iter()
        .map(|id| id.0)
        .collect();
    let mut listed: Vec<i64> = bench
        .outbox
        .list(&filter, None, 100)
        .await
        .unwrap()
        .iter()
        .map(|listed| listed.id.0)
        .collect();
    listed.reverse();
    assert_eq!(listed, selected, "a list and a selection by one filter agree");
    selected
}

/// 1 dead, 2 parked, 3 delivered, 4 sending, 5 pending and 6 waiting behind it, 7 dismissed, 8 invalid.
async fn one_of_each(bench: &Bench) {
    for activity in ["a", "b", "c"] {
        let mut entry = entry(activity);
        entry.directives.source = (activity == "b").then(|| "crm".into());
        bench.admit(entry).await;
    }
    let claimed = bench.claim().await;
    let mut rejected = settlement(
        &claimed[0],
        Ending::Dead {
            reason: DeadReason::Rejected,
            requeue_on_opening: false,
        },
    );
    rejected.record.answer.as_mut().unwrap().status = 400;
    bench.outbox.settle(rejected, at(1)).await.unwrap();
    bench.settle(&claimed[1], Ending::Parked(ParkReason::Conflict)).await;
    bench.settle(&claimed[2], Ending::Delivered).await;
    bench.admit(entry("d")).await;
    bench.claim().await;
    let mut upper = entry("");
    upper.facts.activity_id = Some("7E57-E".into());
    bench.admit(upper.clone()).await;
    bench.admit(upper).await;
    let dismissed = bench.admit(entry("f")).await;
    bench.act(dismissed, Act::Dismiss).await;
    let mut invalid = entry("g");
    invalid.invalid = Some("no status".into());
    let admission = Admission {
        entries: vec![invalid],
        receipts: Vec::new(),
    };
    bench.outbox.admit(admission, at(100)).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn every_condition_of_a_filter_must_hold(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    one_of_each(&bench).await;
    let any = Filter::default;
    let by_state = |state| Filter {
        states: vec![state],
        ..any()
    };
    assert_eq!(found(&bench, any()).await, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(found(&bench, by_state(StateName::Pending)).await, [5, 6]);
    assert_eq!(found(&bench, by_state(StateName::Sending)).await, [4]);
    assert_eq!(found(&bench, by_state(StateName::Delivered)).await, [3]);
    assert_eq!(found(&bench, by_state(StateName::Dead)).await, [1, 8]);
    assert_eq!(found(&bench, by_state(StateName::Parked)).await, [2]);
    assert_eq!(found(&bench, by_state(StateName::Dismissed)).await, [7]);
    let several = Filter {
        states: vec![StateName::Parked, StateName::Dead, StateName::Sending, StateName::Dead],
        ..any()
    };
    assert_eq!(found(&bench, several.clone()).await, [1, 2, 4, 8]);
    let newest = bench.outbox.list(&several, Some(SubmissionId(8)), 2).await.unwrap();
    assert_eq!(
        newest.iter().map(|one| one.id.0).collect::<Vec<_>>(),
        [4, 2],
        "a page of several states is one list"
    );
    let reason = |reason: &str| Filter {
        reason: Some(reason.into()),
        ..any()
    };
    assert_eq!(found(&bench, reason("invalid")).await, [8]);
    assert_eq!(found(&bench, reason("conflict")).await, [2]);
    let status = Filter {
        http_status: Some(400),
        ..any()
    };
    assert_eq!(found(&bench, status).await, [1]);
    let source = Filter {
        source: Some("crm".into()),
        states: vec![StateName::Parked],
        ..any()
    };
    assert_eq!(found(&bench, source.clone()).await, [2]);
    let contradictory = Filter {
        reason: Some("invalid".into()),
        ..source
    };
    assert!(found(&bench, contradictory).await.is_empty());
    let since = Filter {
        since: Some(at(100)),
        ..any()
    };
    assert_eq!(found(&bench, since).await, [8]);
}

#[rstest]
#[tokio::test]
async fn an_activity_is_found_by_its_id_in_any_case_and_by_the_providers_letter_for_letter(
    #[values(Sqlite, Postgres)] kind: Kind,
) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    one_of_each(&bench).await;
    let activity = |activity: &str| Filter {
        activity: Some(activity.into()),
        ..Filter::default()
    };
    assert_eq!(found(&bench, activity("7e57-e")).await, [5, 6]);
    assert_eq!(found(&bench, activity("7E57-E")).await, [5, 6]);
    assert_eq!(found(&bench, activity("d")).await, [4]);
    assert!(found(&bench, activity("D")).await.is_empty());
    assert!(found(&bench, activity("")).await.is_empty());
}

#[rstest]
#[tokio::test]
async fn any_number_of_submissions_can_be_paged_through_newest_first(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    for _ in 0..7 {
        bench.admit(entry("a")).await;
    }
    let mut pages = Vec::new();
    let mut before = None;
    loop {
        let page = bench.outbox.list(&Filter::default(), before, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        pages.push(page.iter().map(|listed| listed.id.0).collect::<Vec<_>>());
    }
    assert_eq!(pages, [vec![7, 6, 5], vec![4, 3, 2], vec![1]]);
}

#[rstest]
#[tokio::test]
async fn the_numbers_are_there_without_counting(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let empty = bench.outbox.tally().await.unwrap();
    assert_eq!(
        empty
            .counts
            .iter()
            .map(|(state, count)| (*state, *count))
            .collect::<Vec<_>>(),
        StateName::VARIANTS.iter().map(|state| (*state, 0)).collect::<Vec<_>>()
    );
    assert_eq!(
        (empty.oldest_pending, empty.oldest_due, empty.oldest_dead),
        (None, None, None)
    );
    one_of_each(&bench).await;
    let tally = bench.outbox.tally().await.unwrap();
    assert_eq!(
        tally.counts.iter().map(|(_, count)| *count).collect::<Vec<_>>(),
        [2, 1, 1, 2, 1, 1]
    );
    assert_eq!(
        (tally.oldest_pending, tally.oldest_due, tally.oldest_dead),
        (Some(NOW), Some(NOW), Some(at(1)))
    );
}

/// There the beat brings it, once a second.
#[tokio::test]
async fn what_another_process_writes_to_a_shared_outbox_is_noticed() {
    let Some(bench) = Bench::fresh(Postgres).await else {
        return;
    };
    let tool = bench.open(Role::Tool, NOW).await.unwrap();
    let mut touch = bench.outbox.touch();
    assert!(touch.listen());
    // The first beat of all is news by itself.
    while tokio::time::timeout(Duration::from_millis(1500), touch.heard())
        .await
        .is_ok()
    {
        assert!(touch.listen());
    }
    bench.outbox.changed().await.unwrap();
    tool.remember("pause", Some("now".into()), NOW).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), touch.heard())
        .await
        .unwrap();
    assert!(bench.outbox.changed().await.unwrap());
    tool.close().await;
}

#[tokio::test]
async fn what_another_process_writes_is_noticed_and_what_we_write_is_not() {
    let bench = Bench::sqlite().await;
    assert!(!bench.outbox.changed().await.unwrap());
    bench.admit(entry("a")).await;
    assert!(!bench.outbox.changed().await.unwrap());
    let tool = bench.open(Role::Tool, NOW).await.unwrap();
    let admission = Admission {
        entries: vec![entry("b")],
        receipts: Vec::new(),
    };
    tool.admit(admission, NOW).await.unwrap();
    // The look that came with our own commit serves for two milliseconds.
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(bench.outbox.changed().await.unwrap());
    assert!(!bench.outbox.changed().await.unwrap());
    let admission = Admission {
        entries: vec![entry("c")],
        receipts: Vec::new(),
    };
    tool.admit(admission, NOW).await.unwrap();
    // A commit of ours in between brings the look along, and hides nothing.
    bench.admit(entry("d")).await;
    assert!(bench.outbox.changed().await.unwrap());
    assert_eq!(bench.claim().await.len(), 4);
    tool.close().await;
}

#[rstest]
#[tokio::test]
async fn who_only_looks_sees_the_last_commit_and_changes_nothing(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let reader = bench.open(Role::Reader, NOW).await.unwrap();
    let id = bench.admit(entry("a")).await;
    assert!(reader.show(id).await.unwrap().is_some());
    let admission = Admission {
        entries: vec![entry("b")],
        receipts: Vec::new(),
    };
    assert!(reader.admit(admission, NOW).await.is_err());
    let rehearsal = ActRequest {
        ids: vec![id],
        act: Act::Dismiss,
        still: Still::default(),
        actor: Actor::User("ana".into()),
        force: false,
        dry_run: true,
        now: NOW,
    };
    assert_eq!(reader.act(rehearsal).await.unwrap(), [(id, Acted::Done)]);
    reader.close().await;
}

#[rstest]
#[tokio::test]
async fn the_view_for_people_speaks_the_contracts_words(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    one_of_each(&bench).await;
    let states = bench.texts("SELECT state FROM outbox ORDER BY id").await;
    assert_eq!(
        states,
        [
            "dead",
            "parked",
            "delivered",
            "sending",
            "pending",
            "pending",
            "dismissed",
            "dead"
        ]
    );
    let due = match kind {
        Sqlite => "next_attempt_at",
        Postgres => "to_char(next_attempt_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')",
    };
    let due = bench.texts(&format!("SELECT {due} FROM outbox WHERE id = 5")).await;
    assert_eq!(due, [NOW.to_string()]);
}

#[rstest]
#[tokio::test]
async fn who_watches_is_told_what_is_over_whose_it_is_and_what_goes_next(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let nothing = bench.outbox.pace(at(0), at(10)).await.unwrap();
    assert_eq!(nothing, Pace::default());
    one_of_each(&bench).await;
    let pace = bench
        .outbox
        .pace(Timestamp::from_millis(0), at(1_000_000))
        .await
        .unwrap();
    assert_eq!((pace.delivered, pace.dead), (1, 2));
    assert!(pace.last_in.is_some() && pace.last_out.is_some());
    let before = bench
        .outbox
        .pace(Timestamp::from_millis(0), Timestamp::from_millis(1))
        .await
        .unwrap();
    assert_eq!((before.delivered, before.dead), (0, 0));

    let finished = bench
        .outbox
        .newest_finished(Timestamp::from_millis(0), 10)
        .await
        .unwrap();
    let mut seen: Vec<(i64, &str, Option<u16>)> = finished
        .iter()
        .map(|one| (one.id.0, one.state.as_str(), one.http_status))
        .collect();
    assert!(finished.is_sorted_by_key(|one| std::cmp::Reverse(one.at)));
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            (1, "dead", Some(400)),
            (3, "delivered", Some(503)),
            (7, "dismissed", None),
            (8, "dead", None)
        ]
    );
    assert!(
        finished
            .iter()
            .any(|one| one.id.0 == 3 && one.elapsed_ms.is_some() && one.activity.as_deref() == Some("c"))
    );
    let newest = bench
        .outbox
        .newest_finished(Timestamp::from_millis(0), 1)
        .await
        .unwrap();
    assert_eq!(newest.len(), 3, "one of each state");

    let mut producers = bench.outbox.newest_producers(100).await.unwrap();
    producers.sort_by_key(|one| one.taken);
    let counts: Vec<_> = producers
        .iter()
        .map(|one| (one.source.as_deref(), one.taken, one.delivered, one.dead))
        .collect();
    assert_eq!(counts, [(Some("crm"), 1, 0, 0), (None, 7, 1, 2)]);
    let newest = bench.outbox.newest_producers(2).await.unwrap();
    assert_eq!(newest.iter().map(|one| one.taken).sum::<u64>(), 2);

    let up: Vec<i64> = bench
        .outbox
        .next_up(10)
        .await
        .unwrap()
        .iter()
        .map(|listed| listed.id.0)
        .collect();
    assert_eq!(
        up,
        [5, 6],
        "neither what is sent nor what is over; what waits comes last"
    );
}
