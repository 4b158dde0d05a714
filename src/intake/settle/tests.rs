use super::*;

const SETTLE: Duration = Duration::from_secs(1);

fn look(size: u64) -> Look {
    Look {
        inode: 1,
        size,
        modified_ns: i128::from(size),
        changed_ns: i128::from(size),
        is_file: true,
    }
}

fn name() -> OsString {
    "a.json".into()
}

/// Looks at what is due as the loop does, and says whether the file may be taken.
fn turn(files: &mut Files, size: u64, now: Instant) -> Option<bool> {
    for name in files.due(now) {
        files.looked(&name, Some(look(size)), now);
    }
    files.ready(now, 10).first().map(|ready| ready.is_last_look)
}

#[test]
fn a_file_seen_being_opened_is_taken_when_it_is_closed_however_long_it_takes() {
    let start = Instant::now();
    let mut files = Files::new(SETTLE);
    files.saw(&name(), Sight::Created, start);
    files.saw(&name(), Sight::Opened, start);
    for second in 1..50 {
        let now = start + SETTLE * second;
        files.found(&[(name(), look(5))], true, now);
        assert_eq!(turn(&mut files, 5, now), None);
    }
    let now = start + SETTLE * 50;
    files.saw(&name(), Sight::Closed { written: true }, now);
    assert_eq!(turn(&mut files, 9, now), Some(false));
}

#[test]
fn a_renamed_file_is_taken_at_once() {
    let now = Instant::now();
    let mut files = Files::new(SETTLE);
    files.saw(&name(), Sight::Arrived, now);
    assert_eq!(turn(&mut files, 5, now), Some(false));
    files.forget(&name());
    assert_eq!((files.ready(now, 10).len(), files.next_due()), (0, None));
}

#[test]
fn one_only_found_is_taken_when_two_looks_apart_saw_the_same() {
    let start = Instant::now();
    let mut files = Files::new(SETTLE);
    files.found(&[(name(), look(5))], true, start);
    assert_eq!(turn(&mut files, 5, start), None);
    assert_eq!(files.next_due(), Some(start + SETTLE));
    assert_eq!(turn(&mut files, 6, start + SETTLE), None);
    assert_eq!(turn(&mut files, 6, start + SETTLE * 2), Some(false));
}

#[test]
fn a_close_whose_open_was_not_seen_tells_nothing() {
    let start = Instant::now();
    let mut files = Files::new(SETTLE);
    files.saw(&name(), Sight::Closed { written: true }, start);
    assert_eq!(turn(&mut files, 5, start), None);
    assert_eq!(turn(&mut files, 5, start + SETTLE), Some(false));
}

#[test]
fn a_reader_delays_and_does_not_hinder() {
    let start = Instant::now();
    let mut files = Files::new(SETTLE);
    files.found(&[(name(), look(5))], true, start);
    files.saw(&name(), Sight::Opened, start);
    files.saw(&name(), Sight::Closed { written: false }, start);
    assert_eq!(turn(&mut files, 5, start + SETTLE), Some(false));
}

#[test]
fn a_merged_close_is_not_waited_for_for_ever() {
    let start = Instant::now();
    let mut files = Files::new(SETTLE);
    files.found(&[(name(), look(5))], true, start);
    files.saw(&name(), Sight::Opened, start);
    files.saw(&name(), Sight::Opened, start);
    files.saw(&name(), Sight::Closed { written: true }, start);
    assert_eq!(turn(&mut files, 5, start + SETTLE), None);
    assert_eq!(turn(&mut files, 5, start + OPEN_PATIENCE), Some(false));
}

#[test]
fn what_seemed_unfinished_is_looked_at_once_more() {
    let start = Instant::now();
    let mut files = Files::new(SETTLE);
    files.saw(&name(), Sight::Arrived, start);
    assert_eq!(turn(&mut files, 5, start), Some(false));
    files.unsettle(&name(), look(5), true, start);
    assert_eq!(turn(&mut files, 5, start), None);
    // A close that changed nothing does not make it the last look any earlier.
    files.saw(&name(), Sight::Opened, start);
    files.saw(&name(), Sight::Closed { written: true }, start);
    assert_eq!(turn(&mut files, 5, start), None);
    assert_eq!(turn(&mut files, 5, start + SETTLE), Some(true));
    // It went on meanwhile: an ordinary file again.
    files.unsettle(&name(), look(5), true, start);
    files.saw(&name(), Sight::Opened, start);
    files.saw(&name(), Sight::Closed { written: true }, start);
    assert_eq!(turn(&mut files, 7, start), Some(false));
}

#[test]
fn after_lost_events_files_have_to_stand_still() {
    let start = Instant::now();
    let mut files = Files::new(SETTLE);
    files.saw(&name(), Sight::Opened, start);
    files.lost_sight();
    files.found(&[(name(), look(5))], true, start);
    assert_eq!(turn(&mut files, 5, start), None);
    assert_eq!(turn(&mut files, 5, start + SETTLE), Some(false));
}

#[test]
fn a_file_that_rests_is_left_to_the_scan_unless_somebody_has_it_open() {
    let start = Instant::now();
    let mut files = Files::new(SETTLE);
    files.saw(&name(), Sight::Arrived, start);
    assert!(turn(&mut files, 5, start).is_some());
    assert_eq!(files.look_of(&name()), Some(look(5)));
    files.rest(&name(), start + SETTLE * 5);
    assert_eq!((files.look_of(&name()), files.next_due()), (None, None));
    files.found(&[(name(), look(5))], true, start);
    files.saw(&name(), Sight::Opened, start);
    files.rest(&name(), start + SETTLE * 200);
    // A scan passes over what rests.
    files.found(&[], true, start + SETTLE);
    assert_eq!(turn(&mut files, 5, start + SETTLE * 100), None);
    assert_eq!(files.next_due(), Some(start + SETTLE * 200));
    files.saw(&name(), Sight::Closed { written: true }, start + SETTLE * 150);
    assert_eq!(turn(&mut files, 5, start + SETTLE * 200), Some(false));
}

#[test]
fn what_waits_is_taken_oldest_first_then_by_name() {
    let now = Instant::now();
    let mut files = Files::new(SETTLE);
    for (name, size) in [("c.json", 1), ("b.json", 2), ("a.json", 2)] {
        files.saw(OsStr::new(name), Sight::Arrived, now);
        files.looked(OsStr::new(name), Some(look(size)), now);
    }
    let names: Vec<OsString> = files.ready(now, 10).into_iter().map(|ready| ready.name).collect();
    assert_eq!(names, ["c.json", "a.json", "b.json"]);
    assert_eq!(files.ready(now, 1).len(), 1);
    files.found(&[], true, now);
    assert!(files.ready(now, 10).is_empty());
}
