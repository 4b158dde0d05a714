//! `list --group`: what matches, by what became of it. A thousand dead letters are seldom a thousand troubles.

use std::collections::HashMap;
use std::io::Write;

use serde::Serialize;

use crate::cli::output::note;
use crate::cli::paging::PagedList;
use crate::cli::render::escape::{self, visible};
use crate::cli::render::outcome::{error_of, status_of};
use crate::cli::render::story;
use crate::cli::render::table::wrap;
use crate::cli::render::time::ago;
use crate::clock::Timestamp;
use crate::model::SubmissionId;
use crate::policy::hint::ApiError;
use crate::store::Listed;

/// Kinds that are told apart: bounds the memory where every message is another one. What comes beyond them is counted
/// together.
const KINDS_MAX: usize = 10_000;

/// As much of a message tells one kind from another.
const MESSAGE_CHARS_MAX: usize = 300;

/// Where a message is broken.
const TEXT_WIDTH: usize = 80;

/// What those of one kind have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupKey {
    /// With the reason after it.
    shown: String,
    pub state: &'static str,
    pub reason: Option<&'static str>,
    pub http_status: Option<u16>,
    /// Status, error and message; the numbers in the message blanked.
    pub error: Option<ApiError>,
    source: Option<String>,
}

/// How many there are of a kind, and since when.
#[derive(Debug, Clone, Copy)]
struct Occurrences {
    count: u64,
    first: Timestamp,
    last: Timestamp,
    newest: SubmissionId,
}

/// A line of JSON.
#[derive(Serialize)]
struct GroupView<'a> {
    count: u64,
    state: &'static str,
    reason: Option<&'static str>,
    http_status: Option<u16>,
    error: Option<&'a ApiError>,
    source: Option<&'a str>,
    /// When the first and the last of them came into this state.
    first_seen: Timestamp,
    last_seen: Timestamp,
    newest_id: i64,
}

/// Shows what the pages hold, the largest group first.
pub async fn run(pages: &mut PagedList<'_>, as_json: bool, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut kinds: HashMap<GroupKey, Occurrences> = HashMap::new();
    let mut others = 0_u64;
    while let Some(page) = pages.next().await? {
        for listed in &page {
            let kind = GroupKey::of(listed);
            if kinds.len() >= KINDS_MAX && !kinds.contains_key(&kind) {
                others += 1;
                continue;
            }
            kinds
                .entry(kind)
                .and_modify(|seen| seen.add(listed))
                .or_insert_with(|| Occurrences::of(listed));
        }
    }
    let mut groups: Vec<(GroupKey, Occurrences)> = kinds.into_iter().collect();
    groups.sort_by_key(|(_, seen)| (std::cmp::Reverse(seen.count), std::cmp::Reverse(seen.newest)));
    if groups.is_empty() {
        note("no submission matches");
    }
    let width = groups.first().map_or(0, |(_, seen)| seen.count.to_string().len());
    for (kind, seen) in &groups {
        if as_json {
            let line = serde_json::to_string(&kind.view(seen))?;
            writeln!(out, "{}", escape::json(&line))?;
        } else {
            write!(out, "{}", kind.describe(seen, width, now))?;
        }
    }
    if others > 0 {
        note(&format!(
            "{others} more are of kinds beyond the first {KINDS_MAX}; narrow the filter to see them"
        ));
    }
    Ok(())
}

impl Occurrences {
    fn of(listed: &Listed) -> Self {
        Self {
            count: 1,
            first: listed.updated_at,
            last: listed.updated_at,
            newest: listed.id,
        }
    }

    fn add(&mut self, listed: &Listed) {
        self.count += 1;
        self.first = self.first.min(listed.updated_at);
        self.last = self.last.max(listed.updated_at);
        self.newest = self.newest.max(listed.id);
    }
}

impl GroupKey {
    /// Whosever they are.
    pub fn of_all_sources(listed: &Listed) -> Self {
        Self {
            source: None,
            ..Self::of(listed)
        }
    }

    fn of(listed: &Listed) -> Self {
        let error = error_of(listed).map(|error| ApiError {
            message: error.message.as_deref().map(blanked),
            ..error
        });
        Self {
            shown: story::state(listed),
            state: listed.state.name().into_str(),
            reason: listed.state.reason(),
            http_status: listed.last.as_ref().and_then(status_of),
            error,
            source: listed.source.clone(),
        }
    }

