//! The screen as it is drawn into memory.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Cell;

use super::*;
use crate::cli::render::sample;
use crate::cli::review::session::{Deed, What};
use crate::model::{ParkReason, State, SubmissionId};

const NOW: Timestamp = Timestamp::from_millis(1_795_428_100_000);

fn case(id: i64, ours: &str, theirs: Option<&str>) -> Case {
    let mut story = sample::story(ours);
    story.listed.id = SubmissionId(id);
    story.listed.state = State::Parked(ParkReason::Conflict);
    story.listed.source = Some("crm".into());
    story.delivered_last = theirs.map(|_| SubmissionId(7));
    story.registered_by_us = theirs.is_some();
    let registered = theirs.map(|theirs| {
        let mut story = sample::story(theirs);
        story.listed.id = SubmissionId(7);
        story
    });
    Case::of(&story, registered.as_ref()).unwrap()
}

fn session(case: Case) -> Session {
    let mut session = Session::new(vec![case.seen.id, SubmissionId(99)]);
    session.bring(case);
    session
}

fn screen(session: &Session, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| _ = draw(session, NOW, Instant::now(), frame))
        .unwrap();
    let buffer = terminal.backend().buffer().clone();
    let rows = buffer.content().chunks(usize::from(width));
    rows.map(|row| row.iter().map(Cell::symbol).collect::<String>().trim_end().to_owned())
        .collect()
}

const OURS: &str =
    r#"{"activity_id":"act-1","status":"EFFECTIVE","task_result":{"result":"SALE_COMPLETED","comment":"new"},"z":1}"#;
const THEIRS: &str =
    r#"{"activity_id":"act-1","status":"PENDING","task_result":{"result":"SALE_COMPLETED"},"old":[1]}"#;

#[tokio::test]
async fn what_differs_stands_side_by_side_with_everything_that_is_needed_to_decide() {
    let lines = screen(&session(case(12, OURS, Some(THEIRS))), 80, 24);
    let text = lines.join("\n");
    for expected in [
        "2 left, 0 decided, 0 skipped",
        "Submission 12, activity act-1, source crm",
        "parked 1 min ago after 1 attempt: conflict",
        "the API: 400 Bad Request: commerce",
        "likely override: what is registered is an older one of ours",
        "OURS, taken in 1 min ago",
        "REGISTERED: 7, 1 min ago",
        "~ status",
        "\"EFFECTIVE\"",
        "\"PENDING\"",
        "+ task_result.comment",
        "- old",
        "+ z",
        "2 more members are the same",
        "o override   ours is sent again",
        "a accept     the registered one is ours",
        "d dismiss    the registered one stays",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    let status = lines.iter().find(|line| line.contains("~ status")).unwrap();
    assert!(status.find("EFFECTIVE") < status.find("PENDING"), "{status}");
    assert!(
        !text.contains("SALE_COMPLETED"),
        "what is the same is not in the way\n{text}"
    );
}

#[tokio::test]
async fn v_shows_all_members_and_the_rest_is_reached_by_scrolling() {
    let many: Vec<String> = (0..40).map(|n| format!(r#","m{n}":{n}"#)).collect();
    let many = many.concat();
    let (ours, theirs) = (format!(r#"{{"a":1{many}}}"#), format!(r#"{{"a":2{many}}}"#));
    let mut session = session(case(12, &ours, Some(&theirs)));
    session.key(KeyEvent::from(KeyCode::Char('v')));
    let text = screen(&session, 80, 24).join("\n");
    assert!(
        text.contains("below: arrows") && text.contains("  m3 ") && !text.contains("  m39"),
        "{text}"
    );
    session.key(KeyEvent::from(KeyCode::End));
    let text = screen(&session, 80, 24).join("\n");
    assert!(
        text.contains(", 0 below:") && text.contains("  m39") && text.contains("the API said"),
        "{text}"
    );
}

#[tokio::test]
async fn where_the_registered_one_is_not_known_the_answer_stands_in_its_place() {
    let text = screen(&session(case(12, OURS, None)), 80, 24).join("\n");
    assert!(text.contains("REGISTERED: not by us"), "{text}");
    assert!(
        text.contains("\"statusCode\": 400") && text.contains("task_result.result"),
        "{text}"
    );
    assert!(!text.contains("members are the same"), "{text}");
}

#[tokio::test]
async fn what_is_held_and_what_is_asked_is_told() {
    let mut session = session(case(12, OURS, Some(THEIRS)));
    session.drawn(0);
    session.key(KeyEvent::from(KeyCode::Char('D')));
    let text = screen(&session, 80, 24).join("\n");
    assert!(
        text.contains("dismiss 1 that are alike? 1 more are not compared yet"),
        "{text}"
    );
    assert!(
        text.contains("these differ: old, status, task_result.comment, z"),
        "{text}"
    );
    session.key(KeyEvent::from(KeyCode::Char('n')));
    let seen = session.seen(&[SubmissionId(12)]);
    let what = What::Decided(Decision::Override);
    session.hold(
        Deed {
            what,
            seen,
            payload: None,
            at: None,
        },
        Instant::now(),
    );
    let text = screen(&session, 80, 24).join("\n");
    assert!(
        text.contains("12: override held for 10 s or until the next decision"),
        "{text}"
    );
    assert!(text.contains("Reading it"), "{text}");
}

#[tokio::test]
async fn help_explains_every_key_and_fits_the_smallest_terminal() {
    let mut session = session(case(12, OURS, None));
    session.key(KeyEvent::from(KeyCode::Char('?')));
    let text = screen(&session, 80, 24).join("\n");
    for line in HELP {
        assert!(text.contains(line.trim()), "{line}\n{text}");
    }
}

#[tokio::test]
async fn any_size_can_be_drawn() {
    let session = session(case(12, OURS, Some(THEIRS)));
    for (width, height) in [(1, 1), (5, 3), (20, 8), (80, 10), (200, 50), (300, 3)] {
        assert_eq!(screen(&session, width, height).len(), usize::from(height));
    }
    let wide = screen(&session, 200, 50).join("\n");
    assert!(wide.contains("~ status") && wide.contains("the API said"), "{wide}");
}

#[tokio::test]
async fn long_values_are_cut_so_that_the_difference_is_seen() {
    let long = |end: &str| format!(r#"{{"comment":"{}{end}"}}"#, "same ".repeat(60));
    let session = session(case(12, &long("MORNING"), Some(&long("EVENING"))));
    let text = screen(&session, 80, 24).join("\n");
    assert!(
        text.contains("MORNING") && text.contains("EVENING") && text.contains('…'),
        "{text}"
    );
}

#[tokio::test]
async fn the_time_that_is_left_goes_down() {
    let mut session = session(case(12, OURS, None));
    let seen = session.seen(&[SubmissionId(12)]);
    let now = Instant::now();
    session.hold(
        Deed {
            what: What::Decided(Decision::Accept),
            seen,
            payload: None,
            at: None,
        },
        now,
    );
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let later = now + Duration::from_millis(6_500);
    terminal.draw(|frame| _ = draw(&session, NOW, later, frame)).unwrap();
    let text: String = terminal.backend().buffer().content().iter().map(Cell::symbol).collect();
    assert!(text.contains("12: accept held for 4 s"), "{text}");
}
