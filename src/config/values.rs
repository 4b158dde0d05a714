//! What a key may hold: one function for each kind of value, for serde to read a field of the configuration with. What
//! does not fit is refused in words that say what would be right, as they follow `key = value` in a message. Nothing is
//! coerced in silence.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use config::{Map, Value, ValueKind};
use serde::Deserialize as _;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, Deserializer};
use toml::de::DeValue;
use url::Url;

use super::path::absolute;
use super::problem::masked;
use super::units::{parse_duration, parse_size, show_duration, show_size};
use super::{Keep, endpoint, server};
use crate::model::Address;

/// Below this a limit would be a loop without a pause, or a timeout that no answer can meet.
const DURATION_MIN: Duration = Duration::from_millis(1);

/// What is kept of a body and what a result may be: less than 1 KiB cuts the documented errors off, more than 16 MiB
/// (times `max_in_flight`) is memory that nobody meant to spend. The row inbox refuses longer payloads at the INSERT
/// too.
const BODY: (u64, u64) = (1 << 10, 16 << 20);

/// A value of a file, as the layers carry it. A number too large for 64 bits stays too large for every key; a date fits
/// none.
pub(super) fn plain(value: &DeValue<'_>) -> Value {
    let kind = match value {
        DeValue::String(text) => ValueKind::String(text.clone().into_owned()),
        DeValue::Integer(number) => {
            ValueKind::I64(i64::from_str_radix(number.as_str(), number.radix()).unwrap_or(i64::MAX))
        }
        DeValue::Float(number) => number.as_str().parse().map_or(ValueKind::Nil, ValueKind::Float),
        DeValue::Boolean(on) => ValueKind::Boolean(*on),
        DeValue::Datetime(_) => ValueKind::Nil,
        DeValue::Array(items) => ValueKind::Array(items.iter().map(|item| plain(item.get_ref())).collect()),
        DeValue::Table(members) => {
            let members = members.iter();
            let members = members.map(|(name, value)| (name.get_ref().to_string(), plain(value.get_ref())));
            ValueKind::Table(members.collect::<Map<_, _>>())
        }
    };
    Value::new(None, kind)
}

/// The value as it is written in a file, without secrets.
pub(super) fn toml_of(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => quoted(&masked(text)),
        ValueKind::Boolean(on) => on.to_string(),
        ValueKind::I64(number) => number.to_string(),
        ValueKind::Float(number) => format!("{number:?}"),
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(toml_of).collect();
            format!("[{}]", items.join(", "))
        }
        // No key takes any of these .
        ValueKind::Nil | ValueKind::U64(_) | ValueKind::I128(_) | ValueKind::U128(_) | ValueKind::Table(_) => {
            quoted(&value.to_string())
        }
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() || c.escape_debug().len() > 1 && c != '\'' => format!("\\U{:08X}", u32::from(c)),
        c => c.to_string(),
    };
    let inner: String = text.chars().map(escaped).collect();
    format!("\"{inner}\"")
}

/// Reads with this function, whose words become the error.
fn read<'de, D: Deserializer<'de>, T>(from: D, read: impl FnOnce(&Value) -> Result<T, String>) -> Result<T, D::Error> {
    read(&Value::deserialize(from)?).map_err(de::Error::custom)
}

fn as_text(value: &Value) -> Result<&str, String> {
    match &value.kind {
        ValueKind::String(text) => Ok(text),
        _ => Err("is not text; write it in quotes".to_owned()),
    }
}

/// The text of something that has a unit; a bare number is refused, because nobody can say what it counts.
fn with_unit<'v>(value: &'v Value, what: &str, example: &str) -> Result<&'v str, String> {
    as_text(value).map_err(|_| format!("is not a {what}; write it in quotes and with its unit, as \"{example}\""))
}

/// What is added for a value that would be right but for its quotes.
fn unquoted(value: &Value) -> &'static str {
    match as_text(value).map(DeValue::parse) {
        Ok(Ok(_)) => ", without quotes",
        Ok(Err(_)) | Err(_) => "",
    }
}

pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    read(from, |value| as_text(value).map(str::to_owned))
}

pub(super) fn optional_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    text(from).map(Some)
}

pub(super) fn switch<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    read(from, |value| match value.kind {
        ValueKind::Boolean(on) => Ok(on),
        _ => Err(format!(
            "is neither true nor false; write one of them{}",
            unquoted(value)
        )),
    })
}

pub(super) fn optional_switch<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    switch(from).map(Some)
}

/// A list of texts that is not empty.
pub(super) fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    read(from, |value| {
        let texts = match &value.kind {
            ValueKind::Array(items) => items.iter().map(|item| as_text(item).map(str::to_owned)).collect(),
            _ => Ok(Vec::new()),
        };
        let texts: Vec<String> = texts.unwrap_or_default();
        if texts.is_empty() {
            return Err("is no list of texts; write it as [\"A\", \"B\"], with one at least".to_owned());
        }
        Ok(texts)
    })
}

pub(super) fn optional_texts<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    texts(from).map(Some)
}

/// One of the words of `T`.
pub(super) fn one_of<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<T, D::Error> {
    read(from, |value| {
        let word = as_text(value).unwrap_or_default();
        T::deserialize(StrDeserializer::<NotOneOf>::new(word)).map_err(|error| error.to_string())
    })
}

/// A path; made absolute, so that what is shown is what is used.
pub(super) fn path<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    read(from, |value| match as_text(value)? {
        "" => Err("is empty; name a path".to_owned()),
        path => absolute(path),
    })
}

pub(super) fn path_or_empty<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    read(from, |value| match as_text(value)? {
        "" => Ok(PathBuf::new()),
        path => absolute(path),
    })
}

