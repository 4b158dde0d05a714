//! Keys in, state out.

use crossterm::event::KeyEventKind;

use super::*;
use crate::cli::render::sample;
use crate::cli::review::case::Case;
use crate::model::{ParkReason, State};

fn case(id: i64, source: &str) -> Case {
    let mut story = sample::story(r#"{"activity_id":"a"}"#);
    story.listed.id = SubmissionId(id);
    story.listed.state = State::Parked(ParkReason::Conflict);
    story.listed.source = Some(source.to_owned());
    Case::of(&story, None).unwrap()
}

/// So many, of two sources by turns, the first of them on the screen.
fn session(count: i64) -> Session {
    let mut session = Session::new((1..=count).map(SubmissionId).collect());
    look(&mut session);
    session
}

/// Brings what is wanted, and draws it.
fn look(session: &mut Session) {
    for id in session.order.clone() {
        session.bring(case(id.0, ["crm", "erp"][usize::from(id.0 % 2 == 0)]));
    }
    session.drawn(0);
}

fn press(session: &mut Session, letter: char) -> Wish {
    session.key(KeyEvent {
        kind: KeyEventKind::Press,
        ..KeyEvent::from(KeyCode::Char(letter))
    })
}

fn deed(session: &Session, decision: Decision, ids: &[SubmissionId]) -> Deed {
    Deed {
        what: What::Decided(decision),
        seen: session.seen(ids),
        payload: None,
        at: None,
    }
}

/// Presses a key that decides, and does what the outbox would do.
fn decide(session: &mut Session, letter: char) {
    match press(session, letter) {
        Wish::Decide(decision, ids) => {
            if let Some(deed) = session.release() {
                session.carried_out(deed);
            }
            let deed = deed(session, decision, &ids);
            session.hold(deed, Instant::now());
        }
        Wish::Skip => {
            if let Some(deed) = session.release() {
                session.carried_out(deed);
            }
            session.skip();
        }
        other => panic!("{other:?}"),
    }
    look(session);
}

#[tokio::test]
async fn one_key_decides_and_the_next_one_is_there() {
    let mut session = session(3);
    decide(&mut session, 'o');
    assert_eq!(
        (session.current(), session.decided(), session.left()),
        (Some(SubmissionId(2)), 1, 2)
    );
    assert_eq!(session.held().unwrap().0.name(), "1: override");
    decide(&mut session, 'a');
    decide(&mut session, 's');
    assert_eq!(session.current(), None);
    assert_eq!(press(&mut session, 'd'), Wish::Nothing);
    assert!(session.message().contains("none is open"));
    assert_eq!(
        session.summary(),
        "1 overridden, 1 accepted, 0 dismissed, 0 edited, 1 skipped, 0 left"
    );
    press(&mut session, 'r');
    assert_eq!(session.current(), Some(SubmissionId(3)));
    assert_eq!(press(&mut session, 'q'), Wish::Quit);
}

#[tokio::test]
async fn all_that_are_alike_are_asked_for_and_then_decided_together() {
    let mut session = session(5);
    assert_eq!(press(&mut session, 'D'), Wish::Nothing);
    let ids = [1, 3, 5].map(SubmissionId).to_vec();
    let asking = Panel::Asking {
        decision: Decision::Dismiss,
        ids: ids.clone(),
        unknown: 0,
    };
    assert_eq!(*session.panel(), asking);
    // Anything but y is no.
    assert_eq!(press(&mut session, 'D'), Wish::Nothing);
    assert_eq!(session.message(), "nothing was decided");
    press(&mut session, 'D');
    assert_eq!(press(&mut session, 'y'), Wish::Decide(Decision::Dismiss, ids.clone()));
    let deed = deed(&session, Decision::Dismiss, &ids);
    session.hold(deed, Instant::now());
    assert_eq!((session.current(), session.left()), (Some(SubmissionId(2)), 2));
    assert_eq!(session.held().unwrap().0.name(), "3 alike: dismiss");
    assert_eq!(session.take_back(), Last::Settled);
    assert_eq!((session.current(), session.left()), (Some(SubmissionId(1)), 5));
}

#[tokio::test]
async fn what_was_not_compared_yet_is_counted_as_such() {
    let mut session = Session::new((1..=3).map(SubmissionId).collect());
    session.bring(case(1, "crm"));
    session.drawn(0);
    press(&mut session, 'A');
    assert!(matches!(session.panel(), Panel::Asking { unknown: 2, ids, .. } if ids.len() == 1));
}

#[tokio::test]
async fn a_key_counts_for_what_was_on_the_screen() {
    let mut session = session(3);
    let Wish::Decide(decision, ids) = press(&mut session, 'o') else {
        panic!()
    };
    let deed = deed(&session, decision, &ids);
    session.hold(deed, Instant::now());
    session.bring(case(2, "erp"));
    // Pressed twice, and the second one is not drawn yet.
    assert_eq!(press(&mut session, 'o'), Wish::Nothing);
    assert!(session.message().contains("not on the screen yet"));
    session.drawn(0);
    assert_eq!(
        press(&mut session, 'o'),
        Wish::Decide(Decision::Override, vec![SubmissionId(2)])
    );
}

#[tokio::test]
async fn decisions_are_taken_back_one_after_the_other() {
    let mut session = session(4);
    for letter in ['o', 's', 'd'] {
        decide(&mut session, letter);
    }
    assert_eq!(session.take_back(), Last::Settled);
    assert_eq!(
        session.current(),
        Some(SubmissionId(3)),
        "the held one, which was nowhere yet"
    );
    assert_eq!(session.take_back(), Last::Settled);
    assert_eq!(session.current(), Some(SubmissionId(2)), "the skipped one");
    let Last::CarriedOut(first, Decision::Override) = session.take_back() else {
        panic!()
    };
    assert_eq!(first.seen[0].id, SubmissionId(1));
    session.reopen(&[SubmissionId(1)]);
    assert_eq!((session.current(), session.left()), (Some(SubmissionId(1)), 4));
    assert_eq!(session.take_back(), Last::Settled);
    assert!(session.message().contains("nothing to take back"));
}

#[tokio::test]
async fn what_others_do_meanwhile_is_followed() {
    let mut session = session(3);
    let at = session.case().unwrap().seen.parked_at;
    session.gone(SubmissionId(1));
    look(&mut session);
    assert_eq!(session.current(), Some(SubmissionId(2)));
    assert!(!session.arrived(SubmissionId(3), at), "known as it is");
    assert!(session.arrived(SubmissionId(9), at), "a new one comes last");
    assert_eq!(session.upcoming().collect::<Vec<_>>(), [3, 9].map(SubmissionId));
    decide(&mut session, 'o');
    let later = at.plus(Duration::from_secs(1));
    assert!(
        !session.arrived(SubmissionId(2), later),
        "held: what is parked is what was decided"
    );
    decide(&mut session, 'o');
    assert!(
        session.arrived(SubmissionId(2), later),
        "it was sent, and met another conflict"
    );
    assert_eq!(session.left(), 2);
    assert_eq!(session.current(), Some(SubmissionId(9)));
    assert!(session.summary().contains("1 decided by others"));
    // Another payload came into the place of the one that is before the operator.
    assert!(session.arrived(SubmissionId(9), later));
    assert_eq!(session.wanted(), Some(SubmissionId(9)));
}

#[tokio::test]
async fn what_could_not_be_carried_out_comes_again_after_the_others() {
    let mut session = session(2);
    decide(&mut session, 'o');
    session.release().unwrap();
    session.comes_again(SubmissionId(1));
    assert_eq!((session.current(), session.left()), (Some(SubmissionId(2)), 2));
    decide(&mut session, 'a');
    assert_eq!(session.current(), Some(SubmissionId(1)));
}

#[tokio::test]
async fn keys_that_mean_nothing_here_say_so() {
    let mut session = session(1);
    assert_eq!(press(&mut session, 'x'), Wish::Nothing);
    assert!(session.message().contains("? shows them"));
    press(&mut session, '?');
    assert_eq!(*session.panel(), Panel::Help);
    assert_eq!(press(&mut session, 'o'), Wish::Nothing, "a key only closes the help");
    assert_eq!(*session.panel(), Panel::None);
    let held = KeyEvent::new(KeyCode::Char('o'), KeyModifiers::CONTROL);
    assert_eq!(session.key(held), Wish::Nothing);
}
