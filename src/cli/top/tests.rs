//! What the view looks like, and what keys make of it.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;

use super::draw;
use super::look::{AnswerTimes, Look, Page, Rows, ShownPace, Tab};
use super::view::{ActDeed, Deed, Effect, Event, Mode, View};
use crate::cli::failures::grouped;
use crate::cli::gate::ShownGate;
use crate::cli::render::sample;
use crate::cli::status::{RUNNING, StateCounts, Status};
use crate::clock::Timestamp;
use crate::model::{Act, DeadReason, ParkReason, State, StateName, SubmissionId};
use crate::policy::gate::GateName;
use crate::store::{DeadLetter, Listed};

const NOW: Timestamp = Timestamp::from_millis(1_795_428_100_000);

fn look(rows: Rows) -> Look {
    Look {
        status: Status {
            daemon: RUNNING,
            daemon_pid: Some(4711),
            counts: Some(StateCounts {
                pending: 12,
                sending: 2,
                delivered: 88_231,
                dead: 3,
                parked: 1,
                dismissed: 0,
            }),
            oldest_pending_seconds: Some(240),
            oldest_dead_seconds: Some(7200),
            gate: ShownGate::of(GateName::Open),
            in_flight: Some(2),
            at: NOW,
            ..Status::default()
        },
        pace: ShownPace {
            delivered_per_second: Some(812.0),
            dead_per_second: Some(0.4),
            retried_per_minute: Some(90),
            minutes: vec![100, 700, 350],
            last_in: Some(NOW),
            last_out: None,
            answers: AnswerTimes::of(vec![21, 80]),
            free_bytes: Some(12 << 30),
        },
        rows,
        ..Look::default()
    }
}

fn listed(id: i64, state: State) -> Listed {
    let mut listed = sample::story("{}").listed;
    (listed.id, listed.state) = (SubmissionId(id), state);
    listed
}

fn letter(id: i64, message: &str) -> DeadLetter {
    let body = serde_json::json!({"statusCode": 404, "error": "Not Found", "message": message});
    DeadLetter {
        id: SubmissionId(id),
        at: NOW,
        reason: "rejected".to_owned(),
        http_status: Some(404),
        source: Some("cr\u{1b}[31mm".to_owned()),
        invalid: None,
        body: Some(body.to_string().into_bytes()),
        fault: None,
    }
}

fn failures() -> Rows {
    let letters = [
        letter(9, "Activity act-9 not found\u{1b}[Jowned"),
        letter(8, "Activity act-8 not found\u{1b}[Jowned"),
        letter(7, "Unknown task"),
    ];
    Rows::Failures {
        groups: grouped(&letters),
        looked_at: 3,
    }
}

