//! How much is measured, and how often.

use std::path::{Path, PathBuf};

/// Of all rows.
pub struct Sizes {
    /// Of a drain.
    pub results: u64,
    /// What a drain beside a backlog is measured over.
    pub part: u64,
    /// A backlog.
    pub backlog: u64,
    /// A backlog in which a statement that is not flat shows.
    pub large: u64,
    /// Single files dropped.
    pub files: u64,
    /// Results dropped one at a time.
    pub drops: u64,
    /// How often each side is measured, in alternation.
    pub rounds: usize,
    /// How long the daemon is watched while nothing happens, and how long an outage lasts.
    pub minute_s: u64,
    /// The log's level.
    pub log: String,
    filled: Filled,
}

/// Where filled outboxes lie, to be copied.
enum Filled {
    /// Until the end of the run.
    ForNow(tempfile::TempDir),
    /// For the next one, too.
    Kept(PathBuf),
}

impl Sizes {
    pub fn filled_dir(&self) -> &Path {
        match &self.filled {
            Filled::ForNow(dir) => dir.path(),
            Filled::Kept(dir) => dir,
        }
    }
}

/// The sizes and the names of the chosen rows.
pub fn parse(arguments: &[String]) -> (Sizes, Vec<String>) {
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let mut sizes = if is_quick { quick() } else { whole() };
    let mut chosen = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || {
            rest.next()
                .unwrap_or_else(|| panic!("{argument} needs a value"))
                .clone()
        };
        match argument.as_str() {
            "--quick" => {}
            "--rounds" => sizes.rounds = value().parse().expect("--rounds takes a number"),
            "--log" => sizes.log = value(),
            "--keep" => sizes.filled = Filled::Kept(value().into()),
            option if option.starts_with('-') => {
                panic!("{option} is unknown; there are --quick, --rounds N, --log LEVEL, --keep DIR")
            }
            name => chosen.push(name.to_owned()),
        }
    }
    (sizes, chosen)
}

fn whole() -> Sizes {
    Sizes {
        results: 100_000,
        part: 50_000,
        backlog: 1_000_000,
        large: 5_000_000,
        files: 100_000,
        drops: 500,
        rounds: 5,
        minute_s: 60,
        log: "info".into(),
        filled: Filled::ForNow(tempfile::tempdir().unwrap()),
    }
}

fn quick() -> Sizes {
    Sizes {
        results: 20_000,
        part: 20_000,
        backlog: 100_000,
        large: 200_000,
        files: 10_000,
        drops: 100,
        rounds: 3,
        minute_s: 15,
        ..whole()
    }
}
