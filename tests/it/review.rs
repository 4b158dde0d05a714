//! `review` in a real terminal: what it puts side by side, what its keys do to the outbox, and how it leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::harness::{World, both, eventually, result, scripted};
use crate::postgres;
use crate::terminal::Terminal;

const OUTBOX: &str = "outbox/outbox.db";

/// What was parked by 409s, the daemon stopped again: 4 corrects 1 and 5 corrects 2 (of the source `crm`, both in the
/// same members), 6 corrects 3, and 7 met a result from elsewhere.
fn conflicts() -> World {
    let mut world = World::new();
    world.start();
    let first = |activity: &str| result(activity, &json!({"external_status": "first"}));
    world.drop_results("first.ndjson", &[first("act-1"), first("act-2"), first("act-3")]);
    world.wait_for("delivered", 3);
    let second = |activity: &str, comment: &str, changes: Value| {
        let mut second = result(activity, &changes);
        second["task_result"]["comment"] = json!(comment);
        second
    };
    let crm = json!({"external_status": "first", "status": "NOT_EFFECTIVE", "$outbox": {"source": "crm"}});
    world.drop_results(
        "second.ndjson",
        &[
            second("act-1", "called again", crm.clone()),
            second("act-2", "called twice", crm),
            second("act-3", "other", json!({})),
            scripted("act-4", "409x9"),
        ],
    );
    world.wait_for("parked", 4);
    world.stop();
    world
}

fn review(world: &World, arguments: &[&str], columns: u16, lines: u16) -> Terminal {
    let arguments: Vec<&str> = ["review"].iter().chain(arguments).copied().collect();
    Terminal::start(world.command(&arguments), columns, lines)
}

/// Quits; what is told at the end.
fn quit(mut review: Terminal) -> String {
    review.types("q");
    ended(&mut review)
}

fn ended(review: &mut Terminal) -> String {
    assert!(review.ended().success(), "{}", review.screen());
    eventually("the terminal as before", || review.is_as_before());
    review.shows(" left")
}

fn states(world: &World, ids: &[i64]) -> Vec<String> {
    ids.iter()
        .map(|id| world.show(*id)["state"].as_str().unwrap().to_owned())
        .collect()
}

