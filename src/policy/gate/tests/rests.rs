//! What the API asks for, and what a 429 costs that names no time.

use super::*;

fn after_ms(millis: u64) -> Timestamp {
    START.plus(Duration::from_millis(millis))
}

fn send(gate: &mut Gate, role: Purpose, now: Timestamp) -> Dispatch {
    gate.step(Input::Sent(role), now, &SETTINGS);
    gate.dispatch(role)
}

fn end(gate: &mut Gate, ticket: Dispatch, signal: Signal, about: Ended, now: Timestamp) -> Reaction {
    let ended = Input::Ended(Ended {
        dispatch: ticket,
        signal,
        refused_before: false,
        ..about
    });
    gate.step(ended, now, &SETTINGS)
}

/// Told to wait so many seconds.
fn told(submission: i64, seconds: u64) -> Ended {
    Ended {
        retry_after: Some(Duration::from_secs(seconds)),
        ..about(submission)
    }
}

fn nothing_until(seconds: u64) -> Allowance {
    Allowance::Nothing {
        until: Some(after(seconds)),
    }
}

fn in_outage() -> Gate {
    let mut gate = open();
    for id in 1..=5 {
        let ticket = send(&mut gate, Purpose::Due, START);
        end(&mut gate, ticket, Signal::Faulty, about(id), START);
    }
    assert_eq!(gate.name(), GateName::Probing);
    gate
}

#[test]
fn a_429_without_a_time_rests_everything_longer_each_time_and_then_one_goes_first() {
    let mut gate = open();
    let burst: Vec<Dispatch> = (0..16).map(|_| send(&mut gate, Purpose::Due, START)).collect();
    for (id, ticket) in (1..).zip(burst) {
        end(&mut gate, ticket, Signal::Throttled, about(id), START);
    }
    let mut now = START;
    for (place, gap) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
        let next = now.plus(Duration::from_secs(gap));
        assert_eq!(gate.allowance(now, &SETTINGS), Allowance::Nothing { until: Some(next) });
        now = next;
        assert_eq!(
            (gate.allowance(now, &SETTINGS), gate.name()),
            (Allowance::UpTo(1), GateName::Throttled)
        );
        let ticket = send(&mut gate, Purpose::Due, now);
        let step = end(
            &mut gate,
            ticket,
            Signal::Throttled,
            about(20 + i64::try_from(place).unwrap()),
            now,
        );
        assert_eq!(step, Reaction::default(), "it is told once, not each time");
    }
    now = now.plus(Duration::from_mins(1));
    let ticket = send(&mut gate, Purpose::Due, now);
    end(&mut gate, ticket, Signal::Healthy, about(40), now);
    assert!(
        matches!(gate.allowance(now, &SETTINGS), Allowance::UpTo(_)),
        "it goes on at once"
    );
    let ticket = send(&mut gate, Purpose::Due, now);
    end(&mut gate, ticket, Signal::Throttled, about(41), now);
    let next = now.plus(SETTINGS.gap_min);
    assert_eq!(
        gate.allowance(now, &SETTINGS),
        Allowance::Nothing { until: Some(next) },
        "it begins anew"
    );
}

#[test]
fn one_activity_that_is_always_told_so_makes_the_others_wait_no_longer() {
    let mut gate = open();
    for round in 0..10 {
        let now = after_ms(round * 2000);
        let ticket = send(&mut gate, Purpose::Due, now);
        end(&mut gate, ticket, Signal::Throttled, about(1), now);
        assert_eq!(
            gate.allowance(after_ms(round * 2000 + 1000), &SETTINGS),
            Allowance::UpTo(1)
        );
    }
}

