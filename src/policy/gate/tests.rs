use super::*;

mod key;
mod rests;
mod weather;

pub(super) const START: Timestamp = Timestamp::from_millis(1_795_428_000_000);
pub(super) const SETTINGS: GateSettings = GateSettings {
    probe_interval: Duration::from_mins(1),
    gap_min: Duration::from_secs(1),
    gap_max: Duration::from_mins(1),
    max_in_flight: 16,
    reject_fuse: Some(10),
    hold_max: Duration::from_mins(10),
};

pub(super) const TRIAL: Purpose = Purpose::Ask(Why::Key(KeyRefusal::Forbidden));
pub(super) const PROBE: Purpose = Purpose::Ask(Why::Outage);
pub(super) const SAMPLE: Purpose = Purpose::Ask(Why::Fuse);

pub(super) fn open() -> Gate {
    Gate::restore(None, None, START)
}

fn ended(ticket: Dispatch, signal: Signal) -> Input {
    Input::Ended(Ended {
        dispatch: ticket,
        signal,
        refused_before: false,
        ..about(1)
    })
}

/// Nothing but whose it was.
pub(super) fn about(submission: i64) -> Ended {
    Ended {
        dispatch: open().dispatch(Purpose::Due),
        signal: Signal::Healthy,
        refused_before: false,
        submission: SubmissionId(submission),
        activity: submission.unsigned_abs(),
        at: START,
        retry_after: None,
        message: None,
        roll: 0.5,
    }
}

fn refusal(refusal: KeyRefusal) -> Signal {
    Signal::Unauthorized(refusal)
}

/// A gate that a request has just closed.
fn closed(by: KeyRefusal) -> Gate {
    let mut gate = open();
    let ticket = gate.dispatch(Purpose::Due);
    gate.step(ended(ticket, refusal(by)), START, &SETTINGS);
    gate
}

