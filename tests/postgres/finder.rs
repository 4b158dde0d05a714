//! Where PostgreSQL's programs are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest release that the outbox works with.
const MAJOR_MIN: u32 = 14;

/// The directory with `initdb` and `postgres` of the newest release that is old enough to be supported; that of
/// `RETEN_TEST_PG_BIN` alone where it is set.
pub(super) fn bin() -> Option<PathBuf> {
    let places = match std::env::var_os("RETEN_TEST_PG_BIN") {
        Some(bin) => vec![PathBuf::from(bin)],
        None => usual(),
    };
    let fit = places.into_iter().filter_map(|bin| Some((major(&bin)?, bin)));
    let newest = fit
        .filter(|(major, _)| *major >= MAJOR_MIN)
        .max_by_key(|(major, _)| *major);
    newest.map(|(_, bin)| bin)
}

/// Debian and Fedora keep what only the server needs out of `PATH`.
fn usual() -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Ok(said) = Command::new("pg_config").arg("--bindir").output() {
        places.push(PathBuf::from(String::from_utf8_lossy(&said.stdout).trim()));
    }
    let below = |place: &str| {
        fs::read_dir(place)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    places.extend(below("/usr/lib/postgresql").map(|release| release.join("bin")));
    let is_release = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("pgsql-"))
    };
    places.extend(below("/usr").filter(is_release).map(|release| release.join("bin")));
    places
}

/// The release of the programs there, where both are: a client's package has neither.
fn major(bin: &Path) -> Option<u32> {
    if !bin.join("initdb").is_file() {
        return None;
    }
    let said = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    // `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`
    let text = String::from_utf8_lossy(&said.stdout);
    let version = text.split_whitespace().nth(2)?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}
