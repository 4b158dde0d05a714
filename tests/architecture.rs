//! Keeps the layers true: which room may use which, that no two files use each other, on any way, and which crates
//! belong to one room alone. The sources are read as text, without comments and unit tests.

#![allow(clippy::unwrap_used, reason = "a source that cannot be read is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each room with the rooms, or parts of rooms, that it may use. Of
/// `policy`, `api` knows only what a result type looks like; and `sandbox` uses nothing of ours, so that a misreading
/// of the API is not made twice in the same words.
const MAY_USE: &[(&str, &str)] = &[
    ("clock", ""),
    ("lock", ""),
    ("sqlite_file", ""),
    ("model", "clock"),
    ("policy", "model config clock"),
    ("config", "model"),
    ("store", "model policy::gate clock lock sqlite_file"),
    ("api", "model config policy::validate"),
    ("telemetry", "model policy config clock"),
    (
        "intake",
        "model policy::validate config store telemetry clock lock sqlite_file",
    ),
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
    ("sqlx::", "sqlite_file store intake::rows"),
    ("reqwest::", "api"),
    ("clap::", "cli"),
    ("plotters::", "cli::report"),
    ("prometheus_client::", "cli::metrics"),
    ("crossterm::", "cli"),
    ("ratatui::", "cli"),
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

/// What uses a file stands above it; so a circle is also an arrow that runs up, within a room or between rooms.
#[test]
fn no_two_files_use_each_other_on_any_way() {
    let tree = Tree::of(modules());
    let mut wrong = Vec::new();
    for (module, used) in &tree.uses {
        for other in used {
            if let Some(way) = tree.way(other, module) {
                wrong.push(format!("{module} uses {}", way.join(", which uses ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_circle_is_found_through_what_a_module_passes_on() {
    let file = |name: &str, code: &str| (name.to_owned(), code.to_owned());
    let tree = Tree::of(vec![
        file(
            "a",
            "mod b;\npub use b::{\n    B, c::{self, D as E},\n};\nfn f() { b::f() }",
        ),
        file("a::b", "use crate::x::X;\nfn g() { crate::x::y::h(); }"),
        file("x", "pub use y::Y as X;"),
        file(
            "x::y",
            "use crate::a::B;\nuse super::super::a;\nlet text = \"crate::x\";",
        ),
    ]);
    let used = |module: &str| tree.uses[module].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(used("a"), ["a::b"]);
    assert_eq!(used("a::b"), ["x::y"], "what is passed on belongs to who has it");
    assert_eq!(used("x"), [""; 0], "passing on is no use");
    assert_eq!(used("x::y"), ["a", "a::b"]);
    assert_eq!(tree.way("a::b", "a").unwrap(), ["a::b", "x::y", "a"]);
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

/// Which file uses which.
struct Tree {
    uses: BTreeMap<String, BTreeSet<String>>,
}

/// The names that each module's `use` lines bring in, with the path of each.
type Names = BTreeMap<String, BTreeMap<String, String>>;

impl Tree {
    fn of(modules: Vec<(String, String)>) -> Self {
        let mut names = Names::new();
        let mut paths: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (module, code) in modules {
            let mut rest = String::new();
            let mut passed_on = Vec::new();
            let bound = names.entry(module.clone()).or_default();
            let used = paths.entry(module).or_default();
            for statement in without_strings(&code).split_inclusive(';') {
                let Some((before, imports)) = use_of(statement) else {
                    rest.push_str(statement);
                    continue;
                };
                rest.push_str(before);
                for (name, path) in expanded(imports) {
                    if before.trim_end().ends_with("pub") || before.trim_end().ends_with(')') {
                        passed_on.push((name.clone(), path.clone()));
                    } else {
                        used.push(path.clone());
                    }
                    bound.insert(name, path);
                }
            }
            let is_in_name = |c: char| c.is_alphanumeric() || c == '_';
            let words: BTreeSet<&str> = rest.split(|c| !is_in_name(c)).collect();
            used.extend(
                passed_on
                    .into_iter()
                    .filter(|(name, _)| words.contains(name.as_str()))
                    .map(|(_, path)| path),
            );
            used.extend(paths_in(&rest));
        }
        let files = |module: &str, paths: Vec<String>| -> BTreeSet<String> {
            let found = paths.iter().filter_map(|path| file_of(&names, module, path, 0));
            found.filter(|file| file != module).collect()
        };
        let uses = paths
            .into_iter()
            .map(|(module, paths)| (module.clone(), files(&module, paths)));
        Self { uses: uses.collect() }
    }

    /// The files on a way from one to another, both with it.
    fn way(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut ways = vec![vec![from.to_owned()]];
        let mut seen = BTreeSet::from([from.to_owned()]);
        while let Some(way) = ways.pop() {
            let last = way.last().unwrap();
            if last == to {
                return Some(way);
            }
            let next = self.uses.get(last).into_iter().flatten();
            ways.extend(
                next.filter(|file| seen.insert((*file).clone()))
                    .map(|file| [way.as_slice(), std::slice::from_ref(file)].concat()),
            );
        }
        None
    }
}

/// The file that has what a path names, seen from a module; `None` for what is not of this tree.
fn file_of(names: &Names, module: &str, path: &str, depth: usize) -> Option<String> {
    let mut parts: Vec<&str> = path.split("::").collect();
    let mut at: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
    match parts[0] {
        "crate" => at.clear(),
        "self" => {}
        "super" => {
            while parts.get(1) == Some(&"super") {
                parts.remove(0);
                at.pop();
            }
            at.pop();
        }
        first => {
            let is_module = names.contains_key(&[at.as_slice(), &[first]].concat().join("::"));
            if !is_module && (parts.len() == 1 || !names[module].contains_key(first)) {
                return None;
            }
            parts.insert(0, "self");
        }
    }
    for (place, part) in parts.iter().enumerate().skip(1) {
        let here = at.join("::");
        let below = [at.as_slice(), &[*part]].concat();
        if names.contains_key(&below.join("::")) {
            at = below;
        } else if let Some(passed_on) = names.get(&here).and_then(|bound| bound.get(*part))
            && depth < 8
        {
            let rest = [&[passed_on.as_str()], &parts[place + 1..]].concat().join("::");
            return file_of(names, &here, &rest, depth + 1);
        } else {
            break;
        }
    }
    Some(at.join("::")).filter(|file| names.contains_key(file))
}

/// What stands before a `use`, and what it imports.
fn use_of(statement: &str) -> Option<(&str, &str)> {
    let begins = |at: usize| statement[..at].ends_with(['\n', ' ']) || at == 0;
    let at = statement
        .match_indices("use ")
        .map(|(at, _)| at)
        .find(|at| begins(*at))?;
    let imports = statement[at + 4..].strip_suffix(';')?;
    Some((&statement[..at], imports))
}

/// Each name of a `use` with its path: `a::{self, b::C as D}` brings `a` and `D`.
fn expanded(imports: &str) -> Vec<(String, String)> {
    let imports = imports.trim();
    let Some((before, group)) = imports.split_once('{') else {
        let (path, name) = imports.split_once(" as ").unwrap_or((imports, imports));
        let path = path.trim().trim_end_matches("::self");
        let name = name
            .trim()
            .trim_end_matches("::self")
            .rsplit("::")
            .next()
            .unwrap_or_default();
        return vec![(name.to_owned(), path.to_owned())];
    };
    let mut depth = 0;
    let parts = group.trim_end().trim_end_matches('}').split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    parts
        .flat_map(|part| expanded(&format!("{before}{part}{}", if part.contains('{') { "}" } else { "" })))
        .collect()
}

/// The paths in an expression or a signature.
fn paths_in(code: &str) -> impl Iterator<Item = String> {
    let words = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    let words = words.map(|word| word.trim_end_matches(':'));
    words
        .filter(|word| word.contains("::") && word.starts_with(char::is_lowercase))
        .map(str::to_owned)
}

fn without_strings(code: &str) -> String {
    let code = code.replace("\\\\", "").replace("\\\"", "").replace("'\"'", "");
    code.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}
