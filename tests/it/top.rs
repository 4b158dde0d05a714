//! `top` in a real terminal: what it shows, what its keys do, and how it leaves.

use std::process::Command;

use serde_json::json;

use crate::harness::{World, both, eventually, result, scripted, stderr};
use crate::postgres::Server;
use crate::terminal::Terminal;

/// An operator's own escape sequence in a producer's key and source, and in a server's message.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[31mred";

/// With the daemon running: 1 delivered, 2 and 3 dead alike, 4 parked, 5 invalid and hostile.
fn assorted() -> World {
    filled(World::new())
}

fn filled(mut world: World) -> World {
    world.start();
    let mut invalid = result(HOSTILE, &json!({}));
    invalid["status"] = json!(HOSTILE);
    invalid["$outbox"] = json!({"source": HOSTILE});
    let mut ok = result("act-ok", &json!({}));
    ok["$outbox"] = json!({"source": "crm"});
    world.drop_results(
        "five.ndjson",
        &[
            ok,
            scripted("act-dead-1", "404"),
            scripted("act-dead-2", "404"),
            scripted("act-parked", "409"),
            invalid,
        ],
    );
    world.settled();
    world.wait_for("dead", 3);
    world
}

fn top(world: &World, columns: u16, lines: u16) -> Terminal {
    Terminal::start(world.command(&["top"]), columns, lines)
}

fn leaves(mut top: Terminal) {
    top.types("q");
    assert!(top.ended().success(), "{}", top.screen());
    eventually("the terminal as before", || top.is_as_before());
}

#[test]
fn every_tab_shows_what_it_is_for_and_q_gives_the_terminal_back() {
    let world = assorted();
    let top = top(&world, 80, 24);
    let screen = top.shows("Nothing waits, and nothing is being sent.");
    for word in [
        "reten-outbox top",
        "gate",
        "open",
        "0 pending, 0 sending, 1 delivered, 3 dead, 1 parked",
        "oldest dead",
        "p50",
        "1 queue (0)  2 failures (3)  3 parked (1)  4 producers  5 log",
        "1-5 tabs",
    ] {
        assert!(screen.contains(word), "{word}:\n{screen}");
    }
    let screen = top.types("2").shows("rejected 404");
    assert!(screen.contains("invalid"), "{screen}");
    top.types("3").shows("act-parked");
    let screen = top.types("4").shows("crm");
    assert!(screen.contains("(no source)"), "{screen}");
    let screen = top.types("5").shows("dead: rejected");
    assert!(screen.contains("delivered") && screen.contains("act-ok"), "{screen}");
    top.types("?").shows("every act asks first");
    top.types(" ").shows("act-ok");
    leaves(top);
}

#[test]
fn a_story_opens_from_a_row_and_scrolls() {
    let world = assorted();
    let top = top(&world, 80, 24);
    top.types("3").shows("act-parked");
    let screen = top.types("\r").shows("Submission 4, parked: conflict");
    assert!(screen.contains("Payload"), "{screen}");
    top.types("G").shows("What you can do");
    top.types("\u{1b}").shows("act-parked");
    leaves(top);
}

#[test]
fn a_kind_of_failure_is_dismissed_as_a_whole_and_by_name() {
    let world = assorted();
    let top = top(&world, 80, 24);
    top.types("2").shows("rejected 404");
    top.types("\r").shows("2 of them, first");
    top.types("D").shows("Dismiss 2 dead submissions? y: yes");
    top.types("n").shows("nothing was changed");
    assert_eq!(world.list(&["--state", "dead"]).len(), 3);
    top.types("D").shows("Dismiss 2 dead");
    top.types("y").shows("2 submissions dismissed");
    top.shows("1 dead, 1 parked, 2 dismissed");
    assert_eq!(world.list(&["--state", "dismissed"]).len(), 2);
    let history = world.show(2)["history"].to_string();
    let user = world.ok(&["list", "--state", "dismissed", "--json"]);
    assert!(
        history.contains("dismiss") && history.contains("user "),
        "{history} {user}"
    );
    leaves(top);
}

#[test]
fn the_gate_is_closed_and_opened_from_it() {
    let world = assorted();
    let top = top(&world, 80, 24);
    top.shows("gate");
    top.types("p").shows("Why, for those who find it closed?");
    top.types("quiet hour\r").shows("paused: nothing is sent until");
    let screen = top.shows("paused since");
    assert!(
        screen.contains("quiet hour") && screen.contains("lets it go on"),
        "{screen}"
    );
    assert_eq!(world.status()["gate"], "paused");
    top.types("r").shows("Let results go out again?");
    top.types("y").shows("resumed; it was paused by");
    assert_eq!(world.status()["gate"], "open");
    leaves(top);
}

#[test]
fn it_looks_again_by_itself_and_takes_any_size() {
    let mut world = assorted();
    let top = top(&world, 80, 24);
    top.shows("1 delivered");
    world.drop_results("more.ndjson", &[result("act-more", &json!({}))]);
    top.shows("2 delivered");
    top.resize(200, 50);
    top.types("2").shows("rejected 404");
    let wide = eventually("the wide screen", || {
        let screen = top.screen();
        let is_wide = screen.lines().any(|line| line.chars().count() > 150);
        if is_wide { Ok(screen) } else { Err(screen) }
    });
    assert!(wide.contains("rejected 404"), "{wide}");
    top.resize(20, 5);
    top.shows("too small");
    top.resize(80, 24);
    top.shows("rejected 404");
    world.stop();
    top.shows("daemon stopped");
    leaves(top);
}

