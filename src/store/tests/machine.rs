//! Random operations against the real store beside the model.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;
use strum::VariantArray as _;

use super::model::Model;
use super::*;
use crate::model::{Decision, StateName, Undo};
use crate::store::{Filter, Sweep};

#[derive(Debug, Clone)]
enum Step {
    Admit {
        lane: Option<u8>,
        invalid: bool,
        held: Option<i64>,
    },
    Claim {
        limit: u32,
        order: ClaimOrder,
    },
    Settle {
        which: Index,
        how: u8,
        lost: bool,
        wait: u64,
    },
    TooLate {
        which: Index,
    },
    Act {
        which: Index,
        how: u8,
        force: bool,
        lane: Option<u8>,
        held: Option<i64>,
    },
    /// Takes a decision back, one that can be where `which` finds one.
    Undo {
        which: Index,
        any: bool,
    },
    OpenGate {
        requeue: bool,
    },
    Revive {
        refused: Vec<SubmissionId>,
    },
    Sweep {
        which: Index,
        age: i64,
    },
    Crash,
    Pass {
        seconds: i64,
    },
}

fn lane() -> impl Strategy<Value = Option<u8>> {
    prop::option::weighted(0.85, 0..3_u8)
}

fn refused() -> impl Strategy<Value = Vec<SubmissionId>> {
    vec((1..12_i64).prop_map(SubmissionId), 0..4)
}

