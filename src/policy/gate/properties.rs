//! Random histories against the gate's laws; what the states cost is in `costs`.

mod costs;

use proptest::prelude::*;

use super::closed::Closed;
use super::inquiry::Phase;
use super::machine::Beneath;
use super::tests::{PROBE, SAMPLE, SETTINGS, START, TRIAL, about, open};
use super::*;

/// What the world may do to a gate, by chance.
#[derive(Debug, Clone)]
enum Chance {
    Send,
    End {
        which: usize,
        whose: i64,
        signal: Signal,
        refused_before: bool,
        retry_after: Option<u64>,
        roll: f64,
    },
    AnswerQuestion(KeyVerdict),
    StoreOpening,
    KeyChanged,
    AskNow,
    Insist,
    Pause,
    Resume,
    Wait(u64),
}

fn any_signal() -> impl Strategy<Value = Signal> {
    prop_oneof![
        2 => Just(Signal::Healthy),
        1 => Just(Signal::Answered),
        4 => Just(Signal::Rejected),
        1 => Just(Signal::Throttled),
        4 => Just(Signal::Faulty),
        2 => Just(Signal::Overloaded),
        1 => Just(Signal::Unauthorized(KeyRefusal::Unknown)),
        1 => Just(Signal::Unauthorized(KeyRefusal::Forbidden)),
    ]
}

fn any_chance() -> impl Strategy<Value = Chance> {
    let verdict = prop_oneof![
        Just(KeyVerdict::Works),
        Just(KeyVerdict::Refused),
        Just(KeyVerdict::Silent)
    ];
    let end = (
        any::<usize>(),
        0_i64..20,
        any_signal(),
        any::<bool>(),
        proptest::option::of(0_u64..900),
        0.0..=1.0_f64,
    );
    let end = end.prop_map(
        |(which, whose, signal, refused_before, retry_after, roll)| Chance::End {
            which,
            whose,
            signal,
            refused_before,
            retry_after,
            roll,
        },
    );
    prop_oneof![
        6 => Just(Chance::Send),
        6 => end,
        2 => verdict.prop_map(Chance::AnswerQuestion),
        2 => Just(Chance::StoreOpening),
        1 => Just(Chance::KeyChanged),
        1 => Just(Chance::AskNow),
        1 => Just(Chance::Insist),
        1 => Just(Chance::Pause),
        1 => Just(Chance::Resume),
        3 => (0_u64..90).prop_map(Chance::Wait),
    ]
}

impl Allowance {
    fn not_before(self) -> Option<Timestamp> {
        match self {
            Self::Nothing { until } => until,
            Self::All | Self::UpTo(_) | Self::One(_) | Self::Question | Self::Opening => None,
        }
    }
}

fn closed(gate: &Gate) -> Option<&Closed> {
    match &gate.beneath {
        Beneath::Closed(closed) => Some(closed),
        Beneath::Open(_) => None,
    }
}

/// The dispatcher's side of the protocol, as far as the gate sees it.
struct World {
    gate: Gate,
    now: Timestamp,
    in_flight: Vec<Dispatch>,
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

    fn step(&mut self, input: Input) -> Reaction {
        self.gate.step(input, self.now, &SETTINGS)
    }

    fn allowance(&self) -> Allowance {
        self.gate.allowance(self.now, &SETTINGS)
    }

    fn depart(&mut self, role: Purpose) {
        self.step(Input::Sent(role));
        self.in_flight.push(self.gate.dispatch(role));
    }

    /// Uses the allowance as the dispatcher does.
    fn send(&mut self) {
        match self.allowance() {
            Allowance::All if self.in_flight.len() < SETTINGS.max_in_flight as usize => self.depart(Purpose::Due),
            Allowance::UpTo(limit) if self.in_flight.len() < limit as usize => self.depart(Purpose::Due),
            Allowance::One(role) => self.depart(role),
            Allowance::Question => {
                assert!(!self.question_out, "two questions at a time");
                self.question_out = true;
                self.step(Input::Asked);
            }
            Allowance::All | Allowance::UpTo(_) | Allowance::Opening | Allowance::Nothing { .. } => {}
        }
    }

    fn end(&mut self, which: usize, signal: Signal, refused_before: bool, about: Ended) {
        if self.in_flight.is_empty() {
            return;
        }
        let ticket = self.in_flight.swap_remove(which % self.in_flight.len());
        let before = self.gate.clone();
        let asked = about
            .retry_after
            .filter(|_| matches!(signal, Signal::Faulty | Signal::Overloaded));
        let step = self.step(Input::Ended(Ended {
            dispatch: ticket,
            signal,
            refused_before,
            ..about
        }));
        assert_eq!(
            step.refused.is_some(),
            matches!(signal, Signal::Unauthorized(_)),
            "every refused one is told what becomes of it"
        );
        let (was, is) = (before.name_beneath(), self.gate.name_beneath());
        if was == GateName::Unauthorized {
            assert_eq!(is, GateName::Unauthorized, "only what is stored opens it");
            if ticket.purpose != TRIAL {
                assert_eq!(self.gate, before, "a late answer changes nothing");
            }
        }
        if matches!(was, GateName::Probing | GateName::Rejecting) && ticket.era != before.era {
            assert_eq!(is, was, "a late answer opens nothing");
            assert!(
                self.not_before() >= before.allowance(self.now, &SETTINGS).not_before(),
                "and hastens nothing"
            );
        }
        if let (Some(asked), GateName::Probing, GateName::Probing) = (asked, was, is) {
            // An operator's or a reload's question goes before it.
            let is_asked = closed(&before).is_some_and(|closed| closed.inquiry.is_asked_again());
            let until = self.now.plus(asked.min(SETTINGS.hold_max));
            // While a probe is out nothing may go; what was asked for holds for the next one.
            let not_before = match closed(&self.gate) {
                Some(closed) if matches!(closed.inquiry.phase, Phase::Out { .. }) => closed.inquiry.held(),
                Some(_) | None => self.not_before(),
            };
            assert!(
                is_asked || self.gate.pause().is_some() || not_before >= Some(until),
                "no probe before {until}: {:?}",
                self.gate
            );
        }
        if was != is {
            let remembered = step.remember.as_ref().map(|record| record.state);
            assert_eq!(remembered, Some(is), "every change is remembered");
            assert!(
                step.announce.is_some() || self.gate.pause().is_some(),
                "every change is told"
            );
        }
        if was == GateName::Probing && is == GateName::Probing && ticket == before.dispatch(PROBE) {
            self.check_gap(asked.unwrap_or_default());
        }
    }