/// Empty for none.
pub(super) fn optional_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    path_or_empty(from).map(|path| Some(path).filter(|path| !path.as_os_str().is_empty()))
}

/// Where the outbox is: a path, or a URL of PostgreSQL whose schema and node other keys name.
pub(super) fn outbox<'de, D: Deserializer<'de>>(from: D) -> Result<Address, D::Error> {
    read(from, |value| match as_text(value)? {
        "" => Err("is empty; name a path, or a URL of PostgreSQL".to_owned()),
        url if server::is_url(url) => server::parse(url).map(|server| Address::Server(Box::new(server))),
        path => absolute(path).map(Address::File),
    })
}

/// Text that this has nothing to say against.
fn checked<'de, D: Deserializer<'de>>(
    from: D,
    check: impl FnOnce(&str) -> Result<(), String>,
) -> Result<String, D::Error> {
    read(from, |value| {
        let text = as_text(value)?;
        check(text).map(|()| text.to_owned())
    })
}

/// A schema of PostgreSQL.
pub(super) fn schema<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, server::check_schema)
}

/// A node's name, or empty.
pub(super) fn node<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, server::check_node)
}

/// A URL that was put together and checked before.
pub(super) fn url<'de, D: Deserializer<'de>>(from: D) -> Result<Url, D::Error> {
    read(from, |value| {
        Url::parse(as_text(value)?).map_err(|error| error.to_string())
    })
}

/// Empty for none.
pub(super) fn proxy<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Url>, D::Error> {
    read(from, |value| match as_text(value)? {
        "" => Ok(None),
        text => endpoint::proxy(text).map(Some),
    })
}

/// As `30s`; zero means something: at once.
pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    read(from, |value| duration_of(value, Duration::ZERO))
}

pub(super) fn duration_above_zero<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    read(from, |value| duration_of(value, DURATION_MIN))
}

/// Zero for never, or any.
pub(super) fn optional_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from).map(|duration| Some(duration).filter(|duration| !duration.is_zero()))
}

fn duration_of(value: &Value, min: Duration) -> Result<Duration, String> {
    match parse_duration(with_unit(value, "duration", "30s")?) {
        None => Err("is not a duration; write 10m, 600s or 1h30m".to_owned()),
        Some(duration) if duration < min => Err(format!("is too short; write at least {}", show_duration(min))),
        Some(duration) => Ok(duration),
    }
}

/// A duration or `forever`.
pub(super) fn keep<'de, D: Deserializer<'de>>(from: D) -> Result<Keep, D::Error> {
    read(from, |value| match with_unit(value, "duration", "30d")? {
        "forever" => Ok(Keep::Forever),
        text => parse_duration(text).map(Keep::For).ok_or_else(|| {
            "is not a duration; write 30d or 12h, \"0\" to delete at once, or \"forever\" to keep".to_owned()
        }),
    })
}

/// As `64KiB`, in bytes.
pub(super) fn size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    read(from, |value| size_of(value, (0, u64::MAX)))
}

/// Within [`BODY`].
pub(super) fn body_size<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    let bytes = read(from, |value| size_of(value, BODY))?;
    usize::try_from(bytes).map_err(de::Error::custom)
}

fn size_of(value: &Value, (min, max): (u64, u64)) -> Result<u64, String> {
    match parse_size(with_unit(value, "size", "64KiB")?) {
        None => Err("is not a size; write 64KiB, 1MiB or 10MB".to_owned()),
        Some(bytes) if bytes < min || bytes > max => Err(format!(
            "is out of range; write {} to {}",
            show_size(min),
            show_size(max)
        )),
        Some(bytes) => Ok(bytes),
    }
}

/// Each request in flight is a socket, a buffer and a claimed row; more of them only move the queue into the server.
pub(super) fn in_flight<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    read(from, |value| whole_of(value, 1, 1024))
}

/// A whole number; zero for no limit.
pub(super) fn limit<'de, D: Deserializer<'de>, N: From<u32>>(from: D) -> Result<Option<N>, D::Error> {
    let number = read(from, |value| whole_of(value, 0, u32::MAX))?;
    Ok(Some(number).filter(|number| *number > 0).map(N::from))
}

fn whole_of(value: &Value, min: u32, max: u32) -> Result<u32, String> {
    let ValueKind::I64(number) = value.kind else {
        return Err(format!(
            "is not a whole number; write one from {min} to {max}{}",
            unquoted(value)
        ));
    };
    u32::try_from(number)
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("is out of range; write a whole number from {min} to {max}"))
}

/// Below 1 the waits would shrink; above 100 the second one is the last.
pub(super) fn multiplier<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    read(from, |value| fraction_of(value, 1.0, 100.0))
}

pub(super) fn share<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    read(from, |value| fraction_of(value, 0.0, 1.0))
}

fn fraction_of(value: &Value, min: f64, max: f64) -> Result<f64, String> {
    match value.kind {
        ValueKind::Float(number) if (min..=max).contains(&number) => Ok(number),
        ValueKind::Float(_) => Err(format!("is out of range; write a number from {min:?} to {max:?}")),
        _ => Err(format!(
            "is not a number; write one from {min:?} to {max:?}{}",
            unquoted(value)
        )),
    }
}

/// The words that would have been right, as serde knows them of an enum.
#[derive(Debug)]
struct NotOneOf(&'static [&'static str]);

impl de::Error for NotOneOf {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }

    fn unknown_variant(_: &str, words: &'static [&'static str]) -> Self {
        Self(words)
    }
}

impl std::error::Error for NotOneOf {}

impl fmt::Display for NotOneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is not one of \"{}\"", self.0.join("\", \""))
    }
}
