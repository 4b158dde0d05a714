use super::*;

const SETTLE: Duration = Duration::from_secs(1);

fn stat(size: u64) -> FileStat {
    FileStat {
        device: 1,
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
fn turn(files: &mut KnownFiles, size: u64, now: Instant) -> Option<bool> {
    for name in files.due(now) {
        files.saw_stat(&name, Some(stat(size)), now);
    }
    files.ready(now, 10).first().map(|ready| ready.is_last_look)
}

#[test]
fn a_file_seen_being_opened_is_taken_when_it_is_closed_however_long_it_takes() {
    let start = Instant::now();
    let mut files = KnownFiles::new(SETTLE);
    files.saw(&name(), FileEvent::Created, start);
    files.saw(&name(), FileEvent::Opened, start);
    for second in 1..50 {
        let now = start + SETTLE * second;
        files.found(&[(name(), stat(5))], true, now);
        assert_eq!(turn(&mut files, 5, now), None);
    }
    let now = start + SETTLE * 50;
    files.saw(&name(), FileEvent::Closed { written: true }, now);
    assert_eq!(turn(&mut files, 9, now), Some(false));
}

#[test]
fn a_renamed_file_is_taken_at_once() {
    let now = Instant::now();
    let mut files = KnownFiles::new(SETTLE);
    files.saw(&name(), FileEvent::Arrived, now);
    assert_eq!(turn(&mut files, 5, now), Some(false));
    files.forget(&name());
    assert_eq!((files.ready(now, 10).len(), files.next_due()), (0, None));
}

#[test]
fn one_only_found_is_taken_when_two_looks_apart_saw_the_same() {
    let start = Instant::now();
    let mut files = KnownFiles::new(SETTLE);
    files.found(&[(name(), stat(5))], true, start);
    assert_eq!(turn(&mut files, 5, start), None);
    assert_eq!(files.next_due(), Some(start + SETTLE));
    assert_eq!(turn(&mut files, 6, start + SETTLE), None);
    assert_eq!(turn(&mut files, 6, start + SETTLE * 2), Some(false));
}

#[test]
fn a_close_whose_open_was_not_seen_tells_nothing() {
    let start = Instant::now();
    let mut files = KnownFiles::new(SETTLE);
    files.saw(&name(), FileEvent::Closed { written: true }, start);
    assert_eq!(turn(&mut files, 5, start), None);
    assert_eq!(turn(&mut files, 5, start + SETTLE), Some(false));
}

#[test]
fn a_reader_delays_and_does_not_hinder() {
    let start = Instant::now();
    let mut files = KnownFiles::new(SETTLE);
    files.found(&[(name(), stat(5))], true, start);
    files.saw(&name(), FileEvent::Opened, start);
    files.saw(&name(), FileEvent::Closed { written: false }, start);
    assert_eq!(turn(&mut files, 5, start + SETTLE), Some(false));
}

/// What may be taken of the one file, if anything.
fn ready(files: &mut KnownFiles, size: u64, now: Instant) -> Option<Ready> {
    turn(files, size, now)?;
    files.ready(now, 10).into_iter().next()
}

#[test]
fn one_that_stays_open_is_taken_after_a_while_and_kept_until_it_is_closed() {
    let start = Instant::now();
    let mut files = KnownFiles::new(SETTLE);
    files.saw(&name(), FileEvent::Created, start);
    files.saw(&name(), FileEvent::Opened, start);
    files.found(&[(name(), stat(5))], true, start);
    assert_eq!(ready(&mut files, 5, start + SETTLE), None);
    let mut now = start + OPEN_PATIENCE;
    for _ in 0..3 {
        let one = ready(&mut files, 5, now).unwrap();
        assert!(one.stays() && one.openness == Openness::Open);
        files.keep(&name(), stat(5), now);
        // No sooner than after another while, however often it is looked at, and whatever comes into it.
        assert_eq!(ready(&mut files, 5, now + SETTLE), None);
        files.found(&[(name(), stat(6))], true, now + SETTLE);
        assert_eq!(ready(&mut files, 6, now + SETTLE * 2), None);
        now += SETTLE + OPEN_PATIENCE;
        assert!(!ready(&mut files, 6, now).unwrap().is_kept, "there is more in it");
        files.keep(&name(), stat(6), now);
        now += OPEN_PATIENCE;
        assert!(ready(&mut files, 6, now).unwrap().is_kept);
        files.keep(&name(), stat(6), now);
        files.found(&[(name(), stat(5))], true, now);
        now += OPEN_PATIENCE;
    }
    files.saw(&name(), FileEvent::Closed { written: true }, now);
    assert_eq!(ready(&mut files, 5, now).unwrap().openness, Openness::Closed);
}

#[test]
fn one_that_is_closed_while_it_is_taken_is_not_kept() {
    let start = Instant::now();
    let mut files = KnownFiles::new(SETTLE);
    files.saw(&name(), FileEvent::Opened, start);
    files.found(&[(name(), stat(5))], true, start);
    assert!(ready(&mut files, 5, start + OPEN_PATIENCE).unwrap().stays());
    files.saw(&name(), FileEvent::Closed { written: true }, start + OPEN_PATIENCE);
    files.keep(&name(), stat(5), start + OPEN_PATIENCE);
    assert!(!ready(&mut files, 5, start + OPEN_PATIENCE).unwrap().stays());
}

#[test]
fn a_close_of_a_kept_file_is_heeded_even_where_its_opening_was_not_seen() {
    let start = Instant::now();
    let mut files = KnownFiles::new(SETTLE);
    files.found(&[(name(), stat(5))], true, start);
    assert_eq!(ready(&mut files, 5, start + SETTLE).unwrap().openness, Openness::Unseen);
    // Something else told that it is open.
    files.keep(&name(), stat(5), start + SETTLE);
    assert_eq!(ready(&mut files, 5, start + SETTLE * 5), None);
    files.saw(&name(), FileEvent::Closed { written: true }, start + SETTLE * 5);
    assert_eq!(ready(&mut files, 5, start + SETTLE * 5), None);
    let one = ready(&mut files, 5, start + SETTLE * 6).unwrap();
    assert!(one.openness == Openness::Unseen && one.touched == start + SETTLE * 5);
}

#[test]
fn our_own_opening_and_closing_is_no_news() {
    let start = Instant::now();
    let mut files = KnownFiles::new(SETTLE);
    files.saw(&name(), FileEvent::Arrived, start);
    assert!(ready(&mut files, 5, start).is_some());
    files.opening(&name());
    files.saw(&name(), FileEvent::Opened, start);
    assert!(!files.is_open(&name()) && files.ready(start, 10)[0].openness == Openness::Closed);
    // Another one is: its producer's.
    files.saw(&name(), FileEvent::Opened, start);
    assert!(files.is_open(&name()) && files.ready(start, 10).is_empty());
    files.saw(&name(), FileEvent::Closed { written: false }, start);
    assert!(files.is_open(&name()), "that was ours");
    files.saw(&name(), FileEvent::Closed { written: true }, start);
    assert!(!files.is_open(&name()));
    // Announced, and not done.
    files.opening(&name());
    files.saw(&name(), FileEvent::Opened, start);
    assert!(!files.is_open(&name()));
    files.not_opened(&name(), start);
    assert!(files.is_open(&name()));
    // What we put back ourselves did not arrive.
    files.arriving(&name());
    files.saw(&name(), FileEvent::Arrived, start);
    assert!(files.is_open(&name()));
    files.saw(&name(), FileEvent::Arrived, start);
    assert!(!files.is_open(&name()));
}

#[test]
fn what_seemed_unfinished_is_looked_at_once_more() {
    let start = Instant::now();
    let mut files = KnownFiles::new(SETTLE);
    files.saw(&name(), FileEvent::Arrived, start);
    assert_eq!(turn(&mut files, 5, start), Some(false));
    files.unsettle(&name(), stat(5), true, start);
    assert_eq!(turn(&mut files, 5, start), None);
    // A close that changed nothing does not make it the last look any earlier.
    files.saw(&name(), FileEvent::Opened, start);
    files.saw(&name(), FileEvent::Closed { written: true }, start);
    assert_eq!(turn(&mut files, 5, start), None);
    assert_eq!(turn(&mut files, 5, start + SETTLE), Some(true));
    // It went on meanwhile: an ordinary file again.
    files.unsettle(&name(), stat(5), true, start);
    files.saw(&name(), FileEvent::Opened, start);
    files.saw(&name(), FileEvent::Closed { written: true }, start);
    assert_eq!(turn(&mut files, 7, start), Some(false));
}

#[test]
fn after_lost_events_nothing_counts_as_closed_for_a_while() {
    let start = Instant::now();
    let mut files = KnownFiles::new(SETTLE);
    files.saw(OsStr::new("open.json"), FileEvent::Opened, start);
    files.saw(OsStr::new("whole.json"), FileEvent::Arrived, start);
    files.lost_sight(start);
    let all = ["found.json", "open.json", "whole.json"].map(|name| (OsString::from(name), stat(5)));
    files.found(&all, true, start);
    let names = |files: &mut KnownFiles, now| -> Vec<(OsString, Openness)> {
        for name in files.due(now) {
            files.saw_stat(&name, Some(stat(5)), now);
        }
        let ready = files.ready(now, 10);
        ready.into_iter().map(|one| (one.name, one.openness)).collect()
    };
    assert_eq!(names(&mut files, start), []);
    let doubtful = [
        ("found.json".into(), Openness::Doubtful),
        ("whole.json".into(), Openness::Doubtful),
    ];
    assert_eq!(names(&mut files, start + SETTLE), doubtful);
    // Their results are taken; they themselves stay until it is sure enough.
    files.keep(OsStr::new("found.json"), stat(5), start + SETTLE);
    files.keep(OsStr::new("whole.json"), stat(5), start + SETTLE);
    assert_eq!(names(&mut files, start + DOUBT / 2), []);
    let unseen = [
        ("found.json".into(), Openness::Unseen),
        ("whole.json".into(), Openness::Unseen),
    ];
    assert_eq!(names(&mut files, start + DOUBT), unseen);
    let mut all = unseen.to_vec();
    all.insert(1, ("open.json".into(), Openness::Open));
    assert_eq!(names(&mut files, start + OPEN_PATIENCE), all);
    // What is found later was seen from its beginning.
    files.found(&[("later.json".into(), stat(5))], true, start);
    assert_eq!(
        names(&mut files, start + SETTLE),
        [("later.json".into(), Openness::Unseen)]
    );
}

#[test]
fn a_file_that_rests_is_left_to_the_scan_unless_somebody_has_it_open() {
    let start = Instant::now();
    let mut files = KnownFiles::new(SETTLE);
    files.saw(&name(), FileEvent::Arrived, start);
    assert!(turn(&mut files, 5, start).is_some());
    assert_eq!(files.stat_of(&name()), Some(stat(5)));
    files.rest(&name(), start + SETTLE * 5);
    assert_eq!((files.stat_of(&name()), files.next_due()), (None, None));
    files.found(&[(name(), stat(5))], true, start);
    files.saw(&name(), FileEvent::Opened, start);
    files.rest(&name(), start + SETTLE * 200);
    // A scan passes over what rests.
    files.found(&[], true, start + SETTLE);
    assert_eq!(turn(&mut files, 5, start + SETTLE * 100), None);
    assert_eq!(files.next_due(), Some(start + SETTLE * 200));
    files.saw(&name(), FileEvent::Closed { written: true }, start + SETTLE * 150);
    assert_eq!(turn(&mut files, 5, start + SETTLE * 200), Some(false));
}

#[test]
fn what_waits_is_taken_oldest_first_then_by_name() {
    let now = Instant::now();
    let mut files = KnownFiles::new(SETTLE);
    for (name, size) in [("c.json", 1), ("b.json", 2), ("a.json", 2)] {
        files.saw(OsStr::new(name), FileEvent::Arrived, now);
        files.saw_stat(OsStr::new(name), Some(stat(size)), now);
    }
    let names: Vec<OsString> = files.ready(now, 10).into_iter().map(|ready| ready.name).collect();
    assert_eq!(names, ["c.json", "a.json", "b.json"]);
    assert_eq!(files.ready(now, 1).len(), 1);
    files.found(&[], true, now);
    assert!(files.ready(now, 10).is_empty());
}