fn after(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

#[test]
fn a_refused_key_closes_the_gate_and_says_what_to_remember() {
    let mut gate = open();
    let ticket = gate.dispatch(Purpose::Due);
    let step = gate.step(ended(ticket, refusal(KeyRefusal::Unknown)), START, &SETTINGS);
    assert_eq!(step.refused, Some(Ending::unauthorized(true)));
    let record = step.remember.unwrap();
    assert_eq!(
        (record.state, record.status, record.since),
        (GateName::Unauthorized, Some(401), START.millis())
    );
    let change = step.announce.unwrap();
    assert_eq!((change.from, change.to), (GateName::Open, GateName::Unauthorized));
    assert_eq!(
        gate.allowance(START, &SETTINGS),
        Allowance::Nothing { until: Some(after(60)) }
    );
}

#[test]
fn one_fault_or_rejection_leaves_it_open() {
    for signal in [Signal::Answered, Signal::Rejected, Signal::Faulty] {
        let mut gate = open();
        let ticket = gate.dispatch(Purpose::Due);
        assert_eq!(gate.step(ended(ticket, signal), START, &SETTINGS), Reaction::default());
        assert_eq!(gate.allowance(START, &SETTINGS), Allowance::All);
    }
}

#[test]
fn after_a_401_the_key_is_asked_and_one_goes_first_when_it_works() {
    let mut gate = closed(KeyRefusal::Unknown);
    assert_eq!(gate.allowance(after(60), &SETTINGS), Allowance::Question);
    gate.step(Input::Asked, after(60), &SETTINGS);
    assert_eq!(gate.allowance(after(60), &SETTINGS), Allowance::Nothing { until: None });
    for verdict in [KeyVerdict::Refused, KeyVerdict::Silent] {
        let mut asked = gate.clone();
        asked.step(Input::Answered(verdict), after(61), &SETTINGS);
        assert_eq!(
            asked.allowance(after(61), &SETTINGS),
            Allowance::Nothing {
                until: Some(after(121))
            }
        );
    }
    gate.step(Input::Answered(KeyVerdict::Works), after(61), &SETTINGS);
    assert_eq!(
        (gate.allowance(after(61), &SETTINGS), gate.name()),
        (Allowance::Opening, GateName::Unauthorized)
    );
    let change = gate.step(Input::Opened, after(61), &SETTINGS).announce.unwrap();
    assert_eq!((change.from, change.to), (GateName::Unauthorized, GateName::Open));
    assert_eq!(gate.allowance(after(61), &SETTINGS), Allowance::One(Purpose::First));
    gate.step(Input::Sent(Purpose::First), after(61), &SETTINGS);
    assert_eq!(gate.allowance(after(61), &SETTINGS), Allowance::Nothing { until: None });
    let lead = gate.dispatch(Purpose::First);
    gate.step(ended(lead, Signal::Answered), after(62), &SETTINGS);
    assert_eq!(gate.allowance(after(62), &SETTINGS), Allowance::All);
}

#[test]
fn after_a_403_one_submission_tries_and_stays_uncharged_while_refused() {
    let mut gate = closed(KeyRefusal::Forbidden);
    assert_eq!(gate.allowance(after(60), &SETTINGS), Allowance::One(TRIAL));
    gate.step(Input::Sent(TRIAL), after(60), &SETTINGS);
    assert_eq!(gate.allowance(after(60), &SETTINGS), Allowance::Nothing { until: None });
    let trial = gate.dispatch(TRIAL);
    let step = gate.step(ended(trial, refusal(KeyRefusal::Forbidden)), after(61), &SETTINGS);
    assert_eq!((step.refused, step.remember), (Some(Ending::Released), None));
    assert_eq!(
        gate.allowance(after(61), &SETTINGS),
        Allowance::Nothing {
            until: Some(after(121))
        }
    );
    gate.step(Input::Sent(TRIAL), after(121), &SETTINGS);
    gate.step(ended(trial, Signal::Healthy), after(122), &SETTINGS);
    gate.step(Input::Opened, after(122), &SETTINGS);
    assert_eq!(
        gate.allowance(after(122), &SETTINGS),
        Allowance::All,
        "the trial was the one that goes first"
    );
    let again = Input::Ended(Ended {
        dispatch: gate.dispatch(Purpose::Due),
        signal: refusal(KeyRefusal::Forbidden),
        refused_before: true,
        ..about(1)
    });
    let step = gate.step(again, after(123), &SETTINGS);
    assert_eq!(
        step.refused,
        Some(Ending::unauthorized(false)),
        "the trial was delivered with this key"
    );
    assert_eq!(gate.name(), GateName::Open);
}

#[test]
fn a_trial_that_is_answered_with_401_is_followed_by_the_question() {
    let mut gate = closed(KeyRefusal::Forbidden);
    gate.step(Input::Sent(TRIAL), after(60), &SETTINGS);
    let trial = gate.dispatch(TRIAL);
    let step = gate.step(ended(trial, refusal(KeyRefusal::Unknown)), after(61), &SETTINGS);
    assert_eq!(step.refused, Some(Ending::Released));
    assert_eq!(step.remember.unwrap().status, Some(401));
    assert_eq!(gate.allowance(after(121), &SETTINGS), Allowance::Question);
}

#[test]
fn answers_to_requests_sent_before_it_closed_never_open_it() {
    let mut gate = open();
    let ticket = gate.dispatch(Purpose::Due);
    gate.step(ended(ticket, refusal(KeyRefusal::Unknown)), START, &SETTINGS);
    let before = gate.clone();
    assert_eq!(
        gate.step(ended(ticket, Signal::Healthy), START, &SETTINGS),
        Reaction::default()
    );
    let step = gate.step(ended(ticket, refusal(KeyRefusal::Unknown)), START, &SETTINGS);
    assert_eq!(
        step.refused,
        Some(Ending::unauthorized(true)),
        "it belongs to the same episode"
    );
    assert_eq!((step.announce, step.remember), (None, None));
    assert_eq!(gate, before);
}

#[test]
fn one_that_went_out_before_the_opening_and_is_refused_after_it_goes_back_uncharged() {
    let mut gate = closed(KeyRefusal::Unknown);
    let old = open().dispatch(Purpose::Due);
    gate.step(Input::Asked, START, &SETTINGS);
    gate.step(Input::Answered(KeyVerdict::Works), START, &SETTINGS);
    gate.step(Input::Opened, START, &SETTINGS);
    let step = gate.step(ended(old, refusal(KeyRefusal::Unknown)), START, &SETTINGS);
    assert_eq!((step.refused, gate.name()), (Some(Ending::Released), GateName::Open));
}

#[test]
fn one_refused_again_closes_it_where_nothing_else_was_delivered() {
    let mut gate = closed(KeyRefusal::Unknown);
    gate.step(Input::Asked, START, &SETTINGS);
    gate.step(Input::Answered(KeyVerdict::Works), START, &SETTINGS);
    gate.step(Input::Opened, START, &SETTINGS);
    gate.step(Input::Sent(Purpose::First), START, &SETTINGS);
    let again = Input::Ended(Ended {
        dispatch: gate.dispatch(Purpose::First),
        signal: refusal(KeyRefusal::Unknown),
        refused_before: true,
        ..about(1)
    });
    let step = gate.step(again, START, &SETTINGS);
    assert_eq!(
        (step.refused, gate.name()),
        (Some(Ending::unauthorized(true)), GateName::Unauthorized)
    );
}

#[test]
fn one_that_goes_first_and_meets_faults_is_followed_by_another_at_growing_gaps() {
    let mut gate = closed(KeyRefusal::Unknown);
    gate.step(Input::Asked, START, &SETTINGS);
    gate.step(Input::Answered(KeyVerdict::Works), START, &SETTINGS);
    gate.step(Input::Opened, START, &SETTINGS);
    let mut now = START;
    for gap in [1, 2, 4, 8, 16, 32, 60, 60] {
        gate.step(Input::Sent(Purpose::First), now, &SETTINGS);
        let lead = gate.dispatch(Purpose::First);
        gate.step(ended(lead, Signal::Faulty), now, &SETTINGS);
        let next = now.plus(Duration::from_secs(gap));
        assert_eq!(gate.allowance(now, &SETTINGS), Allowance::Nothing { until: Some(next) });
        now = next;
        assert_eq!(gate.allowance(now, &SETTINGS), Allowance::One(Purpose::First));
    }
}

#[test]
fn a_changed_key_a_reload_and_resume_ask_at_once() {
    for input in [Input::KeyChanged, Input::AskNow, Input::Resumed] {
        let mut gate = closed(KeyRefusal::Unknown);
        gate.step(input.clone(), after(1), &SETTINGS);
        assert_eq!(gate.allowance(after(1), &SETTINGS), Allowance::Question, "{input:?}");
        // Asked while the question is on its way: it may have carried the old key.
        gate.step(Input::Asked, after(1), &SETTINGS);
        gate.step(input, after(1), &SETTINGS);
        gate.step(Input::Answered(KeyVerdict::Refused), after(2), &SETTINGS);
        assert_eq!(gate.allowance(after(2), &SETTINGS), Allowance::Question);
    }
}

#[test]
fn a_key_that_changes_while_it_is_open_is_not_judged_by_answers_to_the_old_one() {
    let mut gate = open();
    let old = gate.dispatch(Purpose::Due);
    gate.step(Input::KeyChanged, START, &SETTINGS);
    let step = gate.step(ended(old, refusal(KeyRefusal::Unknown)), START, &SETTINGS);
    assert_eq!((step.refused, gate.name()), (Some(Ending::Released), GateName::Open));
}

#[test]
fn a_pause_lies_over_what_is_beneath_and_resume_uncovers_it() {
    let pause = PauseRecord {
        by: "ana".to_owned(),
        at: START.millis(),
        why: Some("maintenance".to_owned()),
    };
    let mut gate = open();
    let ticket = gate.dispatch(Purpose::Due);
    let change = gate.step(Input::Paused(pause), START, &SETTINGS).announce.unwrap();
    assert_eq!(
        (change.to, change.why.as_str()),
        (GateName::Paused, "paused by ana: maintenance")
    );
    assert_eq!(gate.allowance(START, &SETTINGS), Allowance::Nothing { until: None });
    let step = gate.step(ended(ticket, refusal(KeyRefusal::Unknown)), START, &SETTINGS);
    assert_eq!(
        (step.announce, step.remember.is_some()),
        (None, true),
        "what happens beneath is remembered"
    );
    assert_eq!(gate.name(), GateName::Paused);
    let change = gate.step(Input::Resumed, after(5), &SETTINGS).announce.unwrap();
    assert_eq!((change.from, change.to), (GateName::Paused, GateName::Unauthorized));
}

#[test]
fn what_is_remembered_is_restored_and_a_closed_one_begins_with_the_question() {
    for (by, first) in [
        (KeyRefusal::Unknown, Allowance::Question),
        (KeyRefusal::Forbidden, Allowance::One(TRIAL)),
    ] {
        let mut gate = open();
        let ticket = gate.dispatch(Purpose::Due);
        let record = gate
            .step(ended(ticket, refusal(by)), START, &SETTINGS)
            .remember
            .unwrap();
        let restored = Gate::restore(Some(&record), None, after(1));
        assert_eq!(
            (restored.name(), restored.allowance(after(1), &SETTINGS)),
            (GateName::Unauthorized, first)
        );
    }
    let opened = Gate::opening_record(START);
    assert_eq!(Gate::restore(Some(&opened), None, START), open());
}

#[test]
fn a_clock_that_was_set_back_does_not_hold_the_question_up() {
    let gate = closed(KeyRefusal::Unknown);
    assert_eq!(
        gate.allowance(START.minus(Duration::from_hours(24 * 365)), &SETTINGS),
        Allowance::Question
    );
}
