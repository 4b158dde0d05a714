//! Outages, throttling, and everything rejected.

use super::*;

fn said(ticket: Dispatch, signal: Signal, about: Ended) -> Input {
    Input::Ended(Ended {
        dispatch: ticket,
        signal,
        refused_before: false,
        ..about
    })
}

fn send(gate: &mut Gate, role: Purpose, now: Timestamp) -> Dispatch {
    gate.step(Input::Sent(role), now, &SETTINGS);
    gate.dispatch(role)
}

/// One request of this submission, and its answer.
fn exchange(gate: &mut Gate, submission: i64, signal: Signal) -> Reaction {
    let ticket = send(gate, Purpose::Due, START);
    gate.step(said(ticket, signal, about(submission)), START, &SETTINGS)
}

fn in_outage() -> (Gate, Reaction) {
    let mut gate = open();
    let step = (1..=5)
        .map(|id| exchange(&mut gate, id, Signal::Faulty))
        .last()
        .unwrap();
    assert_eq!(gate.name(), GateName::Probing);
    (gate, step)
}

#[test]
fn five_faults_in_a_row_are_an_outage_and_an_answer_between_them_is_none() {
    let mut gate = open();
    for id in 1..=20 {
        exchange(
            &mut gate,
            id,
            if id % 5 == 0 { Signal::Answered } else { Signal::Faulty },
        );
        assert_eq!(gate.name(), GateName::Open);
    }
    let (gate, step) = in_outage();
    let (record, change) = (step.remember.unwrap(), step.announce.unwrap());
    assert_eq!(
        (record.state, change.from, change.to),
        (GateName::Probing, GateName::Open, GateName::Probing)
    );
    assert_eq!(
        gate.allowance(START, &SETTINGS),
        Allowance::Nothing { until: Some(after(1)) }
    );
}

#[test]
fn one_submission_that_always_fails_is_no_outage() {
    let mut gate = open();
    for _ in 0..1000 {
        exchange(&mut gate, 1, Signal::Faulty);
    }
    assert_eq!(gate.allowance(START, &SETTINGS), Allowance::All);
}

#[test]
fn one_probe_at_a_time_goes_out_at_gaps_that_double_up_to_the_longest() {
    let (mut gate, _) = in_outage();
    let mut now = after(1);
    for gap in [2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(gate.allowance(now, &SETTINGS), Allowance::One(PROBE));
        let probe = send(&mut gate, PROBE, now);
        assert_eq!(gate.allowance(now, &SETTINGS), Allowance::Nothing { until: None });
        gate.step(said(probe, Signal::Overloaded, about(9)), now, &SETTINGS);
        let next = now.plus(Duration::from_secs(gap));
        assert_eq!(gate.allowance(now, &SETTINGS), Allowance::Nothing { until: Some(next) });
        now = next;
    }
}

#[test]
fn the_first_answer_that_is_no_fault_ends_it_with_a_slow_start() {
    for signal in [Signal::Healthy, Signal::Answered, Signal::Rejected] {
        let (mut gate, _) = in_outage();
        let probe = send(&mut gate, PROBE, after(1));
        let step = gate.step(said(probe, signal, about(9)), after(1), &SETTINGS);
        assert_eq!(step.remember.unwrap().state, GateName::Throttled);
        let mut limits = Vec::new();
        while let Allowance::UpTo(limit) = gate.allowance(after(1), &SETTINGS) {
            limits.push(limit);
            exchange(&mut gate, 10, Signal::Healthy);
        }
        assert_eq!(limits, (1..16).collect::<Vec<_>>());
        assert_eq!(gate.name(), GateName::Open);
    }
}

#[test]
fn answers_to_requests_sent_before_the_outage_never_end_it() {
    let mut gate = open();
    let late = send(&mut gate, Purpose::Due, START);
    for id in 1..=5 {
        exchange(&mut gate, id, Signal::Faulty);
    }
    gate.step(said(late, Signal::Healthy, about(9)), START, &SETTINGS);
    assert_eq!(gate.name(), GateName::Probing);
}

#[test]
fn a_burst_of_refusals_narrows_it_once_a_round_trip() {
    let mut gate = open();
    let burst: Vec<Dispatch> = (0..16).map(|_| send(&mut gate, Purpose::Due, START)).collect();
    for ticket in burst {
        gate.step(said(ticket, Signal::Overloaded, about(1)), START, &SETTINGS);
    }
    assert_eq!(
        (gate.allowance(START, &SETTINGS), gate.name()),
        (Allowance::UpTo(8), GateName::Throttled)
    );
    for expected in [4, 2, 1, 1] {
        exchange(&mut gate, 1, Signal::Overloaded);
        exchange(&mut gate, 2, Signal::Answered);
        exchange(&mut gate, 1, Signal::Throttled);
        exchange(&mut gate, 2, Signal::Answered);
        let Allowance::UpTo(limit) = gate.allowance(START, &SETTINGS) else {
            panic!("{gate:?}")
        };
        assert!(limit <= expected.max(3), "{limit}");
    }
}

