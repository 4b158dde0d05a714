use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use serde_json::Value;

use super::names::NAME_BYTES_MAX;
use super::*;
use crate::intake::parse::Position;
use crate::intake::trust;

const NOW: Timestamp = Timestamp::from_millis(1_795_428_000_000);

fn report(name: &OsStr, why: &str) -> RejectReport {
    let bad = ParseFault {
        place: Position {
            line: 3,
            column: 7,
            item: None,
        },
        why: why.into(),
        unfinished: false,
    };
    RejectReport::of_fault(name, bad.to_string(), &bad, NOW)
}

fn reject(inbox: &Folder, name: &OsStr) -> OsString {
    let stat = inbox.stat(name).unwrap().unwrap();
    whole(inbox, name, &stat, &report(name, "broken")).unwrap().unwrap()
}

fn names(dir: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.retain(|name| name != private_dir::NAME);
    names.sort();
    names
}

#[test]
fn a_file_moves_with_its_reason_and_never_onto_another() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = Folder::open(dir.path()).unwrap();
    for content in ["1", "2", "3"] {
        fs::write(dir.path().join("a b.json"), content).unwrap();
        reject(&inbox, OsStr::new("a b.json"));
    }
    let rejected = dir.path().join(REJECTED);
    assert_eq!(
        names(&rejected),
        [
            "a b.2.json",
            "a b.2.json.error.json",
            "a b.3.json",
            "a b.3.json.error.json",
            "a b.json",
            "a b.json.error.json"
        ]
    );
    assert_eq!(fs::read_to_string(rejected.join("a b.2.json")).unwrap(), "2");
    let report: Value = serde_json::from_slice(&fs::read(rejected.join("a b.json.error.json")).unwrap()).unwrap();
    assert_eq!(
        report,
        serde_json::json!({
            "file": "a b.json", "reason": "line 3, column 7: broken", "holds": WHOLE, "next": NEXT, "total_bad": 1, "rejected_at": "2026-11-23T10:00:00.000Z",
            "lines": [{"line": 3, "error": "line 3, column 7: broken"}],
        })
    );
    assert_eq!(names(dir.path()), ["rejected"]);
}

#[test]
fn names_too_long_or_no_text_find_a_place() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = Folder::open(dir.path()).unwrap();
    let long = OsString::from(format!("{}.json", "é".repeat(125)));
    let strange = OsString::from_vec(b"a\xff\n.ndjson".to_vec());
    for name in [&long, &long, &strange] {
        fs::write(dir.path().join(name), "x").unwrap();
        let moved = reject(&inbox, name);
        assert!(moved.len() + REPORT_ENDING.len() <= NAME_BYTES_MAX);
        assert!(
            moved == *name || moved.to_str().is_some_and(|name| name.len() > 100),
            "{moved:?}"
        );
    }
    assert_eq!(names(&dir.path().join(REJECTED)).len(), 6);
}

#[test]
fn of_ndjson_only_the_bad_lines_are_copied_however_long() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = Folder::open(dir.path()).unwrap();
    let long = "x".repeat(200_000);
    let name = OsStr::new("a.ndjson");
    fs::write(dir.path().join(name), format!("{{}}\nbad\r\n{long}\n\n{{}}\n[1]")).unwrap();
    let (source, stat) = inbox.open_file(name).unwrap().unwrap();
    let (moved, report) = lines(&inbox, name, &source, (1000, stat.size), (NOW, false)).unwrap();
    let rejected = dir.path().join(REJECTED);
    assert_eq!(
        fs::read_to_string(rejected.join(&moved)).unwrap(),
        format!("bad\r\n{long}\n[1]\n")
    );
    assert_eq!(
        (
            report.total_bad,
            report.lines.iter().map(|line| line.line).collect::<Vec<_>>()
        ),
        (3, vec![2, 3, 6])
    );
    let report: Value = serde_json::from_slice(&fs::read(rejected.join("a.ndjson.error.json")).unwrap()).unwrap();
    assert_eq!(
        (&report["holds"], &report["lines"][2]["line"]),
        (&LINES.into(), &6.into())
    );
    assert_eq!(report["lines"][2]["line_here"], 3);
    // After a crash the same is not written twice; dropped anew it is.
    lines(&inbox, name, &source, (1000, stat.size), (NOW, true)).unwrap();
    assert_eq!(names(&rejected).len(), 2);
    lines(&inbox, name, &source, (1000, stat.size), (NOW, false)).unwrap();
    assert_eq!(names(&rejected).len(), 4);
    assert!(dir.path().join(name).exists());
}