fn order() -> impl Strategy<Value = ClaimOrder> {
    prop_oneof![
        7 => Just(ClaimOrder::Due),
        1 => Just(ClaimOrder::LeastTried),
        1 => Just(ClaimOrder::Lead),
        2 => (refused(), any::<bool>()).prop_map(|(refused, spare_dead)| ClaimOrder::Trial { refused, spare_dead }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let admit = (
        lane(),
        prop::bool::weighted(0.1),
        prop::option::weighted(0.15, 1..40_i64),
    );
    let settle = (any::<Index>(), 0..7_u8, any::<bool>(), 0..900_u64);
    let held = prop::option::weighted(0.3, 1..40_i64);
    let act = (any::<Index>(), 0..6_u8, prop::bool::weighted(0.2), lane(), held);
    prop_oneof![
        6 => admit.prop_map(|(lane, invalid, held)| Step::Admit { lane, invalid, held }),
        6 => (1..4_u32, order()).prop_map(|(limit, order)| Step::Claim { limit, order }),
        8 => settle.prop_map(|(which, how, lost, wait)| Step::Settle { which, how, lost, wait }),
        1 => any::<Index>().prop_map(|which| Step::TooLate { which }),
        5 => act.prop_map(|(which, how, force, lane, held)| Step::Act { which, how, force, lane, held }),
        3 => (any::<Index>(), prop::bool::weighted(0.2)).prop_map(|(which, any)| Step::Undo { which, any }),
        1 => any::<bool>().prop_map(|requeue| Step::OpenGate { requeue }),
        1 => refused().prop_map(|refused| Step::Revive { refused }),
        1 => (any::<Index>(), 0..60_i64).prop_map(|(which, age)| Step::Sweep { which, age }),
        1 => Just(Step::Crash),
        // Backwards too: clocks are set.
        3 => (-1000..1000_i64).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

/// The store, the model, and what is in flight.
struct Machine {
    bench: Bench,
    model: Model,
    now: Timestamp,
    flying: Vec<Claimed>,
    landed: Vec<Claimed>,
}

impl Machine {
    async fn take(&mut self, step: Step) {
        match step {
            Step::Admit { lane, invalid, held } => self.admit(lane, invalid, held).await,
            Step::Claim { limit, order } => self.claim(limit, order).await,
            Step::Settle { which, how, lost, wait } if !self.flying.is_empty() => {
                let claimed = self.flying.remove(which.index(self.flying.len()));
                self.settle(claimed, how, lost, Duration::from_secs(wait)).await;
            }
            Step::TooLate { which } if !self.landed.is_empty() => {
                let claimed = &self.landed[which.index(self.landed.len())];
                let settlement = settlement(claimed, Ending::Delivered);
                assert_eq!(
                    self.bench.outbox.settle(settlement, self.now).await.unwrap(),
                    Settled::Stale
                );
            }
            Step::Settle { .. } | Step::TooLate { .. } => {}
            Step::Act {
                which,
                how,
                force,
                lane,
                held,
            } => self.act(which.index(12), how, force, (lane, held)).await,
            Step::Undo { which, any } => self.undo(which, any).await,
            Step::OpenGate { requeue } => {
                let opened = self
                    .bench
                    .outbox
                    .open_gate("gate", "{}".into(), requeue, self.now)
                    .await
                    .unwrap();
                assert_eq!(opened, self.model.open_gate(requeue, self.now));
            }
            Step::Revive { refused } => {
                let revived = self.bench.outbox.revive(refused.clone(), self.now).await.unwrap();
                assert_eq!(revived, self.model.revive(&refused, self.now));
            }
            Step::Sweep { which, age } => {
                let sweep = Sweep {
                    state: StateName::VARIANTS[which.index(StateName::VARIANTS.len())],
                    older_than: Timestamp::from_millis(self.now.millis() - age * 1000),
                    limit: 1000,
                };
                let swept = self.bench.outbox.sweep(sweep).await.unwrap();
                assert_eq!(swept, self.model.sweep(sweep.state, sweep.older_than));
            }
            Step::Crash => {
                self.bench.outbox.close().await;
                self.bench.outbox = self.bench.open(Role::Daemon, self.now).await.unwrap();
                self.model.crash(self.now);
                self.landed.append(&mut self.flying);
            }
            Step::Pass { seconds } => self.now = Timestamp::from_millis(self.now.millis() + seconds * 1000),
        }
    }

    async fn admit(&mut self, lane: Option<u8>, invalid: bool, held: Option<i64>) {
        let held = held.map(|seconds| Timestamp::from_millis(self.now.millis() + seconds * 1000));
        let mut entry = entry(&lane.map_or_else(String::new, |lane| format!("lane {lane}")));
        entry.directives.not_before = held;
        entry.invalid = invalid.then(|| "wrong".to_owned());
        let admission = Admission {
            entries: vec![entry],
            receipts: Vec::new(),
        };
        let admitted = self.bench.outbox.admit(admission, self.now).await.unwrap().remove(0);
        let expected = self.model.admit(lane, invalid, held, self.now);
        let (Admitted::Accepted(id) | Admitted::Invalid { id, .. }) = admitted else {
            panic!("{admitted:?}")
        };
        assert_eq!(id, expected);
    }

    async fn claim(&mut self, limit: u32, order: ClaimOrder) {
        let request = ClaimRequest {
            limit,
            order: order.clone(),
            now: self.now,
            wait_max: WAIT_MAX,
        };
        let claimed = self.bench.outbox.claim(request).await.unwrap();
        let expected = self.model.claim(limit as usize, order, self.now);
        assert_eq!(claimed.iter().map(|claimed| claimed.id).collect::<Vec<_>>(), expected);
        for claimed in &claimed {
            let one = &self.model.all[&claimed.id];
            assert_eq!(
                (claimed.attempt.0, claimed.tries, claimed.waited),
                (one.attempt, one.tries, one.waited)
            );
            assert_eq!(
                (claimed.lost_response, claimed.hard_override),
                (one.lost, one.overriding.is_some())
            );
            assert_eq!(claimed.was_unauthorized, one.was_unauthorized);
        }
        self.flying.extend(claimed);
    }

    async fn settle(&mut self, claimed: Claimed, how: u8, lost: bool, wait: Duration) {
        let ending = match how {
            0 | 1 => Ending::Delivered,
            2 => Ending::Retry { wait },
            3 => Ending::Override,
            4 => Ending::Released,
            5 => Ending::Parked(ParkReason::Conflict),
            _ => Ending::Dead {
                reason: DeadReason::Unauthorized,
                requeue_on_opening: true,
            },
        };
        let mut settlement = settlement(&claimed, ending);
        settlement.record.lost_response = lost;
        // As the daemon does: the refusal that closes the gate comes with its record. To the shared store one without
        // it, after an opening, is of before that opening.
        let closing = matches!(ending, Ending::Dead { .. }).then(|| ("gate", "{}".to_owned()));
        let settlements = vec![(settlement.into(), self.now)];
        let settled = self.bench.outbox.settle_all(settlements, closing).await.unwrap();
        assert_eq!(settled, [Settled::Done]);
        self.model.settle(claimed.id, ending, lost, self.now);
        self.landed.push(claimed);
    }

    async fn undo(&mut self, which: Index, any: bool) {
        let spoken = self.model.all.iter().filter(|(_, one)| any || one.last_word.is_some());
        let spoken: Vec<(SubmissionId, Option<Undo>)> = spoken
            .map(|(id, one)| (*id, one.last_word.map(|word| word.undo)))
            .collect();
        if spoken.is_empty() {
            return;
        }
        let (id, undo) = spoken[which.index(spoken.len())];
        // One that was never made.
        let never = Undo {
            decision: Decision::Dismiss,
            at: Timestamp::from_millis(1),
            reason: ParkReason::Conflict,
            delivered_before: None,
        };
        let act = Act::Undo(undo.unwrap_or(never));
        let request = ActRequest {
            ids: vec![id],
            act: act.clone(),
            still: Still::default(),
            actor: Actor::User("ana".into()),
            force: false,
            dry_run: false,
            now: self.now,
        };
        let acted = self.bench.outbox.act(request).await.unwrap().remove(0).1;
        assert_eq!(acted, self.model.act(id, &act, (None, None), false, self.now));
    }

    async fn act(&mut self, which: usize, how: u8, force: bool, edited: (Option<u8>, Option<i64>)) {
        let (lane, held) = edited;
        let held = held.map(|seconds| Timestamp::from_millis(self.now.millis() + seconds * 1000));
        let mut corrected = entry(&lane.map_or_else(String::new, |lane| format!("lane {lane}")));
        corrected.directives.not_before = held;
        let id = SubmissionId((self.model.last_id - i64::try_from(which).unwrap()).max(1));
        let act = match how {
            0 => Act::Requeue,
            1 => Act::Override,
            2 => Act::Accept,
            3 => Act::Dismiss,
            4 => Act::Revalidate,
            _ => Act::Edit(Box::new(corrected)),
        };
        let request = ActRequest {
            ids: vec![id],
            act: act.clone(),
            still: Still::default(),
            actor: Actor::User("ana".into()),
            force,
            dry_run: false,
            now: self.now,
        };
        let acted = self.bench.outbox.act(request).await.unwrap().remove(0).1;
        assert_eq!(acted, self.model.act(id, &act, (lane, held), force, self.now));
    }

    /// The whole of both, compared.
    async fn compare(&self) {
        let listed = self.bench.outbox.list(&Filter::default(), None, 1000).await.unwrap();
        let real: Vec<_> = listed
            .iter()
            .rev()
            .map(|one| (one.id, one.state, one.not_before, one.updated_at, one.lost_response))
            .collect();
        let expected: Vec<_> = self
            .model
            .all
            .iter()
            .map(|(id, one)| (*id, one.state, one.asked, one.updated, one.lost))
            .collect();
        assert_eq!(real, expected);
        self.bench.check().await;
    }
}

fn agree(kind: Kind, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let Some(bench) = Bench::fresh(kind).await else { return };
        let mut machine = Machine {
            bench,
            model: Model::default(),
            now: NOW,
            flying: Vec::new(),
            landed: Vec::new(),
        };
        for step in steps {
            machine.take(step).await;
            machine.compare().await;
        }
        machine.bench.outbox.close().await;
    });
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn whatever_happens_the_store_and_the_model_agree(steps in vec(step(), 1..60)) {
        agree(Sqlite, steps);
    }
}

proptest! {
    // Fewer: each step crosses to another process several times.
    #![proptest_config(cases(24))]

    #[test]
    fn whatever_happens_the_shared_store_and_the_model_agree(steps in vec(step(), 1..60)) {
        agree(Postgres, steps);
    }
}
