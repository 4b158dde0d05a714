//! Text of several lines, and JSON, made safe for a terminal. One line is [`visible`]'s work; these two are built on
//! it.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::telemetry::escape::is_hidden;
pub use crate::telemetry::escape::visible;

/// Several lines: line breaks stay, everything else that is hidden is escaped.
pub fn lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// JSON text with everything hidden inside its strings as `\uXXXX`: the same value, in any terminal. White space
/// between tokens is ASCII in valid JSON, so whatever is found here beyond ASCII is in a string; the ASCII controls
/// cannot be there unescaped, but DEL can.
pub fn json(text: &str) -> Cow<'_, str> {
    let escapes = |character: char| character >= '\u{7f}' && is_hidden(character);
    if !text.chars().any(escapes) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if escapes(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_line_breaks_stay_in_several_lines() {
        assert_eq!(lines("a\nb\u{7}\u{202e}"), "a\nb\\u{7}\\u{202e}");
    }

    #[test]
    fn escaped_json_is_the_same_value() {
        let text = "{\"a\":\"x\u{202e}\u{7f}\u{e0041}é\"}";
        let safe = json(text);
        assert_eq!(safe, "{\"a\":\"x\\u202e\\u007f\\udb40\\udc41é\"}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&safe), value(text));
    }
}
