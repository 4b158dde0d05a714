//! Text from outside (servers, file names, keys, payloads) made safe to show: one line, and nothing in it that a
//! terminal obeys or an eye misses.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The longest value of a field, in bytes before escaping. A server's message of megabytes must not crowd out every
/// other line; 2 KiB holds any path and any message that an operator would read, and a line of a dozen such values
/// still fits journald's line limit of 48 KiB.
pub const VALUE_BYTES_MAX: usize = 2048;

/// Whether a character is escaped: it moves the cursor, ends the line, changes the direction of what is round it,
/// or is not seen at all.
pub fn is_hidden(c: char) -> bool {
    // U+200B-200F and 2028-202E hold the line separators and bidirectional marks, 2060-206F the isolates, E0000-E0FFF
    // the invisible tags.
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// The text with its hidden characters shown as `\n`, `\t`, `\r` or `\u{202e}`; a backslash stays as it is. For people:
/// tables, messages.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push_visible(&mut shown, c);
    }
    Cow::Owned(shown)
}

/// Appends a value of a text line: bare where that is unmistakable, else in quotes with `\` escapes. What is longer
/// than [`VALUE_BYTES_MAX`] is cut, and says by how much.
pub(super) fn push_text_value(out: &mut String, value: &str) {
    let (kept, cut) = shorten(value);
    let bare = !kept.is_empty()
        && cut == 0
        && !kept.contains(|c: char| c == '"' || c == '\\' || c == '=' || c.is_whitespace() || is_hidden(c));
    if bare {
        out.push_str(kept);
        return;
    }
    out.push('"');
    for c in kept.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            _ => push_visible(out, c),
        }
    }
    push_cut(out, cut);
    out.push('"');
}

/// Appends a value of a journal field: one line, without quotes.
pub(super) fn push_field_value(out: &mut String, value: &str) {
    let (kept, cut) = shorten(value);
    kept.chars().for_each(|c| push_visible(out, c));
    push_cut(out, cut);
}

/// Appends a JSON string. Hidden characters are written as `\uXXXX`, so that a line of JSON is as safe on a terminal as
/// a line of text, and still reads back as the very same value (unless it was cut).
pub(super) fn push_json_string(out: &mut String, value: &str) {
    let (kept, cut) = shorten(value);
    out.push('"');
    for c in kept.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if is_hidden(c) => {
                let mut units = [0_u16; 2];
                for unit in c.encode_utf16(&mut units) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            _ => out.push(c),
        }
    }
    push_cut(out, cut);
    out.push('"');
}

fn push_visible(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        _ if is_hidden(c) => {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
        _ => out.push(c),
    }
}

/// The first [`VALUE_BYTES_MAX`] bytes, at the border of a character, and how many bytes come after them.
fn shorten(value: &str) -> (&str, usize) {
    let kept = &value[..value.floor_char_boundary(VALUE_BYTES_MAX)];
    (kept, value.len() - kept.len())
}

fn push_cut(out: &mut String, cut: usize) {
    if cut > 0 {
        // Writing to a String cannot fail.
        let _ = write!(out, "… [{cut} bytes more]");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> String {
        let mut out = String::new();
        push_text_value(&mut out, value);
        out
    }

    fn json(value: &str) -> String {
        let mut out = String::new();
        push_json_string(&mut out, value);
        out
    }

    #[test]
    fn a_value_is_quoted_only_where_it_could_be_misread() {
        let cases = [
            ("crm-1", "crm-1"),
            ("/var/spool/reten-outbox", "/var/spool/reten-outbox"),
            ("Ñandú", "Ñandú"),
            ("", r#""""#),
            ("two words", r#""two words""#),
            ("a=b", r#""a=b""#),
            (r#"say "hi""#, r#""say \"hi\"""#),
            (r"C:\x", r#""C:\\x""#),
            ("one\ntwo\r\tthree", r#""one\ntwo\r\tthree""#),
            ("\u{1b}[31mred", r#""\u{1b}[31mred""#),
            ("invoice\u{202e}gpj.exe", r#""invoice\u{202e}gpj.exe""#),
            ("a\u{2028}b\u{2029}c", r#""a\u{2028}b\u{2029}c""#),
            ("no\u{a0}break", "\"no\u{a0}break\""),
        ];
        for (value, shown) in cases {
            assert_eq!(text(value), shown, "{value:?}");
        }
    }

    #[test]
    fn every_control_and_every_bidirectional_mark_is_escaped_in_text_and_json() {
        let controls = (0..0x20).chain(0x7f..=0x9f);
        let marks = (0x202a..=0x202e)
            .chain(0x2066..=0x2069)
            .chain([0x200e, 0x200f, 0x61c, 0x2028, 0x2029, 0xfeff, 0xe0041]);
        for c in controls.chain(marks).filter_map(char::from_u32) {
            let value = format!("a{c}b");
            assert!(!text(&value).contains(c), "{c:?}");
            assert!(!json(&value).contains(c), "{c:?}");
            assert!(!visible(&value).contains(c), "{c:?}");
            assert_eq!(serde_json::from_str::<String>(&json(&value)).unwrap(), value);
        }
    }

    #[test]
    fn a_very_long_value_is_cut_at_a_character_and_says_so() {
        let long = format!("{}ñ", "x".repeat(VALUE_BYTES_MAX - 1));
        assert_eq!(
            text(&long),
            format!("\"{}… [2 bytes more]\"", "x".repeat(VALUE_BYTES_MAX - 1))
        );
        assert!(json(&"y".repeat(1 << 20)).len() < VALUE_BYTES_MAX + 64);
    }

    #[test]
    fn text_without_hidden_characters_is_not_copied() {
        assert!(matches!(visible("nothing to see: ñ €"), Cow::Borrowed(_)));
        assert_eq!(visible("two\nlines"), "two\\nlines");
    }
}