fn drawn(view: &mut View, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(view, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn screen_text(view: &mut View, width: u16, height: u16) -> String {
    let buffer = drawn(view, width, height);
    let mut text = String::new();
    for row in 0..height {
        for column in 0..width {
            text.push_str(buffer[(column, row)].symbol());
        }
        text = text.trim_end().to_owned() + "\n";
    }
    text
}

fn press(view: &mut View, keys: &str) -> Effect {
    let mut effect = Effect::Nothing;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '↓' => KeyCode::Down,
            other => KeyCode::Char(other),
        };
        effect = view.update(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }
    effect
}

#[test]
fn what_matters_first_is_at_the_head_at_any_size() {
    let rows = Rows::Queue(vec![listed(5, State::Sending), listed(6, State::Pending { due: NOW })]);
    let mut view = View::new(look(rows), false);
    for (width, height) in [(80, 24), (200, 50), (40, 10), (60, 17)] {
        let text = screen_text(&mut view, width, height);
        let wanted = ["reten-outbox top", "gate", "open", "queue", "1 queue (14)", "sending"];
        for word in wanted {
            assert!(text.contains(word), "{word} at {width}x{height}:\n{text}");
        }
    }
    let text = screen_text(&mut view, 80, 24);
    for word in [
        "daemon running, process 4711",
        "12 pending, 2 sending, 88231 delivered, 3 dead, 1 parked",
        "oldest pending 4 min",
        "oldest dead 2 h",
        "812 delivered, 1.5 retried, 0.4 dead; by minute ▂█▅",
        "p50 21 ms, p95 80 ms, p99 80 ms of the newest 2, 2 in flight",
        "in just now, out none yet; disk 12.0 GiB free",
        "R requeue",
    ] {
        assert!(text.contains(word), "{word}:\n{text}");
    }
    let small = screen_text(&mut view, 20, 5);
    assert!(small.contains("too small") && small.contains("q quits"), "{small}");
}

#[test]
fn a_closed_gate_says_why_and_what_mends_it() {
    let mut look = look(Rows::default());
    look.status.gate = ShownGate {
        state: Some(GateName::Unauthorized),
        reason: Some("the API answered 401: Invalid key".to_owned()),
        hint: Some("put a valid key into /etc/reten-outbox/api-key".to_owned()),
        since: Some(NOW),
    };
    let mut view = View::new(look, false);
    let text = screen_text(&mut view, 80, 24);
    for word in [
        "unauthorized since",
        "Invalid key",
        "put a valid key",
        "Nothing is sent until the key works",
    ] {
        assert!(text.contains(word), "{word}:\n{text}");
    }
}

#[test]
fn without_colours_there_are_none() {
    let colours = |colour: bool| {
        let mut view = View::new(look(Rows::default()), colour);
        drawn(&mut view, 80, 24)
            .content()
            .iter()
            .any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(colours(true) && !colours(false));
}

#[test]
fn nothing_hostile_reaches_the_screen() {
    let mut view = View::new(look(failures()), true);
    view.tab = Tab::Failures;
    view.update(Event::Look(Box::new(look(failures()))));
    for keys in ["", "\n"] {
        press(&mut view, keys);
        let buffer = drawn(&mut view, 200, 50);
        assert!(
            buffer
                .content()
                .iter()
                .all(|cell| !cell.symbol().contains(char::is_control))
        );
        let text = screen_text(&mut view, 200, 50);
        assert!(text.contains("not found\\u{1b}[Jowned"), "{text}");
    }
    view.update(Event::Done("an \u{1b}[2J answer".to_owned()));
    assert!(screen_text(&mut view, 80, 24).contains("an \\u{1b}[2J answer"));
}

#[test]
fn a_kind_of_failure_is_opened_and_acted_on_as_a_whole() {
    let mut view = View::new(look(failures()), false);
    press(&mut view, "2");
    view.update(Event::Look(Box::new(look(failures()))));
    let table = screen_text(&mut view, 80, 24);
    assert!(table.contains("rejected 404  Activity # not found"), "{table}");
    assert_eq!(press(&mut view, "\n"), Effect::Nothing);
    let group = screen_text(&mut view, 80, 24);
    assert!(group.contains("2 of them, first"), "{group}");
    press(&mut view, "D");
    assert!(screen_text(&mut view, 80, 24).contains("Dismiss 2 dead submissions? y: yes"));
    let Effect::Do(Deed::Act(deed)) = press(&mut view, "y") else {
        panic!("nothing is done")
    };
    assert_eq!(deed.ids, [9, 8].map(SubmissionId));
    assert_eq!((deed.act, deed.state), (Act::Dismiss, StateName::Dead));
    assert_eq!(deed.kind.unwrap().http_status, Some(404));
    // One thing at a time.
    assert_eq!(press(&mut view, "Dy"), Effect::Nothing);
    view.update(Event::Done("2 submissions dismissed".to_owned()));
    assert!(screen_text(&mut view, 80, 24).contains("2 submissions dismissed"));
    // What was left behind is not asked for by a key that only closes a question.
    press(&mut view, "R");
    assert_eq!(press(&mut view, "n"), Effect::Nothing);
    assert!(screen_text(&mut view, 80, 24).contains("nothing was changed"));
    press(&mut view, "\u{1b}");
    assert_eq!(view.mode, Mode::Table);
}

#[test]
fn an_act_is_only_offered_for_what_it_is_for() {
    let rows = || Rows::Queue(vec![listed(5, State::Sending), listed(6, State::Pending { due: NOW })]);
    let mut view = View::new(look(rows()), false);
    press(&mut view, "R");
    assert_eq!(view.message.as_deref(), Some("requeue is not for what is sending"));
    assert_eq!(
        press(&mut view, "↓Oy"),
        Effect::Nothing,
        "override is for what is parked"
    );
    let one = |act| {
        Effect::Do(Deed::Act(ActDeed {
            act,
            ids: vec![SubmissionId(6)],
            state: StateName::Pending,
            kind: None,
        }))
    };
    assert_eq!(press(&mut view, "Ry"), one(Act::Requeue));
}

#[test]
fn the_chosen_one_stays_chosen_when_rows_come_before_it() {
    let parked = |ids: &[i64]| {
        let state = State::Parked(ParkReason::Conflict);
        Rows::Parked(ids.iter().map(|id| listed(*id, state)).collect())
    };
    let mut view = View::new(look(Rows::default()), false);
    press(&mut view, "3");
    assert!(
        screen_text(&mut view, 80, 24).contains("reading"),
        "not another tab's rows under its name"
    );
    view.update(Event::Look(Box::new(look(parked(&[3, 2, 1])))));
    press(&mut view, "↓");
    view.update(Event::Look(Box::new(look(parked(&[5, 4, 3, 2, 1])))));
    press(&mut view, "O");
    let Mode::Ask { question, .. } = &view.mode else {
        panic!("{:?}", view.mode)
    };
    assert_eq!(question, "Override submission 2?");
}

#[test]
fn a_story_is_scrolled_and_closed() {
    let mut view = View::new(
        look(Rows::Queue(vec![listed(5, State::Dead(DeadReason::Rejected))])),
        false,
    );
    press(&mut view, "\n");
    assert_eq!(view.wish().shown, Some(SubmissionId(5)));
    assert!(screen_text(&mut view, 80, 24).contains("reading"));
    let mut seen = look(Rows::default());
    seen.page = Some(Page {
        id: SubmissionId(5),
        state: Some(StateName::Dead),
        lines: (1..=100)
            .map(|line| format!("line {line} {}", "x".repeat(100)))
            .collect(),
    });
    view.update(Event::Look(Box::new(seen)));
    assert!(screen_text(&mut view, 80, 24).contains("line 1 "));
    press(&mut view, "G");
    let end = screen_text(&mut view, 80, 24);
    assert!(end.contains("line 100 ") && !end.contains("line 1 "), "{end}");
    press(&mut view, "k");
    assert_ne!(screen_text(&mut view, 80, 24), end, "the first key upwards moves it");
    press(&mut view, "\u{1b}");
    assert_eq!(view.wish().shown, None);
}

#[test]
fn a_pause_takes_a_reason_and_q_in_it_is_a_letter() {
    let mut view = View::new(look(Rows::default()), false);
    assert_eq!(
        press(&mut view, "pq r\n"),
        Effect::Do(Deed::Pause {
            why: Some("q r".to_owned())
        })
    );
    view.update(Event::Done("paused".to_owned()));
    assert_eq!(press(&mut view, "p\u{1b}"), Effect::Nothing);
    assert_eq!(press(&mut view, "ry"), Effect::Do(Deed::Resume));
    view.update(Event::Done("resumed".to_owned()));
    press(&mut view, "h");
    assert!(screen_text(&mut view, 80, 24).contains("every act asks first"));
    assert_eq!(press(&mut view, "q"), Effect::Nothing, "any key leaves the help");
    assert_eq!(press(&mut view, "q"), Effect::Quit);
}

#[test]
fn an_outbox_that_cannot_be_read_says_so_and_counts_nothing() {
    let mut broken = look(Rows::default());
    broken.status.counts = None;
    broken.failed = Some("the outbox is away".to_owned());
    let mut view = View::new(broken, false);
    let text = screen_text(&mut view, 80, 24);
    assert!(
        text.contains("the outbox is away") && !text.contains("pending,"),
        "{text}"
    );
}
