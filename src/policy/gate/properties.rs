//! Random histories against the gate's laws.

use proptest::prelude::*;

use super::tests::{SETTINGS, START, open};
use super::*;

/// What the world may do to a gate, by chance.
#[derive(Debug, Clone)]
enum Chance {
    Send,
    End {
        which: usize,
        signal: Signal,
        refused_before: bool,
    },
    AnswerQuestion(KeyVerdict),
    StoreOpening,
    KeyChanged,
    AskNow,
    Pause,
    Resume,
    Wait(u64),
}

fn any_signal() -> impl Strategy<Value = Signal> {
    prop_oneof![
        Just(Signal::Healthy),
        Just(Signal::Answered),
        Just(Signal::Rejected),
        Just(Signal::Throttled),
        Just(Signal::Faulty),
        Just(Signal::Unauthorized(Refusal::Unknown)),
        Just(Signal::Unauthorized(Refusal::Forbidden)),
    ]
}

fn any_chance() -> impl Strategy<Value = Chance> {
    let verdict = prop_oneof![Just(KeyVerdict::Works), Just(KeyVerdict::Refused), Just(KeyVerdict::Silent)];
    prop_oneof![
        6 => Just(Chance::Send),
        6 => (any::<usize>(), any_signal(), any::<bool>()).prop_map(|(which, signal, refused_before)| Chance::End { which, signal, refused_before }),
        2 => verdict.prop_map(Chance::AnswerQuestion),
        2 => Just(Chance::StoreOpening),
        1 => Just(Chance::KeyChanged),
        1 => Just(Chance::AskNow),
        1 => Just(Chance::Pause),
        1 => Just(Chance::Resume),
        3 => (0_u64..90).prop_map(Chance::Wait),
    ]
}

/// The dispatcher's side of the protocol, as far as the gate sees it.
struct World {
    gate: Gate,
    now: Timestamp,
    in_flight: Vec<Ticket>,
    question_out: bool,
}

impl World {
    fn new() -> Self {
        Self {
            gate: open(),
            now: START,
            in_flight: Vec::new(),
            question_out: false,
        }
    }

    fn step(&mut self, input: Input) -> Step {
        self.gate.step(input, self.now, &SETTINGS)
    }

    fn allowance(&self) -> Allowance {
        self.gate.allowance(self.now, &SETTINGS)
    }

    /// Uses the allowance as the dispatcher does.
    fn send(&mut self) {
        match self.allowance() {
            Allowance::All => {
                self.in_flight.push(self.gate.ticket(Role::Ordinary));
                self.step(Input::Departed(Role::Ordinary));
            }
            Allowance::One(role) => {
                self.in_flight.push(self.gate.ticket(role));
                self.step(Input::Departed(role));
            }
            Allowance::Question => {
                assert!(!self.question_out, "two questions at a time");
                self.question_out = true;
                self.step(Input::Asked);
            }
            Allowance::Opening | Allowance::Nothing { .. } => {}
        }
    }

    fn end(&mut self, which: usize, signal: Signal, refused_before: bool) {
        if self.in_flight.is_empty() {
            return;
        }
        let ticket = self.in_flight.swap_remove(which % self.in_flight.len());
        let before = self.gate.clone();
        let step = self.step(Input::Ended {
            ticket,
            signal,
            refused_before,
        });
        assert_eq!(
            step.refused.is_some(),
            matches!(signal, Signal::Unauthorized(_)),
            "every refused one is told what becomes of it"
        );
        if before.state_beneath() == "unauthorized" {
            assert_eq!(self.gate.state_beneath(), "unauthorized", "only what is stored opens it");
            if ticket.role != Role::Trial {
                assert_eq!(self.gate, before, "a late answer changes nothing");
            }
        }
        if before.state_beneath() != self.gate.state_beneath() {
            assert!(step.remember.is_some(), "what closes is remembered");
        }
    }

    fn take(&mut self, chance: &Chance) {
        match *chance {
            Chance::Send => self.send(),
            Chance::End {
                which,
                signal,
                refused_before,
            } => self.end(which, signal, refused_before),
            Chance::AnswerQuestion(verdict) if self.question_out => {
                self.question_out = false;
                self.step(Input::Answered(verdict));
            }
            Chance::StoreOpening if self.allowance() == Allowance::Opening => {
                self.step(Input::Opened);
            }
            Chance::AnswerQuestion(_) | Chance::StoreOpening => {}
            Chance::KeyChanged => {
                self.step(Input::KeyChanged);
            }
            Chance::AskNow => {
                self.step(Input::AskNow);
            }
            Chance::Pause => {
                self.step(Input::Paused(PauseRecord {
                    by: "ana".to_owned(),
                    at: 0,
                    why: None,
                }));
            }
            Chance::Resume => {
                self.step(Input::Resumed);
            }
            Chance::Wait(seconds) => self.now = self.now.plus(Duration::from_secs(seconds)),
        }
    }

    /// Laws that hold at any time.
    fn check(&self) {
        let trials = self.in_flight.iter().filter(|ticket| ticket.role == Role::Trial).count();
        assert!(trials + usize::from(self.question_out) <= 1, "one at a time finds out");
        let leads = self
            .in_flight
            .iter()
            .filter(|ticket| **ticket == self.gate.ticket(Role::Lead))
            .count();
        assert!(leads <= 1, "one goes first");
        match self.allowance() {
            Allowance::All | Allowance::One(Role::Lead) => assert_eq!((self.gate.name(), leads), ("open", 0)),
            Allowance::One(Role::Trial) => assert!(self.gate.awaits_trial() && self.gate.name() == "unauthorized"),
            Allowance::Question | Allowance::Opening => assert_eq!(self.gate.name(), "unauthorized"),
            Allowance::One(Role::Ordinary) => panic!("a single one has its reason"),
            Allowance::Nothing { .. } => {}
        }
    }
}

impl Gate {
    fn state_beneath(&self) -> &'static str {
        let mut uncovered = self.clone();
        uncovered.pause = None;
        uncovered.name()
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_laws_hold_and_enough_good_answers_open_it(chances in proptest::collection::vec(any_chance(), 0..200)) {
        let mut world = World::new();
        for chance in chances {
            world.take(&chance);
            world.check();
        }
        world.step(Input::Resumed);
        for _ in 0..20 {
            world.send();
            world.take(&Chance::AnswerQuestion(KeyVerdict::Works));
            while !world.in_flight.is_empty() {
                world.end(0, Signal::Healthy, false);
            }
            world.take(&Chance::StoreOpening);
            world.take(&Chance::Wait(30));
            world.check();
        }
        prop_assert_eq!(world.allowance(), Allowance::All);
    }
}
