//! What outages and refusals cost at most: requests, and dead letters.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn a_429_to_everything_costs_what_was_in_flight_and_then_one_request_a_rest(
        seconds in 1_u64..3600,
        rolls in proptest::collection::vec(0.0..=1.0_f64, 1..50),
    ) {
        let mut world = World::new();
        let end = START.plus(Duration::from_secs(seconds));
        let (mut requests, mut whose) = (0_u32, 0);
        while world.now < end {
            let before = world.in_flight.len();
            world.send();
            if world.in_flight.len() > before {
                requests += 1;
                continue;
            }
            while !world.in_flight.is_empty() {
                whose += 1;
                let about = Ended { roll: rolls[usize::try_from(whose).unwrap() % rolls.len()], ..about(whose) };
                world.end(0, Signal::Throttled, false, about);
            }
            if let Allowance::Nothing { until: Some(until) } = world.allowance() {
                world.now = until;
            }
            world.check();
        }
        // The rests double from a second to a minute.
        let rests = if seconds < 60 { seconds.ilog2() + 2 } else { 7 + u32::try_from(seconds / 54).unwrap() };
        prop_assert!(requests <= SETTINGS.max_in_flight + rests, "{} requests in {} s", requests, seconds);
        while !world.in_flight.is_empty() {
            world.end(0, Signal::Throttled, false, about(1));
        }
        for _ in 0..SETTINGS.max_in_flight * 16 {
            world.take(&Chance::Wait(66));
            world.send();
            world.end(0, Signal::Healthy, false, about(1));
        }
        prop_assert_eq!(world.allowance(), Allowance::All);
    }

    #[test]
    fn the_fuse_blows_at_so_many_submissions_without_a_success_and_not_before(
        answers in proptest::collection::vec((0_i64..30, 0_u64..3, prop::bool::weighted(0.05)), 1..200),
    ) {
        let mut world = World::new();
        let mut rejected = HashSet::new();
        for (submission, activity, is_success) in answers {
            world.depart(Purpose::Due);
            let about = Ended { activity, ..about(submission) };
            if is_success {
                rejected.clear();
                world.end(0, Signal::Healthy, false, about);
            } else {
                rejected.insert(submission);
                world.end(0, Signal::Rejected, false, about);
            }
            let is_blown = rejected.len() >= 10;
            prop_assert_eq!(world.gate.name() == GateName::Rejecting, is_blown);
            if is_blown {
                break;
            }
        }
    }

    #[test]
    fn refusals_after_a_delivery_cost_at_most_what_may_be_in_flight_before_the_gate_closes(
        before in proptest::collection::vec(any::<bool>(), 1..100),
    ) {
        let mut world = World::new();
        world.depart(Purpose::Due);
        world.end(0, Signal::Healthy, false, about(1));
        let mut spared = 0;
        for refused_before in before {
            world.depart(Purpose::Due);
            world.end(0, Signal::Unauthorized(KeyRefusal::Unknown), refused_before, about(2));
            if world.gate.name() == GateName::Unauthorized {
                break;
            }
            prop_assert!(refused_before, "a first refusal closes it");
            spared += 1;
            prop_assert!(spared <= SETTINGS.max_in_flight);
        }
    }

    #[test]
    fn an_outage_costs_what_was_in_flight_and_then_no_more_than_its_length_in_longest_gaps(
        minutes in 1_u64..600,
        rolls in proptest::collection::vec(0.0..=1.0_f64, 1..50),
    ) {
        let mut world = World::new();
        let end = START.plus(Duration::from_mins(minutes));
        let mut requests = 0;
        let mut whose = 0;
        while world.now < end {
            let before = world.in_flight.len();
            world.send();
            if world.in_flight.len() > before {
                requests += 1;
                continue;
            }
            while !world.in_flight.is_empty() {
                whose += 1;
                let about = Ended { roll: rolls[usize::try_from(whose).unwrap() % rolls.len()], ..about(whose) };
                world.end(0, Signal::Faulty, false, about);
            }
            if let Allowance::Nothing { until: Some(until) } = world.allowance() {
                world.now = until;
            }
        }
        let most = u64::from(SETTINGS.max_in_flight) + 8 + minutes * 10 / 9;
        prop_assert!(requests <= most, "{} requests in {} minutes, more than {}", requests, minutes, most);
        world.take(&Chance::Wait(66));
        world.send();
        prop_assert_eq!(world.in_flight.len(), 1, "it is noticed within one interval");
    }
}
