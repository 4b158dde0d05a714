//! The thin path: in, out, looked at.

use super::*;
use crate::model::StateName;
use crate::store::Filter;

#[rstest]
#[tokio::test]
async fn a_result_goes_in_is_claimed_delivered_and_shown(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    let id = bench.admit(entry("a")).await;
    let claimed = bench.claim().await;
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].id, claimed[0].attempt.0, claimed[0].tries), (id, 1, 1));
    assert_eq!(claimed[0].payload, entry("a").payload);
    assert_eq!(bench.settle(&claimed[0], Ending::Delivered).await, Settled::Done);
    let story = bench.outbox.show(id).await.unwrap().unwrap();
    assert_eq!(story.listed.state, State::Delivered);
    assert_eq!(
        story.attempts,
        [bench.stored(settlement(&claimed[0], Ending::Delivered).record)]
    );
    let tally = bench.outbox.tally().await.unwrap();
    assert_eq!(
        tally
            .counts
            .iter()
            .find(|(state, _)| *state == StateName::Delivered)
            .unwrap()
            .1,
        1
    );
    let listed = bench.outbox.list(&Filter::default(), None, 10).await.unwrap();
    assert_eq!(listed, [story.listed]);
}

#[rstest]
#[tokio::test]
async fn a_value_is_remembered_replaced_and_forgotten(#[values(Sqlite, Postgres)] kind: Kind) {
    let Some(bench) = Bench::fresh(kind).await else { return };
    assert_eq!(bench.outbox.recall("gate").await.unwrap(), None);
    for value in [Some("open"), Some("closed"), None] {
        bench.outbox.remember("gate", value.map(Into::into), NOW).await.unwrap();
        assert_eq!(bench.outbox.recall("gate").await.unwrap().as_deref(), value);
    }
}