#[test]
fn a_report_lists_a_thousand_lines_and_counts_all() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = Folder::open(dir.path()).unwrap();
    fs::write(dir.path().join("a.ndjson"), "bad\n".repeat(1500)).unwrap();
    let (source, stat) = inbox.open_file(OsStr::new("a.ndjson")).unwrap().unwrap();
    let (_, report) = lines(&inbox, OsStr::new("a.ndjson"), &source, (1000, stat.size), (NOW, false)).unwrap();
    assert_eq!((report.lines.len(), report.total_bad), (1000, 1500));
}

#[test]
fn what_a_crash_left_hidden_is_finished_or_removed() {
    // As it is now, and as the first version left it.
    for in_workshop in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Folder::open(dir.path()).unwrap();
        let rejected = dir.path().join(REJECTED);
        fs::write(dir.path().join("a.json"), "x").unwrap();
        reject(&inbox, OsStr::new("a.json"));
        let place = if in_workshop {
            inbox.private_dir().unwrap().path()
        } else {
            &rejected
        };
        // As after a crash between the two moves …
        let inode = Folder::open(&rejected)
            .unwrap()
            .stat(OsStr::new("a.json"))
            .unwrap()
            .unwrap()
            .inode;
        fs::rename(rejected.join("a.json.error.json"), place.join(hidden("report", inode))).unwrap();
        // … before the first, and in the middle of copying lines.
        fs::write(place.join(hidden("report", 1)), "x").unwrap();
        fs::write(place.join(hidden("lines", 1)), "x").unwrap();
        recover(&inbox).unwrap();
        assert_eq!(names(&rejected), ["a.json", "a.json.error.json"]);
        assert!(names(inbox.private_dir().unwrap().path()).is_empty());
    }
}

#[test]
fn a_place_that_others_may_change_is_not_used_and_nothing_is_lost() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    let inbox = Folder::open(dir.path()).unwrap();
    let rejected = dir.path().join(REJECTED);
    let name = OsStr::new("a.json");
    fs::write(dir.path().join(name), "x").unwrap();
    let stat = inbox.stat(name).unwrap().unwrap();
    let try_it = || whole(&inbox, name, &stat, &report(name, "broken"));
    let refused = || {
        let error = try_it().unwrap_err();
        assert!(
            trust::cure(&error).is_some_and(|cure| cure.contains("chown")),
            "{error}"
        );
        assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "x");
    };
    fs::write(&rejected, "").unwrap();
    refused();
    fs::remove_file(&rejected).unwrap();
    std::os::unix::fs::symlink("/tmp", &rejected).unwrap();
    refused();
    fs::remove_file(&rejected).unwrap();
    fs::create_dir(&rejected).unwrap();
    fs::set_permissions(&rejected, fs::Permissions::from_mode(0o770)).unwrap();
    refused();
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(&rejected, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&rejected, Some(4711), None).unwrap();
        refused();
        std::os::unix::fs::chown(&rejected, Some(0), None).unwrap();
    }
    fs::set_permissions(&rejected, fs::Permissions::from_mode(0o750)).unwrap();
    assert_eq!(try_it().unwrap().as_deref(), Some(name));
}

#[test]
fn the_next_number_is_found_in_a_few_looks_and_gaps_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let rejected = Folder::open(dir.path()).unwrap();
    let name = OsStr::new("a.json");
    assert_eq!(free_number(&rejected, name).unwrap(), 1);
    for number in 1..=1000 {
        fs::write(dir.path().join(numbered(name, number)), "").unwrap();
        assert_eq!(free_number(&rejected, name).unwrap(), number + 1);
    }
    fs::remove_file(dir.path().join(numbered(name, 1))).unwrap();
    assert_eq!(free_number(&rejected, name).unwrap(), 1);
    // A report alone keeps its name, too.
    fs::write(dir.path().join(with_ending(name)), "").unwrap();
    assert_eq!(free_number(&rejected, name).unwrap(), 1001);
    let is_of = |candidate: &str| is_numbered(OsStr::new(candidate), name);
    assert!(is_of("a.json") && is_of("a.2.json") && is_of("a.77.json"));
    assert!(!is_of("a.1.json") && !is_of("a.x.json") && !is_of("b.2.json") && !is_of("a.2.json.error.json"));
}

#[test]
fn a_file_that_was_replaced_meanwhile_stays() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = Folder::open(dir.path()).unwrap();
    fs::write(dir.path().join("a.json"), "x").unwrap();
    let stat = inbox.stat(OsStr::new("a.json")).unwrap().unwrap();
    fs::write(dir.path().join("b"), "y").unwrap();
    fs::rename(dir.path().join("b"), dir.path().join("a.json")).unwrap();
    assert_eq!(
        whole(
            &inbox,
            OsStr::new("a.json"),
            &stat,
            &report(OsStr::new("a.json"), "broken")
        )
        .unwrap(),
        None
    );
    assert_eq!(fs::read_to_string(dir.path().join("a.json")).unwrap(), "y");
}
