//! The members of one object: each check says what is wrong and hands on what is right.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::payload::Object;

use super::violation::{Rule, Violation};

/// How far a clock on this planet may be behind UTC: a date without an offset is in the past only when it is so
/// everywhere.
const BEHIND_UTC_MAX: Duration = Duration::from_hours(12);

/// An object, the path to it, and what is wrong with it so far.
pub(super) struct Members<'o, 't> {
    object: &'o Object<'t>,
    /// Before each member's name: empty, or ends in a dot.
    prefix: &'static str,
    pub violations: Vec<Violation>,
}

impl<'o, 't> Members<'o, 't> {
    /// Begins; a member that is there twice is the first thing to say.
    pub fn at(object: &'o Object<'t>, prefix: &'static str) -> Self {
        let duplicate = object.duplicate().map(|name| Violation {
            path: format!("{prefix}{name}"),
            rule: Rule::Duplicate,
            found: None,
        });
        Self {
            object,
            prefix,
            violations: duplicate.into_iter().collect(),
        }
    }

    /// Adds what is wrong with a member.
    pub fn violated(&mut self, name: &str, rule: Rule) {
        self.violations.push(Violation {
            path: format!("{}{name}", self.prefix),
            rule,
            found: self.present(name).map(str::to_owned),
        });
    }

    /// The member's raw text, unless it is absent or `null`.
    pub fn present(&self, name: &str) -> Option<&'t str> {
        self.object.get(name).filter(|raw| *raw != "null")
    }

    /// A member that must be a string where it is present.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.present(name)?;
        let text = self.object.string(name);
        if text.is_none() {
            self.violated(name, Rule::NotA("a string"));
        }
        text
    }

    /// A string that must be there, and not be empty.
    pub fn required_text(&mut self, name: &str) -> Option<String> {
        if self.present(name).is_none_or(|raw| raw == "\"\"") {
            self.violated(name, Rule::Missing);
            return None;
        }
        self.text(name)
    }

    /// A member that must look so where it is present.
    pub fn of_kind(&mut self, name: &str, kind: &'static str, is_right: fn(&str) -> bool) {
        if self.present(name).is_some_and(|raw| !is_right(raw)) {
            self.violated(name, Rule::NotA(kind));
        }
    }

    /// A member whose text must be one of these.
    pub fn one_of<S: AsRef<str>>(&mut self, name: &str, text: &str, known: &[S]) {
        if !known.iter().any(|known| known.as_ref() == text) {
            let known = known.iter().map(|known| known.as_ref().to_owned()).collect();
            self.violated(name, Rule::NotOneOf(known));
        }
    }

    /// A member whose text must be a date.
    pub fn date(&mut self, name: &str, text: &str) -> Option<Timestamp> {
        let at = Timestamp::parse_iso8601(text).filter(|_| is_iso8601(text));
        if at.is_none() {
            self.violated(name, Rule::NotADate);
        }
        at
    }

    /// One of the two ids; an empty one counts as absent.
    pub fn activity(&mut self) {
        let ids =
            ["activity_id", "provider_activity_id"].map(|name| self.present(name).is_some_and(|raw| raw != "\"\""));
        if ids == [false, false] {
            self.violated("activity_id", Rule::NoActivity);
        }
        if let Some(id) = self.text("activity_id").filter(|id| !id.is_empty())
            && !is_uuid(&id)
        {
            self.violated("activity_id", Rule::NotAUuid);
        }
        self.text("provider_activity_id");
    }

    /// `future_scheduled_at`: a date where it is present; there, and in the future, where the result type of this code
    /// requires it.
    pub fn schedule(&mut self, required_by: Option<&str>, now: Timestamp) {
        const NAME: &str = "future_scheduled_at";
        let at = self
            .text(NAME)
            .and_then(|text| Some((self.date(NAME, &text)?, has_offset(&text))));
        let Some(code) = required_by else { return };
        match at {
            Some((at, has_offset)) => {
                let latest = if has_offset { at } else { at.plus(BEHIND_UTC_MAX) };
                if latest <= now {
                    self.violated(NAME, Rule::NotInFuture(code.to_owned()));
                }
            }
            None if self.present(NAME).is_none() => self.violated(NAME, Rule::ScheduleRequired(code.to_owned())),
            // Wrong already.
            None => {}
        }
    }
}

/// Whether the raw text of a member is an object: the text is known to be JSON, so its first letter says so.
pub(super) fn is_object(raw: &str) -> bool {
    raw.starts_with('{')
}

/// The form 8-4-4-4-12, of any version, in any case.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups
            .iter()
            .all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// What the parser of dates allows beyond ISO 8601, and a server that knows only that refuses: a blank for the `T`,
/// small letters, and the name of a time zone in brackets.
fn is_iso8601(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'T' | b'Z' | b'W' | b'+' | b'-' | b':' | b'.' | b','))
}

fn has_offset(text: &str) -> bool {
    let time = text.split_once('T').map_or("", |(_, time)| time);
    time.contains(['Z', '+', '-'])
}
