//! Keeps the layers true: which room may use which, and which crates belong to one room alone. The sources are read as
//! text, without comments and unit tests.

#![allow(clippy::unwrap_used, reason = "a source that cannot be read is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each room with the rooms, or parts of rooms, that it may use. `config` makes the settings that `policy` defines; of
/// `policy`, `api` knows only what a result type looks like; and `sandbox` uses nothing of ours, so that a misreading
/// of the API is not made twice in the same words.
const MAY_USE: &[(&str, &str)] = &[
    ("clock", ""),
    ("lock", ""),
    ("model", "clock"),
    ("policy", "model clock"),
    ("config", "model policy"),
    ("store", "model clock lock"),
    ("api", "model config policy::validate"),
    ("telemetry", "model policy config clock"),
    ("intake", "model policy::validate config store telemetry clock lock"),
    ("delivery", "model policy config store api telemetry clock"),
    (
        "daemon",
        "model policy config store api telemetry intake delivery clock",
    ),
    ("sandbox", ""),
    (
        "cli",
        "model policy config store api telemetry intake delivery daemon sandbox clock lock",
    ),
];

/// Crates, and words that bring waiting or chance, with the only modules that may have them (a `!` before the ones that
/// may not).
const WORDS: &[(&str, &str)] = &[
    ("sqlx::", "store intake::rows"),
    ("reqwest::", "api"),
    ("clap::", "cli"),
    ("inotify::", "intake::watch store::sqlite::processes::touch"),
    ("landlock::", "intake::rows::confine"),
    ("tracing_subscriber::", "telemetry"),
    ("backoff::", "policy::schedule"),
    ("toml::", "config"),
    ("ring::", "store"),
    ("hyper::", "sandbox"),
    ("async ", "!policy model config"),
    ("fastrand::", "!policy model"),
    ("clock::now", "!policy model store"),
];

#[test]
fn imports_point_down_and_crates_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for (module, code) in modules() {
        let room = module.split("::").next().unwrap_or_default();
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{module} is of a room that the table does not know"));
            continue;
        };
        let strays = rooms_used(&code)
            .into_iter()
            .filter(|used| !is_in(used, room) && !is_in(used, allowed));
        wrong.extend(strays.map(|used| format!("{module} may not use {used}")));
        for (word, places) in WORDS {
            let is_allowed = places
                .strip_prefix('!')
                .map_or(is_in(&module, places), |not| !is_in(&module, not));
            if !is_allowed && has_word(&code, word) {
                wrong.push(format!("{module} may not have `{word}`"));
            }
        }
        if is_in(
            module.rsplit("::").next().unwrap_or_default(),
            "util common helpers manager types",
        ) {
            wrong.push(format!("{module}: the name says nothing"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_scan_sees_what_is_there() {
    let code = "use crate::{clock::Timestamp, store::{self, Act}};\nfn f() { crate::policy::judge(); }";
    assert_eq!(rooms_used(code), ["clock::Timestamp", "store::", "policy::judge"]);
    assert!(has_word("use sqlx::query;", "sqlx::") && !has_word("my_sqlx::x(\"sqlx::query\")", "sqlx::"));
    assert_eq!(code_of("//! crate::a\nb\n#[cfg(test)]\nmod tests {\n    c\n}\n"), "b\n");
    assert!(
        modules()
            .iter()
            .any(|(module, code)| module == "config::units" && !code.is_empty())
    );
}

/// Whether a path is one of these, or lies below one.
fn is_in(path: &str, places: &str) -> bool {
    let below = |place: &str| {
        path.strip_prefix(place)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    places.split_whitespace().any(below)
}

/// Whether the word stands alone: as part of a longer name, or in a string (a filter of logs), it is no use of the
/// crate.
fn has_word(code: &str, word: &str) -> bool {
    let begins = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '"'));
    code.match_indices(word).any(|(at, _)| begins(at))
}

/// The paths behind `crate::`, with the outermost group in braces taken apart.
fn rooms_used(code: &str) -> Vec<&str> {
    let path = |text: &'_ str| {
        text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
            .unwrap_or(text.len())
    };
    let mut used = Vec::new();
    for behind in code.split("crate::").skip(1) {
        match behind.strip_prefix('{') {
            Some(group) => {
                let items = group
                    .split(';')
                    .next()
                    .unwrap_or_default()
                    .split([',', '{', '}'])
                    .map(str::trim);
                used.extend(items.map(|item| &item[..path(item)]));
            }
            None => used.push(&behind[..path(behind)]),
        }
    }
    // Inside a group there are also names of things; rooms are those that the table knows.
    used.retain(|used| MAY_USE.iter().any(|(room, _)| is_in(used, room)));
    used
}

/// Every module below the library's root, as `room::part`, with its code; files of unit tests are left out.
fn modules() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = Vec::new();
    let mut directories: Vec<PathBuf> = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let module = path
                .strip_prefix(&root)
                .unwrap()
                .with_extension("")
                .display()
                .to_string()
                .replace('/', "::");
            let is_test = module
                .split("::")
                .any(|part| part == "tests" || part.ends_with("_tests"));
            if !is_test && module != "lib" && module != "main" {
                let module = module.strip_suffix("::mod").unwrap_or(&module).to_owned();
                modules.push((module, code_of(&fs::read_to_string(&path).unwrap())));
            }
        }
    }
    modules
}

/// The text without comment lines, and without the tests that end it.
fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    code.split_inclusive('\n').filter(is_code).collect()
}
