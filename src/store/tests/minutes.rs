//! How it went, minute by minute.

use super::*;
use crate::model::{Door, EndingName, Figure, Figures, StateName, StatusClass};
use crate::policy::gate::{GateChange, GateName};
use crate::store::minutes::MINUTES_KEPT;
use crate::store::{Minute, MinuteCursor, Standing, Tally, move_outbox};

fn figures(taken: u64) -> Figures {
    let mut figures = Figures::default();
    figures.add(Figure::Taken(Door::File), taken);
    figures.add(Figure::Attempt(EndingName::Delivered, StatusClass::Success), 2);
    figures.add(Figure::Answer(7), 3);
    figures
}

/// A minute of a daemon that ends at this second.
fn minute(second: i64, taken: u64) -> Minute {
    let tally = Tally {
        counts: [4, 1, 20, 3, 0, 7]
            .into_iter()
            .zip(<StateName as strum::VariantArray>::VARIANTS)
            .map(|(count, state)| (*state, count))
            .collect(),
        oldest_pending: Some(at(-90)),
        oldest_due: None,
        oldest_dead: Some(at(-9000)),
    };
    let closed = GateChange {
        at: at(second - 5),
        to: GateName::Probing,
        why: "a \"quoted\" \u{202e}\u{0}reason".to_owned(),
    };
    Minute {
        since: at(second - 60),
        until: at(second),
        node: String::new(),
        name: String::new(),
        figures: figures(taken),
        standing: Some(Standing {
            tally,
            in_flight: 1,
            gate: GateName::Probing,
            gate_changes: vec![closed],
        }),
    }
}

/// As it is read again: on a shared outbox it is a node's.
fn anonymous(minutes: Vec<Minute>) -> Vec<Minute> {
    let anonymous = minutes.into_iter().map(|minute| Minute {
        node: String::new(),
        name: String::new(),
        ..minute
    });
    anonymous.collect()
}

async fn all(outbox: &Outbox) -> Vec<Minute> {
    outbox.minutes(&MinuteCursor::from(at(-1_000_000)), 1000).await.unwrap()
}

#[rstest]
#[tokio::test]
async fn minutes_are_read_in_order_and_counted_once_however_often_they_are_written(
    #[values(Sqlite, Postgres)] kind: Kind,
) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let (first, second, third) = (minute(60, 5), minute(120, 0), minute(180, 9));
    bench.outbox.record(vec![first.clone(), second.clone()]).await.unwrap();
    // The answer to a commit was lost: the same once more, and what came since.
    bench
        .outbox
        .record(vec![first.clone(), second.clone(), third.clone()])
        .await
        .unwrap();
    let found = all(&bench.outbox).await;
    if kind == Postgres {
        assert!(
            found
                .iter()
                .all(|minute| minute.name == "here" && minute.node.len() == 32)
        );
    }
    assert_eq!(anonymous(found.clone()), [first, second.clone(), third.clone()]);
    let totals = bench.outbox.totals().await.unwrap();
    assert_eq!(totals.get(Figure::Taken(Door::File)), 14);
    assert_eq!((totals.delivered(), totals.get(Figure::Answer(7))), (6, 9));
    // In pages.
    let page = bench.outbox.minutes(&MinuteCursor::behind(&found[0]), 1).await.unwrap();
    assert_eq!(anonymous(page), [second]);
    let from = MinuteCursor::from(at(180));
    assert_eq!(anonymous(bench.outbox.minutes(&from, 9).await.unwrap()), [third]);
}

#[rstest]
#[tokio::test]
async fn what_commands_count_in_one_minute_of_the_clock_is_one_row(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let tool = bench.open(Role::Tool, NOW).await.unwrap();
    for second in [0, 1, 59, 60] {
        let minute = Minute::of_command(figures(1), at(second));
        tool.record(vec![minute]).await.unwrap();
    }
    let found = all(&bench.outbox).await;
    let known: Vec<(Timestamp, u64)> = found.iter().map(|one| (one.until, one.figures.taken())).collect();
    assert_eq!(known, [(at(60), 3), (at(120), 1)]);
    assert!(
        found
            .iter()
            .all(|minute| minute.standing.is_none() && minute.node == "command")
    );
    assert_eq!(bench.outbox.totals().await.unwrap().taken(), 4);
    tool.close().await;
}

