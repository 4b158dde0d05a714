//! What says something of the key, and what says something of one submission only.

use super::*;
use crate::model::{Answer, Exchange, Fault, FaultKind};

fn answered(status: u16) -> Exchange {
    Exchange::Answered(Answer {
        status,
        headers: Vec::new(),
        body: bytes::Bytes::from_static(br#"{"data":[]}"#),
        body_length: 11,
    })
}

fn failed(status: Option<u16>) -> Exchange {
    Exchange::Failed {
        fault: Fault {
            kind: FaultKind::CutOff,
            message: String::new(),
            status,
        },
        on_the_wire: true,
    }
}

/// A gate that opens after the key question, and has its lead out.
fn opened() -> Gate {
    let mut gate = closed(KeyRefusal::Unknown);
    gate.step(Input::Asked, START, &SETTINGS);
    gate.step(Input::Answered(KeyVerdict::Works), START, &SETTINGS);
    gate.step(Input::Opened, START, &SETTINGS);
    gate.step(Input::Sent(Purpose::First), START, &SETTINGS);
    gate
}

fn refused_again(gate: &mut Gate, submission: i64) -> Reaction {
    let again = Input::Ended(Ended {
        dispatch: gate.dispatch(Purpose::Due),
        signal: refusal(KeyRefusal::Unknown),
        refused_before: true,
        ..about(submission)
    });
    gate.step(again, START, &SETTINGS)
}

#[test]
fn every_status_of_the_question_has_its_verdict_whatever_the_body() {
    for status in 0..=1000 {
        let expected = match status {
            401 => KeyVerdict::Refused,
            408 | 425 | 429 => KeyVerdict::Silent,
            200..=299 | 400..=499 => KeyVerdict::Works,
            _ => KeyVerdict::Silent,
        };
        assert_eq!(KeyVerdict::of(&answered(status)), expected, "{status}");
        assert_eq!(
            KeyVerdict::of(&failed(Some(status))),
            expected,
            "{status}, and then cut off"
        );
    }
    assert_eq!(KeyVerdict::of(&failed(None)), KeyVerdict::Silent);
}

#[test]
fn those_that_are_refused_again_close_nothing_unless_they_are_too_many_for_that() {
    let mut gate = opened();
    let lead = gate.dispatch(Purpose::First);
    gate.step(ended(lead, Signal::Healthy), START, &SETTINGS);
    for id in 0..16 {
        let step = refused_again(&mut gate, id);
        assert_eq!(step.refused, Some(Ending::unauthorized(false)));
        assert_eq!(gate.name(), GateName::Open);
    }
    let mut revoked = gate.clone();
    assert_eq!(
        refused_again(&mut revoked, 16).refused,
        Some(Ending::unauthorized(true)),
        "a key that is revoked meanwhile costs no more than what may be in flight"
    );
    assert_eq!(revoked.name(), GateName::Unauthorized);
    let ticket = gate.dispatch(Purpose::Due);
    gate.step(ended(ticket, Signal::Healthy), START, &SETTINGS);
    refused_again(&mut gate, 16);
    assert_eq!(gate.name(), GateName::Open, "others are delivered between them");
}

#[test]
fn what_was_found_out_of_an_old_key_opens_nothing_without_one_that_goes_first() {
    let mut gate = closed(KeyRefusal::Unknown);
    gate.step(Input::Asked, after(60), &SETTINGS);
    gate.step(Input::Answered(KeyVerdict::Works), after(60), &SETTINGS);
    assert_eq!(gate.allowance(after(60), &SETTINGS), Allowance::Opening);
    gate.step(Input::KeyChanged, after(60), &SETTINGS);
    assert_eq!(
        gate.allowance(after(60), &SETTINGS),
        Allowance::Question,
        "the new one is asked"
    );

    let mut gate = closed(KeyRefusal::Forbidden);
    gate.step(Input::Sent(TRIAL), after(60), &SETTINGS);
    let trial = gate.dispatch(TRIAL);
    gate.step(Input::KeyChanged, after(60), &SETTINGS);
    gate.step(ended(trial, Signal::Healthy), after(61), &SETTINGS);
    gate.step(Input::Opened, after(61), &SETTINGS);
    assert_eq!(gate.allowance(after(61), &SETTINGS), Allowance::One(Purpose::First));
}