#[test]
fn it_grows_by_one_a_round_trip_until_it_is_open() {
    let mut gate = open();
    exchange(&mut gate, 1, Signal::Throttled);
    let mut answers = 0;
    while gate.name() == GateName::Throttled {
        exchange(&mut gate, 2, Signal::Healthy);
        answers += 1;
    }
    assert_eq!(answers, (8..16).sum::<u32>());
}

#[test]
fn retry_after_holds_everything_when_two_activities_in_a_row_were_told_so() {
    let told = |id| Ended {
        retry_after: Some(Duration::from_secs(90)),
        ..about(id)
    };
    let mut gate = open();
    for id in [1, 1] {
        let ticket = send(&mut gate, Purpose::Due, START);
        gate.step(said(ticket, Signal::Throttled, told(id)), START, &SETTINGS);
        assert!(
            matches!(gate.allowance(START, &SETTINGS), Allowance::UpTo(_)),
            "one alone holds itself"
        );
    }
    exchange(&mut gate, 3, Signal::Healthy);
    let ticket = send(&mut gate, Purpose::Due, START);
    gate.step(said(ticket, Signal::Throttled, told(2)), START, &SETTINGS);
    assert!(
        matches!(gate.allowance(START, &SETTINGS), Allowance::UpTo(_)),
        "an answer came between them"
    );
    let ticket = send(&mut gate, Purpose::Due, START);
    let step = gate.step(said(ticket, Signal::Throttled, told(1)), START, &SETTINGS);
    assert!(
        step.remember.unwrap().why.contains("2026-11-23T10:01:30.000Z"),
        "a pause is told although it was throttled before"
    );
    assert_eq!(
        gate.allowance(START, &SETTINGS),
        Allowance::Nothing { until: Some(after(90)) }
    );
    assert!(matches!(gate.allowance(after(90), &SETTINGS), Allowance::UpTo(_)));
}

#[test]
fn no_retry_after_holds_it_longer_than_the_longest_wait() {
    let mut gate = open();
    for id in [1, 2] {
        let ticket = send(&mut gate, Purpose::Due, START);
        let told = Ended {
            retry_after: Some(Duration::MAX),
            ..about(id)
        };
        gate.step(said(ticket, Signal::Faulty, told), START, &SETTINGS);
    }
    assert_eq!(
        (gate.allowance(START, &SETTINGS), gate.name()),
        (
            Allowance::Nothing {
                until: Some(after(600))
            },
            GateName::Throttled
        )
    );
    assert_eq!(
        exchange(&mut gate, 3, Signal::Healthy)
            .remember
            .map(|record| record.state),
        None,
        "sent after it: nothing new"
    );
    assert_eq!(gate.name(), GateName::Open, "the pause is over");
}

/// A gate whose fuse has blown.
fn blown() -> (Gate, Reaction) {
    let mut gate = open();
    let mut last = Reaction::default();
    for id in 1..=10 {
        assert_eq!(gate.name(), GateName::Open);
        // Told twice, by a resend for instance, it is one submission.
        for _ in 0..3 {
            let ticket = send(&mut gate, Purpose::Due, START);
            let message = ["a wrong date", "a wrong date", "a wrong code", "<none>", "a wrong date"]
                [usize::try_from(id % 5).unwrap()];
            let about = Ended {
                message: Some(message.to_owned()),
                ..about(id)
            };
            let step = gate.step(said(ticket, Signal::Rejected, about), START, &SETTINGS);
            last = if step.remember.is_some() { step } else { last };
        }
    }
    (gate, last)
}

#[test]
fn the_fuse_counts_each_submission_once_and_says_what_is_wrong_and_what_brings_it_back() {
    let (gate, step) = blown();
    assert_eq!(gate.name(), GateName::Rejecting);
    let record = step.remember.unwrap();
    assert!(
        record
            .why
            .contains("\"a wrong date\" (6), \"a wrong code\" (2), \"<none>\" (2)"),
        "{}",
        record.why
    );
    let command = "requeue --state dead --reason rejected --http-status 400 --changed-since 2026-11-23T10:00:00.000Z";
    assert!(record.hint.as_ref().unwrap().contains(command), "{record:?}");
    assert_eq!(step.announce.unwrap().hint, record.hint);
}

