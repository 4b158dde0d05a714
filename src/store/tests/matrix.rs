//! Every move from every state, through the real store: what it does must be what the table of acts says, and endings
//! start from `sending` alone.

use super::*;
use crate::model::{ActName, AttemptNumber, Decision, EndingName, REPLACEABLE, StateName, Undo};
use strum::VariantArray as _;

/// Everything that changes a state.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Move {
    Claim,
    End(Ending),
    Act(Act),
    Replace,
}

impl Move {
    fn all() -> Vec<Self> {
        let wait = Duration::from_secs(1);
        let endings = [
            Ending::Delivered,
            Ending::Accepted,
            Ending::Retry { wait },
            Ending::Override,
            Ending::dead(DeadReason::RetriesExhausted),
            Ending::Parked(ParkReason::Conflict),
            Ending::Released,
            Ending::Interrupted { wait },
        ];
        assert_eq!(endings.map(EndingName::from), EndingName::VARIANTS);
        let acts = [
            Act::Requeue,
            Act::Revalidate,
            Act::Override,
            Act::Accept,
            Act::Dismiss,
            Act::Edit(Box::new(entry("a"))),
            Act::Undo(undo(Decision::Dismiss)),
        ];
        let moves = endings
            .into_iter()
            .map(Self::End)
            .chain(acts.into_iter().map(Self::Act));
        moves.chain([Self::Claim, Self::Replace]).collect()
    }

    fn allowed_from(&self) -> &'static [StateName] {
        match self {
            Self::Claim => &[StateName::Pending],
            Self::End(_) => &[StateName::Sending],
            // The dead one of this test was rejected by the API, not by a list of result types.
            Self::Act(Act::Revalidate) => &[],
            // The delivered one was sent, the pending one never parked: neither is what a decision led to.
            Self::Act(Act::Undo(_)) => &[StateName::Dismissed],
            Self::Act(act) => ActName::from(act).allowed_from(),
            Self::Replace => REPLACEABLE,
        }
    }

    /// Tries it by the operation that makes it; whether it happened.
    async fn is_done(&self, bench: &Bench, to: &Claimed) -> bool {
        match self {
            Self::Claim => !bench.claim().await.is_empty(),
            Self::End(ending) => bench.settle(to, *ending).await == Settled::Done,
            Self::Act(act) => bench.act(to.id, act.clone()).await == Acted::Done,
            Self::Replace => {
                let token = replacing::token(bench, to.id).await;
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

    fn ends_in(&self) -> StateName {
        match self {
            Self::Claim => StateName::Sending,
            Self::End(Ending::Delivered | Ending::Accepted) | Self::Act(Act::Accept) => StateName::Delivered,
            Self::End(Ending::Dead { .. }) => StateName::Dead,
            Self::End(Ending::Parked(_)) | Self::Act(Act::Undo(_)) => StateName::Parked,
            Self::Act(Act::Dismiss) | Self::Replace => StateName::Dismissed,
            Self::End(Ending::Retry { .. } | Ending::Override | Ending::Released | Ending::Interrupted { .. })
            | Self::Act(Act::Requeue | Act::Revalidate | Act::Override | Act::Edit(_)) => StateName::Pending,
        }
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
        StateName::Pending => Ending::Released,
        StateName::Sending => return current,
        StateName::Delivered => Ending::Delivered,
        StateName::Dead => Ending::Dead {
            reason: DeadReason::Rejected,
            requeue_on_opening: false,
        },
        StateName::Parked | StateName::Dismissed => Ending::Parked(ParkReason::Conflict),
    };
    assert_eq!(bench.settle(&current, ended).await, Settled::Done);
    if state == StateName::Dismissed {
        assert_eq!(bench.act(id, Act::Dismiss).await, Acted::Done);
    }
    assert_eq!(bench.state(id).await.name(), state);
    current
}

#[rstest]
#[tokio::test]
async fn the_store_allows_exactly_what_the_table_allows(#[values(Sqlite, Postgres)] kind: Kind) {
    for one in Move::all() {
        for state in StateName::VARIANTS {
            let Some(bench) = Bench::fresh(kind).await else { return };
            let claimed = in_state(&bench, *state).await;
            let before = bench.dump().await;
            let allowed = one.allowed_from().contains(state);
            let context = format!("{one:?} from {state}");
            assert_eq!(one.is_done(&bench, &claimed).await, allowed, "{context}");
            if allowed {
                assert_eq!(bench.state(claimed.id).await.name(), one.ends_in(), "{context}");
            } else if one != Move::Replace {
                assert_eq!(bench.dump().await, before, "{context}");
            }
            bench.check().await;
        }
    }
}
