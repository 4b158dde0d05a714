//! Every transition from every state, through the real store: what it does must be what [`Transition::allowed_from`]
//! says.

use super::*;
use crate::model::{AttemptNumber, StateName};
use strum::VariantArray as _;

fn every_transition() -> Vec<Transition> {
    vec![
        Transition::Claim,
        Transition::Deliver,
        Transition::DeliverAccepted,
        Transition::Retry {
            due: NOW,
            wait: Duration::from_secs(1),
        },
        Transition::Override,
        Transition::Die {
            reason: DeadReason::RetriesExhausted,
            requeue_on_opening: false,
        },
        Transition::Park(ParkReason::Conflict),
        Transition::Release,
        Transition::Recover,
        Transition::Requeue,
        Transition::ForceOverride,
        Transition::Accept,
        Transition::Dismiss,
        Transition::Replace,
        Transition::Edit,
    ]
}

/// A submission with the key `k` in this state, and its claim, were it sending.
async fn in_state(bench: &Bench, state: StateName) -> Claimed {
    let id = bench.admit(keyed("a", "k", "1")).await;
    let claimed = Claimed {
        id,
        attempt: AttemptNumber(0),
        ..bench.claim().await.remove(0)
    };
    let current = Claimed {
        attempt: AttemptNumber(1),
        ..claimed.clone()
    };
    let ended = match state {
        StateName::Pending => Transition::Release,
        StateName::Sending => return current,
        StateName::Delivered => Transition::Deliver,
        StateName::Dead => Transition::Die {
            reason: DeadReason::Rejected,
            requeue_on_opening: false,
        },
        StateName::Parked | StateName::Dismissed => Transition::Park(ParkReason::Conflict),
    };
    assert_eq!(bench.settle(&current, ended).await, Settled::Done);
    if state == StateName::Dismissed {
        assert_eq!(bench.act(id, Act::Dismiss).await, Acted::Done);
    }
    assert_eq!(bench.state(id).await.name(), state);
    current
}

/// Tries the transition by the operation that makes it; whether it happened.
async fn tried(bench: &Bench, transition: &Transition, of: &Claimed) -> bool {
    match transition {
        Transition::Claim => !bench.claim().await.is_empty(),
        Transition::Deliver
        | Transition::DeliverAccepted
        | Transition::Retry { .. }
        | Transition::Override
        | Transition::Die { .. }
        | Transition::Park(_)
        | Transition::Release
        | Transition::Recover => bench.settle(of, transition.clone()).await == Settled::Done,
        Transition::Requeue => bench.act(of.id, Act::Requeue).await == Acted::Done,
        Transition::ForceOverride => bench.act(of.id, Act::Override).await == Acted::Done,
        Transition::Accept => bench.act(of.id, Act::Accept).await == Acted::Done,
        Transition::Dismiss => bench.act(of.id, Act::Dismiss).await == Acted::Done,
        Transition::Edit => bench.act(of.id, Act::Edit(Box::new(entry("a")))).await == Acted::Done,
        Transition::Replace => {
            let token = replacing::token(bench, of.id).await;
            let admission = Admission {
                entries: vec![replacing::twin("a", "2", &token)],
                receipts: Vec::new(),
            };
            matches!(
                bench.outbox.admit(admission, NOW).await.unwrap()[0],
                Admitted::Accepted(_)
            )
        }
    }
}

fn ends_in(transition: &Transition) -> StateName {
    match transition {
        Transition::Claim => StateName::Sending,
        Transition::Deliver | Transition::DeliverAccepted | Transition::Accept => StateName::Delivered,
        Transition::Die { .. } => StateName::Dead,
        Transition::Park(_) => StateName::Parked,
        Transition::Dismiss | Transition::Replace => StateName::Dismissed,
        Transition::Retry { .. }
        | Transition::Override
        | Transition::Release
        | Transition::Recover
        | Transition::Requeue
        | Transition::ForceOverride
        | Transition::Edit => StateName::Pending,
    }
}

#[tokio::test]
async fn the_store_allows_exactly_what_the_table_allows() {
    for transition in every_transition() {
        for state in StateName::VARIANTS {
            let bench = Bench::fresh().await;
            let claimed = in_state(&bench, *state).await;
            let before = bench.dump().await;
            let allowed = transition.allowed_from().contains(state);
            let context = format!("{} from {state}", transition.name());
            assert_eq!(tried(&bench, &transition, &claimed).await, allowed, "{context}");
            if allowed {
                assert_eq!(bench.state(claimed.id).await.name(), ends_in(&transition), "{context}");
            } else if transition != Transition::Replace {
                assert_eq!(bench.dump().await, before, "{context}");
            }
            bench.check().await;
        }
    }
}

#[tokio::test]
async fn the_writers_word_alone_moves_nothing_that_is_not_sending() {
    // A settlement may only carry what starts from `sending`, whoever writes another one.
    let bench = Bench::fresh().await;
    let claimed = in_state(&bench, StateName::Sending).await;
    for transition in every_transition() {
        if !transition.allowed_from().contains(&StateName::Sending) {
            assert_eq!(bench.settle(&claimed, transition).await, Settled::Stale);
        }
    }
    assert_eq!(bench.state(claimed.id).await, State::Sending);
}
