//! Whose turn it is, and when.

use super::*;
use crate::store::{Leap, SourceCursor, Stretch};

async fn claim_least_tried(bench: &Bench, limit: u32) -> Vec<Claimed> {
    let request = ClaimRequest {
        limit,
        order: ClaimOrder::LeastTried,
        now: NOW,
        wait_max: WAIT_MAX,
    };
    bench.outbox.claim(request).await.unwrap()
}

fn retry_in(seconds: u64) -> Ending {
    let wait = Duration::from_secs(seconds);
    Ending::Retry { wait }
}

#[rstest]
#[tokio::test]
async fn the_longest_due_goes_first_and_nothing_goes_early(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let slow = bench.admit(entry("a")).await;
    let fast = bench.admit(entry("b")).await;
    let claimed = bench.claim().await;
    bench.settle(&claimed[0], retry_in(20)).await;
    bench.settle(&claimed[1], retry_in(10)).await;
    assert!(bench.claim_at(9, at(9)).await.is_empty());
    let order: Vec<SubmissionId> = bench
        .claim_at(9, at(20))
        .await
        .iter()
        .map(|claimed| claimed.id)
        .collect();
    assert_eq!(order, [fast, slow]);
}

#[rstest]
#[tokio::test]
async fn what_is_due_this_very_millisecond_is_due(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    bench.admit(entry("a")).await;
    let claimed = bench.claim().await;
    bench.settle(&claimed[0], retry_in(10)).await;
    assert_eq!(bench.claim_at(9, at(10)).await.len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_clock_that_was_set_back_leaves_nothing_waiting_longer_than_the_longest_wait(
    #[values(Sqlite, Postgres)] kind: Kind,
) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    bench.admit(entry("a")).await;
    let mut held = entry("b");
    held.directives.not_before = Some(at(7200));
    let held = bench.admit(held).await;
    let claimed = bench.claim().await;
    bench.settle(&claimed[0], retry_in(600)).await;
    assert!(
        bench.claim().await.is_empty(),
        "exactly the longest wait ahead is still waited for"
    );
    let yesterday = at(-86_400);
    let again = bench.claim_at(9, yesterday).await;
    assert_eq!(again.len(), 1);
    assert_ne!(again[0].id, held, "not_before is a date, not a wait");
}

#[rstest]
#[tokio::test]
async fn not_before_holds_until_it_has_passed_once(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let mut held = entry("a");
    held.directives.not_before = Some(at(30));
    let id = bench.admit(held).await;
    assert_eq!(bench.state(id).await, State::Pending { due: at(30) });
    assert!(bench.claim_at(9, at(29)).await.is_empty());
    assert!(claim_least_tried(&bench, 9).await.is_empty());
    let claimed = bench.claim_at(9, at(30)).await;
    assert_eq!(claimed.len(), 1);
    bench.settle(&claimed[0], retry_in(0)).await;
    assert_eq!(bench.claim_at(9, at(0)).await.len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_requeue_leaves_a_held_one_and_a_forced_one_means_now(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let mut held = entry("a");
    held.directives.not_before = Some(at(30));
    let id = bench.admit(held).await;
    assert_eq!(bench.act(id, Act::Requeue).await, Acted::HeldUntil(at(30)));
    assert_eq!(bench.state(id).await, State::Pending { due: at(30) });
    assert!(bench.claim().await.is_empty());
    assert_eq!(bench.act_with(id, Act::Requeue, true).await, Acted::Done);
    let story = bench.outbox.show(id).await.unwrap().unwrap();
    assert_eq!(
        (story.listed.not_before, story.listed.state),
        (None, State::Pending { due: NOW })
    );
    assert_eq!(story.history.len(), 1, "the refused one left no line");
    let detail = story.history[0].detail.as_deref().unwrap();
    assert_eq!(detail, "forced; not_before held it until 2027-01-15T08:00:30Z");
    assert_eq!(bench.claim().await.len(), 1);
}

#[rstest]
#[tokio::test]
async fn what_was_never_sent_is_held_however_it_comes_back(#[values(Sqlite, Postgres)] kind: Kind) {
    let comes_back = |act: fn() -> Act| async move {
        let Some(bench) = Bench::fresh(kind).await else { return };
        let mut wrong = entry("a");
        wrong.directives.not_before = Some(at(30));
        (wrong.invalid, wrong.by_result_types) = (Some("an unknown code".to_owned()), true);
        let id = bench.admit(wrong).await;
        assert_eq!(bench.act(id, act()).await, Acted::Done);
        let listed = bench.outbox.show(id).await.unwrap().unwrap().listed;
        assert_eq!(
            (listed.not_before, listed.state),
            (Some(at(30)), State::Pending { due: at(30) })
        );
        assert!(bench.claim_at(9, at(29)).await.is_empty());
        assert_eq!(bench.claim_at(9, at(30)).await.len(), 1);
    };
    comes_back(|| Act::Requeue).await;
    comes_back(|| Act::Revalidate).await;
    comes_back(|| Act::Edit(Box::new(entry("a")))).await;
}

#[rstest]
#[tokio::test]
async fn what_was_waited_for_once_is_not_waited_for_again_when_a_clock_is_set_back(
    #[values(Sqlite, Postgres)] kind: Kind,
) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let mut held = entry("a");
    held.directives.not_before = Some(at(-30));
    let id = bench.admit(held).await;
    let claimed = bench.claim().await.remove(0);
    bench.settle(&claimed, Ending::Parked(ParkReason::Conflict)).await;
    let request = ActRequest {
        ids: vec![id],
        act: Act::Requeue,
        still: Still::default(),
        actor: Actor::User("ana".into()),
        force: false,
        dry_run: false,
        now: at(-3600),
    };
    assert_eq!(bench.outbox.act(request).await.unwrap(), [(id, Acted::Done)]);
    assert_eq!(bench.claim_at(9, at(-3600)).await.len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_probe_takes_the_least_tried_whatever_is_due(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let tried = bench.admit(entry("a")).await;
    let claimed = bench.claim().await;
    bench.settle(&claimed[0], retry_in(500)).await;
    let fresh = bench.admit(entry("b")).await;
    let order: Vec<SubmissionId> = [claim_least_tried(&bench, 1).await, claim_least_tried(&bench, 1).await]
        .concat()
        .iter()
        .map(|claimed| claimed.id)
        .collect();
    assert_eq!(order, [fresh, tried]);
}

#[rstest]
#[tokio::test]
async fn whoever_finds_something_out_goes_early_only_where_nothing_is_due(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let told = bench.admit(entry("a")).await;
    let soon = bench.admit(entry("b")).await;
    let tried = bench.admit(entry("c")).await;
    for (claimed, wait) in bench.claim().await.iter().zip([500, 20, 0]) {
        bench.settle(claimed, retry_in(wait)).await;
    }
    let trial = ClaimOrder::Trial {
        refused: Vec::new(),
        spare_dead: true,
    };
    for order in [ClaimOrder::LeastTried, ClaimOrder::Lead, trial] {
        let mut turns = Vec::new();
        for _ in 0..3 {
            let request = ClaimRequest {
                limit: 1,
                order: order.clone(),
                now: NOW,
                wait_max: WAIT_MAX,
            };
            turns.append(&mut bench.outbox.claim(request).await.unwrap());
        }
        assert_eq!(
            turns.iter().map(|one| one.id).collect::<Vec<_>>(),
            [tried, soon, told],
            "{order:?}"
        );
        for claimed in &turns {
            bench.settle(claimed, Ending::Released).await;
        }
    }
}

#[rstest]
#[tokio::test]
async fn what_is_new_and_what_was_put_back_take_turns_even_one_at_a_time(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let mut back = Vec::new();
    for number in 0..6 {
        back.push(bench.admit(entry(&format!("old-{number}"))).await);
    }
    for id in &back {
        assert_eq!(bench.act(*id, Act::Requeue).await, Acted::Done);
    }
    for number in 0..3 {
        bench.admit(entry(&format!("new-{number}"))).await;
    }
    let mut was_put_back = Vec::new();
    for _ in 0..9 {
        let claimed = bench.claim_at(1, NOW).await.remove(0);
        was_put_back.push(back.contains(&claimed.id));
        // To be tried again does not make it a fresh one.
        bench.settle(&claimed, retry_in(60)).await;
    }
    assert_eq!(was_put_back, [false, true, false, true, false, true, true, true, true]);
    assert_eq!(bench.outbox.next_due(WAIT_MAX).await.unwrap(), Some(at(60)));
    let again = bench.claim_at(4, at(60)).await;
    assert_eq!(again.iter().filter(|claimed| back.contains(&claimed.id)).count(), 2);
    bench.check().await;
}

#[rstest]
#[tokio::test]
async fn the_next_due_time_is_that_of_the_first_head(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    assert_eq!(bench.outbox.next_due(WAIT_MAX).await.unwrap(), None);
    let mut held = entry("a");
    held.directives.not_before = Some(at(30));
    bench.admit(held).await;
    assert_eq!(bench.outbox.next_due(WAIT_MAX).await.unwrap(), Some(at(30)));
    bench.admit(entry("b")).await;
    assert_eq!(bench.outbox.next_due(WAIT_MAX).await.unwrap(), Some(NOW));
    let claimed = bench.claim().await;
    bench.settle(&claimed[0], retry_in(10)).await;
    assert_eq!(bench.outbox.next_due(WAIT_MAX).await.unwrap(), Some(at(10)));
    bench.admit(entry("a")).await;
    assert_eq!(
        bench.outbox.next_due(WAIT_MAX).await.unwrap(),
        Some(at(10)),
        "one that waits behind another is not due"
    );
}

#[rstest]
#[tokio::test]
async fn when_the_longest_wait_is_shortened_what_lies_behind_it_is_due_at_once(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    bench.admit(entry("a")).await;
    bench.admit(entry("b")).await;
    let claimed = bench.claim().await;
    bench.settle(&claimed[0], retry_in(10)).await;
    bench.settle(&claimed[1], retry_in(500)).await;
    assert_eq!(bench.outbox.next_due(WAIT_MAX).await.unwrap(), Some(at(10)));
    assert!(bench.outbox.next_due(Duration::from_mins(1)).await.unwrap().unwrap() < NOW);
}

#[rstest]
#[tokio::test]
async fn a_claim_tells_the_sender_all_it_needs(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let mut one = keyed("Act-1", "k1", "x");
    one.directives.source = Some("crm".into());
    one.directives.on_conflict = Some(ConflictPolicy::Override);
    bench.admit(one.clone()).await;
    let claimed = bench.claim().await.remove(0);
    assert_eq!(claimed.payload, one.payload);
    assert_eq!(claimed.key, one.directives.key);
    assert_eq!(claimed.activity.as_deref(), Some("Act-1"));
    assert_eq!(claimed.source.as_deref(), Some("crm"));
    assert_eq!(claimed.on_conflict, Some(ConflictPolicy::Override));
    assert_eq!(
        (claimed.tries, claimed.waited, claimed.claimed_at),
        (1, Duration::ZERO, NOW)
    );
    assert!(!claimed.hard_override && !claimed.lost_response && !claimed.was_unauthorized);
}

#[rstest]
#[tokio::test]
async fn a_look_for_producers_finds_the_least_tried_one_of_each_and_that_one_can_be_claimed(
    #[values(Sqlite, Postgres)] kind: Kind,
) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let mut of = Vec::new();
    for (activity, source) in [
        ("a", Some("crm")),
        ("b", Some("crm")),
        ("c", None),
        ("d", Some("erp")),
        ("e", Some("erp")),
    ] {
        let mut one = entry(activity);
        one.directives.source = source.map(Into::into);
        of.push(bench.admit(one).await);
    }
    let outbox = &bench.outbox;
    let found = outbox.find_sources(SourceCursor::default()).await.unwrap();
    let named = |source: &str, index: usize| (source.to_owned(), of[index]);
    assert_eq!(found.sources, [named("crm", 0), named("", 2), named("erp", 3)]);
    assert_eq!(found.end, None);
    let this = ClaimRequest {
        limit: 1,
        order: ClaimOrder::This(of[3]),
        now: NOW,
        wait_max: WAIT_MAX,
    };
    let claimed = outbox.claim(this.clone()).await.unwrap();
    assert_eq!(claimed.iter().map(|one| one.id).collect::<Vec<_>>(), [of[3]]);
    assert!(outbox.claim(this).await.unwrap().is_empty(), "it is on its way");
    bench.settle(&claimed[0], retry_in(60)).await;
    let behind = |tries, index: usize| SourceCursor { tries, id: of[index] };
    let found = outbox.find_sources(behind(0, 0)).await.unwrap();
    assert_eq!(found.sources, [named("crm", 1), named("", 2), named("erp", 4)]);
    assert_eq!(
        outbox.find_sources(behind(0, 4)).await.unwrap().sources,
        [named("erp", 3)],
        "the tried one is the last"
    );
    let nothing = Stretch {
        sources: Vec::new(),
        end: None,
    };
    assert_eq!(outbox.find_sources(behind(1, 3)).await.unwrap(), nothing);
}

#[rstest]
#[tokio::test]
async fn age_is_what_was_waited_and_no_more_than_was_to_be_waited(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = bench.admit(entry("a")).await;
    let mut now = 0;
    let mut expected: u64 = 0;
    let mut claimed = bench.claim().await.remove(0);
    // A probe after a second; the whole wait; a night with a closed gate; a clock that was set back.
    for (wait, passed, counts) in [(600, 1, 1), (10, 10, 10), (10, 30_000, 10), (10, -3600, 0)] {
        settle_retry(&bench, &claimed, now, wait).await;
        now += passed;
        expected += counts;
        claimed = claim_probe(&bench, now).await;
        assert_eq!(
            claimed.waited,
            Duration::from_secs(expected),
            "{passed} s after a retry in {wait} s"
        );
    }
    // Given back and taken again: the two parts are the wait.
    settle_retry(&bench, &claimed, now, 600).await;
    let probe = claim_probe(&bench, now + 100).await;
    bench
        .outbox
        .settle(settlement(&probe, Ending::Released), at(now + 110))
        .await
        .unwrap();
    let again = bench.claim_at(1, at(now + 900)).await.remove(0);
    assert_eq!(
        (again.id, again.waited),
        (id, Duration::from_secs(expected + 100 + 490))
    );
}

async fn settle_retry(bench: &Bench, claimed: &Claimed, now: i64, wait: u64) {
    let wait = Duration::from_secs(wait);
    let retry = settlement(claimed, Ending::Retry { wait });
    assert_eq!(bench.outbox.settle(retry, at(now)).await.unwrap(), Settled::Done);
}

async fn claim_probe(bench: &Bench, now: i64) -> Claimed {
    let probe = ClaimRequest {
        limit: 1,
        order: ClaimOrder::LeastTried,
        now: at(now),
        wait_max: WAIT_MAX,
    };
    bench.outbox.claim(probe).await.unwrap().remove(0)
}

#[rstest]
#[tokio::test]
async fn a_clock_that_leaps_forward_makes_nothing_older(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    bench.admit(entry("a")).await;
    bench.admit(entry("b")).await;
    let claimed = bench.claim().await;
    bench.settle(&claimed[0], retry_in(600)).await;
    // Booted in the past: six seconds later the time is learned.
    bench.outbox.leapt(Leap {
        before: at(6),
        by: Duration::from_hours(24),
    });
    let later = settlement(
        &claimed[1],
        Ending::Retry {
            wait: Duration::from_secs(20),
        },
    );
    bench.outbox.settle(later, at(86_407)).await.unwrap();
    let waited: Vec<u64> = bench
        .claim_at(9, at(86_400 + 30))
        .await
        .iter()
        .map(|one| one.waited.as_secs())
        .collect();
    assert_eq!(waited, [30, 20], "the one from before the leap, and one from after it");
}

#[rstest]
#[tokio::test]
async fn a_claim_is_bounded_in_bytes_and_never_empty_for_it(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let large = |bytes: usize| {
        let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes));
        Entry {
            payload: Payload::from_text(&text),
            ..entry("")
        }
    };
    for _ in 0..20 {
        bench.admit(large(1 << 20)).await;
    }
    assert_eq!(
        bench.claim().await.len(),
        16,
        "sixteen of a megabyte and more reach the bound"
    );
    assert_eq!(bench.claim().await.len(), 4);
    bench.admit(large(17 << 20)).await;
    assert_eq!(
        bench.claim().await.len(),
        1,
        "one that is larger than the bound goes alone"
    );
}