/// What history says last of one, and who did it.
fn last_word(world: &World, id: i64) -> (String, String) {
    let history = world.show(id)["history"].clone();
    let last = history.as_array().unwrap().last().unwrap().clone();
    (
        last["what"].as_str().unwrap().to_owned(),
        last["actor"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn ours_and_the_registered_one_stand_side_by_side() {
    let world = conflicts();
    let review = review(&world, &[], 80, 24);
    let screen = review.shows("Submission 4, activity act-1, source crm");
    for words in [
        "4 left, 0 decided, 0 skipped",
        "409 Conflict: Activity already has a result",
        "likely override: what is registered is an older one of ours",
        "~ status",
        "\"NOT_EFFECTIVE\"",
        "\"EFFECTIVE\"",
        "~ task_result.comment",
        "\"called again\"",
        "REGISTERED: 1, ",
        "o override",
        "a accept",
        "d dismiss",
    ] {
        assert!(screen.contains(words), "{words}:\n{screen}");
    }
    review.types("?").shows("Any key goes back");
    review.types("?").shows("Submission 4");
    review.types("v").shows("commerce_external_id");
    review.resize(200, 50);
    let wide = eventually("the wide screen", || {
        let screen = review.screen();
        let is_wide = screen.lines().any(|line| line.trim_end().chars().count() > 150);
        if is_wide { Ok(screen) } else { Err(screen) }
    });
    assert!(
        wide.contains("the API said") && wide.contains("\"statusCode\": 409"),
        "{wide}"
    );
    review.types("sss").shows("Submission 7, activity act-4");
    review.shows("REGISTERED: not by us");
    let told = quit(review);
    assert!(
        told.contains("0 overridden, 0 accepted, 0 dismissed, 0 edited, 3 skipped, 1 left"),
        "{told}"
    );
    assert_eq!(states(&world, &[4, 5, 6, 7]), ["parked"; 4]);
}

#[test]
fn each_decision_is_one_key_and_the_commands_own_act() {
    let world = conflicts();
    let review = review(&world, &[], 80, 24);
    review.shows("Submission 4");
    review.types("o").shows("Submission 5");
    review.shows("4: override held for");
    assert_eq!(states(&world, &[4]), ["parked"], "nothing is carried out yet");
    review.types("a").shows("Submission 6");
    eventually("the first one carried out", || {
        let state = states(&world, &[4]);
        if state == ["pending"] {
            Ok(())
        } else {
            Err(state.concat())
        }
    });
    review.types("d").shows("Submission 7");
    review.types("s").shows("Nothing is left to decide");
    let told = quit(review);
    assert!(
        told.contains("1 overridden, 1 accepted, 1 dismissed, 0 edited, 1 skipped, 0 left"),
        "{told}"
    );
    assert_eq!(
        states(&world, &[4, 5, 6, 7]),
        ["pending", "delivered", "dismissed", "parked"]
    );
    for (id, word) in [(4, "override"), (5, "accepted"), (6, "dismissed")] {
        let (what, actor) = last_word(&world, id);
        assert_eq!(what, word);
        assert!(actor.starts_with("user "), "{actor}");
    }
    let mut world = world;
    world.start();
    world.wait_for("delivered", 5);
    assert!(
        world
            .sandbox
            .bodies()
            .last()
            .unwrap()
            .contains("\"hard_override\":true")
    );
}

#[test]
fn all_that_are_alike_are_decided_after_a_question() {
    let world = conflicts();
    let review = review(&world, &[], 80, 24);
    review.shows("2 alike");
    review.types("D").shows("dismiss 2 that are alike?");
    review.shows("source crm; conflict; these differ: status, task_result.comment");
    review.types("n").shows("nothing was decided");
    review.types("D").shows("dismiss 2 that are alike?");
    review.types("y").shows("2 alike: dismiss held for");
    review.shows("Submission 6");
    let told = quit(review);
    assert!(told.contains("2 dismissed") && told.contains("2 left"), "{told}");
    assert_eq!(
        states(&world, &[4, 5, 6, 7]),
        ["dismissed", "dismissed", "parked", "parked"]
    );
}

#[test]
fn the_last_decision_is_taken_back_and_the_one_before_it() {
    let world = conflicts();
    let review = review(&world, &[], 80, 24);
    review.shows("Submission 4");
    for (key, next) in [("o", "5"), ("a", "6"), ("d", "7")] {
        review.types(key).shows(&format!("Submission {next}"));
    }
    review
        .types("u")
        .shows("6: dismiss taken back; nothing of it was carried out");
    review.shows("Submission 6");
    review.types("u").shows("5: accept taken back: parked again");
    review.shows("Submission 5");
    review.types("u").shows("4: override taken back: parked again");
    review.shows("Submission 4");
    review.types("u").shows("there is nothing to take back");
    let told = quit(review);
    assert!(
        told.contains("0 overridden, 0 accepted, 0 dismissed") && told.contains("4 left"),
        "{told}"
    );
    assert_eq!(states(&world, &[4, 5, 6, 7]), ["parked"; 4]);
    assert_eq!(last_word(&world, 4).0, "undone");
    assert_eq!(last_word(&world, 5).0, "undone");
    let history = world.show(6)["history"].to_string();
    assert!(
        !history.contains("dismissed") && !history.contains("undone"),
        "what was only held left no trace: {history}"
    );
}

#[test]
fn what_has_left_meanwhile_stays_and_is_said_so() {
    let mut world = conflicts();
    world.start();
    let review = review(&world, &[], 80, 24);
    review.shows("Submission 4");
    review.types("o").shows("Submission 5");
    review.types("s").shows("Submission 6");
    world.wait_for("delivered", 4);
    review.types("u").shows("Submission 5");
    review
        .types("u")
        .shows("4: override cannot be taken back: it is delivered");
    let told = quit(review);
    assert!(told.contains("1 overridden") && told.contains("3 left"), "{told}");
}

#[test]
fn what_nobody_takes_back_is_carried_out_by_itself_and_a_lost_terminal_decides_nothing() {
    let world = conflicts();
    let mut review = review(&world, &["--source", "crm"], 80, 24);
    review.shows("Submission 4");
    review.types("d").shows("Submission 5");
    eventually("the held decision", || {
        let state = states(&world, &[4]);
        if state == ["dismissed"] {
            Ok(())
        } else {
            Err(state.concat())
        }
    });
    review.types("d").shows("Nothing is left to decide");
    review.types("\u{3}");
    let told = ended(&mut review);
    assert!(told.contains("1 dismissed") && told.contains("1 left"), "{told}");
    review.shows("5: dismiss was not carried out: it stays parked");
    let mut review = self::review(&world, &["--source", "crm"], 80, 24);
    review.shows("Submission 5");
    review.types("o").shows("5: override held");
    review.hang_up();
    assert_eq!(states(&world, &[5]), ["parked"]);
}

#[test]
fn ours_is_edited_in_the_operators_editor_and_checked_as_edit_does() {
    let mut world = conflicts();
    let script = world.path("editor");
    // The first time it writes what the API refuses, then what it takes.
    let text = "#!/bin/sh\nif grep -q WRONG \"$1\"; then sed -i s/WRONG/PENDING/ \"$1\"; else sed -i s/NOT_EFFECTIVE/WRONG/ \"$1\"; fi\n";
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    world.env("VISUAL", &script.display().to_string());
    let review = review(&world, &[], 80, 24);
    review.shows("Submission 4");
    review.types("e").shows("e opens your text again");
    assert!(review.screen().contains("status"), "{}", review.screen());
    review.types("e").shows("4: edit held for");
    review.shows("Submission 5");
    let told = quit(review);
    assert!(told.contains("1 edited"), "{told}");
    let story = world.show(4);
    assert_eq!(
        (&story["state"], &story["payload"]["status"]),
        (&json!("pending"), &json!("PENDING"))
    );
    assert_eq!(last_word(&world, 4).0, "edited");
}

#[test]
fn what_others_do_meanwhile_is_told_and_what_comes_in_is_added() {
    let mut world = conflicts();
    let review = review(&world, &[], 80, 24);
    review.shows("Submission 4");
    world.ok(&["dismiss", "4"]);
    review.shows("submission 4 is dismissed by now: dismissed by user");
    review.shows("Submission 5");
    // Decided between the look and the key, or told by the look: in either way it is passed over.
    world.ok(&["accept", "5"]);
    review.types("d");
    review.shows("submission 5 is delivered by now");
    review.shows("Submission 6");
    assert_eq!(states(&world, &[5]), ["delivered"]);
    world.start();
    world.drop_results("new.ndjson", &[scripted("act-9", "409x9")]);
    review.shows("3 left");
    let told = quit(review);
    assert!(told.contains("2 decided by others, 3 left"), "{told}");
}

#[test]
fn what_may_not_be_done_is_refused_with_the_words_of_the_command() {
    let mut world = conflicts();
    world.start();
    // A later one of the activity of 7 is delivered.
    world.drop_results("later.ndjson", &[result("act-4", &json!({"hard_override": true}))]);
    world.wait_for("delivered", 4);
    let review = review(&world, &["--activity", "act-4"], 120, 24);
    review.shows("Submission 7");
    review
        .types("o")
        .shows("submission 7 is superseded: submission 8 of the same activity came later");
    review.types("e").shows("submission 7 is superseded");
    review.types("d").shows("Nothing is left to decide");
    quit(review);
    assert_eq!(states(&world, &[7]), ["dismissed"]);
}

#[test]
fn nothing_that_a_producer_or_a_server_wrote_is_obeyed() {
    let hostile = "\u{1b}]0;owned\u{7}\u{1b}[31mred\u{202e}\u{9b}2J";
    let mut world = World::new();
    world.start();
    let mut result = scripted("act-1", "409x9");
    result["task_result"]["comment"] = json!(hostile);
    result["task_result"]["payload"] = json!({hostile: hostile});
    result["$outbox"] = json!({"source": hostile});
    world.drop_results("one.ndjson", &[result]);
    world.wait_for("parked", 1);
    world.stop();
    let body = json!({"statusCode": 409, "error": hostile, "message": hostile}).to_string();
    let body = format!("{}\u{202e}", body.replace('\'', "''"));
    world.sql(
        OUTBOX,
        &format!(
            "UPDATE attempt SET body = CAST('{body}' AS BLOB), body_length = {}",
            body.len()
        ),
    );
    for (columns, lines) in [(80, 24), (200, 50)] {
        let review = review(&world, &[], columns, lines);
        review.shows("Submission 1");
        review.types("v").shows("task_result.comment");
        review.types("A").shows("accept 1 that are alike?");
        review.types("n").shows("nothing was decided");
        let raw = review.raw();
        for sequence in ["\u{1b}]0;owned", "\u{1b}[31mred", "\u{202e}", "\u{9b}"] {
            assert!(!raw.contains(sequence), "{sequence:?} in {raw:?}");
        }
        quit(review);
    }
}

#[test]
fn without_a_terminal_or_anything_parked_it_says_what_to_do() {
    let mut world = conflicts();
    let piped = world.run(&["review"]);
    assert_eq!(piped.status.code(), Some(2), "{}", both(&piped));
    for words in ["list --state parked", "`override`", "`accept`", "`dismiss`"] {
        assert!(both(&piped).contains(words), "{}", both(&piped));
    }
    let wrong = world.run(&["review", "--state", "dead"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", both(&wrong));
    let none = world.run(&["review", "--source", "nobody"]);
    assert!(
        none.status.success() && both(&none).contains("nothing that is parked matches"),
        "{}",
        both(&none)
    );
    world.env("TERM", "dumb");
    let mut dumb = review(&world, &[], 80, 24);
    assert_eq!(dumb.ended().code(), Some(2));
    dumb.shows("TERM=dumb");
    let fresh = World::new();
    let missing = fresh.run(&["review"]);
    assert!(
        missing.status.success() && both(&missing).contains("there is no outbox yet"),
        "{}",
        both(&missing)
    );
    fs::write(fresh.path(OUTBOX), "this is no database, and never was one").unwrap();
    let broken = fresh.run(&["review"]);
    assert_eq!(broken.status.code(), Some(78), "{}", both(&broken));
    assert_eq!(
        both(&broken),
        both(&fresh.run(&["dismiss", "--state", "parked", "--yes"]))
    );
}

#[test]
fn a_shared_outbox_is_reviewed_likewise() {
    let Some(server) = postgres::Server::get() else { return };
    let mut world = World::on_server(server, &server.fresh_schema(), "alpha");
    world.start();
    world.drop_results("first.ndjson", &[result("act-1", &json!({}))]);
    world.wait_for("delivered", 1);
    world.drop_results(
        "second.ndjson",
        &[
            result("act-1", &json!({"status": "PENDING"})),
            scripted("act-2", "409x9"),
            scripted("act-3", "409x9"),
        ],
    );
    world.wait_for("parked", 3);
    let review = review(&world, &[], 80, 24);
    review.shows("Submission 2, activity act-1");
    review.shows("\"PENDING\"");
    review.types("a").shows("2 alike");
    review.types("D").shows("dismiss 2 that are alike?");
    review.types("y").shows("2 alike: dismiss held for");
    review.types("u").shows("2 alike: dismiss taken back");
    review.types("u").shows("2: accept taken back: parked again");
    review.shows("Submission 2, activity act-1");
    review.types("o").shows("2: override held");
    review.types("s").shows("Submission 4");
    world.wait_for("delivered", 2);
    let told = quit(review);
    assert!(
        told.contains("1 overridden, 0 accepted, 0 dismissed, 0 edited, 1 skipped, 1 left"),
        "{told}"
    );
    let history = world.show(2)["history"].clone();
    let of_operators = |line: &&Value| line["actor"].as_str().is_some_and(|actor| actor.starts_with("user "));
    let lines = history.as_array().unwrap().iter().filter(of_operators);
    let words: Vec<&str> = lines.map(|line| line["what"].as_str().unwrap()).collect();
    assert_eq!(words, ["accepted", "undone", "override"]);
}