#[test]
fn a_producer_with_one_id_for_everything_blows_it_as_well() {
    let mut gate = open();
    for id in 1..=10 {
        assert_eq!(gate.name(), GateName::Open);
        let ticket = send(&mut gate, Purpose::Due, START);
        let about = Ended {
            activity: 7,
            ..about(id)
        };
        gate.step(said(ticket, Signal::Rejected, about), START, &SETTINGS);
    }
    assert_eq!(gate.name(), GateName::Rejecting);
}

#[test]
fn a_success_between_them_keeps_the_fuse_whole_and_so_does_switching_it_off() {
    let mut gate = open();
    for id in 0..100 {
        exchange(&mut gate, id, Signal::Rejected);
        if id % 9 == 8 {
            exchange(&mut gate, id, Signal::Healthy);
        }
    }
    assert_eq!(gate.name(), GateName::Open);
    let off = GateSettings {
        reject_fuse: None,
        ..SETTINGS
    };
    for id in 0..1000 {
        let ticket = send(&mut gate, Purpose::Due, START);
        gate.step(said(ticket, Signal::Rejected, about(id)), START, &off);
    }
    assert_eq!(gate.name(), GateName::Open);
}

#[test]
fn a_blown_fuse_lets_one_a_minute_out_until_one_succeeds() {
    let (mut gate, _) = blown();
    for minute in 1..5 {
        let now = after(minute * 60);
        assert_eq!(
            gate.allowance(now.minus(Duration::from_millis(1)), &SETTINGS),
            Allowance::Nothing { until: Some(now) }
        );
        assert_eq!(gate.allowance(now, &SETTINGS), Allowance::One(SAMPLE));
        let sample = send(&mut gate, SAMPLE, now);
        let signal = [Signal::Rejected, Signal::Answered, Signal::Faulty, Signal::Throttled]
            [usize::try_from(minute - 1).unwrap()];
        gate.step(said(sample, signal, about(50)), now, &SETTINGS);
        assert_eq!(gate.name(), GateName::Rejecting);
    }
    let sample = send(&mut gate, SAMPLE, after(300));
    let step = gate.step(said(sample, Signal::Healthy, about(50)), after(300), &SETTINGS);
    assert_eq!(
        (step.remember.unwrap().state, gate.name()),
        (GateName::Open, GateName::Open)
    );
}

#[test]
fn a_persons_resume_opens_a_blown_fuse_and_a_reload_only_tries_at_once() {
    for (input, name) in [
        (Input::Insisted, GateName::Open),
        (Input::Resumed, GateName::Open),
        (Input::AskNow, GateName::Rejecting),
    ] {
        let (mut gate, _) = blown();
        let step = gate.step(input, after(1), &SETTINGS);
        assert_eq!((gate.name(), step.remember.is_some()), (name, name == GateName::Open));
        if name == GateName::Rejecting {
            assert_eq!(gate.allowance(after(1), &SETTINGS), Allowance::One(SAMPLE));
        }
    }
}

#[test]
fn a_restart_begins_with_a_probe_or_a_sample() {
    for (remembered, role) in [(in_outage().1, PROBE), (blown().1, SAMPLE)] {
        let record = remembered.remember.unwrap();
        let gate = Gate::restore(Some(&record), None, after(1));
        assert_eq!(
            (gate.name(), gate.allowance(after(1), &SETTINGS)),
            (record.state, Allowance::One(role))
        );
    }
}

#[test]
fn a_refused_probe_or_sample_closes_it_for_the_key() {
    for (mut gate, role) in [(in_outage().0, PROBE), (blown().0, SAMPLE)] {
        let ticket = send(&mut gate, role, after(60));
        let step = gate.step(
            said(ticket, refusal(KeyRefusal::Unknown), about(50)),
            after(60),
            &SETTINGS,
        );
        assert_eq!(step.refused, Some(Ending::unauthorized(true)));
        assert_eq!(gate.name(), GateName::Unauthorized);
    }
}

#[test]
fn what_lands_while_a_step_waits_for_the_outbox_is_no_clock_that_was_set_back() {
    let earlier = START.minus(Duration::from_secs(10));
    let told = Ended {
        retry_after: Some(SETTINGS.hold_max),
        ..about(2)
    };
    let (mut held, ticket) = (open(), open().dispatch(Purpose::Due));
    for about in [about(1), told.clone(), Ended { activity: 3, ..told }] {
        held.step(said(ticket, Signal::Throttled, about), START, &SETTINGS);
    }
    for gate in [closed(KeyRefusal::Unknown), in_outage().0, blown().0, held] {
        let allowance = gate.allowance(earlier, &SETTINGS);
        assert!(
            matches!(allowance, Allowance::Nothing { until: Some(_) }),
            "{gate:?}: {allowance:?}"
        );
    }
}
