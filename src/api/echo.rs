//! An API that repeats our key in its answers must not bring it into the database and the logs.

use std::borrow::Cow;

/// What is put in the key's place.
pub(super) const PLACEHOLDER: &str = "[api key]";

/// The places of `key` in `bytes`, without overlaps. An empty key is nowhere.
pub(super) fn places<'a>(bytes: &'a [u8], key: &'a str) -> impl Iterator<Item = usize> + 'a {
    let key = key.as_bytes();
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(from..)?;
        let found = from + rest.windows(key.len().max(1)).position(|window| window == key)?;
        from = found + key.len();
        Some(found)
    })
}

/// The text without the key.
pub(super) fn hidden<'a>(text: &'a str, key: &str) -> Cow<'a, str> {
    if !key.is_empty() && text.contains(key) {
        Cow::Owned(text.replace(key, PLACEHOLDER))
    } else {
        Cow::Borrowed(text)
    }
}
