//! Two results, member by member: what is in both, what differs, and what only one of them has.
//!
//! Values are compared as [`Payload::digest`] does, so that `1.0` is `1` and the order of members does not count; they
//! are shown as they were written. Everything here is safe for a terminal.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::cli::render::escape::{self, visible};
use crate::model::Payload;

/// Below this level a value is one value, whatever is in it: nobody reads further down, and nothing recurses deeper.
const DEPTH_MAX: usize = 16;
/// So many members and items of a result are told apart; a container that holds more than are left is compared whole.
/// Bounds the memory, and the time that a hostile result takes.
const VALUES_MAX: usize = 10_000;
/// The characters of a value that are kept to be shown: more than any screen is wide.
const SHOWN_MAX: usize = 400;
/// Of two long values that begin alike, so many of the equal characters are shown before the first other one.
const LEAD: usize = 12;

/// How a member stands in the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    Same,
    Changed,
    OnlyOurs,
    OnlyTheirs,
}

impl Mark {
    /// The sign before the member: what differs must be seen without colour.
    pub const fn sign(self) -> char {
        match self {
            Self::Same => ' ',
            Self::Changed => '~',
            Self::OnlyOurs => '+',
            Self::OnlyTheirs => '-',
        }
    }
}

/// A member of either, with its values, escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub mark: Mark,
    /// `task_result.payload.lines[2].price`.
    pub member: String,
    pub ours: Option<String>,
    pub theirs: Option<String>,
}

/// Which members differ, and how: those of which this is equal are alike. Items of an array count as one member.
pub type Difference = BTreeSet<(String, Mark)>;

/// The members of both, in our order, then in theirs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Comparison {
    pub rows: Vec<Row>,
    pub difference: Difference,
}

impl Comparison {
    /// What differs alone.
    pub fn differing(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.mark != Mark::Same)
    }
}

/// Compares ours with theirs.
pub fn compare(ours: &str, theirs: &str) -> Comparison {
    let mut comparison = Comparison::default();
    let (ours, theirs) = (Node::of(ours), Node::of(theirs));
    comparison.pair(&Place::default(), &ours, &theirs);
    comparison
}

/// The members of one alone, where there is nothing to compare it with.
pub fn members(ours: &str) -> Vec<Row> {
    let mut comparison = Comparison::default();
    let ours = Node::of(ours);
    comparison.pair(&Place::default(), &ours, &ours);
    for row in &mut comparison.rows {
        row.theirs = None;
    }
    comparison.rows
}