#[test]
fn nothing_that_a_producer_or_a_server_wrote_is_obeyed() {
    let world = assorted();
    world.sandbox.settings(&json!({}));
    let top = top(&world, 120, 40);
    for keys in ["1", "2", "3", "4", "5"] {
        top.types(keys);
        top.shows(if keys == "4" { "PRODUCER" } else { "reten-outbox top" });
    }
    top.types("4").shows("\\u{1b}]0;owned");
    top.types("5").shows("\\u{1b}]0;owned");
    top.types("2").shows("invalid");
    let raw = top.raw();
    assert!(
        !raw.contains("\u{1b}]0;owned") && !raw.contains("\u{1b}[31mred"),
        "{raw:?}"
    );
    leaves(top);
}

#[test]
fn without_colours_none_is_sent() {
    let mut world = assorted();
    let coloured = top(&world, 80, 24);
    coloured.shows("3 dead");
    assert!(sends_colours(&coloured.raw()), "{:?}", coloured.raw());
    leaves(coloured);
    world.env("NO_COLOR", "1");
    let plain = top(&world, 80, 24);
    plain.types("2").shows("rejected 404");
    assert!(!sends_colours(&plain.raw()), "{:?}", plain.raw());
    leaves(plain);
}

#[test]
fn a_shared_outbox_is_watched_with_its_daemons_and_acted_on() {
    let Some(server) = Server::get() else { return };
    let world = filled(World::on_server(server, "top", "alpha"));
    let mut beta = world.beside("beta");
    beta.start();
    let top = top(&world, 100, 30);
    let screen = top.shows("beta 0.");
    for word in ["nodes", "alpha 0.", "live since", "1 delivered, 3 dead, 1 parked"] {
        assert!(screen.contains(word), "{word}:\n{screen}");
    }
    top.types("4").shows("crm");
    top.types("5").shows("dead: rejected");
    top.types("2").shows("COUNT");
    top.types("\r").shows("2 of them, first");
    top.types("D").shows("Dismiss 2 dead submissions? y: yes");
    top.types("y").shows("2 submissions dismissed");
    beta.stop();
    leaves(top);
}

/// Whether any of its sequences names a colour.
fn sends_colours(raw: &str) -> bool {
    raw.split("\u{1b}[").skip(1).any(|sequence| {
        let Some((numbers, _)) = sequence.split_once('m') else {
            return false;
        };
        let is_style = numbers.chars().all(|c| c.is_ascii_digit() || c == ';');
        let is_colour = |number: u32| matches!(number, 30..=38 | 40..=48 | 90..=107);
        is_style
            && numbers
                .split(';')
                .filter_map(|number| number.parse().ok())
                .any(is_colour)
    })
}

#[test]
fn every_signal_that_ends_it_gives_the_terminal_back() {
    let world = assorted();
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let mut top = top(&world, 80, 24);
        top.shows("3 dead");
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &top.pid().to_string()])
            .status();
        assert!(sent.unwrap().success());
        assert!(top.ended().success(), "{signal}");
        eventually(signal, || top.is_as_before());
    }
    let mut top = top(&world, 80, 24);
    top.shows("3 dead");
    // Ctrl-Z stops nothing here: it leads its session, and nobody could bring it back.
    top.types("\u{1a}").shows("3 dead");
    top.types("2").shows("rejected 404");
    top.types("\u{3}");
    assert!(top.ended().success(), "Ctrl-C");
    eventually("Ctrl-C", || top.is_as_before());
}

#[test]
fn what_cannot_be_drawn_on_is_told_what_to_use_instead() {
    let mut world = assorted();
    let piped = world.run(&["top"]);
    assert_eq!(piped.status.code(), Some(2), "{}", both(&piped));
    assert!(both(&piped).contains("status --watch"), "{}", both(&piped));
    world.env("TERM", "dumb");
    let mut top = top(&world, 80, 24);
    assert_eq!(top.ended().code(), Some(2));
    let screen = top.shows("status --watch");
    assert!(screen.contains("TERM=dumb"), "{screen}");
    top.is_as_before().unwrap();
}

#[test]
fn what_is_wrong_with_the_outbox_is_told_before_the_screen_is_taken() {
    let world = World::new();
    let mut top = Terminal::start(world.command(&["top"]), 80, 24);
    assert!(top.ended().success());
    top.shows("there is no outbox yet");
    std::fs::write(world.path("outbox/outbox.db"), "this is no database, and never was one").unwrap();
    let mut top = Terminal::start(world.command(&["top"]), 80, 24);
    assert_eq!(top.ended().code(), Some(78), "{}", top.screen());
    assert!(!top.raw().contains("\u{1b}[?1049h"), "{:?}", top.raw());
    let listed = world.run(&["list"]);
    let words = stderr(&listed).replace(['\n', ' '], "");
    let shown = top.screen().replace(['\n', ' '], "");
    assert!(shown.contains(words.trim()), "{shown}\n{words}");
}