    fn view(&self, seen: &Occurrences) -> GroupView<'_> {
        GroupView {
            count: seen.count,
            state: self.state,
            reason: self.reason,
            http_status: self.http_status,
            error: self.error.as_ref(),
            source: self.source.as_deref(),
            first_seen: seen.first,
            last_seen: seen.last,
            newest_id: seen.newest.0,
        }
    }

    /// A line of numbers, and what the API (or our own check) said below it.
    fn describe(&self, seen: &Occurrences, width: usize, now: Timestamp) -> String {
        let source = self
            .source
            .as_deref()
            .map(|source| format!(", from {}", visible(source)));
        let (first, last) = (ago(seen.first, now), ago(seen.last, now));
        let when = if first == last {
            first
        } else {
            format!("{first} to {last}")
        };
        let source = source.unwrap_or_default();
        let mut text = format!(
            "{:>width$}  {}{source}, {when}, newest {}\n",
            seen.count, self.shown, seen.newest
        );
        let said = self
            .error
            .as_ref()
            .map(ApiError::line)
            .or(self.http_status.map(|status| status.to_string()));
        if let Some(said) = said {
            text.push_str(&wrap(&visible(&said), &" ".repeat(width + 2), TEXT_WIDTH));
        }
        text
    }
}

/// The message without what tells one submission from another: numbers, and ids that look like none.
fn blanked(message: &str) -> String {
    let short: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    let is_of_word = |character: char| character.is_ascii_alphanumeric() || character == '-';
    let mut out = String::with_capacity(short.len());
    let mut rest = short.as_str();
    while let Some(first) = rest.chars().next() {
        let length = if is_of_word(first) {
            rest.find(|character| !is_of_word(character)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (word, behind) = rest.split_at(length);
        if is_id(word) {
            out.push('#');
        } else {
            push_without_numbers(&mut out, word);
        }
        rest = behind;
    }
    out
}

/// A UUID, or another long number in hexadecimal.
fn is_id(word: &str) -> bool {
    let digits = word.chars().filter(|letter| *letter != '-').count();
    digits >= 16
        && word.chars().all(|letter| letter.is_ascii_hexdigit() || letter == '-')
        && word.contains(|letter: char| letter.is_ascii_digit())
}

fn push_without_numbers(out: &mut String, word: &str) {
    let mut in_number = false;
    for letter in word.chars() {
        let is_digit = letter.is_ascii_digit();
        if !is_digit {
            out.push(letter);
        } else if !in_number {
            out.push('#');
        }
        in_number = is_digit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::sample;
    use crate::model::Facts;

    #[test]
    fn messages_differ_by_their_words_and_not_by_their_numbers() {
        let cases = [
            ("Commerce COM-123 is unknown", "Commerce COM-# is unknown"),
            (
                "activity 7e57d004-2b97-0e7a-b45f-5387367791cd has one",
                "activity # has one",
            ),
            ("507f1f77bcf86cd799439011 gone", "# gone"),
            ("1.50 > 3", "#.# > #"),
            ("añ0, café-7", "añ#, café-#"),
            ("no numbers, a decade of facade", "no numbers, a decade of facade"),
        ];
        for (message, expected) in cases {
            assert_eq!(blanked(message), expected);
        }
        assert_eq!(blanked(&"é".repeat(5000)).chars().count(), MESSAGE_CHARS_MAX);
    }

    #[test]
    fn a_group_is_told_in_lines_that_fit() {
        let mut listed = sample::listed(Facts::default());
        listed.source = Some("crm\u{202e}".into());
        let kind = GroupKey::of(&listed);
        let mut seen = Occurrences::of(&listed);
        listed.id = SubmissionId(40);
        listed.updated_at = Timestamp::from_millis(listed.updated_at.millis() + 3_600_000);
        seen.add(&listed);
        let now = Timestamp::from_millis(listed.updated_at.millis() + 60_000);
        assert_eq!(
            kind.describe(&seen, 4, now),
            "   2  dead: rejected, from crm\\u{202e}, 1 h ago to 1 min ago, newest 40\n      400 Bad Request: commerce \\u{202e}unknown\n"
        );
        let json = serde_json::to_value(kind.view(&seen)).unwrap();
        assert_eq!(
            (&json["count"], &json["error"]["error"], &json["newest_id"]),
            (&2.into(), &"Bad Request".into(), &40.into())
        );
    }
}