/// A value, taken apart as far as it is compared. Numbers and strings are as they were written.
enum Node<'a> {
    Object(Vec<(String, Node<'a>)>),
    Array(Vec<Node<'a>>),
    Value(&'a str),
}

impl<'a> Node<'a> {
    fn of(text: &'a str) -> Self {
        let mut left = VALUES_MAX;
        Self::take(text.trim(), DEPTH_MAX, &mut left)
    }

    fn take(text: &'a str, depth: usize, left: &mut usize) -> Self {
        if depth == 0 {
            return Self::Value(text);
        }
        let mut fits = |count: usize| {
            let fits = (1..=*left).contains(&count);
            *left -= if fits { count } else { 0 };
            fits
        };
        match text.as_bytes().first() {
            Some(b'{') => match serde_json::from_str::<Members<'a>>(text) {
                Ok(Members(members)) if fits(members.len()) => {
                    let inner =
                        |(name, value): (String, &'a RawValue)| (name, Self::take(value.get(), depth - 1, left));
                    Self::Object(members.into_iter().map(inner).collect())
                }
                Ok(_) | Err(_) => Self::Value(text),
            },
            Some(b'[') => match serde_json::from_str::<Vec<&'a RawValue>>(text) {
                Ok(items) if fits(items.len()) => {
                    let inner = |value: &'a RawValue| Self::take(value.get(), depth - 1, left);
                    Self::Array(items.into_iter().map(inner).collect())
                }
                Ok(_) | Err(_) => Self::Value(text),
            },
            Some(_) | None => Self::Value(text),
        }
    }

    /// In one line, as it was written.
    fn text(&self) -> String {
        match self {
            Self::Value(text) => Payload::from_text(text).in_one_line(),
            Self::Array(items) => {
                let items: Vec<String> = items.iter().map(Self::text).collect();
                format!("[{}]", items.join(","))
            }
            Self::Object(members) => {
                let member = |(name, value): &(String, Self)| format!("{}:{}", quoted(name), value.text());
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
            }
        }
    }

    fn is_same_value(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.text(), other.text());
        ours == theirs || Payload::from_text(&ours).digest() == Payload::from_text(&theirs).digest()
    }
}

fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

/// The members of an object in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// Where a value lies: for people, and as the name of its kind.
#[derive(Clone, Default)]
struct Place {
    shown: String,
    kind: String,
}

impl Place {
    fn member(&self, name: &str) -> Self {
        let is_plain = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$'));
        let step = if is_plain { name.to_owned() } else { quoted(name) };
        let dot = if self.shown.is_empty() { "" } else { "." };
        Self {
            shown: format!("{}{dot}{step}", self.shown),
            kind: format!("{}{dot}{step}", self.kind),
        }
    }

    fn item(&self, index: usize) -> Self {
        Self {
            shown: format!("{}[{index}]", self.shown),
            kind: format!("{}[]", self.kind),
        }
    }
}

impl Comparison {
    fn pair(&mut self, place: &Place, ours: &Node<'_>, theirs: &Node<'_>) {
        match (ours, theirs) {
            (Node::Object(ours), Node::Object(theirs)) => {
                let in_ours: HashSet<&str> = ours.iter().map(|(name, _)| name.as_str()).collect();
                let in_theirs: HashMap<&str, &Node<'_>> =
                    theirs.iter().map(|(name, value)| (name.as_str(), value)).collect();
                for (name, value) in ours {
                    self.either(&place.member(name), Some(value), in_theirs.get(name.as_str()).copied());
                }
                for (name, value) in theirs.iter().filter(|(name, _)| !in_ours.contains(name.as_str())) {
                    self.either(&place.member(name), None, Some(value));
                }
            }
            (Node::Array(ours), Node::Array(theirs)) => {
                for index in 0..ours.len().max(theirs.len()) {
                    self.either(&place.item(index), ours.get(index), theirs.get(index));
                }
            }
            (Node::Object(_) | Node::Array(_) | Node::Value(_), _) => {
                let mark = if ours.is_same_value(theirs) {
                    Mark::Same
                } else {
                    Mark::Changed
                };
                self.push(place, mark, Some(ours), Some(theirs));
            }
        }
    }

    fn either(&mut self, place: &Place, ours: Option<&Node<'_>>, theirs: Option<&Node<'_>>) {
        match (ours, theirs) {
            (Some(ours), Some(theirs)) => self.pair(place, ours, theirs),
            (Some(_), None) => self.push(place, Mark::OnlyOurs, ours, None),
            (None, _) => self.push(place, Mark::OnlyTheirs, None, theirs),
        }
    }

    fn push(&mut self, place: &Place, mark: Mark, ours: Option<&Node<'_>>, theirs: Option<&Node<'_>>) {
        if mark != Mark::Same {
            self.difference.insert((place.kind.clone(), mark));
        }
        let text = |node: Option<&Node<'_>>| node.map(|node| visible(&escape::json(&node.text())).into_owned());
        let (ours, theirs) = from_where_they_differ(text(ours), text(theirs), SHOWN_MAX);
        self.rows.push(Row {
            mark,
            member: visible(&place.shown).into_owned(),
            ours,
            theirs,
        });
    }
}

/// Two values so cut that what differs is seen: where one is longer than `most` characters, both begin shortly before
/// the first character that is not the same.
pub fn from_where_they_differ(
    ours: Option<String>,
    theirs: Option<String>,
    most: usize,
) -> (Option<String>, Option<String>) {
    let is_long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.chars().count() > most);
    if !is_long(&ours) && !is_long(&theirs) {
        return (ours, theirs);
    }
    let alike = match (&ours, &theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => ours
            .chars()
            .zip(theirs.chars())
            .take_while(|(left, right)| left == right)
            .count(),
        (Some(_) | None, _) => 0,
    };
    // What is seen anyway needs no leading away.
    let skipped = if alike + LEAD < most {
        0
    } else {
        alike.saturating_sub(LEAD)
    };
    let cut = |text: String| {
        let lead = if skipped > 0 { "…" } else { "" };
        let mut rest = text.chars().skip(skipped);
        let kept: String = rest.by_ref().take(most.saturating_sub(lead.len().min(1))).collect();
        let more = if rest.next().is_some() { "…" } else { "" };
        format!("{lead}{kept}{more}")
    };
    (ours.map(cut), theirs.map(cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(ours: &str, theirs: &str) -> Vec<(char, String)> {
        let comparison = compare(ours, theirs);
        let rows = comparison.rows.iter();
        rows.map(|row| (row.mark.sign(), row.member.clone())).collect()
    }

    fn owned(marks: &[(char, &str)]) -> Vec<(char, String)> {
        marks
            .iter()
            .map(|(sign, member)| (*sign, (*member).to_owned()))
            .collect()
    }

    #[test]
    fn members_are_compared_deep_down_and_in_any_order() {
        let ours = r#"{"a":1,"b":{"c":"x","d":[1,{"e":2},3]},"new":{"f":1}}"#;
        let theirs = r#"{"b":{"d":[1,{"e":4}],"c":"x"},"a":1.0,"old":null}"#;
        let expected = [
            (' ', "a"),
            (' ', "b.c"),
            (' ', "b.d[0]"),
            ('~', "b.d[1].e"),
            ('+', "b.d[2]"),
            ('+', "new"),
            ('-', "old"),
        ];
        assert_eq!(marks(ours, theirs), owned(&expected));
        let row = &compare(ours, theirs).rows[5];
        assert_eq!((row.ours.as_deref(), row.theirs.as_deref()), (Some("{\"f\":1}"), None));
    }

    #[test]
    fn values_are_compared_by_what_they_are_and_shown_as_they_were_written() {
        assert_eq!(
            marks(r#"{"a":1.50,"b":"\u0041"}"#, r#"{"a":15e-1,"b":"A"}"#),
            owned(&[(' ', "a"), (' ', "b")])
        );
        let row = &compare(r#"{"a":12345678901234567890.10}"#, r#"{"a":12345678901234567890.11}"#).rows[0];
        assert_eq!(
            (row.mark, row.ours.as_deref()),
            (Mark::Changed, Some("12345678901234567890.10"))
        );
        assert_eq!(marks(r#"{"a":{}}"#, r#"{"a":{"b":1}}"#), owned(&[('~', "a")]));
        assert_eq!(marks(r#"{"a":[]}"#, r#"{"a":{}}"#), owned(&[('~', "a")]));
    }

    #[test]
    fn items_of_an_array_are_one_kind_of_difference() {
        let difference = |ours, theirs| compare(ours, theirs).difference;
        assert_eq!(
            difference(r#"{"a":[{"b":1},{"b":2}]}"#, r#"{"a":[{"b":3},{"b":4}]}"#),
            difference(r#"{"a":[{"b":1}]}"#, r#"{"a":[{"b":9}]}"#)
        );
        assert_ne!(difference(r#"{"a":1}"#, r#"{"a":2}"#), difference(r#"{"a":1}"#, "{}"));
        // A name with a dot in it is not two names.
        assert_ne!(
            difference(r#"{"a.b":1}"#, "{}"),
            difference(r#"{"a":{"b":1}}"#, r#"{"a":{}}"#)
        );
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped_in_names_and_values() {
        let rows = compare(
            "{\"a\u{202e}\u{9b}\":\"\u{1b}[31m\u{202e}\"}",
            "{\"b\\u001b[2J\":\"\\u001b]0;x\\u0007\"}",
        )
        .rows;
        for row in rows {
            for text in [Some(row.member), row.ours, row.theirs].into_iter().flatten() {
                assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
            }
        }
    }

    #[test]
    fn long_values_are_cut_where_they_differ() {
        let long = |end: &str| Some(format!("{}{end}", "x".repeat(500)));
        let (ours, theirs) = from_where_they_differ(long("one more"), long("two more"), 30);
        assert_eq!(ours.as_deref(), Some("…xxxxxxxxxxxxone more"));
        assert_eq!(theirs.as_deref(), Some("…xxxxxxxxxxxxtwo more"));
        let (ours, theirs) = from_where_they_differ(Some("a".repeat(50)), Some("b".into()), 10);
        assert_eq!((ours.as_deref(), theirs.as_deref()), (Some("aaaaaaaaaa…"), Some("b")));
        assert_eq!(from_where_they_differ(None, long(""), 3).1.as_deref(), Some("xxx…"));
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(compare(&deep, &deep).differing().count(), 0);
        let wide = |last: u32| format!("{{\"a\":[{}{last}],\"z\":[1,{last}]}}", "0,".repeat(20_000));
        let comparison = compare(&wide(1), &wide(2));
        assert!(comparison.rows.len() < 30_000);
        assert_eq!(comparison.differing().count(), 2);
        assert_eq!(compare("not json", "{}").rows[0].mark, Mark::Changed);
    }
}