#[test]
fn an_outage_keeps_to_what_the_api_asks_for_at_most_the_longest_wait() {
    let mut gate = open();
    for id in 1..=5 {
        let ticket = send(&mut gate, Purpose::Due, START);
        end(&mut gate, ticket, Signal::Overloaded, told(id, 90), START);
    }
    assert_eq!(
        (gate.name(), gate.allowance(START, &SETTINGS)),
        (GateName::Probing, nothing_until(90))
    );
    assert_eq!(gate.allowance(after(90), &SETTINGS), Allowance::One(PROBE));
    let probe = send(&mut gate, PROBE, after(90));
    end(&mut gate, probe, Signal::Overloaded, told(9, 86_400), after(90));
    assert_eq!(gate.allowance(after(91), &SETTINGS), nothing_until(690));
    gate.step(Input::Insisted, after(92), &SETTINGS);
    assert_eq!(
        gate.allowance(after(92), &SETTINGS),
        Allowance::One(PROBE),
        "a person asks at once"
    );
    let probe = send(&mut gate, PROBE, after(92));
    end(&mut gate, probe, Signal::Faulty, about(9), after(92));
    assert_eq!(
        gate.allowance(after(92), &SETTINGS),
        nothing_until(96),
        "the gaps go on growing"
    );
}

#[test]
fn the_pause_that_was_in_force_and_late_answers_lengthen_the_gap_too() {
    let mut gate = open();
    let late = send(&mut gate, Purpose::Due, START);
    let tickets: Vec<Dispatch> = (0..5).map(|_| send(&mut gate, Purpose::Due, START)).collect();
    let abouts = [told(1, 30), told(2, 30), about(3), about(4), about(5)];
    for ((id, about), ticket) in (1..).zip(abouts).zip(tickets) {
        end(&mut gate, ticket, Signal::Faulty, about, START);
        assert_eq!(gate.name() == GateName::Probing, id == 5);
    }
    assert_eq!(gate.allowance(START, &SETTINGS), nothing_until(30));
    end(&mut gate, late, Signal::Overloaded, told(6, 300), START);
    assert_eq!(
        (gate.name(), gate.allowance(START, &SETTINGS)),
        (GateName::Probing, nothing_until(300))
    );
}

#[test]
fn an_outage_that_ends_with_a_429_is_followed_by_its_rest() {
    for (about, until) in [(about(9), 2), (told(9, 50), 51)] {
        let mut gate = in_outage();
        let probe = send(&mut gate, PROBE, after(1));
        end(&mut gate, probe, Signal::Throttled, about, after(1));
        assert_eq!(
            (gate.name(), gate.allowance(after(1), &SETTINGS)),
            (GateName::Throttled, nothing_until(until))
        );
        assert_eq!(gate.allowance(after(until), &SETTINGS), Allowance::UpTo(1));
    }
}

#[test]
fn a_trial_and_a_sample_keep_to_it_as_well() {
    let mut gate = closed(KeyRefusal::Forbidden);
    let trial = send(&mut gate, TRIAL, after(60));
    end(&mut gate, trial, Signal::Overloaded, told(1, 300), after(60));
    assert_eq!(gate.allowance(after(60), &SETTINGS), nothing_until(360));

    let mut gate = open();
    for id in 1..=10 {
        let ticket = send(&mut gate, Purpose::Due, START);
        end(&mut gate, ticket, Signal::Rejected, about(id), START);
    }
    let sample = send(&mut gate, SAMPLE, after(60));
    end(&mut gate, sample, Signal::Throttled, told(11, 300), after(60));
    assert_eq!(
        (gate.name(), gate.allowance(after(60), &SETTINGS)),
        (GateName::Rejecting, nothing_until(360))
    );
}

#[test]
fn a_clock_that_was_set_back_holds_nothing_up_for_longer_than_it_would_have_been() {
    let long_ago = START.minus(Duration::from_hours(24));
    let mut resting = open();
    let ticket = send(&mut resting, Purpose::Due, START);
    end(&mut resting, ticket, Signal::Throttled, about(1), START);
    assert_eq!(resting.allowance(long_ago, &SETTINGS), Allowance::UpTo(1));
    let mut outage = in_outage();
    let probe = send(&mut outage, PROBE, after(1));
    end(&mut outage, probe, Signal::Overloaded, told(9, 600), after(1));
    assert_eq!(outage.allowance(long_ago, &SETTINGS), Allowance::One(PROBE));
}
