//! What is wrong with a configuration: all of it at once, each with its place, its key, what was found and what would
//! be right.

use std::fmt;
use std::path::PathBuf;

/// The longest piece of a configuration that a message repeats, in characters: enough to recognise it, and still one
/// line.
const SHOWN_CHARS_MAX: usize = 80;

/// How every API key of Reten begins. What begins so is shown nowhere, wherever it was written by mistake.
pub(super) const KEY_PREFIX: &str = "rtn_sk_";

/// What set a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetBy {
    /// The built-in `config/config.toml`.
    Default,
    File {
        /// As it was named.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A variable of the environment, by its name.
    Environment(String),
}

impl fmt::Display for SetBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", one_line(&path.to_string_lossy())),
            Self::Environment(name) => f.write_str(&one_line(name)),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file and line or the variable; a bare file where it cannot be read at all.
    pub place: String,
    /// The key, as `section.key`; `None` where the trouble is none of a key.
    pub key: Option<String>,
    /// What was found and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A configuration that cannot be used; never empty. Shown with one problem a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Everything that is wrong, in the order of files, lines and variables.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.problems.iter().enumerate() {
            let line_break = if place == 0 { "" } else { "\n" };
            write!(f, "{line_break}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Why there is no password although a place for one exists. To go on to the next place would be to connect with
/// another one than the operator believes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: the outbox's password cannot be used: {why}", .place.display())]
pub struct PasswordError {
    pub place: PathBuf,
    /// What is wrong and the remedy.
    pub why: String,
    /// It is there, and closed to this user; another one may find a good password in it.
    pub is_forbidden: bool,
}

/// A piece of a configuration as a message may show it: in one line, not endless, without secrets.
pub(super) fn shown(found: &str) -> String {
    let found = one_line(&masked(found));
    match found.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &found[..cut]),
        None => found,
    }
}

/// The text with line breaks, control characters and bidirectional controls escaped.
pub(super) fn one_line(text: &str) -> String {
    let plain = |c: char| matches!(c, '"' | '\'' | '\\' | ' ');
    let escape = |c: char| {
        if plain(c) {
            c.to_string()
        } else {
            c.escape_debug().to_string()
        }
    };
    text.chars().map(escape).collect()
}

/// The text without an API key in it, and without the password of a URL.
pub(super) fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(KEY_PREFIX) {
        let (before, key) = rest.split_at(at);
        let end = key
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
            .unwrap_or(key.len());
        out.push_str(before);
        out.push_str("[api key]");
        rest = &key[end..];
    }
    out.push_str(rest);
    without_password(&out)
}

/// `http://user:secret@host` as `http://user:[hidden]@host`; a lone word before the `@` may be a token, and is hidden
/// as a whole.
fn without_password(text: &str) -> String {
    let Some(start) = text.find("://").map(|at| at + 3) else {
        return text.to_owned();
    };
    let scheme = &text[..start - 3];
    if scheme.ends_with("postgres") || scheme.ends_with("postgresql") {
        return without_postgres_password(text, start);
    }
    let authority = text[start..]
        .find(['/', '?', '#'])
        .map_or(text.len(), |length| start + length);
    // The last `@`: an unescaped one inside the password must not end it. None before the path: it may still be a
    // password with a slash.
    let Some(at) = text[start..authority]
        .rfind('@')
        .or_else(|| text[start..].rfind('@'))
        .map(|at| start + at)
    else {
        return text.to_owned();
    };
    let name = text[start..at]
        .find(':')
        .map_or("", |colon| &text[start..=start + colon]);
    format!("{}{name}[hidden]{}", &text[..start], &text[at..])
}

/// `postgres://user:secret@host` as `postgres://user:[hidden]@host`; a lone word before the `@` is a role. `start` is
/// behind the scheme. Rather too much is hidden than too little: a password may have every letter unescaped.
fn without_postgres_password(text: &str, start: usize) -> String {
    const OPTION: &str = "password=";
    let mut shown = text.to_owned();
    if let Some(at) = shown.to_ascii_lowercase().find(OPTION).map(|at| at + OPTION.len()) {
        let end = shown[at..].find(['&', '"']).map_or(shown.len(), |length| at + length);
        shown.replace_range(at..end, "[hidden]");
    }
    let end = shown.rfind('@').filter(|at| *at >= start);
    if let Some(end) = end
        && let Some(colon) = shown[start..end].find(':')
    {
        shown.replace_range(start + colon + 1..end, "[hidden]");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_repeated() {
        let cases = [
            ("http://user:p@ss@proxy:3128/x", "http://user:[hidden]@proxy:3128/x"),
            ("http://token@proxy:3128", "http://[hidden]@proxy:3128"),
            ("http://user:p/ss@proxy", "http://user:[hidden]@proxy"),
            ("https://api.reten.ai/x", "https://api.reten.ai/x"),
            ("\"postgres://me@db:5432/x?a=b\"", "\"postgres://me@db:5432/x?a=b\""),
            ("postgres://me:p@ss/w?rd@db/x", "postgres://me:[hidden]@db/x"),
            (
                "postgresql://me@db/x?Password=s3&port=1",
                "postgresql://me@db/x?Password=[hidden]&port=1",
            ),
            ("\"rtn_sk_0123abc\"", "\"[api key]\""),
            ("[rtn_sk_1, rtn_sk_2]", "[[api key], [api key]]"),
        ];
        for (text, expected) in cases {
            assert_eq!(masked(text), expected);
        }
    }

    #[test]
    fn what_is_shown_is_one_line_of_bounded_length() {
        assert_eq!(shown("a\nb\u{202e}\"é\"\u{7}"), "a\\nb\\u{202e}\"é\"\\u{7}");
        assert_eq!(shown(&"é".repeat(81)), format!("{}…", "é".repeat(80)));
        assert_eq!(shown(&"é".repeat(80)), "é".repeat(80));
    }
}
