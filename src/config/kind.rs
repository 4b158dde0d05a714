//! The kinds of values: what each refuses, in words that say what would be right. Nothing is coerced in silence.

use std::time::Duration;

use config::Value;
use toml::de::{DeArray, DeFloat, DeInteger, DeValue};

use super::Keep;
use super::problem::KEY_PREFIX;
use super::units::{parse_duration, parse_size, show_duration, show_size};

/// What a value must be. Ranges include both ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// A path; made absolute, so that what is shown is what is used.
    Path,
    /// A path, or empty for none.
    OptionalPath,
    /// As `30s`.
    Duration {
        /// The shortest.
        min: Duration,
    },
    /// A duration or `forever`.
    Keep,
    /// As `64KiB`.
    Size {
        /// In bytes.
        min: u64,
        /// In bytes.
        max: u64,
    },
    /// A whole number.
    Count {
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// A number.
    Fraction {
        /// The least.
        min: f64,
        /// The most.
        max: f64,
    },
    /// `true` or `false`.
    Switch,
    /// A list of texts that is not empty.
    Texts,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

impl Kind {
    /// The value as the layers carry it, or what is wrong, as it follows `key = value` in a message.
    pub fn read(self, value: &DeValue<'_>) -> Result<Value, String> {
        match self {
            Self::Text => text(value).map(plain),
            Self::Path => text(value).and_then(|path| {
                if path.is_empty() {
                    Err("is empty; name a path".to_owned())
                } else {
                    absolute(path)
                }
            }),
            Self::OptionalPath => text(value).and_then(|path| {
                if path.is_empty() {
                    Ok(plain(path))
                } else {
                    absolute(path)
                }
            }),
            Self::Duration { min } => duration(value, min),
            Self::Keep => keep(value),
            Self::Size { min, max } => size(value, min, max),
            Self::Count { min, max } => count(value, min, max),
            Self::Fraction { min, max } => fraction(value, min, max),
            Self::Switch => value
                .as_bool()
                .map(|on| Value::new(None, on))
                .ok_or_else(|| format!("is neither true nor false; write one of them{}", unquoted(value))),
            Self::Texts => value
                .as_array()
                .ok_or(())
                .and_then(texts)
                .map_err(|()| "is no list of texts; write it as [\"A\", \"B\"], with one at least".to_owned()),
            Self::OneOf(known) => one_of(value, known),
        }
    }

    /// Whether a variable of the environment, where everything is text, is taken as it stands.
    pub fn is_text(self) -> bool {
        match self {
            Self::Text
            | Self::Path
            | Self::OptionalPath
            | Self::Duration { .. }
            | Self::Keep
            | Self::Size { .. }
            | Self::OneOf(_) => true,
            Self::Count { .. } | Self::Fraction { .. } | Self::Switch | Self::Texts => false,
        }
    }
}

fn plain(text: &str) -> Value {
    Value::new(None, text)
}

fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    value
        .as_str()
        .ok_or_else(|| "is not text; write it in quotes".to_owned())
}

fn absolute(path: &str) -> Result<Value, String> {
    if path.starts_with("postgres://") || path.starts_with("postgresql://") {
        return Err("is not a path; PostgreSQL comes later: name the path of a SQLite file".to_owned());
    }
    if path.contains("://") || path.starts_with("file:") || path.starts_with("sqlite:") {
        return Err("is a URL; write the path alone".to_owned());
    }
    if path.starts_with(KEY_PREFIX) {
        return Err("is a key, not a path: put the key into a file, and name the file here".to_owned());
    }
    if path.contains('\0') {
        return Err("has a NUL inside, which no path can have".to_owned());
    }
    let absolute = std::path::absolute(path)
        .map_err(|error| format!("cannot be made absolute ({error}); write it from the root, with a leading /"))?;
    let absolute = absolute
        .to_str()
        .ok_or("lies in a directory whose name is no UTF-8; write it from the root, with a leading /")?;
    Ok(plain(absolute))
}

fn duration(value: &DeValue<'_>, min: Duration) -> Result<Value, String> {
    let text = with_unit(value, "duration", "30s")?;
    match parse_duration(text) {
        None => Err("is not a duration; write 10m, 600s or 1h30m".to_owned()),
        Some(duration) if duration < min => Err(format!("is too short; write at least {}", show_duration(min))),
        Some(_) => Ok(plain(text)),
    }
}

fn keep(value: &DeValue<'_>) -> Result<Value, String> {
    let text = with_unit(value, "duration", "30d")?;
    match Keep::parse(text) {
        None => Err("is not a duration; write 30d or 12h, \"0\" to delete at once, or \"forever\" to keep".to_owned()),
        Some(_) => Ok(plain(text)),
    }
}

fn size(value: &DeValue<'_>, min: u64, max: u64) -> Result<Value, String> {
    let text = with_unit(value, "size", "64KiB")?;
    match parse_size(text) {
        None => Err("is not a size; write 64KiB, 1MiB or 10MB".to_owned()),
        Some(bytes) if bytes < min || bytes > max => Err(format!(
            "is out of range; write {} to {}",
            show_size(min),
            show_size(max)
        )),
        Some(_) => Ok(plain(text)),
    }
}

/// The text of something that has a unit; a bare number is refused, because nobody can say what it counts.
fn with_unit<'a>(value: &'a DeValue<'_>, what: &str, example: &str) -> Result<&'a str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("is not a {what}; write it in quotes and with its unit, as \"{example}\""))
}

fn count(value: &DeValue<'_>, min: u32, max: u32) -> Result<Value, String> {
    let Some(integer) = value.as_integer() else {
        return Err(format!(
            "is not a whole number; write one from {min} to {max}{}",
            unquoted(value)
        ));
    };
    match i64::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(number) if (i64::from(min)..=i64::from(max)).contains(&number) => Ok(Value::new(None, number)),
        Ok(_) | Err(_) => Err(format!("is out of range; write a whole number from {min} to {max}")),
    }
}

fn fraction(value: &DeValue<'_>, min: f64, max: f64) -> Result<Value, String> {
    let digits = value.as_float().map(DeFloat::as_str);
    let whole = value
        .as_integer()
        .filter(|integer| integer.radix() == 10)
        .map(DeInteger::as_str);
    let number = digits.or(whole).and_then(|digits| digits.parse::<f64>().ok());
    match number {
        None => Err(format!(
            "is not a number; write one from {min:?} to {max:?}{}",
            unquoted(value)
        )),
        Some(number) if (min..=max).contains(&number) => Ok(Value::new(None, number)),
        Some(_) => Err(format!("is out of range; write a number from {min:?} to {max:?}")),
    }
}

/// What is added for a value that would be right but for its quotes.
fn unquoted(value: &DeValue<'_>) -> &'static str {
    match value.as_str().map(DeValue::parse) {
        Some(Ok(_)) => ", without quotes",
        Some(Err(_)) | None => "",
    }
}

fn texts(list: &DeArray<'_>) -> Result<Value, ()> {
    let texts: Option<Vec<Value>> = list.iter().map(|item| item.get_ref().as_str().map(plain)).collect();
    match texts {
        Some(texts) if !texts.is_empty() => Ok(Value::new(None, texts)),
        Some(_) | None => Err(()),
    }
}

fn one_of(value: &DeValue<'_>, known: &[&str]) -> Result<Value, String> {
    match value.as_str() {
        Some(text) if known.contains(&text) => Ok(plain(text)),
        Some(_) | None => Err(format!("is not one of \"{}\"", known.join("\", \""))),
    }
}