    /// What a late answer asked for may hold longer than what this one asked for.
    fn longest_asked(&self, asked: Duration) -> Duration {
        let held = closed(&self.gate)
            .filter(|closed| closed.why == Why::Outage)
            .and_then(|closed| closed.inquiry.held());
        held.map_or(asked, |held| held.since(self.now).max(asked))
            .min(SETTINGS.hold_max)
    }

    /// Nothing before this; `None`: at once, or until something else happens.
    fn not_before(&self) -> Option<Timestamp> {
        self.allowance().not_before()
    }

    /// After a probe that failed the next one follows within bounds.
    fn check_gap(&self, asked: Duration) {
        if let (None, Allowance::Nothing { until: Some(until) }) = (self.gate.pause(), self.allowance()) {
            let gap = until.since(self.now);
            let (least, most) = (
                SETTINGS.gap_min.mul_f64(0.9),
                SETTINGS.gap_max.mul_f64(1.1).max(self.longest_asked(asked)),
            );
            assert!(least <= gap && gap <= most, "{gap:?}");
        }
    }

    fn take(&mut self, chance: &Chance) {
        match *chance {
            Chance::Send => self.send(),
            Chance::End {
                which,
                whose,
                signal,
                refused_before,
                retry_after,
                roll,
            } => {
                let about = Ended {
                    retry_after: retry_after.map(Duration::from_secs),
                    roll,
                    ..about(whose)
                };
                self.end(which, signal, refused_before, about);
            }
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
            Chance::Insist => {
                self.step(Input::Insisted);
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
        let trials = self.in_flight.iter().filter(|ticket| ticket.purpose == TRIAL).count();
        assert!(
            trials + usize::from(self.question_out) <= 1,
            "one at a time finds out about the key"
        );
        let alone = |role| {
            let mine = |ticket: &&Dispatch| ticket.era == self.gate.era && ticket.purpose == role;
            self.in_flight.iter().filter(mine).count()
        };
        assert!(alone(Purpose::First) <= 1, "one goes first");
        assert!(alone(PROBE) + alone(SAMPLE) <= 1, "one at a time finds out");
        assert!(
            self.in_flight.len() <= SETTINGS.max_in_flight as usize + 8,
            "what is in flight is bounded, and each one that finds out"
        );
        let name = self.gate.name();
        match self.allowance() {
            // A pause that is over is noticed by the next departure.
            Allowance::All => {
                assert!(matches!(name, GateName::Open | GateName::Throttled) && alone(Purpose::First) == 0);
            }
            Allowance::UpTo(limit) => {
                assert!((1..SETTINGS.max_in_flight).contains(&limit) && name == GateName::Throttled);
            }
            Allowance::One(Purpose::First) => {
                assert!(matches!(name, GateName::Open | GateName::Throttled) && alone(Purpose::First) == 0);
            }
            Allowance::One(TRIAL) => {
                let why = closed(&self.gate).map(|closed| closed.why);
                assert_eq!(
                    (name, why),
                    (GateName::Unauthorized, Some(Why::Key(KeyRefusal::Forbidden)))
                );
            }
            Allowance::One(PROBE) => assert_eq!((name, alone(PROBE)), (GateName::Probing, 0)),
            Allowance::One(SAMPLE) => assert_eq!((name, alone(SAMPLE)), (GateName::Rejecting, 0)),
            Allowance::Question | Allowance::Opening => assert_eq!(name, GateName::Unauthorized),
            Allowance::One(Purpose::Due | Purpose::Ask(Why::Key(KeyRefusal::Unknown))) => {
                panic!("a single one has its reason")
            }
            Allowance::Nothing { .. } => {
                assert!(name != GateName::Open || alone(Purpose::First) == 1 || self.waits_for_lead());
            }
        }
    }

    fn waits_for_lead(&self) -> bool {
        matches!(&self.gate.beneath, Beneath::Open(open) if open.first.is_some_and(|first| !first.is_out()))
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_laws_hold_and_enough_good_answers_open_it(chances in proptest::collection::vec(any_chance(), 0..300)) {
        let mut world = World::new();
        for chance in chances {
            world.take(&chance);
            world.check();
        }
        world.step(Input::Resumed);
        for _ in 0..300 {
            world.send();
            world.take(&Chance::AnswerQuestion(KeyVerdict::Works));
            while !world.in_flight.is_empty() {
                world.end(0, Signal::Healthy, false, about(1));
            }
            world.take(&Chance::StoreOpening);
            world.take(&Chance::Wait(30));
            world.check();
        }
        prop_assert_eq!(world.allowance(), Allowance::All);
    }
}