#[rstest]
#[tokio::test]
async fn old_minutes_leave_a_bounded_number_at_a_time_and_the_totals_stay(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let old: Vec<Minute> = (0..200).map(|number| minute(number, 1)).collect();
    bench.outbox.record(old).await.unwrap();
    let later = i64::try_from(MINUTES_KEPT.as_secs()).unwrap() + 150;
    let mut left = Vec::new();
    for step in 0..4 {
        bench.outbox.record(vec![minute(later + step, 1)]).await.unwrap();
        left.push(all(&bench.outbox).await.len());
    }
    // What is not yet old enough stays: those of the seconds from 150, 151, 152 and 153 on.
    assert_eq!(left, [200 - 65 + 1, 200 - 130 + 2, 49 - 1 + 3, 48 - 1 + 4], "{left:?}");
    assert_eq!(bench.outbox.totals().await.unwrap().taken(), 204);
}

#[rstest]
#[tokio::test]
async fn a_total_stays_at_the_largest_number_there_is(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    for second in [60, 120] {
        bench
            .outbox
            .record(vec![minute(second, i64::MAX.unsigned_abs() - 1)])
            .await
            .unwrap();
    }
    let totals = bench.outbox.totals().await.unwrap();
    assert_eq!(totals.taken(), i64::MAX.unsigned_abs());
}

#[tokio::test]
async fn minutes_and_totals_are_carried_to_another_kind_of_store_and_back() {
    let bench = Bench::sqlite().await;
    let Some(server) = bench::shared(&bench.directory) else {
        return;
    };
    let command = Minute::of_command(figures(3), at(90));
    bench
        .outbox
        .record(vec![minute(60, 5), command, minute(180, 0)])
        .await
        .unwrap();
    let (before, totals) = (all(&bench.outbox).await, bench.outbox.totals().await.unwrap());
    bench.outbox.close().await;
    let back = Address::File(bench.directory.path().join("back.db"));
    for (from, to) in [(&bench.address, &server), (&server, &back)] {
        move_outbox(from, to, "", at(200), &mut |_, _| {}).await.unwrap();
        let outbox = Outbox::open(to, Role::Reader, NOW).await.unwrap();
        assert_eq!(all(&outbox).await, before);
        assert_eq!(outbox.totals().await.unwrap(), totals);
        outbox.close().await;
    }
}

#[tokio::test]
async fn tables_of_the_version_before_hold_no_minutes_until_who_may_write_brings_them_up_to_date() {
    let Some(bench) = Bench::fresh(Postgres).await else {
        return;
    };
    let id = bench.admit(entry("a")).await;
    bench
        .by_hand("DROP TABLE minute, total; UPDATE schema_version SET version = 1")
        .await
        .unwrap();
    // A program of now beside a daemon of before.
    let reader = bench.open(Role::Reader, NOW).await.unwrap();
    assert!(all(&reader).await.is_empty() && reader.totals().await.unwrap().is_empty());
    assert!(reader.show(id).await.unwrap().is_some());
    let (one, other) = tokio::join!(bench.open(Role::Tool, NOW), bench.open(Role::Tool, NOW));
    for tool in [one.unwrap(), other.unwrap()] {
        tool.record(vec![Minute::of_command(figures(1), NOW)]).await.unwrap();
        tool.close().await;
    }
    assert_eq!(reader.totals().await.unwrap().taken(), 2);
    bench.outbox.record(vec![minute(60, 1)]).await.unwrap();
    assert_eq!(all(&reader).await.len(), 2);
    reader.close().await;
}
