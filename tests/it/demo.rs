//! The first thing that anybody runs.

use std::time::Instant;

use crate::harness::{both, program, stdout};

#[test]
fn the_demo_shows_every_outcome_exits_0_and_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let output = program().arg("demo").env("TMPDIR", place.path()).output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
    let text = stdout(&output);
    for word in ["delivered", "dead", "parked", "invalid", "rejected", "override", "404"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(
        began.elapsed().as_secs() < 60,
        "it is meant to take under 15 seconds on a free machine"
    );
    assert_eq!(
        std::fs::read_dir(place.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
}
